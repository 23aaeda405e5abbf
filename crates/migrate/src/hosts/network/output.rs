//! What ping and `netload` say.

use std::time::Duration;

/// Between two pings, in seconds; and between two records, in milliseconds.
pub(super) const PING: f64 = 0.2;

/// The last line of `netload send`: records sent, records that came back, the longest silence.
pub(super) fn stream_of(said: &str) -> Option<(u64, u64, Duration)> {
    let line = said.lines().rfind(|line| line.starts_with("netload ") && line.ends_with(" ms"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let ["netload", sent, "sent", back, "back", "silence", silence, "ms"] = words[..] else {
        return None;
    };
    let silence = Duration::try_from_secs_f64(silence.parse::<f64>().ok()? / 1e3).ok()?;
    Some((sent.parse().ok()?, back.parse().ok()?, silence))
}

/// What `ping -D` has said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pings {
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// The longest time between two answers, in excess of the interval.
    pub(super) gap: Duration,
}

/// What a whole run of ping came to; none if nothing was answered.
pub(super) fn pings(said: &str) -> Option<Pings> {
    let answers: Vec<(f64, u64)> = said.lines().filter_map(answer).collect();
    let gaps = answers.windows(2).map(|pair| pair[1].0 - pair[0].0 - PING);
    let mut seqs: Vec<u64> = answers.iter().map(|(_, seq)| *seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let gap = Duration::try_from_secs_f64(gaps.fold(0.0, f64::max)).unwrap_or_default();
    Some(Pings { sent: *seqs.last()?, answered: seqs.len() as u64, gap })
}

/// `[1412899200.123456] 64 bytes from 192.168.2.100: icmp_seq=7 ttl=63 time=1.2 ms`
fn answer(line: &str) -> Option<(f64, u64)> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once(']')?;
    let (_, seq) = rest.split_once("bytes from ").and(rest.split_once("icmp_seq="))?;
    let seq: u64 = seq.split(' ').next()?.parse().ok()?;
    Some((stamp.parse::<f64>().ok()?, seq))
}

/// The number of the last ping that was answered.
pub(super) fn last_ping(said: &str) -> Option<u64> {
    said.lines().rev().find_map(answer).map(|(_, seq)| seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_pings_are_counted_and_the_gap_is_measured() {
        let said = "PING 192.168.2.100 56(84) bytes of data.\n\
            [100.000000] 64 bytes from 192.168.2.100: icmp_seq=1 ttl=63 time=1.2 ms\n\
            [100.200000] 64 bytes from 192.168.2.100: icmp_seq=2 ttl=63 time=1.2 ms\n\
            [101.400000] 64 bytes from 192.168.2.100: icmp_seq=8 ttl=63 time=1.2 ms\n";
        let pings = pings(said).unwrap();
        assert_eq!((pings.sent, pings.answered, pings.gap.as_millis()), (8, 3, 1000));
        assert_eq!(super::pings("PING"), None);
        assert_eq!((last_ping(said), last_ping("PING")), (Some(8), None));
    }

    #[test]
    fn the_last_word_of_the_stream_counts() {
        let said =
            "netload 50 sent 49 back silence 21.3 ms\nnetload 90 sent 90 back silence 512.5 ms\n";
        assert_eq!(stream_of(said), Some((90, 90, Duration::from_micros(512_500))));
        assert_eq!(stream_of("sh: netload: not found"), None);
    }
}
