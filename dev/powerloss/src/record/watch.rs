//! From system calls to what they do to the files below a directory.

use super::call::{At, Call};
use super::tracee::Tracee;
use crate::RecordError;
use crate::op::{FileId, Op, Recording};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory, and what was done in it so far.
#[derive(Debug)]
pub(super) struct FileWatch {
    directory: PathBuf,
    files: HashMap<(u64, u64), FileId>,
    recording: Recording,
}

/// What will have been done when a call that has begun returns.
#[derive(Debug)]
pub(super) enum CallEffect {
    Nothing,
    /// Whether the file was there before.
    Open {
        name: PathBuf,
        there: bool,
        cut: bool,
    },
    Write {
        file: FileId,
        at: u64,
        bytes: Vec<u8>,
    },
    Op(Op),
    Allocate {
        file: FileId,
        fd: i32,
        end: u64,
    },
}

impl FileWatch {
    pub(super) fn new(directory: &Path) -> Result<Self, RecordError> {
        let directory = directory.canonicalize()?;
        let mut this = Self {
            directory: directory.clone(),
            files: HashMap::new(),
            recording: Recording::default(),
        };
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let id = this.number(&entry.metadata()?);
                let bytes = fs::read(entry.path())?;
                this.recording.before.push((entry.file_name().into(), id, bytes));
            } else {
                return Err(RecordError::Blind("what is there before and is no file"));
            }
        }
        Ok(this)
    }

    pub(super) fn into_recording(self) -> Recording {
        self.recording
    }

    /// A number for a file that was not there before.
    fn number(&mut self, about: &fs::Metadata) -> FileId {
        let id = FileId(self.files.len() + self.recording.ops.len());
        self.files.insert((about.dev(), about.ino()), id);
        id
    }

    /// Which of the files this descriptor is of.
    fn file(&self, tracee: &Tracee, fd: i32) -> Option<FileId> {
        let about = tracee.metadata(fd).ok()?;
        self.files.get(&(about.dev(), about.ino())).copied()
    }

    /// The name below the directory. `None`: it is elsewhere.
    fn below(&self, tracee: &Tracee, (directory, path): At) -> io::Result<Option<PathBuf>> {
        let path = tracee.path(directory, path)?;
        Ok(path.and_then(|path| path.strip_prefix(&self.directory).ok().map(Path::to_owned)))
    }

    /// Of a thread that is about to make a call.
    pub(super) fn begin(
        &mut self,
        tracee: &Tracee,
        number: i64,
        arguments: [u64; 6],
    ) -> Result<CallEffect, RecordError> {
        let before = self.recording.ops.len();
        Ok(match Call::of(number, arguments)? {
            Call::Open { path, flags } => self.open(tracee, path, flags)?,
            Call::OpenHow { path, how } => {
                let flags = tracee.bytes(how, 8)?;
                let flags = u64::from_le_bytes(flags.try_into().unwrap_or_default());
                self.open(tracee, path, flags as i32)?
            }
            Call::Write { fd, at, bytes: (from, len) } => match (self.file(tracee, fd), at) {
                (Some(file), at) => {
                    let at = at.map_or_else(|| tracee.position(fd), Ok)?;
                    CallEffect::Write { file, at, bytes: tracee.bytes(from, len)? }
                }
                (None, None) => {
                    // Noted now: who gets it may act on it before the call returns.
                    let bytes = tracee.bytes(from, len)?;
                    self.recording.ops.push(Op::Sent { fd, bytes });
                    CallEffect::Nothing
                }
                (None, Some(_)) => CallEffect::Nothing,
            },
            Call::Resize { fd, len } => self
                .file(tracee, fd)
                .map_or(CallEffect::Nothing, |file| CallEffect::Op(Op::Resize { file, len })),
            Call::Allocate { fd, mode, end } => match self.file(tracee, fd) {
                Some(file) if mode == 0 => CallEffect::Allocate { file, fd, end },
                Some(_) => return Err(RecordError::Blind("fallocate with a mode")),
                None => CallEffect::Nothing,
            },
            Call::Sync { fd } => self.sync(tracee, fd, before)?,
            Call::Rename { from, to, flags } => {
                match (self.below(tracee, from)?, self.below(tracee, to)?) {
                    (Some(from), Some(to)) if flags == 0 => CallEffect::Op(Op::Rename { from, to }),
                    (None, None) => CallEffect::Nothing,
                    _ => return Err(RecordError::Blind("a rename with flags, or in or out")),
                }
            }
            Call::Remove { path, flags } => match self.below(tracee, path)? {
                Some(name) if flags == 0 => CallEffect::Op(Op::Remove { name }),
                Some(_) => return Err(RecordError::Blind("rmdir")),
                None => CallEffect::Nothing,
            },
            Call::MakeDirectory { path } => self
                .below(tracee, path)?
                .map_or(CallEffect::Nothing, |name| CallEffect::Op(Op::MakeDirectory { name })),
            Call::Unknown { fd, what } => match self.file(tracee, fd) {
                Some(_) => return Err(RecordError::Blind(what)),
                None => CallEffect::Nothing,
            },
            Call::UnknownName { path, what } => match self.below(tracee, path)? {
                Some(_) => return Err(RecordError::Blind(what)),
                None => CallEffect::Nothing,
            },
            Call::Other => CallEffect::Nothing,
        })
    }

    fn open(&self, tracee: &Tracee, path: At, flags: i32) -> Result<CallEffect, RecordError> {
        if flags & (libc::O_CREAT | libc::O_TRUNC) == 0 && flags & libc::O_TMPFILE == 0 {
            return Ok(CallEffect::Nothing);
        }
        let Some(name) = self.below(tracee, path)? else { return Ok(CallEffect::Nothing) };
        if flags & libc::O_TMPFILE == libc::O_TMPFILE {
            return Err(RecordError::Blind("O_TMPFILE"));
        }
        let there = self.directory.join(&name).symlink_metadata().is_ok();
        Ok(CallEffect::Open { name, there, cut: flags & libc::O_TRUNC != 0 })
    }

    fn sync(&self, tracee: &Tracee, fd: i32, before: usize) -> io::Result<CallEffect> {
        if let Some(file) = self.file(tracee, fd) {
            return Ok(CallEffect::Op(Op::SyncFile { file, before }));
        }
        let name = tracee.name(fd)?;
        let is_directory = tracee.metadata(fd)?.is_dir();
        Ok(match name.strip_prefix(&self.directory) {
            Ok(name) if is_directory => {
                CallEffect::Op(Op::SyncDirectory { name: name.to_owned(), before })
            }
            _ => CallEffect::Nothing,
        })
    }

    /// The call has returned.
    pub(super) fn end(
        &mut self,
        tracee: &Tracee,
        done: CallEffect,
        result: i64,
    ) -> Result<(), RecordError> {
        if result < 0 {
            return Ok(());
        }
        let op = match done {
            CallEffect::Nothing => return Ok(()),
            CallEffect::Open { name, there: false, .. } => {
                let file = self.number(&tracee.metadata(result as i32)?);
                Op::Create { name, file }
            }
            CallEffect::Open { there: true, cut: true, .. } => {
                match self.file(tracee, result as i32) {
                    Some(file) => Op::Resize { file, len: 0 },
                    None => return Ok(()),
                }
            }
            CallEffect::Open { .. } => return Ok(()),
            CallEffect::Write { file, at, mut bytes } => {
                bytes.truncate(result as usize);
                Op::Write { file, at, bytes }
            }
            CallEffect::Allocate { file, fd, end } => {
                let len = tracee.metadata(fd)?.len();
                if len > end {
                    return Ok(());
                }
                Op::Resize { file, len }
            }
            CallEffect::Op(op) => op,
        };
        self.recording.ops.push(op);
        Ok(())
    }
}
