//! The twins against a model, through their lives and through their deaths; the injector against
//! a guest whose every write is known.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod child;
mod contract;
mod deaths;
mod guest;
mod injector;
mod life;
mod sparse;
mod validity;

use memtwin_pages::{Gpa, Layout, PageSize, Region, RegionId};
use memtwin_replicate::{Sink, SinkError};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Regions of this many pages of this many bytes.
fn layout(regions: &[(u64, u64)]) -> Layout {
    let region = |(i, &(pages, page)): (usize, &(u64, u64))| {
        let size = PageSize::new(page).unwrap();
        Region::new(format!("r{i}"), Gpa(0x1000_0000 * i as u64), pages * page, size).unwrap()
    };
    Layout::new(regions.iter().enumerate().map(region).collect())
}

/// Sixteen pages in one region.
fn small() -> Layout {
    layout(&[(16, 4096)])
}

/// Writes every page of [`small`], full of `value`.
fn fill(twin: &mut impl Sink, value: u8) -> Result<(), SinkError> {
    twin.write(RegionId(0), 0, &[value; 16 * 4096]).map(|_| ())
}

/// A directory on a file system that is memory, and one on what temporary files lie on.
fn directories() -> [TempDir; 2] {
    [tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir().unwrap()]
}

/// The names in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}
