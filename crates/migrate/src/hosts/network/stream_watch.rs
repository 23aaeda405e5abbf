//! Whether a stream that lags is slow, or dead. A stream that was held up needs a while to be where it
//! was; on a slow machine that may be long. It is dead only if nothing comes while the guest is reached.

use super::output::stream_of;
use std::time::Duration;

/// How many records are always under way.
const BEHIND: u64 = 50;
/// How long nothing may come back while pings are answered. TCP tries again every 120 s at the latest
/// (TCP_RTO_MAX in include/net/tcp.h of Linux), so it has tried twice.
const DEAD: Duration = Duration::from_secs(300);
/// A ping that was answered within this says that the guest is reached.
const PINGED: Duration = Duration::from_secs(30);
/// How long it may take although bytes come back.
const LONGEST: Duration = Duration::from_secs(900);

/// How a stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamState {
    /// It lags, and may catch up.
    Behind,
    /// It is where it was.
    CaughtUp,
    /// Nothing comes back although the guest is reached.
    Dead,
    /// Neither stream nor ping comes back.
    Unreached,
    /// Bytes come back, and it lags for all that.
    Slow,
}

/// A stream that is waited for.
#[derive(Debug, Default)]
pub(super) struct StreamWatch {
    back: (u64, Duration),
    ping: (u64, Duration),
    /// Since when pings are answered without a gap.
    pinged: Duration,
}

impl StreamWatch {
    /// At this time: records sent and come back, and the number of the last ping that was answered.
    pub(super) fn see(
        &mut self,
        at: Duration,
        told: Option<(u64, u64)>,
        ping: Option<u64>,
    ) -> StreamState {
        let (sent, back) = told.unwrap_or((u64::MAX, 0));
        if back.saturating_add(BEHIND) >= sent {
            return StreamState::CaughtUp;
        }
        if back != self.back.0 {
            self.back = (back, at);
        }
        if ping.is_some_and(|ping| ping != self.ping.0) {
            if at - self.ping.1 > PINGED {
                self.pinged = at;
            }
            self.ping = (ping.unwrap_or_default(), at);
        }
        let silent = at - self.back.1;
        let answers = at - self.ping.1 <= PINGED && self.ping.0 > 0;
        match () {
            () if silent < DEAD && at < LONGEST => StreamState::Behind,
            () if silent < DEAD => StreamState::Slow,
            () if answers && at - self.pinged >= DEAD => StreamState::Dead,
            // It may be on its way.
            () if answers && at < LONGEST => StreamState::Behind,
            () => StreamState::Unreached,
        }
    }
}

/// What came of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StreamVerdict {
    /// Everything came back, in a line for a person.
    Whole(String),
    /// It broke, or something else came back.
    Wrong(String),
    /// Nobody knows.
    Unknown(String),
}

/// Judges by all that it has said. `broke`: it ended by itself. What has not come back when it is ended is
/// no fault alone: what comes back is compared in order, so it is only late.
pub(super) fn verdict(said: &str, broke: bool, course: StreamState) -> StreamVerdict {
    let told = stream_of(said);
    let numbers = told.map_or("nothing is known of its records".to_owned(), |(sent, back, _)| {
        format!("{sent} records sent, {back} came back")
    });
    let late = |line: &str| line.ends_with(" came back");
    let complaint = said.lines().find(|line| line.starts_with("netload: ") && !late(line));
    let limit = DEAD.as_secs();
    match (told, course) {
        _ if complaint.is_some() => {
            StreamVerdict::Wrong(format!("the stream: {}", complaint.unwrap_or_default()))
        }
        _ if broke => StreamVerdict::Wrong(format!("the stream ended by itself: {numbers}")),
        (_, StreamState::Dead) => StreamVerdict::Wrong(format!(
            "the stream: nothing came back for {limit} s while pings were answered; {numbers}"
        )),
        (_, StreamState::Unreached) => StreamVerdict::Unknown(format!(
            "the stream: nothing came back for {limit} s, and pings were not answered either; {numbers}"
        )),
        (None, _) => StreamVerdict::Unknown("the stream's last words are not there".to_owned()),
        (Some((sent, back, _)), _) if sent != back => StreamVerdict::Unknown(format!(
            "the stream still lagged when it was ended: {numbers}; is the machine that slow?"
        )),
        (Some((sent, back, silence)), _) => StreamVerdict::Whole(format!(
            "stream: {back} of {sent} records came back, byte by byte; silent for {:.1} ms at most",
            silence.as_secs_f64() * 1e3
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look each second: what comes back, whether pings are answered; when it is over, and how.
    fn watch(back: impl Fn(u64) -> u64, pinged: impl Fn(u64) -> u64) -> (u64, StreamState) {
        let mut behind = StreamWatch::default();
        for s in 0..2000 {
            let told = Some((100_000, back(s)));
            let course = behind.see(Duration::from_secs(s), told, Some(pinged(s)));
            if course != StreamState::Behind {
                return (s, course);
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn a_slow_stream_is_told_from_a_dead_one() {
        assert_eq!(watch(|s| 99_900 + s, |s| s), (50, StreamState::CaughtUp));
        // Once in four minutes is slow, and no more than that.
        assert_eq!(watch(|s| s / 240, |s| s), (900, StreamState::Slow));
        assert_eq!(watch(|s| s / 240, |_| 5), (900, StreamState::Slow));
        assert_eq!(watch(|_| 7, |s| s), (300, StreamState::Dead));
        assert_eq!(watch(|_| 7, |_| 5), (300, StreamState::Unreached));
        // Pings that come back late say nothing of the time before.
        assert_eq!(watch(|_| 7, |s| s.saturating_sub(200)), (501, StreamState::Dead));
        let told = StreamWatch::default().see(Duration::from_secs(1), None, None);
        assert_eq!(told, StreamState::Behind, "not a word yet");
    }

    #[test]
    fn only_what_is_known_to_be_wrong_is_said_to_be() {
        let line = |sent, back| format!("netload {sent} sent {back} back silence 21.3 ms\n");
        let whole = verdict(&line(90, 90), false, StreamState::CaughtUp);
        assert!(
            matches!(&whole, StreamVerdict::Whole(line) if line.starts_with("stream: 90 of 90"))
        );
        let late = line(90, 80) + "netload: 90 sent, 80 came back\n";
        let unknown =
            |said: &str, course| matches!(verdict(said, false, course), StreamVerdict::Unknown(_));
        assert!(unknown(&late, StreamState::CaughtUp) && unknown(&late, StreamState::Slow));
        assert!(unknown(&late, StreamState::Unreached) && unknown("", StreamState::Behind));
        let wrong = |said: &str, broke, course| {
            let StreamVerdict::Wrong(why) = verdict(said, broke, course) else { panic!("{said}") };
            why
        };
        let other = line(90, 80) + "netload: record 81 is another\n";
        assert_eq!(
            wrong(&other, false, StreamState::CaughtUp),
            "the stream: netload: record 81 is another"
        );
        assert!(
            wrong(&late, false, StreamState::Dead)
                .contains("while pings were answered; 90 records")
        );
        assert!(wrong(&line(90, 90), true, StreamState::CaughtUp).contains("ended by itself"));
    }
}
