//! The records of `netload`, and what comes back of them.

use std::time::Duration;

/// The bytes of a record.
pub const RECORD: usize = 256;

/// The bytes of the record of a number: no two are alike.
pub fn record(n: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    fastrand::Rng::with_seed(n).fill(&mut bytes);
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

/// Other bytes came back than were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} that came back is {got:#04x}, {expected:#04x} was sent")]
pub struct OtherBytes {
    offset: u64,
    got: u8,
    expected: u8,
}

/// What has come back.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    bytes: u64,
    last: Duration,
    longest: Duration,
}

impl Echo {
    /// Nothing yet.
    pub fn new(now: Duration) -> Self {
        Self { bytes: 0, last: now, longest: Duration::ZERO }
    }

    /// Takes what came, and when.
    ///
    /// Errors: it is not what was sent.
    pub fn take(&mut self, at: Duration, came: &[u8]) -> Result<(), OtherBytes> {
        self.longest = self.silence(at);
        self.last = at;
        let mut sent = record(self.records());
        for &got in came {
            let at = self.bytes as usize % RECORD;
            if at == 0 {
                sent = record(self.records());
            }
            let expected = sent[at];
            if got != expected {
                return Err(OtherBytes { offset: self.bytes, got, expected });
            }
            self.bytes += 1;
        }
        Ok(())
    }

    /// How many whole records have come back.
    pub fn records(&self) -> u64 {
        self.bytes / RECORD as u64
    }

    /// The longest time in which nothing came, up to now.
    pub fn silence(&self, now: Duration) -> Duration {
        self.longest.max(now.saturating_sub(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_found_and_silence_is_kept() {
        let ms = Duration::from_millis;
        let mut echo = Echo::new(ms(0));
        echo.take(ms(10), &record(0)).unwrap();
        let (begin, end) = (&record(1)[..100], &record(1)[100..]);
        echo.take(ms(70), begin).unwrap();
        echo.take(ms(80), end).unwrap();
        assert_eq!((echo.records(), echo.silence(ms(90))), (2, ms(60)));
        assert_eq!(echo.silence(ms(180)), ms(100));
        let mut wrong = record(2);
        wrong[7] ^= 1;
        assert_eq!(echo.take(ms(90), &wrong).unwrap_err().offset, 519);
    }
}
