//! Stock QEMU's pre-copy keeps up, or does not: the guest moves to another QEMU on the other side of
//! the link, or does not within the time.
//!
//! It converges if its migration completes: what is left fits into downtime-limit (300 ms) at the
//! bandwidth that QEMU takes the link for.
//!
//! References: QEMU's docs/devel/migration/, docs/xbzrle.txt, qapi/migration.json.

use super::guest::{BenchGuest, Destination};
use super::lab::BenchLink;
use super::load::{DOWNTIME, Interval, LIMIT, LoadAttempt, WINDOW, settle};
use anyhow::{Context, Result, bail, ensure};
use memtwin_qemu::{MigrationStatus, QemuSettings, migration};
use memtwin_replicate::CancelToken;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long a migration that was cancelled may take to end.
const ENDING: Duration = Duration::from_secs(60);

/// What QEMU does to keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CatchUpMethod {
    /// Nothing.
    Plain,
    /// Deltas against pages that it has sent before, in a cache as large as the window.
    Xbzrle,
    /// Two more connections, compressed.
    MultifdZstd,
}

impl CatchUpMethod {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Xbzrle, Self::MultifdZstd];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "QEMU pre-copy",
            Self::Xbzrle => "QEMU, xbzrle",
            Self::MultifdZstd => "QEMU, multifd+zstd",
        }
    }

    /// Why this QEMU can't, if so: it was built without zstd, say.
    pub(super) fn lacks(self, guest: &mut BenchGuest) -> Option<String> {
        self.settings().apply(&mut guest.qmp).err().map(|error| error.to_string())
    }

    /// Its settings, on both sides. All else is QEMU's default, but for the bandwidth: by default
    /// it sends up to 1.07 Gbit/s, here the link is the limit.
    fn settings(self) -> QemuSettings {
        QemuSettings::new()
            .capability("xbzrle", self == Self::Xbzrle)
            .capability("multifd", self == Self::MultifdZstd)
            .parameter("xbzrle-cache-size", WINDOW)
            .parameter("multifd-channels", 2)
            .parameter(
                "multifd-compression",
                if self == Self::MultifdZstd { "zstd" } else { "none" },
            )
            .parameter("max-bandwidth", 1_u64 << 40)
            .parameter("downtime-limit", DOWNTIME.as_millis() as u64)
    }
}

/// Lets the guest migrate, and come back.
pub(super) fn migrate(
    link: &BenchLink,
    dir: &Path,
    guest: &mut BenchGuest,
    way: CatchUpMethod,
    interval: Interval,
    stop: &CancelToken,
) -> Result<LoadAttempt> {
    let mut there = Destination::start(link, dir)?;
    let settings = way.settings();
    settings.apply(&mut guest.qmp).with_context(|| way.name())?;
    settings.apply(&mut there.qmp).with_context(|| way.name())?;
    let uri = there.listen()?;
    guest.counter.pace(interval)?;
    settle(stop)?;
    let (began, before) = (Instant::now(), guest.counter.batches());
    let _: Value = guest.qmp.execute("migrate", json!({ "uri": uri }))?;
    let (now, written, took) = loop {
        let now = migration(&mut guest.qmp)?;
        match now.status {
            // It has stood still since its downtime began.
            MigrationStatus::Completed => {
                let ms = |ms: Option<u64>| Duration::from_millis(ms.unwrap_or_default());
                let ran = ms(now.total_time).saturating_sub(ms(now.downtime));
                break (now, guest.counter.batches(), ran);
            }
            ref status if !status.is_under_way() => {
                bail!("{}: {status}: {}", way.name(), now.error_desc.unwrap_or_default())
            }
            _ if began.elapsed() > LIMIT => break (now, guest.counter.batches(), began.elapsed()),
            _ => ensure!(!stop.wait(POLL_INTERVAL), "interrupted"),
        }
    };
    let fitted = now.status == MigrationStatus::Completed;
    if fitted {
        drop(there);
        guest.come_back()?;
    } else {
        cancel(guest)?;
    }
    let ram = now.ram.unwrap_or_default();
    let more = match now.downtime.filter(|_| fitted) {
        Some(downtime) => format!("downtime {downtime} ms"),
        None => format!(
            "{:.1} MB left, {:.0} ms at the bandwidth that it sees",
            ram.remaining as f64 / 1e6,
            now.expected_downtime.unwrap_or_default()
        ),
    };
    Ok(LoadAttempt {
        variant: way.name(),
        turn: 0,
        interval_ms: interval.0,
        fitted,
        rounds: ram.dirty_sync_count,
        seconds: took.as_secs_f64(),
        wanted: interval.rate(),
        done: (written - before) as f64 / took.as_secs_f64(),
        more,
    })
}

/// Ends a migration that does not end.
fn cancel(guest: &mut BenchGuest) -> Result<()> {
    let _: Value = guest.qmp.execute("migrate_cancel", ())?;
    let began = Instant::now();
    while migration(&mut guest.qmp)?.status.is_under_way() {
        ensure!(began.elapsed() < ENDING, "the migration can't be cancelled");
        std::thread::sleep(POLL_INTERVAL);
    }
    // It may have completed in the meantime.
    if migration(&mut guest.qmp)?.status == MigrationStatus::Completed {
        guest.come_back()
    } else {
        Ok(())
    }
}
