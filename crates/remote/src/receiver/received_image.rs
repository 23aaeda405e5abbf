//! The twin's bytes, as records change them.

use super::nonzero_blocks::NonzeroBlocks;
use crate::RemoteError;
use memtwin_mapping::Mapping;
use memtwin_pages::Run;
use memtwin_twin::{TwinImage, is_memory};
use memtwin_wire::{PageRecord, TwinShape};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The twin's file.
#[derive(Debug)]
pub(super) struct ReceivedImage {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Where the file is memory, a store can't fail, and a word changes without a system call.
    mapping: Option<Arc<Mapping>>,
}

/// Zeros to write, a few at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl ReceivedImage {
    /// The bytes of this twin. They are mapped if they lie in memory.
    pub(super) fn of(kept: &TwinImage) -> Result<Self, RemoteError> {
        Ok(Self::new(kept.handle()?, kept.name().to_owned(), kept.bytes()))
    }

    /// The file at `path`, of `bytes` bytes.
    pub(super) fn new(file: File, path: PathBuf, bytes: u64) -> Self {
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        // Without a mapping it is written by pwrite, so a failure is no matter.
        let mapping = if is_memory(&file) {
            Mapping::shared(file.as_fd(), len, 1).ok().map(Arc::new)
        } else {
            None
        };
        Self { file, path, mapping }
    }

    /// The same file by its new name.
    pub(super) fn renamed(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Errors if something else has shortened the file: a store past its end would be fatal.
    pub(super) fn check_length(&self) -> Result<(), RemoteError> {
        let Some(mapping) = &self.mapping else { return Ok(()) };
        let got = self.file.metadata().map_err(|errno| self.failed("look at", errno))?.len();
        if got >= mapping.len() as u64 {
            return Ok(());
        }
        Err(self.failed("go on with", io::Error::other("something else has shortened it")))
    }

    fn failed(&self, doing: &'static str, errno: io::Error) -> RemoteError {
        RemoteError::Disk { doing, path: self.path.clone(), errno }
    }

    /// Another handle.
    pub(super) fn again(&self) -> Result<Self, RemoteError> {
        let file = self.file.try_clone().map_err(|errno| self.failed("duplicate", errno))?;
        Ok(Self { file, path: self.path.clone(), mapping: self.mapping.clone() })
    }

    /// Writes what a record says, where that is not there already.
    pub(super) fn apply(
        &self,
        record: &PageRecord<'_>,
        shape: &TwinShape,
        written: &mut NonzeroBlocks,
    ) -> Result<(), RemoteError> {
        let (region, first, count) = record.blocks();
        let (at, blocks) = (shape.offset(region, first), Run { first, count });
        match record {
            PageRecord::Full { bytes, .. } => {
                written.note(region, blocks);
                self.put(bytes, at)
            }
            PageRecord::Zero { .. } => written.clear(region, blocks, |run| {
                let mut at = shape.offset(region, run.first);
                let mut left = run.count * shape.block(region) as u64;
                while left > 0 {
                    let len = left.min(ZEROS.len() as u64);
                    self.put(&ZEROS[..len as usize], at)?;
                    (at, left) = (at + len, left - len);
                }
                Ok(())
            }),
            PageRecord::Delta { delta, .. } => {
                written.note(region, blocks);
                delta.runs().try_for_each(|(from, bytes)| self.put_word(bytes, at + from as u64))
            }
        }
    }

    /// A few bytes, where a system call would cost more than they do.
    fn put_word(&self, bytes: &[u8], at: u64) -> Result<(), RemoteError> {
        match &self.mapping {
            Some(mapping) => mapping.write(at as usize, bytes),
            None => self.put(bytes, at)?,
        }
        Ok(())
    }

    fn put(&self, bytes: &[u8], at: u64) -> Result<(), RemoteError> {
        self.file.write_all_at(bytes, at).map_err(|errno| self.failed("write", errno))
    }

    pub(super) fn read(&self, into: &mut [u8], at: u64) -> Result<(), RemoteError> {
        self.file.read_exact_at(into, at).map_err(|errno| self.failed("read", errno))
    }
}
