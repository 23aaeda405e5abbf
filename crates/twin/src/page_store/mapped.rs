//! Compared and written in place: a page that is in the twin already costs one reading of it, and
//! one that is not no system call.
//!
//! Every page of the file has been written before it is mapped, so a store finds its memory there.
//! Somebody who truncates the file while it is mapped makes the next touch a SIGBUS (mmap(2)); the
//! length is checked once in a round, which turns the likely case into an error.

use super::check_length;
use crate::TwinError;
use memtwin_mapping::Mapping;
use memtwin_replicate::WriteOutcome;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// The mapping, once there is something to change.
#[derive(Debug, Default)]
pub(super) struct MappedPages {
    mapping: Option<Mapping>,
    checked: bool,
}

impl MappedPages {
    /// Writes those of the pages at `at` that differ.
    pub(super) fn update(
        &mut self,
        file: &File,
        name: &Path,
        len: u64,
        at: u64,
        bytes: &[u8],
        page: usize,
    ) -> Result<WriteOutcome, TwinError> {
        if !self.checked {
            check_length(file, name, len)?;
            self.checked = true;
        }
        let mapping = match &mut self.mapping {
            Some(mapping) => mapping,
            none => none.insert(map(file, name, len)?),
        };
        let mut written = WriteOutcome::default();
        // Fits: the whole file is mapped.
        for (n, page) in (0..).zip(bytes.chunks_exact(page)) {
            let at = at as usize + n as usize * page.len();
            if mapping.equals(at, page) {
                written.same.insert(n);
            } else {
                mapping.write(at, page);
                written.bytes += page.len() as u64;
            }
        }
        Ok(written)
    }

    pub(super) fn prefetch(&self, at: u64, len: u64) {
        if let Some(mapping) = &self.mapping {
            mapping.prefetch(at as usize, len as usize);
        }
    }

    pub(super) fn end_of_round(&mut self) {
        self.checked = false;
    }
}

fn map(file: &File, name: &Path, len: u64) -> Result<Mapping, TwinError> {
    let failed = |error| TwinError::Map { path: name.to_owned(), error };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    // Not populated: that costs as much as 0.2 s for each GiB, in the first short round of all.
    Mapping::shared(file.as_fd(), len, 1).map_err(failed)
}
