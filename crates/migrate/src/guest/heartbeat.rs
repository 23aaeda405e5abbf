//! The guest's own account: its heartbeat (`writeout --fine`) and its load (`dirtyram`), read from lines
//! that a console has heard.
//!
//! Two clocks see the move: the guest's CLOCK_MONOTONIC, in which it notices gaps of a millisecond, and
//! ours, by which a line comes. A hypervisor may stop the guest's clock with the guest; then only ours
//! sees how long it stood still.

use super::console::ConsoleLine;
use std::time::{Duration, Instant};

/// A line of the heartbeat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heartbeat {
    /// When it came.
    pub at: Instant,
    /// Its number.
    pub n: u64,
    /// The guest's CLOCK_MONOTONIC.
    pub monotonic: Duration,
    /// The guest's wall clock, since 1970.
    pub wall: Duration,
    /// The largest time between two looks at the clock since the line before.
    pub largest: Duration,
}

/// All beats among these lines, in their order.
pub fn heartbeats(lines: &[ConsoleLine]) -> Vec<Heartbeat> {
    lines.iter().filter_map(|line| beat(line.at, &line.text)).collect()
}

fn beat(at: Instant, text: &str) -> Option<Heartbeat> {
    let words: Vec<&str> = text.split(' ').collect();
    let ["heartbeat", n, "monotonic", monotonic, "wall", wall, "largest", largest, "ms"] =
        words[..]
    else {
        return None;
    };
    let seconds =
        |word: &str, unit: f64| Duration::try_from_secs_f64(word.parse::<f64>().ok()? / unit).ok();
    Some(Heartbeat {
        at,
        n: n.parse().ok()?,
        monotonic: seconds(monotonic, 1.0)?,
        wall: seconds(wall, 1.0)?,
        largest: seconds(largest, 1e3)?,
    })
}

/// What the heartbeat says about a move.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatStats {
    /// How many beats came.
    pub beats: usize,
    /// The first beat that does not follow the one before it: what came, and what should have.
    pub broken: Option<(u64, u64)>,
    /// Whether the guest's clock ever went back.
    pub went_back: bool,
    /// The gap in the guest's own clock across the move, from its loop of a millisecond.
    pub guest_gap: Duration,
    /// The time between the two beats on either side of the move by our clock, in excess of their interval.
    pub silence: Duration,
    /// By how much the guest's monotonic clock fell behind ours across the move; negative if it got
    /// ahead. Seconds.
    pub lag: f64,
    /// By how much its wall clock jumped against its monotonic clock. Seconds.
    pub wall_jump: f64,
}

/// Reads the beats that came from `from` on; `resumed` is when the guest ran again. Nothing if there are fewer than two.
pub fn stats(
    beats: &[Heartbeat],
    from: Instant,
    resumed: Option<Instant>,
    interval: Duration,
) -> Option<HeartbeatStats> {
    let first =
        beats.iter().position(|beat| beat.at >= from).unwrap_or(beats.len()).saturating_sub(1);
    let beats = beats.get(first..)?;
    let (begin, end) = (beats.first()?, beats.last()?);
    if beats.len() < 2 {
        return None;
    }
    let pairs = || beats.windows(2).map(|pair| (pair[0], pair[1]));
    let between = |(a, b): (Heartbeat, Heartbeat)| b.at.saturating_duration_since(a.at);
    let wall = |beat: &Heartbeat| beat.wall.as_secs_f64() - beat.monotonic.as_secs_f64();
    // The first beat since the guest runs again; or the one after the longest silence.
    // It is seen a little later than it is so: a guest that runs by itself may have beaten before.
    let seen = |resumed: Instant| {
        let since = resumed.checked_sub(interval * 2).unwrap_or(resumed);
        let first = beats.iter().position(|beat| beat.at >= since)?.max(1);
        let last = beats.iter().position(|beat| beat.at >= resumed)?;
        (first..=last).max_by_key(|at| between((beats[at - 1], beats[*at])))
    };
    let resumed = resumed.and_then(seen);
    let widest = || pairs().enumerate().max_by_key(|(_, pair)| between(*pair)).map(|(i, _)| i + 1);
    let at = resumed.filter(|at| *at > 0).or_else(widest)?;
    let pair = (beats[at - 1], beats[at]);
    let theirs = pair.1.monotonic.as_secs_f64() - pair.0.monotonic.as_secs_f64();
    Some(HeartbeatStats {
        beats: beats.len(),
        broken: pairs().find(|(a, b)| b.n != a.n + 1).map(|(a, b)| (b.n, a.n + 1)),
        went_back: pairs().any(|(a, b)| b.monotonic <= a.monotonic),
        guest_gap: pair.1.largest,
        silence: between(pair).saturating_sub(interval),
        lag: between(pair).as_secs_f64() - theirs,
        wall_jump: wall(end) - wall(begin),
    })
}

/// A second of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSecond {
    /// Pages per second that it dirtied.
    pub pages: f64,
    /// Intervals that went by without a batch.
    pub missed: u64,
    /// The longest time until a batch was done, in milliseconds.
    pub stall: f64,
}

/// The seconds of a load, from the lines that `dirtyram` has said.
pub fn load_seconds<'l>(lines: impl IntoIterator<Item = &'l str>) -> Vec<LoadSecond> {
    let second = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let ["dirtyram", _, "batches/s", pages, "pages/s", "missed", missed, "stall", stall, "ms"] =
            words[..]
        else {
            return None;
        };
        Some(LoadSecond {
            pages: pages.parse().ok()?,
            missed: missed.parse().ok()?,
            stall: stall.parse().ok()?,
        })
    };
    lines.into_iter().filter_map(second).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: Instant, n: u64, monotonic: f64, largest: f64) -> ConsoleLine {
        let text = format!(
            "heartbeat {n} monotonic {monotonic:.6} wall {:.6} largest {largest:.3} ms",
            1000.0 + monotonic
        );
        ConsoleLine { at, text }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_guest_whose_clock_stood_still_is_seen_by_ours() {
        let t = Instant::now();
        let lines = [
            line(t, 1, 10.0, 1.0),
            line(t + ms(200), 2, 10.2, 1.1),
            // 700 ms later, of which its own clock saw 250.
            line(t + ms(900), 3, 10.45, 51.0),
            line(t + ms(1100), 4, 10.65, 1.0),
        ];
        let pulse = stats(&heartbeats(&lines), t, None, ms(200)).unwrap();
        assert_eq!((pulse.beats, pulse.broken, pulse.went_back), (4, None, false));
        assert_eq!((pulse.guest_gap, pulse.silence), (ms(51), ms(500)));
        assert!((pulse.lag - 0.45).abs() < 1e-6 && pulse.wall_jump.abs() < 1e-5, "{pulse:?}");
    }

    #[test]
    fn a_guest_that_beat_before_it_was_seen_to_run_is_not_missed() {
        let t = Instant::now();
        let lines = [
            line(t, 1, 10.0, 1.0),
            line(t + ms(200), 2, 10.2, 1.1),
            line(t + ms(1100), 3, 10.4, 2.0),
            line(t + ms(1300), 4, 10.6, 1.0),
            // Much later, and of another cause.
            line(t + ms(4000), 5, 13.0, 1.0),
        ];
        let pulse = stats(&heartbeats(&lines), t, Some(t + ms(1150)), ms(200)).unwrap();
        assert_eq!(pulse.silence, ms(700));
    }

    #[test]
    fn a_beat_that_is_missing_or_old_is_found() {
        let t = Instant::now();
        let lines = [line(t, 1, 1.0, 1.0), line(t, 3, 1.4, 1.0), line(t, 4, 1.3, 1.0)];
        let pulse = stats(&heartbeats(&lines), t, None, ms(200)).unwrap();
        assert_eq!((pulse.broken, pulse.went_back), (Some((3, 2)), true));
    }

    #[test]
    fn a_load_is_read_second_by_second() {
        let said =
            ["dirtyram has 8 pages", "dirtyram 20.0 batches/s 40960 pages/s missed 2 stall 1.7 ms"];
        assert_eq!(load_seconds(said), [LoadSecond { pages: 40960.0, missed: 2, stall: 1.7 }]);
    }
}
