//! The log of one memslot as a bitmap: get it, and under manual protect clear it.

use crate::{LogError, ioctl};
use std::os::fd::BorrowedFd;

/// How many pages are cleared by one request: the kernel holds its lock meanwhile, and a vCPU that
/// faults has to wait. A multiple of 64, as the kernel asks.
const CLEAR_PAGES: u64 = 1 << 18;

/// The log of one memslot, with the buffer that it is read into.
#[derive(Debug)]
pub struct SlotLog {
    slot: u32,
    pages: u64,
    bitmap: Vec<u64>,
}

impl SlotLog {
    /// The log of slot number `slot`, which has `pages` pages of the host's size.
    pub fn new(slot: u32, pages: u64) -> Self {
        let words = usize::try_from(pages.div_ceil(64)).unwrap_or(usize::MAX);
        Self { slot, pages, bitmap: vec![0; words] }
    }

    /// Gets the log: a bit for each page written since it was last cleared. Without manual protect
    /// this clears it, and the pages are write-protected again.
    pub fn get(&mut self, vm: BorrowedFd<'_>) -> Result<&[u64], LogError> {
        ioctl::get_dirty_log(vm, self.slot, self.pages, &mut self.bitmap)?;
        Ok(&self.bitmap)
    }

    /// Under manual protect: clears exactly what the last [`SlotLog::get`] named. Its pages are
    /// write-protected again when this returns.
    pub fn clear(&self, vm: BorrowedFd<'_>) -> Result<(), LogError> {
        let words = usize::try_from(CLEAR_PAGES / 64).unwrap_or(usize::MAX);
        for (i, chunk) in self.bitmap.chunks(words).enumerate() {
            if chunk.iter().all(|&word| word == 0) {
                continue;
            }
            let first = i as u64 * CLEAR_PAGES;
            let pages = CLEAR_PAGES.min(self.pages - first) as u32;
            ioctl::clear_dirty_log(vm, self.slot, first, pages, chunk)?;
        }
        Ok(())
    }

    /// Under manual protect with KVM_DIRTY_LOG_INITIALLY_SET, where logging begins with every page
    /// dirty and none protected: clears and protects them all.
    pub fn clear_all(&mut self, vm: BorrowedFd<'_>) -> Result<(), LogError> {
        self.bitmap.fill(u64::MAX);
        if let (Some(last), used @ 1..) = (self.bitmap.last_mut(), self.pages % 64) {
            *last = (1 << used) - 1;
        }
        self.clear(vm)
    }
}
