//! Compared in a buffer and written by pwrite: every failure of the disk comes back as an error.

use super::{check_length, put};
use crate::TwinError;
use memtwin_replicate::WriteOutcome;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The buffer for what the file has, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct BufferedPages {
    there: Vec<u8>,
}

impl BufferedPages {
    /// Writes those of the pages at `at` that differ, neighbours at once.
    pub(super) fn update(
        &mut self,
        file: &File,
        name: &Path,
        len: u64,
        at: u64,
        bytes: &[u8],
        page: usize,
    ) -> Result<WriteOutcome, TwinError> {
        self.there.resize(bytes.len(), 0);
        if let Err(errno) = file.read_exact_at(&mut self.there, at) {
            check_length(file, name, len)?;
            return Err(TwinError::io("read back", name, errno));
        }
        let pages = bytes.len() / page;
        let range = |i: usize| i * page..(i + 1) * page;
        let same = |i: usize| self.there[range(i)] == bytes[range(i)];
        let mut written = WriteOutcome::default();
        let mut next = 0;
        while next < pages {
            if same(next) {
                written.same.insert(next as u64);
                next += 1;
                continue;
            }
            let first = next;
            while next < pages && !same(next) {
                next += 1;
            }
            let differing = first * page..next * page;
            put(file, name, at + differing.start as u64, &bytes[differing.clone()])?;
            written.bytes += differing.len() as u64;
        }
        Ok(written)
    }
}
