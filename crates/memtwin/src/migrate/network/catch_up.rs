//! Whether a stream that lags is slow, or dead. A stream that was held up needs a while to be where it
//! was; on a slow machine that may be long. It is dead only if nothing comes while the guest is reached.

use super::said::stream_of;
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
pub(super) enum Course {
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
pub(super) struct Behind {
    back: (u64, Duration),
    ping: (u64, Duration),
    /// Since when pings are answered without a gap.
    pinged: Duration,
}

impl Behind {
    /// At this time: records sent and come back, and the number of the last ping that was answered.
    pub(super) fn see(
        &mut self,
        at: Duration,
        told: Option<(u64, u64)>,
        ping: Option<u64>,
    ) -> Course {
        let (sent, back) = told.unwrap_or((u64::MAX, 0));
        if back.saturating_add(BEHIND) >= sent {
            return Course::CaughtUp;
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
            () if silent < DEAD && at < LONGEST => Course::Behind,
            () if silent < DEAD => Course::Slow,
            () if answers && at - self.pinged >= DEAD => Course::Dead,
            // It may be on its way.
            () if answers && at < LONGEST => Course::Behind,
            () => Course::Unreached,
        }
    }
}

/// What came of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything came back, in a line for a person.
    Whole(String),
    /// It broke, or something else came back.
    Wrong(String),
    /// Nobody knows.
    Unknown(String),
}

/// Judges by all that it has said. `broke`: it ended by itself. What has not come back when it is ended is
/// no fault alone: what comes back is compared in order, so it is only late.
pub(super) fn verdict(said: &str, broke: bool, course: Course) -> Verdict {
    let told = stream_of(said);
    let numbers = told.map_or("nothing is known of its records".to_owned(), |(sent, back, _)| {
        format!("{sent} records sent, {back} came back")
    });
    let late = |line: &str| line.ends_with(" came back");
    let complaint = said.lines().find(|line| line.starts_with("netload: ") && !late(line));
    let limit = DEAD.as_secs();
    match (told, course) {
        _ if complaint.is_some() => {
            Verdict::Wrong(format!("the stream: {}", complaint.unwrap_or_default()))
        }
        _ if broke => Verdict::Wrong(format!("the stream ended by itself: {numbers}")),
        (_, Course::Dead) => Verdict::Wrong(format!(
            "the stream: nothing came back for {limit} s while pings were answered; {numbers}"
        )),
        (_, Course::Unreached) => Verdict::Unknown(format!(
            "the stream: nothing came back for {limit} s, and pings were not answered either; {numbers}"
        )),
        (None, _) => Verdict::Unknown("the stream's last words are not there".to_owned()),
        (Some((sent, back, _)), _) if sent != back => Verdict::Unknown(format!(
            "the stream still lagged when it was ended: {numbers}; is the machine that slow?"
        )),
        (Some((sent, back, silence)), _) => Verdict::Whole(format!(
            "stream: {back} of {sent} records came back, byte by byte; silent for {:.1} ms at most",
            silence.as_secs_f64() * 1e3
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look each second: what comes back, whether pings are answered; when it is over, and how.
    fn watch(back: impl Fn(u64) -> u64, pinged: impl Fn(u64) -> u64) -> (u64, Course) {
        let mut behind = Behind::default();
        for s in 0..2000 {
            let told = Some((100_000, back(s)));
            let course = behind.see(Duration::from_secs(s), told, Some(pinged(s)));
            if course != Course::Behind {
                return (s, course);
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn a_slow_stream_is_told_from_a_dead_one() {
        assert_eq!(watch(|s| 99_900 + s, |s| s), (50, Course::CaughtUp));
        // Once in four minutes is slow, and no more than that.
        assert_eq!(watch(|s| s / 240, |s| s), (900, Course::Slow));
        assert_eq!(watch(|s| s / 240, |_| 5), (900, Course::Slow));
        assert_eq!(watch(|_| 7, |s| s), (300, Course::Dead));
        assert_eq!(watch(|_| 7, |_| 5), (300, Course::Unreached));
        // Pings that come back late say nothing of the time before.
        assert_eq!(watch(|_| 7, |s| s.saturating_sub(200)), (501, Course::Dead));
        let told = Behind::default().see(Duration::from_secs(1), None, None);
        assert_eq!(told, Course::Behind, "not a word yet");
    }

    #[test]
    fn only_what_is_known_to_be_wrong_is_said_to_be() {
        let line = |sent, back| format!("netload {sent} sent {back} back silence 21.3 ms\n");
        let whole = verdict(&line(90, 90), false, Course::CaughtUp);
        assert!(matches!(&whole, Verdict::Whole(line) if line.starts_with("stream: 90 of 90")));
        let late = line(90, 80) + "netload: 90 sent, 80 came back\n";
        let unknown =
            |said: &str, course| matches!(verdict(said, false, course), Verdict::Unknown(_));
        assert!(unknown(&late, Course::CaughtUp) && unknown(&late, Course::Slow));
        assert!(unknown(&late, Course::Unreached) && unknown("", Course::Behind));
        let wrong = |said: &str, broke, course| {
            let Verdict::Wrong(why) = verdict(said, broke, course) else { panic!("{said}") };
            why
        };
        let other = line(90, 80) + "netload: record 81 is another\n";
        assert_eq!(
            wrong(&other, false, Course::CaughtUp),
            "the stream: netload: record 81 is another"
        );
        assert!(
            wrong(&late, false, Course::Dead).contains("while pings were answered; 90 records")
        );
        assert!(wrong(&line(90, 90), true, Course::CaughtUp).contains("ended by itself"));
    }
}
