//! The smallest interval at which a twin keeps up with a guest that dirties one word in each of
//! 2,048 pages per interval, every batch other pages of a window of random data: the seed's
//! `dirtyram … 2048 50` over a link of 1 Gbit/s.
//!
//! It converges if in 20 consecutive rounds what is to be sent is at most what the link carries in
//! 300 ms, while the guest completes at least 95 % of its batches.

use anyhow::{Context, Result, ensure};
use memtwin_pages::RegionId;
use memtwin_process::{Config, ProcessGuest};
use memtwin_remote::{RemoteTwin, Security};
use memtwin_replicate::{Replication, Round, Stop};
use memtwin_stressor::Stressor;
use memtwin_wire::Outcome;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const WINDOW: u64 = 256 << 20;
const BATCH: u64 = 2048;
/// What FACTS of the measured link say that it carries.
const LINK: f64 = 119.6e6;
/// How long each interval is measured: for so many rounds, and between these times.
const ROUNDS: usize = 20;
const LEAST: Duration = Duration::from_secs(3);
const MOST: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(1);
/// Rounds begin this often, if they are quicker.
const EVERY: Duration = Duration::from_millis(5);

/// Runs in the sender's namespace.
pub(crate) fn sender(memtwin: &Path, receiver: SocketAddr) -> Result<()> {
    println!("  a batch is one word in each of {BATCH} pages of a 256 MiB window of random data");
    println!(
        "  deltas  interval  wanted    done      most to send  pages, ms to collect, ms to copy (median round)  converges"
    );
    for delta in [true, false] {
        let intervals: &[f64] = if delta {
            &[20.0, 10.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.0]
        } else {
            &[100.0, 90.0, 80.0, 75.0, 70.0, 60.0, 40.0]
        };
        measure(memtwin, receiver, delta, intervals)?;
    }
    println!("  beside it, measured earlier on this kind of machine and not again: QEMU 10.0.2");
    println!("  pre-copy plain 80 ms, multifd+zstd 80 ms, xbzrle (512 MiB cache) at most 20 ms");
    Ok(())
}

fn measure(memtwin: &Path, receiver: SocketAddr, delta: bool, intervals: &[f64]) -> Result<()> {
    let mut command = Command::new(memtwin);
    command.arg("process-writer");
    let mut guest = ProcessGuest::spawn(
        command,
        Config { file: None, bytes: WINDOW, threads: 1, stressor: Stressor::Strided, seed: 1 },
    )?;
    guest.pace(Some(1));
    let config = super::config(receiver, Security::Plain);
    let stop = Stop::default();
    let mut twin =
        RemoteTwin::connect(memtwin_remote::SenderConfig { delta, ..config }, stop.clone())?;
    let mut replication = Replication::start(guest, &mut twin, ())?;
    replication.source_mut().start();
    replication.round(&stop)?;
    for &interval in intervals {
        let rate = BATCH as f64 * 1000.0 / interval;
        replication.source_mut().pace(Some(rate as u64));
        let mut rounds: Vec<Round> = Vec::new();
        let mut began = Instant::now();
        let (mut settled, mut written) = (false, 0);
        while !settled
            || began.elapsed() < LEAST
            || (rounds.len() < ROUNDS && began.elapsed() < MOST)
        {
            if !settled && began.elapsed() >= SETTLE {
                (settled, began) = (true, Instant::now());
                written = replication.source().written();
                rounds.clear();
            }
            let round = replication.round(&stop)?;
            rounds.push(round);
            thread::sleep(EVERY.saturating_sub(round.total));
        }
        let wanted = 1000.0 / interval;
        let done = (replication.source().written() - written) as f64
            / BATCH as f64
            / began.elapsed().as_secs_f64();
        report(delta, interval, wanted, done, &rounds);
    }
    replication.source_mut().pace(Some(1));
    let mut still = replication.stand_still(&stop)?;
    let window = still.source().window().clone();
    let memory = |offset: u64, into: &mut [u8]| {
        window.read(offset as usize, into);
        Ok(())
    };
    let region = still.sink().region(RegionId(0), Box::new(memory))?;
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..WINDOW).step_by(ours.len()) {
        window.read(at as usize, &mut ours);
        region.read_at(at, &mut theirs)?;
        ensure!(ours == theirs, "the twin differs at {at:#x}");
    }
    drop(region);
    drop(still);
    replication.finish()?;
    println!("  (the twin is identical; {:?})", twin.figures());
    twin.finish(Outcome::Inconclusive, "a measurement", &[])?.err().context("it was kept")?;
    Ok(())
}

fn report(delta: bool, interval: f64, wanted: f64, done: f64, rounds: &[Round]) {
    let most = LINK * 0.3;
    let few = |rounds: &[Round]| rounds.iter().all(|round| round.bytes as f64 <= most);
    let converges = rounds.windows(ROUNDS).any(few) && done >= wanted * 0.95;
    let largest = rounds.iter().map(|round| round.bytes).max().unwrap_or(0);
    let mut by_time = rounds.to_vec();
    by_time.sort_by_key(|round| round.total);
    let Some(median) = by_time.get(by_time.len() / 2) else { return };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "  {:<6}  {interval:>5} ms  {wanted:>6.1}/s  {done:>6.1}/s  {:>9.2} MB  {:>6} {:>8.2} {:>8.2}  {}",
        if delta { "yes" } else { "no" },
        largest as f64 / 1e6,
        median.sent_pages,
        ms(median.collect),
        ms(median.copy),
        if converges { "yes" } else { "no" },
    );
}
