//! Rounds: pre-copy beside cp and dd, a delta beside the reference daemon, and how a round scales.

use crate::beside::{Aim, Measured};
use crate::plain::{PlainMemory, some_pages};
use anyhow::{Context, Result, ensure};
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_replicate::{CancelToken, Replication};
use memtwin_twin::{FileTwin, MemoryTwin};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const GIB: usize = 1 << 30;

/// A file of this many bytes, and its memory.
fn file_memory(path: &Path, len: usize) -> Result<Mapping> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(len as u64)?;
    Ok(Mapping::shared(file.as_fd(), len, host_page_size())?)
}

/// Pre-copy of 1 GiB to a file on tmpfs, beside `cp` and `dd bs=1M`.
pub(crate) fn pre_copy(dir: &Path, turns: usize) -> Result<Vec<Measured>> {
    let (memory, ours, theirs) = (dir.join("memory"), dir.join("twin"), dir.join("copy"));
    let mut source = PlainMemory::new(file_memory(&memory, GIB)?)?;
    let (mut twin_times, mut cp_times, mut dd_times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..turns {
        let began = Instant::now();
        let mut twin = FileTwin::create(&ours)?;
        let mut replication = Replication::start(&mut source, &mut twin, ())?;
        replication.round(&CancelToken::default())?;
        drop(replication);
        twin.finish(true)?;
        twin_times.push(began.elapsed());
        fs::remove_file(&ours)?;

        cp_times.push(command(Command::new("cp").arg(&memory).arg(&theirs))?);
        fs::remove_file(&theirs)?;
        let (from, to) = (format!("if={}", memory.display()), format!("of={}", theirs.display()));
        dd_times.push(command(Command::new("dd").args([&from, &to, "bs=1M"]))?);
        fs::remove_file(&theirs)?;
    }
    fs::remove_file(&memory)?;
    let what = "pre-copy of 1 GiB of random data to a file on tmpfs";
    Ok(vec![
        Measured::of(what, &twin_times, "cp", &cp_times, Aim::Faster(1.0)),
        Measured::of(what, &twin_times, "dd bs=1M", &dd_times, Aim::Faster(1.0)),
    ])
}

fn command(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(began.elapsed())
}

/// A round of 10 % random pages of 1 GiB, beside seek, read, seek, write for each.
pub(crate) fn delta(dir: &Path, turns: usize) -> Result<Measured> {
    let (memory, ours, theirs) = (dir.join("memory"), dir.join("twin"), dir.join("copy"));
    let page = host_page_size();
    let mut source = PlainMemory::new(file_memory(&memory, GIB)?)?;
    fs::copy(&memory, &theirs)?;
    let mut twin = FileTwin::create(&ours)?;
    let mut replication = Replication::start(&mut source, &mut twin, ())?;
    let stop = CancelToken::default();
    replication.round(&stop)?;
    let (mut ours_times, mut theirs_times) = (Vec::new(), Vec::new());
    let (mut from, mut to) = (File::open(&memory)?, File::options().write(true).open(&theirs)?);
    let mut buffer = vec![0; page];
    // The first turn is not counted: it maps the twin, as the daemon's first touch maps nothing.
    for turn in 0..=turns as u64 {
        let pages = some_pages((GIB / page) as u64, GIB / page / 10, 77 + turn);
        replication.source_mut().write(&pages, turn + 1);
        let daemon = || -> Result<Duration> {
            let began = Instant::now();
            for page_number in &pages {
                let at = SeekFrom::Start(page_number * page as u64);
                from.seek(at)?;
                from.read_exact(&mut buffer)?;
                to.seek(at)?;
                to.write_all(&buffer)?;
            }
            Ok(began.elapsed())
        };
        let mut daemon = daemon;
        // Who goes second finds the source's pages in the cache: take turns.
        let first = if turn % 2 == 0 { Some(daemon()?) } else { None };
        let round = replication.round(&stop)?;
        ensure!(round.sent_pages == pages.len() as u64 && round.false_dirty_pages == 0);
        let theirs_time = match first {
            Some(time) => time,
            None => daemon()?,
        };
        if turn > 0 {
            ours_times.push(round.total);
            theirs_times.push(theirs_time);
        }
    }
    drop(replication);
    twin.finish(true)?;
    ensure!(fs::read(&ours)? == fs::read(&theirs)?, "the two twins differ");
    [memory, ours, theirs].iter().try_for_each(fs::remove_file)?;
    let what = "delta round of 10 % random pages of 1 GiB";
    Ok(Measured::of(what, &ours_times, "the daemon of 2014", &theirs_times, Aim::Faster(3.0)))
}

/// A round of 1,000 dirty pages in 8 GiB, beside the same in 1 GiB.
pub(crate) fn scale(turns: usize) -> Result<Measured> {
    let times = |len: usize| -> Result<Vec<Duration>> {
        let mut source = PlainMemory::new(Mapping::anonymous(len, host_page_size())?)?;
        let mut replication = Replication::start(&mut source, MemoryTwin::new(), ())?;
        let stop = CancelToken::default();
        replication.round(&stop)?;
        let of = (len / host_page_size()) as u64;
        let mut times = Vec::new();
        // Ten rounds to a turn, as one takes a millisecond at most.
        for turn in 0..=turns as u64 * 10 {
            let pages = some_pages(of, 1000, 5 + turn);
            replication.source_mut().write(&pages, turn + 1);
            let round = replication.round(&stop)?;
            ensure!(round.sent_pages == 1000);
            if turn > 0 {
                times.push(round.total);
            }
        }
        Ok(times)
    };
    let large = times(8 * GIB).context("8 GiB twice")?;
    let small = times(GIB)?;
    let what = "round of 1,000 dirty pages in 8 GiB";
    Ok(Measured::of(what, &large, "in 1 GiB", &small, Aim::Cost(1.5)))
}
