//! A disk under a file system that promises what POSIX and Linux promise, and no more.
//!
//! - fsync(2) and fdatasync(2) of a file make its bytes and its length durable, not its name.
//! - fsync(2) of a directory makes the names in it durable.
//! - Of what no sync has covered any part may be there: any sectors of any write, in any order; a
//!   length without the bytes (they read as zeros) or bytes up to a point; a cut, or none; any of the
//!   names' changes. A rename happens as a whole or not at all, and so does the write of a sector.

use crate::op::{FileId, Op, Recording};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a disk writes as a whole or not at all, in bytes.
const SECTOR: usize = 512;

/// What is there after a power loss: each file's bytes by its name, `None` for a directory.
pub type State = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// The names: `None` for a directory.
type Names = BTreeMap<PathBuf, Option<FileId>>;

#[derive(Clone, Debug, Default)]
struct FileOnDisk {
    durable: Vec<u8>,
    /// By the number of the operation.
    pending: Vec<(usize, Change)>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize { len: usize },
}

#[derive(Clone, Debug)]
enum NameChange {
    Put { name: PathBuf, file: Option<FileId> },
    Rename { from: PathBuf, to: PathBuf },
    Remove { name: PathBuf },
}

/// A disk, and what was asked of it so far.
#[derive(Clone, Debug, Default)]
pub struct CrashDisk {
    files: BTreeMap<FileId, FileOnDisk>,
    names: Names,
    pending: Vec<(usize, NameChange)>,
    done: usize,
}

impl CrashDisk {
    /// The disk before anything was done.
    pub fn new(recording: &Recording) -> Self {
        let mut this = Self::default();
        for (name, file, bytes) in &recording.before {
            let durable = bytes.clone();
            this.files.insert(*file, FileOnDisk { durable, pending: Vec::new() });
            this.names.insert(name.clone(), Some(*file));
        }
        this
    }

    /// Does the next operation of the recording.
    pub fn apply(&mut self, op: &Op) {
        let n = self.done;
        self.done += 1;
        let mut name = |change| self.pending.push((n, change));
        match op {
            Op::Create { name: at, file } => {
                name(NameChange::Put { name: at.clone(), file: Some(*file) });
                self.files.insert(*file, FileOnDisk::default());
            }
            Op::MakeDirectory { name: at } => {
                name(NameChange::Put { name: at.clone(), file: None });
            }
            Op::Rename { from, to } => {
                name(NameChange::Rename { from: from.clone(), to: to.clone() });
            }
            Op::Remove { name: at } => name(NameChange::Remove { name: at.clone() }),
            Op::Write { file, at, bytes } => {
                let change = Change::Write { at: *at as usize, bytes: bytes.clone() };
                self.files.entry(*file).or_default().pending.push((n, change));
            }
            Op::Resize { file, len } => {
                let change = Change::Resize { len: *len as usize };
                self.files.entry(*file).or_default().pending.push((n, change));
            }
            Op::SyncFile { file, before } => {
                let file = self.files.entry(*file).or_default();
                let covered = file.pending.partition_point(|(n, _)| n < before);
                for (_, change) in file.pending.drain(..covered) {
                    change.whole(&mut file.durable);
                }
            }
            Op::SyncDirectory { name, before } => {
                let pending = std::mem::take(&mut self.pending);
                for (n, change) in pending {
                    if n < *before && change.is_in(name) {
                        change.apply(&mut self.names);
                    } else {
                        self.pending.push((n, change));
                    }
                }
            }
            Op::Sent { .. } => {}
        }
    }

    /// What may be there if the power fails now.
    pub fn crash(&self, rng: &mut Rng) -> State {
        let mut names = self.names.clone();
        let kept = rng.usize(..=self.pending.len());
        let how = rng.u8(..4);
        for (i, (_, change)) in self.pending.iter().enumerate() {
            let is_there = match how {
                0 => true,
                // A journal keeps the order.
                1 | 2 => i < kept,
                _ => rng.bool(),
            };
            if is_there {
                change.apply(&mut names);
            }
        }
        let mut contents: BTreeMap<FileId, Vec<u8>> = BTreeMap::new();
        let mut state = State::new();
        // A directory comes before what is in it.
        for (name, file) in names {
            let above = name.parent().unwrap_or(Path::new(""));
            if above != Path::new("") && !matches!(state.get(above), Some(None)) {
                continue;
            }
            let bytes = file
                .map(|id| contents.entry(id).or_insert_with(|| self.files[&id].crash(rng)).clone());
            state.insert(name, bytes);
        }
        state
    }
}

/// Makes files of a state, in the empty directory `at`. Errors: the file system fails.
pub fn make_files(state: &State, at: &Path) -> io::Result<()> {
    for (name, bytes) in state {
        match bytes {
            Some(bytes) => fs::write(at.join(name), bytes)?,
            None => fs::create_dir(at.join(name))?,
        }
    }
    Ok(())
}

impl FileOnDisk {
    fn crash(&self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        // Everything, nothing, a part in order, or any part: a disk with little to do has written
        // most of it, one that is busy little.
        let (how, kept) = (rng.u8(..6), rng.usize(..=self.pending.len()));
        let likely = rng.f32();
        for (i, (_, change)) in self.pending.iter().enumerate() {
            match how {
                0 => change.whole(&mut bytes),
                1 => {}
                2 if i < kept => change.whole(&mut bytes),
                2 => {}
                _ => change.part(&mut bytes, rng, likely),
            }
        }
        bytes
    }
}

impl Change {
    fn whole(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(file, *at, bytes),
            Self::Resize { len } => file.resize(*len, 0),
        }
    }

    fn part(&self, file: &mut Vec<u8>, rng: &mut Rng, likely: f32) {
        match self {
            Self::Resize { .. } if rng.f32() >= likely => {}
            Self::Resize { .. } => self.whole(file),
            Self::Write { at, bytes } => {
                // The length may be there before the bytes are.
                if rng.u8(..4) == 0 && file.len() < at + bytes.len() {
                    file.resize(at + bytes.len(), 0);
                }
                let mut from = 0;
                while from < bytes.len() {
                    let to = (((at + from) / SECTOR + 1) * SECTOR - at).min(bytes.len());
                    if rng.f32() < likely {
                        put(file, at + from, &bytes[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl NameChange {
    fn is_in(&self, directory: &Path) -> bool {
        let is_in = |name: &Path| name.parent() == Some(directory);
        match self {
            Self::Put { name, .. } | Self::Remove { name } => is_in(name),
            Self::Rename { from, to } => is_in(from) || is_in(to),
        }
    }

    /// Where what it changes is not there, as the change before it is not, nothing happens.
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Put { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { from, to } => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
