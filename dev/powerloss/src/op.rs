//! What a program did to files, in the order in which it was done.

use std::path::PathBuf;

/// A file, whatever its names: numbered in the order in which the recording met them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub usize);

/// One thing that was done. Paths are relative to the directory that was watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new, empty file got its name.
    Create {
        /// The name.
        name: PathBuf,
        /// The file.
        file: FileId,
    },
    /// A directory was made.
    MakeDirectory {
        /// The name of the directory.
        name: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// Where to.
        file: FileId,
        /// From this offset on.
        at: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A file was cut or extended.
    Resize {
        /// The file.
        file: FileId,
        /// To this length in bytes.
        len: u64,
    },
    /// A name was given to what had another.
    Rename {
        /// The name before.
        from: PathBuf,
        /// The name after.
        to: PathBuf,
    },
    /// A name was removed.
    Remove {
        /// The name.
        name: PathBuf,
    },
    /// A file's bytes and length were made durable.
    SyncFile {
        /// The file.
        file: FileId,
        /// What was done before this number, when the call began, is covered.
        before: usize,
    },
    /// The names in a directory were made durable.
    SyncDirectory {
        /// Which; empty for the one that was watched.
        name: PathBuf,
        /// As with a file.
        before: usize,
    },
    /// Bytes left the program: to a socket, a pipe or a terminal. Noted when the call began.
    Sent {
        /// The descriptor's number.
        fd: i32,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// All that a program did.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The files that were there before, on the disk.
    pub before: Vec<(PathBuf, FileId, Vec<u8>)>,
    /// What was done.
    pub ops: Vec<Op>,
}

impl Recording {
    /// The numbers of the syncs.
    pub fn syncs(&self) -> Vec<usize> {
        let is_sync = |op: &Op| matches!(op, Op::SyncFile { .. } | Op::SyncDirectory { .. });
        (0..self.ops.len()).filter(|&i| is_sync(&self.ops[i])).collect()
    }

    /// The same, as if these syncs had done nothing: for a control.
    pub fn without(&self, syncs: &[usize]) -> Self {
        let mut this = self.clone();
        for &i in syncs {
            match &mut this.ops[i] {
                Op::SyncFile { before, .. } | Op::SyncDirectory { before, .. } => *before = 0,
                _ => {}
            }
        }
        this
    }
}
