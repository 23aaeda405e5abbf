//! Memtwin keeps up, or does not: a twin on the other side of the link, of a process or of QEMU's
//! guest.
//!
//! It converges if in 20 consecutive rounds what is sent is at most what the link carries in 300 ms.
//! That is more than is asked of QEMU, whose migration ends with the first round that fits.

use super::guest::BenchGuest;
use super::load::{BATCH, FITS, Interval, LIMIT, LoadAttempt, WINDOW, settle};
use anyhow::{Context, Result, ensure};
use memtwin_pages::{Image, RegionId};
use memtwin_process::{Config, ProcessGuest};
use memtwin_qemu::{BlockMemory, Process, blocks};
use memtwin_remote::{RemoteTwin, Security, SenderConfig};
use memtwin_replicate::{CancelToken, PausedGuest, Replication, Round, Sink, Source};
use memtwin_stressor::Stressor;
use memtwin_tap::MigrationTap;
use memtwin_verdict::{Discards, capture};
use memtwin_wire::TwinVerdict;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// This many rounds in a row are to fit.
const ROUNDS: usize = 20;
/// It is looked at for this long at least.
const LEAST: Duration = Duration::from_secs(4);
/// Rounds begin this often, if they are quicker.
const EVERY: Duration = Duration::from_millis(5);

/// Memtwin, and where its receiver listens.
#[derive(Clone, Copy)]
pub(super) struct Memtwin<'m> {
    pub(super) binary: &'m Path,
    pub(super) receiver: SocketAddr,
    pub(super) stop: &'m CancelToken,
}

impl Memtwin<'_> {
    fn twin(self, delta: bool) -> Result<RemoteTwin> {
        let config = super::config(self.receiver, Security::Plain);
        Ok(RemoteTwin::connect(SenderConfig { delta, ..config }, self.stop.clone())?)
    }

    /// Of a plain process.
    pub(super) fn of_a_process(
        self,
        variant: &'static str,
        delta: bool,
        interval: Interval,
    ) -> Result<LoadAttempt> {
        let mut command = Command::new(self.binary);
        command.arg("process-writer");
        let bytes = u64::from(WINDOW);
        let stressor = Stressor::Strided;
        let config = Config { file: None, bytes, threads: 1, stressor, seed: 1 };
        let mut guest = ProcessGuest::spawn(command, config)?;
        let window = Arc::clone(guest.window());
        guest.pace(Some((f64::from(BATCH) * interval.rate()) as u64));
        let mut twin = self.twin(delta)?;
        let mut replication = Replication::start(guest, &mut twin, ())?;
        replication.source_mut().start();
        settle(self.stop)?;
        let batches = |guest: &ProcessGuest| guest.written() as f64 / f64::from(BATCH);
        let attempt = keep_up(&mut replication, batches, variant, interval, self.stop)?;
        replication.source_mut().pace(Some(1));
        let still = replication.pause_and_settle(self.stop)?;
        is_identical(&still, RegionId(0), &window)?;
        still.release()?;
        replication.finish()?;
        twin.finish(TwinVerdict::Inconclusive, "a measurement", &[])?
            .err()
            .context("it was kept")?;
        Ok(attempt)
    }

    /// Of the guest that QEMU migrates as well.
    pub(super) fn of_a_guest(
        self,
        variant: &'static str,
        guest: &mut BenchGuest,
        interval: Interval,
    ) -> Result<LoadAttempt> {
        guest.counter.pace(interval)?;
        settle(self.stop)?;
        let to = crate::qemu::target(&guest.qemu)?;
        let BenchGuest { qmp, counter, .. } = guest;
        let listed = blocks(qmp)?;
        let process = Arc::new(Process::find(qmp, &listed)?);
        let guardian = || crate::qemu::guardian(self.binary);
        let tap = MigrationTap::open(qmp, &to, &listed, guardian, self.stop)?;
        let ram = tap.regions().iter().find(|(_, region)| region.name() == "ram");
        let ram = ram.context("no block named ram")?.0;
        let block = listed.iter().find(|block| block.name == "ram").context("no such block")?;
        let memory = BlockMemory::new(process, block)?;
        let mut twin = self.twin(true)?;
        let mut replication = Replication::start(tap, &mut twin, ())?;
        let batches = |_: &MigrationTap<'_>| counter.batches() as f64;
        let attempt = keep_up(&mut replication, batches, variant, interval, self.stop)?;
        let still = replication.pause_and_settle(self.stop)?;
        is_identical(&still, ram, &memory)?;
        still.release()?;
        replication.finish()?;
        twin.finish(TwinVerdict::Inconclusive, "a measurement", &[])?
            .err()
            .context("it was kept")?;
        Ok(attempt)
    }
}

/// Rounds, the first of them the whole memory, until this many in a row have fitted.
fn keep_up<S: Source, K: Sink>(
    replication: &mut Replication<S, K, ()>,
    batches: impl Fn(&S) -> f64,
    variant: &'static str,
    interval: Interval,
    stop: &CancelToken,
) -> Result<LoadAttempt> {
    let (began, before) = (Instant::now(), batches(replication.source()));
    replication.round(stop)?;
    let (mut rounds, mut in_a_row) = (Vec::new(), 0);
    while began.elapsed() < LIMIT && (in_a_row < ROUNDS || began.elapsed() < LEAST) {
        let round = replication.round(stop)?;
        in_a_row = if round.bytes as f64 <= FITS { in_a_row + 1 } else { 0 };
        rounds.push(round);
        stop.wait(EVERY.saturating_sub(round.total));
    }
    let seconds = began.elapsed().as_secs_f64();
    let done = (batches(replication.source()) - before) / seconds;
    Ok(LoadAttempt {
        variant,
        turn: 0,
        interval_ms: interval.0,
        fitted: in_a_row >= ROUNDS,
        rounds: 1 + rounds.len() as u64,
        seconds,
        wanted: interval.rate(),
        done,
        more: median(rounds),
    })
}

/// What the median round was.
fn median(mut rounds: Vec<Round>) -> String {
    rounds.sort_by_key(|round| round.total);
    let Some(median) = rounds.get(rounds.len() / 2) else { return "no second round".to_owned() };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!(
        "median round {} pages, {:.2} MB, {:.1} ms to collect, {:.1} ms to copy",
        median.sent_pages,
        median.bytes as f64 / 1e6,
        ms(median.collect),
        ms(median.copy)
    )
}

/// A figure of a twin that is not one says nothing.
fn is_identical<S: Source>(
    still: &PausedGuest<'_, S, &mut RemoteTwin, ()>,
    region: RegionId,
    memory: &dyn Image,
) -> Result<()> {
    let guess = move |offset: u64, into: &mut [u8]| memory.read_at(offset, into);
    let twin = still.sink().region(region, Box::new(guess))?;
    let size = still.layout().region(region).page_size();
    let lost = capture(memory, &twin, size, &Discards::none())?.memory.pages().len();
    ensure!(lost == 0, "the twin differs in {lost} pages");
    Ok(())
}
