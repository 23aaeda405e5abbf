//! The bytes of a twin in one open file, regions one after another in the order of the layout.
//!
//! Pre-copy writes every page as it comes, holes too, so that every block of the file exists
//! afterwards. From then on a page is compared with what the file has, and written only if it
//! differs: that tells false dirty pages from others, and a page that is the same costs no write.

mod buffered;
mod mapped;

use crate::TwinError;
use crate::device::length;
use buffered::BufferedPages;
use mapped::MappedPages;
use memtwin_pages::{Layout, Region, RegionId, Run};
use memtwin_replicate::WriteOutcome;
use memtwin_room::RoomWatch;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How pages are compared and written once pre-copy is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageAccess {
    /// In place, through a mapping: for a file that is memory, where a store can't fail.
    Mapped,
    /// By pread and pwrite: for any other, where a full disk or a broken one comes back as an
    /// error, while a store would end the process by SIGBUS.
    Plain,
}

impl PageAccess {
    /// The access that suits the file system on which `file` lies.
    pub(crate) fn of(file: &File) -> Self {
        if crate::is_memory(file) { Self::Mapped } else { Self::Plain }
    }
}

/// The offset in bytes at which a region begins in a twin's file: they lie one after another.
pub fn offset_of(layout: &Layout, region: RegionId) -> u64 {
    layout.iter().take(region.0).map(|(_, before)| before.bytes()).sum()
}

/// A twin's bytes. `name` is what errors call it.
#[derive(Debug)]
pub(crate) struct PageStore {
    name: PathBuf,
    file: File,
    bytes: u64,
    regions: Vec<RegionPlace>,
    after: PageUpdate,
    committed: bool,
    /// For a file that is memory.
    watch: Box<RoomWatch>,
}

/// Where a region lies in the file, and its page size.
#[derive(Clone, Copy, Debug)]
struct RegionPlace {
    offset: u64,
    page: usize,
}

#[derive(Debug)]
enum PageUpdate {
    Mapped(MappedPages),
    Plain(BufferedPages),
}

impl PageStore {
    /// Of a file that is as long as the regions are together, or longer.
    pub(crate) fn new(name: &Path, file: File, layout: &Layout, access: PageAccess) -> Self {
        let bytes = layout.bytes();
        let place = |(id, region): (RegionId, &Region)| RegionPlace {
            offset: offset_of(layout, id),
            page: region.page_size().as_usize(),
        };
        Self {
            name: name.to_owned(),
            regions: layout.iter().map(place).collect(),
            bytes,
            after: match access {
                PageAccess::Mapped => PageUpdate::Mapped(MappedPages::default()),
                PageAccess::Plain => PageUpdate::Plain(BufferedPages::default()),
            },
            file,
            committed: false,
            watch: Box::default(),
        }
    }

    /// Another handle of the file, for reading only.
    pub(crate) fn reader(&self) -> Result<File, TwinError> {
        // Opened again, not duplicated: that can't write, and shares no file offset.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        File::open(path).map_err(|errno| TwinError::io("reopen", &self.name, errno))
    }

    /// Takes the bytes of whole pages, from page number `first` of the region on.
    pub(crate) fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, TwinError> {
        let RegionPlace { offset, page } = self.regions[region.0];
        let at = offset + first * page as u64;
        if !self.committed {
            if matches!(self.after, PageUpdate::Mapped(_)) {
                self.watch.take(bytes.len() as u64)?;
            }
            put(&self.file, &self.name, at, bytes)?;
            return Ok(WriteOutcome { bytes: bytes.len() as u64, ..WriteOutcome::default() });
        }
        match &mut self.after {
            PageUpdate::Mapped(mapped) => {
                mapped.update(&self.file, &self.name, self.bytes, at, bytes, page)
            }
            PageUpdate::Plain(plain) => {
                plain.update(&self.file, &self.name, self.bytes, at, bytes, page)
            }
        }
    }

    /// Hints that these pages will be written next.
    pub(crate) fn prefetch(&self, region: RegionId, pages: Run) {
        if let PageUpdate::Mapped(mapped) = &self.after {
            let RegionPlace { offset, page } = self.regions[region.0];
            mapped.prefetch(offset + pages.first * page as u64, pages.count * page as u64);
        }
    }

    /// Everything written is in the file, as any other process sees it.
    pub(crate) fn commit(&mut self) {
        self.committed = true;
        if let PageUpdate::Mapped(mapped) = &mut self.after {
            mapped.end_of_round();
        }
    }

    /// Errors if the file has not all of the twin's bytes any more.
    pub(crate) fn check_length(&self) -> Result<(), TwinError> {
        check_length(&self.file, &self.name, self.bytes)
    }

    /// Whether a first round, which is pre-copy, was committed.
    pub(crate) fn is_committed(&self) -> bool {
        self.committed
    }
}

/// Writes all of `bytes` at `at`.
fn put(file: &File, name: &Path, at: u64, bytes: &[u8]) -> Result<(), TwinError> {
    file.write_all_at(bytes, at).map_err(|errno| TwinError::io("write", name, errno))
}

/// The error of a file that has not all of the twin's bytes any more, if that is so.
fn check_length(file: &File, name: &Path, expected: u64) -> Result<(), TwinError> {
    let got = length(file).map_err(|errno| TwinError::io("look at", name, errno))?;
    if got < expected {
        return Err(TwinError::Shortened { path: name.to_owned(), expected, got });
    }
    Ok(())
}
