//! The marker beside a twin, `PATH.replicating`: who writes it, and that it is not complete.
//!
//! It is there from before the first page until the twin is complete, and is locked (flock(2))
//! as long as its writer lives. So a second writer is refused, and what a killed writer left is
//! derived from a complete twin. It holds one line of fixed length, written at once:
//!
//! ```text
//! memtwin pid 0000012345 writes 0000000000000803:000000000012d687
//!                               the twin's device and inode, in hexadecimal; 0 before it exists
//! ```

use crate::TwinError;
use memtwin_safe_path::{Place, SafePathError, User};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// More than the line has; who reads more, has found another file.
const LINE_AT_MOST: u64 = 256;

/// Which file, whatever its name: its device and its inode on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// The file that a journal names so.
    pub fn new(device: u64, number: u64) -> Self {
        Self { device, number }
    }

    /// The file with this metadata.
    pub fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), number: file.ino() }
    }

    /// Its device.
    pub fn device(self) -> u64 {
        self.device
    }

    /// Its number on the device.
    pub fn number(self) -> u64 {
        self.number
    }

    /// Whether `path` names this file.
    pub fn is_at(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|there| Self::of(&there) == self)
    }
}

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerRecord {
    /// The process that writes, or wrote.
    pub pid: u32,
    /// The file that is written; all 0 if there was none yet.
    pub twin: Inode,
}

impl MarkerRecord {
    /// Reads a marker without taking it. `None`: there is no marker, or one that says nothing yet.
    pub fn read(path: &Path) -> Result<Option<Self>, TwinError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match open(path, flags, Mode::empty()) {
            Ok(file) => {
                let file = File::from(file);
                // Anybody can put a file beside a twin in /tmp; it says nothing of the twin.
                if is_strangers(&file, path) {
                    return Err(TwinError::NotAMarker { path: path.to_owned() });
                }
                Self::read_from(&file, path)
            }
            Err(Errno::NOENT | Errno::LOOP) => Ok(None),
            Err(errno) => Err(TwinError::io("open", path, errno)),
        }
    }

    fn read_from(file: &File, path: &Path) -> Result<Option<Self>, TwinError> {
        let mut line = Vec::new();
        file.take(LINE_AT_MOST)
            .read_to_end(&mut line)
            .map_err(|errno| TwinError::io("read", path, errno))?;
        match line.as_slice() {
            // As a power loss may leave it: of this length, and without its bytes.
            line if line.iter().all(|&byte| byte == 0) => Ok(None),
            line => match Self::parse(line) {
                Some(record) => Ok(Some(record)),
                None => Err(TwinError::NotAMarker { path: path.to_owned() }),
            },
        }
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let (pid, twin) = line.strip_prefix("memtwin pid ")?.split_once(" writes ")?;
        let (device, number) = twin.split_once(':')?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        let twin = Inode { device: hex(device)?, number: hex(number)? };
        Some(Self { pid: pid.parse().ok()?, twin })
    }

    pub(crate) fn line(self) -> String {
        let Inode { device, number } = self.twin;
        format!("memtwin pid {:010} writes {device:016x}:{number:016x}\n", self.pid)
    }
}

/// A marker that is ours. Dropping it gives the lock up but leaves what it says, which then tells of
/// an incomplete twin; [`TwinMarker::remove`] says that all is well.
#[derive(Debug)]
pub struct TwinMarker {
    path: PathBuf,
    file: File,
    /// Whether it was made here, not found.
    made: bool,
}

impl TwinMarker {
    /// Takes the marker at `path`, of the twin at `twin`. Returns what a killed writer has left in
    /// it, too, and leaves that there until [`TwinMarker::write`].
    pub fn take(path: PathBuf, twin: &Path) -> Result<(Self, Option<MarkerRecord>), TwinError> {
        // Another user's names anything, and locks us out.
        let place = Place::find_name(&path)?;
        place.check_ours().map_err(|error| refused(error, &path))?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let new = flags | OFlags::CREATE | OFlags::EXCL;
        loop {
            let mode = Mode::from_raw_mode(0o644);
            let (opened, made) = match open(&path, new, mode) {
                Err(Errno::EXIST) => (open(&path, flags, mode), false),
                opened => (opened, true),
            };
            let file = match opened {
                // Its owner has removed it meanwhile.
                Err(Errno::NOENT) if !made => continue,
                opened => opened.map_err(|errno| TwinError::io("create", &path, errno))?,
            };
            let file = File::from(file);
            let failed = |errno| TwinError::io("lock", &path, errno);
            place.check_opened(&file).map_err(|error| refused(error, &path))?;
            let about = file.metadata().map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let pid = MarkerRecord::read_from(&file, &path)?.map(|record| record.pid);
                    return Err(TwinError::InUse { path: twin.to_owned(), pid });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
            // Its last owner may have removed it between our open and our lock: then we hold a
            // file that nobody else will ever find, and have to begin again.
            if Inode::of(&about).is_at(&path) {
                let left = MarkerRecord::read_from(&file, &path)?;
                return Ok((Self { path, file, made }, left));
            }
        }
    }

    /// Says that this process writes the file `twin`.
    pub fn write(&self, twin: Inode) -> Result<(), TwinError> {
        let line = MarkerRecord { pid: std::process::id(), twin }.line();
        self.file
            .write_all_at(line.as_bytes(), 0)
            .map_err(|errno| TwinError::io("write", &self.path, errno))
    }

    /// What it says is on the disk.
    pub fn sync(&self) -> Result<(), TwinError> {
        self.file.sync_data().map_err(|errno| TwinError::io("sync", &self.path, errno))
    }

    /// Removes the marker, then gives the lock up.
    pub fn remove(self) -> Result<(), TwinError> {
        let failed = |errno| TwinError::io("remove", &self.path, errno);
        let ours = Inode::of(&self.file.metadata().map_err(failed)?);
        // One that somebody else has removed and made again is no longer ours to remove.
        if ours.is_at(&self.path) { fs::remove_file(&self.path).map_err(failed) } else { Ok(()) }
    }
}

impl Drop for TwinMarker {
    fn drop(&mut self) {
        // One that never came to say anything would be taken for what a power loss has left.
        if let Ok(about) = self.file.metadata()
            && self.made
            && about.len() == 0
            && Inode::of(&about).is_at(&self.path)
        {
            // If that fails it stays, and speaks against a twin that may be whole.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a marker is neither ours nor root's nor of whoever the twin beside it belongs to.
fn is_strangers(marker: &File, path: &Path) -> bool {
    let twin = fs::symlink_metadata(path.with_extension("")).ok().map(|about| about.uid());
    marker.metadata().is_ok_and(|about| {
        !User::new(about.uid()).is_ours() && twin.is_some_and(|owner| owner != about.uid())
    })
}

fn refused(error: SafePathError, path: &Path) -> TwinError {
    match error {
        SafePathError::Kind { .. } => TwinError::NotAMarker { path: path.to_owned() },
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        for (device, number) in [(0, 0), (0x803, 1_234_567), (u64::MAX, u64::MAX)] {
            let record = MarkerRecord { pid: 12345, twin: Inode { device, number } };
            let line = record.line();
            assert_eq!(line.len(), 64, "always the same length, so that one write replaces all");
            assert_eq!(MarkerRecord::parse(line.as_bytes()), Some(record));
            assert_eq!(MarkerRecord::parse(&line.as_bytes()[..63]), None);
        }
    }

    #[test]
    fn somebody_elses_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("twin.replicating");
        fs::write(&path, "my notes").unwrap();
        let refused = TwinMarker::take(path.clone(), &dir.path().join("twin")).unwrap_err();
        assert!(matches!(refused, TwinError::NotAMarker { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"my notes");
    }

    #[test]
    fn a_marker_made_anew_is_not_ours_to_remove() {
        let dir = tempfile::tempdir().unwrap();
        let (path, twin) = (dir.path().join("twin.replicating"), dir.path().join("twin"));
        let (first, _) = TwinMarker::take(path.clone(), &twin).unwrap();
        fs::remove_file(&path).unwrap();
        let (_second, _) = TwinMarker::take(path.clone(), &twin).unwrap();
        first.remove().unwrap();
        assert!(path.exists());
    }
}
