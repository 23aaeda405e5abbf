//! How long a migration has sent nothing: what tells a link that is cut from one that is slow.

use memtwin_qemu::{Migration, MigrationStatus};
use std::time::{Duration, Instant};

/// The most that passes between two looks while the source answers. If it does not, it may be waiting for
/// its disk, and that is no fault of the link's.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// How long nothing has been sent, of the time in which the source answered.
#[derive(Debug, Default)]
pub(super) struct StallDetector {
    sent: u64,
    looked: Option<Instant>,
    silent: Duration,
}

impl StallDetector {
    /// Looks at what QEMU says now. Returns how long nothing has been sent.
    pub(super) fn see(&mut self, now: Instant, told: &Migration) -> Duration {
        let sent = told.ram.map_or(0, |ram| ram.transferred);
        let since = self.looked.replace(now).map_or(Duration::ZERO, |last| now - last);
        // Before that it connects, which has a limit of its own; after it nothing is left to be sent.
        let sends = matches!(
            told.status,
            MigrationStatus::Active | MigrationStatus::Device | MigrationStatus::PostcopyActive
        );
        if sends && sent == self.sent {
            self.silent += since.min(LONGEST_GAP);
        } else {
            (self.sent, self.silent) = (sent, Duration::ZERO);
        }
        self.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_qemu::RamCounters;

    fn told(status: MigrationStatus, transferred: u64) -> Migration {
        let ram = RamCounters { transferred, ..RamCounters::default() };
        Migration { status, ram: Some(ram), ..Migration::default() }
    }

    #[test]
    fn only_a_link_that_carries_nothing_is_silent() {
        let (mut silence, began) = (StallDetector::default(), Instant::now());
        let mut see = |ms, status, sent| {
            let silent = silence.see(began + Duration::from_millis(ms), &told(status, sent));
            silent.as_millis()
        };
        assert_eq!(see(0, MigrationStatus::Setup, 0), 0);
        assert_eq!(see(100, MigrationStatus::Active, 1), 0);
        assert_eq!(see(200, MigrationStatus::Active, 1), 100);
        assert_eq!(see(900, MigrationStatus::Device, 1), 800);
        assert_eq!(see(1000, MigrationStatus::Active, 2), 0);
        // It did not answer for a minute.
        assert_eq!(see(61_000, MigrationStatus::Active, 2), 10_000);
        assert_eq!(see(61_100, MigrationStatus::Cancelling, 2), 0);
    }
}
