//! How much memory the engine takes.

use crate::beside::{Aim, Measured};
use crate::plain::{PlainMemory, some_pages};
use anyhow::{Context, Result};
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_replicate::{CancelToken, Replication};
use memtwin_twin::MemoryTwin;
use rustix::fs::MemfdFlags;
use std::fs::{self, File};
use std::os::fd::AsFd;

const LEN: usize = 8 << 30;

/// What the process holds besides shared memory, in bytes: guest and twin lie in that.
fn own() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("RssAnon")?;
    Ok(kib.parse::<f64>()? * 1024.0)
}

/// The engine's own memory over 8 GiB whose every page has been logged once.
pub(crate) fn memory() -> Result<Measured> {
    let file = File::from(rustix::fs::memfd_create("bench", MemfdFlags::CLOEXEC)?);
    file.set_len(LEN as u64)?;
    let mut source = PlainMemory::new(Mapping::shared(file.as_fd(), LEN, host_page_size())?)?;
    let before = own()?;
    let mut replication = Replication::start(&mut source, MemoryTwin::new(), ())?;
    let stop = CancelToken::default();
    replication.round(&stop)?;
    let pages = some_pages((LEN / host_page_size()) as u64, LEN / host_page_size() / 2, 9);
    replication.source_mut().write(&pages, 1);
    replication.round(&stop)?;
    let after = own()?;
    let allowed = LEN as f64 / 1000.0 + (64 << 20) as f64;
    Ok(Measured::of_numbers(
        "the engine's own memory over 8 GiB",
        vec![after - before],
        "a thousandth and 64 MiB",
        vec![allowed],
        Aim::Cost(1.0),
        "bytes",
    ))
}
