//! Pre-copy: everything once, from a QEMU that is seen to be held.

use crate::migration_tap::{MigrationTap, log};
use crate::throttle::Throttle;
use memtwin_replicate::{CancelToken, PageReceiver, RoundError};
use std::time::{Duration, Instant};

/// How many sections a QEMU has to send, at each throttle at which it is tried, until it is taken to be held.
const LOOKS: u64 = 2;
/// QEMU applies new limits when it next updates its counters, ten times a second (BUFFER_DELAY in
/// migration/migration.c).
const COUNT_INTERVAL: Duration = Duration::from_millis(150);

impl MigrationTap<'_> {
    /// Everything once. With a QEMU that does not stay in pre-copy the migration is started again with the
    /// next hold, as long as there is one.
    pub(crate) fn pre_copy(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        loop {
            // Before QEMU hears that it may go on.
            self.count_unasked_pause(into)?;
            self.throttle(Throttle::Full, into)?;
            self.round(into, stop)?;
            if !self.has_left() {
                self.try_hold(into, stop)?;
            }
            if !self.has_left() {
                self.is_seen_to_hold();
                return Ok(());
            }
            if !self.ran {
                return Ok(());
            }
            self.open_again(stop).map_err(log)?;
            self.tracker.begin();
        }
    }

    /// Looks whether QEMU is held: one that is not leaves pre-copy as soon as it has looked at its log again.
    fn try_hold(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        for throttle in [Throttle::Tempted(self.max_pause), Throttle::Held] {
            self.throttle(throttle, into)?;
            if !self.is_held && matches!(throttle, Throttle::Tempted(_)) {
                self.let_limits_count(into, stop)?;
            }
            self.tracker.sections = 0;
            self.until(into, stop, |tap| tap.tracker.sections >= LOOKS)?;
            if self.has_left() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads on until what comes was sent under the limits that were set last: at full pace QEMU sends many
    /// sections before it goes by them.
    fn let_limits_count(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        let since = Instant::now();
        self.until(into, stop, |_| since.elapsed() >= COUNT_INTERVAL)?;
        let upto = self.counters.bytes + self.reader.unread().map_err(log)?;
        // The section that was under way then is none of them.
        self.until(into, stop, |tap| tap.counters.bytes >= upto)?;
        let sections = self.tracker.sections;
        self.until(into, stop, |tap| tap.tracker.sections > sections)
    }
}
