//! Migrations of a QEMU to something else than a tap, to stand beside it.

use anyhow::{Context, Result, bail, ensure};
use memtwin_qemu::{MigrationStatus, QemuSettings, migration};
use memtwin_qmp::Qmp;
use memtwin_testbed::Qemu;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);
const PIECE: usize = 256 << 10;

/// What a migration took.
pub(crate) struct MigrationTime {
    pub(crate) total: Duration,
    pub(crate) downtime: Duration,
}

/// Lets a QEMU send as fast as it can.
pub(crate) fn unlimited(qmp: &mut Qmp) -> Result<()> {
    Ok(QemuSettings::new()
        .capability("return-path", false)
        .capability("switchover-ack", false)
        .parameter("max-bandwidth", 1_u64 << 40)
        .apply(qmp)?)
}

/// Migrates to a socket of ours that is read to its end, and says how long that took.
pub(crate) fn drain(qmp: &mut Qmp) -> Result<Duration> {
    let (ours, theirs) = UnixStream::pair()?;
    qmp.send_fd("bench", theirs.as_fd())?;
    drop(theirs);
    let began = Instant::now();
    let _: Value = qmp.execute("migrate", json!({ "uri": "fd:bench" }))?;
    read_all(ours)?;
    let took = began.elapsed();
    completed(qmp)?;
    Ok(took)
}

fn read_all(mut from: UnixStream) -> Result<()> {
    let mut piece = vec![0; PIECE];
    while from.read(&mut piece)? > 0 {}
    Ok(())
}

/// Migrates to another QEMU with these arguments, and ends that one.
pub(crate) fn destination<A: AsRef<OsStr>>(
    qmp: &mut Qmp,
    arguments: &[A],
) -> Result<MigrationTime> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("incoming");
    let uri = format!("unix:{}", socket.display());
    let mut all: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    all.extend([OsStr::new("-incoming"), OsStr::new(&uri)]);
    let there = Qemu::start("qemu-system-x86_64", &all)?;
    // Its QMP socket is there before the one that it listens at.
    let since = Instant::now();
    while !socket.exists() {
        ensure!(since.elapsed() < LIMIT, "it does not listen");
        thread::sleep(Duration::from_millis(1));
    }
    let began = Instant::now();
    let _: Value = qmp.execute("migrate", json!({ "uri": uri }))?;
    let took = completed(qmp)
        .with_context(|| fs::read_to_string(there.dir().join("stderr")).unwrap_or_default())?;
    ensure!(began.elapsed() < LIMIT, "it took too long");
    drop(there);
    Ok(took)
}

/// Waits for the end of a migration; its times by QEMU's own clock.
fn completed(qmp: &mut Qmp) -> Result<MigrationTime> {
    let since = Instant::now();
    loop {
        let now = migration(qmp)?;
        match now.status {
            MigrationStatus::Completed => {
                let ms = |ms: Option<u64>| Duration::from_millis(ms.unwrap_or_default());
                return Ok(MigrationTime { total: ms(now.total_time), downtime: ms(now.downtime) });
            }
            status if !status.is_under_way() => {
                bail!("the migration is {status}: {}", now.error_desc.unwrap_or_default())
            }
            _ if since.elapsed() > LIMIT => bail!("the migration does not end"),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// A pre-copy as QEMU does it by itself, at its own bandwidth, into a sink; held before its end, as
/// a guest that writes too fast holds it.
pub(crate) struct PlainMigration {
    before: QemuSettings,
    reader: JoinHandle<Result<()>>,
}

impl PlainMigration {
    pub(crate) fn begin(qmp: &mut Qmp) -> Result<Self> {
        let wanted = QemuSettings::new()
            .capability("return-path", true)
            .capability("switchover-ack", true)
            .parameter("max-bandwidth", 128_u64 << 20)
            .parameter("downtime-limit", 1);
        let before = wanted.before(qmp)?;
        wanted.apply(qmp)?;
        let (ours, theirs) = UnixStream::pair()?;
        qmp.send_fd("bench", theirs.as_fd())?;
        drop(OwnedFd::from(theirs));
        let _: Value = qmp.execute("migrate", json!({ "uri": "fd:bench" }))?;
        let reader = thread::spawn(move || read_all(ours));
        // Past its first pass.
        let since = Instant::now();
        while migration(qmp)?.ram.is_none_or(|ram| ram.dirty_sync_count < 3) {
            ensure!(since.elapsed() < LIMIT, "no second pass");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { before, reader })
    }

    pub(crate) fn end(self, qmp: &mut Qmp) -> Result<()> {
        let _: Value = qmp.execute("migrate_cancel", ())?;
        let since = Instant::now();
        while migration(qmp)?.status.is_under_way() {
            ensure!(since.elapsed() < LIMIT, "it can't be cancelled");
            thread::sleep(Duration::from_millis(2));
        }
        // Its end of the socket is closed now, so the reader has come to its end, or to an error.
        let _ = self.reader.join();
        Ok(self.before.apply(qmp)?)
    }
}
