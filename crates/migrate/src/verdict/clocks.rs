//! One table of the clocks that saw the guest stand still, with and without the time in which its memory
//! was judged.

use crate::driver::MigrationOutcome;
use crate::guest::heartbeat::HeartbeatStats;
use crate::hosts::environment::NetworkResult;
use memtwin_report::record::Clock;
use std::time::Duration;

/// Of each, what it saw.
pub(crate) fn clocks(
    moved: &MigrationOutcome,
    pulse: Option<&HeartbeatStats>,
    network: &NetworkResult,
    held: Duration,
) -> Vec<Clock> {
    let pause = moved.pause;
    let mut clocks = Vec::new();
    let mut clock = |name: &str, saw: Duration, without: Duration| {
        let (us, without_verify_us) = (micros(saw), micros(without));
        clocks.push(Clock { name: name.to_owned(), us, without_verify_us });
    };
    if let Some(downtime) = moved.progress.last.downtime {
        let downtime = Duration::from_millis(downtime);
        // Counted up to the source's end, so judging is not in it.
        clock("QEMU's own downtime", downtime + pause, downtime);
    }
    if let Some(pulse) = pulse {
        // A guest whose clock stood still with it has not seen that pause.
        let lag = Duration::try_from_secs_f64(pulse.lag).unwrap_or_default();
        let seen = pause.saturating_sub(lag);
        clock(
            "the guest's own clock (1 ms loop)",
            pulse.guest_gap,
            pulse.guest_gap.saturating_sub(seen),
        );
        clock("the heartbeat, by our clock", pulse.silence, pulse.silence.saturating_sub(pause));
    }
    if let Some(saw) = network.ping_gap {
        clock("ping", saw, saw.saturating_sub(pause + held));
    }
    if let Some(saw) = network.silence {
        // What the guest had still to send reaches storage before the route is switched.
        clock("the TCP stream", saw, saw.saturating_sub(pause));
    }
    clocks
}

/// The table.
pub(crate) fn lines(clocks: &[Clock], pause: Duration, held: Duration) -> Vec<String> {
    let ms = |us: u64| format!("{:.1} ms", us as f64 / 1e3);
    let mut rows =
        vec![["STOOD STILL, BY".to_owned(), "SEEN".to_owned(), "WITHOUT JUDGING RAM".to_owned()]];
    rows.extend(
        clocks.iter().map(|clock| [clock.name.clone(), ms(clock.us), ms(clock.without_verify_us)]),
    );
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let (name, seen, without) = (width(0), width(1), width(2));
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| format!("{:<name$}  {:>seen$}  {:>without$}", row[0], row[1], row[2]))
        .collect();
    if !pause.is_zero() {
        lines.push(format!("judging RAM took {:.1} ms of it", pause.as_secs_f64() * 1e3));
    }
    if !held.is_zero() {
        lines.push(format!(
            "asking the guest whom it reaches took {:.1} ms, for which the route's switch waited; the ping \
             is given without that too",
            held.as_secs_f64() * 1e3
        ));
    }
    lines
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
