//! Device memory, mapped: by its physical address through /dev/mem (mem(4)), or through a PCI
//! device's BAR in sysfs (`Documentation/PCI/sysfs-pci.rst`).
//!
//! The kernel maps both as Device memory (arm64) or uncached (x86-64). Such memory takes aligned
//! loads and stores only: no unaligned ones, no exclusives, no DC ZVA, hence no `memcpy` and no
//! atomics. So it is read and written one aligned 64-bit word at a time, by volatile accesses.

#![allow(unsafe_code, reason = "mapping device memory, and its volatile loads and stores")]

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

/// Bytes of a word.
pub const WORD: usize = size_of::<u64>();

/// Why device memory can't be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// Its file does not open.
    #[error("{}: {error}{}", file.display(), hint(file, error))]
    Open {
        /// /dev/mem, or a BAR's file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The system refuses the mapping.
    #[error("{}: can't map {bytes:#x} bytes at {at:#x}: {error}{}", file.display(), hint(file, error))]
    Refused {
        /// /dev/mem, or a BAR's file.
        file: PathBuf,
        /// From here.
        at: u64,
        /// This many.
        bytes: u64,
        /// What the system said.
        error: io::Error,
    },
    /// It does not consist of whole words.
    #[error("{bytes:#x} bytes at {at:#x}: both must be multiples of {WORD}, and not 0 bytes")]
    NoWords {
        /// From here.
        at: u64,
        /// This many.
        bytes: u64,
    },
}

/// The way out of a refusal.
fn hint(file: &Path, error: &io::Error) -> &'static str {
    let mem = file == Path::new("/dev/mem");
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::PERM) if mem => {
            " (a kernel with STRICT_DEVMEM maps no address that is its own RAM: is this the window's, and is RAM kept off it, as by mem= on the kernel's command line?)"
        }
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => " (root may)",
        Some(rustix::io::Errno::NOENT) if mem => " (mknod /dev/mem c 1 1, or a kernel with DEVMEM)",
        _ => "",
    }
}

/// A mapped range of device memory.
#[derive(Debug)]
pub struct MappedDevice {
    base: NonNull<c_void>,
    mapped: usize,
    /// The first word, aligned.
    words: NonNull<u64>,
    count: usize,
}

impl MappedDevice {
    /// Maps a range of a file: /dev/mem, where `at` is a physical address, or a BAR's file, where it
    /// is an offset.
    ///
    /// Errors: the range has no whole words, or the system refuses; the message says what may help.
    pub fn map(file: &Path, at: u64, bytes: u64) -> Result<Self, MapError> {
        let word = WORD as u64;
        let too_large = at.checked_add(bytes).is_none();
        if bytes == 0 || !bytes.is_multiple_of(word) || !at.is_multiple_of(word) || too_large {
            return Err(MapError::NoWords { at, bytes });
        }
        // O_SYNC: where the kernel has a choice, not through the caches.
        let sync = rustix::fs::OFlags::SYNC.bits() as i32;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(sync).open(file);
        let opened = opened.map_err(|error| MapError::Open { file: file.to_owned(), error })?;

        let within = at % rustix::param::page_size() as u64;
        // Guests are 64-bit machines: a size fits.
        let mapped = (within + bytes) as usize;
        // SAFETY: a new mapping, where the kernel likes, of memory that no Rust object lies in.
        let base = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            mmap(ptr::null_mut(), mapped, protection, MapFlags::SHARED, &opened, at - within)
        };
        let refused = |errno: rustix::io::Errno| MapError::Refused {
            file: file.to_owned(),
            at,
            bytes,
            error: errno.into(),
        };
        let base = base.map_err(refused)?;
        let base = NonNull::new(base).ok_or_else(|| refused(rustix::io::Errno::NOMEM))?;
        // SAFETY: `within` is inside the mapping.
        let words = unsafe { base.byte_add(within as usize) }.cast();
        Ok(Self { base, mapped, words, count: bytes as usize / WORD })
    }

    /// How many words it has.
    pub fn words(&self) -> usize {
        self.count
    }

    /// Loads a word.
    ///
    /// Panics: there is no such word.
    pub fn load(&self, word: usize) -> u64 {
        // SAFETY: `at` gives a word of the mapping, which is aligned and lives as long as we do.
        // Others may write it meanwhile; a volatile load takes what it finds.
        unsafe { self.at(word).read_volatile() }
    }

    /// Stores a word.
    ///
    /// Panics: there is no such word.
    pub fn store(&self, word: usize, value: u64) {
        // SAFETY: as for `load`; the mapping may be written, and no reference to it exists.
        unsafe { self.at(word).write_volatile(value) }
    }

    fn at(&self, word: usize) -> NonNull<u64> {
        assert!(word < self.count, "word {word} of {}", self.count);
        // SAFETY: it was just seen to be inside the mapping.
        unsafe { self.words.add(word) }
    }
}

impl Drop for MappedDevice {
    fn drop(&mut self) {
        // SAFETY: the whole mapping is ours, and nothing borrows from it. Unmapping what is mapped
        // does not fail.
        let _ = unsafe { munmap(self.base.as_ptr(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_range_of_a_file_is_read_and_written_word_by_word() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![0; 64 * 1024]).unwrap();
        // In the middle of a page.
        let device = MappedDevice::map(file.path(), 0x1238, 0x2000).unwrap();
        assert_eq!(device.words(), 0x400);
        device.store(0, u64::from_ne_bytes(*b"memtwin!"));
        device.store(0x3ff, 7);
        assert_eq!(device.load(0x3ff), 7);
        drop(device);
        let bytes = fs::read(file.path()).unwrap();
        assert_eq!(&bytes[0x1238..0x1240], b"memtwin!");
        assert_eq!(bytes[0x1238 + 0x1ff8..][..8], 7u64.to_ne_bytes());
        assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 9);
    }

    #[test]
    #[should_panic(expected = "word 2 of 2")]
    fn there_is_no_word_behind_the_last() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [0; 64]).unwrap();
        MappedDevice::map(file.path(), 0, 16).unwrap().load(2);
    }

    #[test]
    fn a_refusal_says_why() {
        let error = |path: &str, at, bytes| {
            MappedDevice::map(Path::new(path), at, bytes).unwrap_err().to_string()
        };
        let missing = error("/no/such/file", 0, 8);
        assert!(missing.starts_with("/no/such/file: No such file or directory"), "{missing}");
        assert!(error("/dev/null", 0, 12).contains("must be multiples of 8"));
        assert!(error("/dev/null", 4, 8).contains("must be multiples of 8"));
        assert!(error("/dev/null", u64::MAX - 7, 16).contains("must be multiples of 8"));
        let refused = error("/dev/null", 0, 4096);
        assert!(refused.starts_with("/dev/null: can't map 0x1000 bytes at 0x0: "), "{refused}");
        let strict = io::Error::from(rustix::io::Errno::PERM);
        assert!(hint(Path::new("/dev/mem"), &strict).contains("STRICT_DEVMEM"));
    }
}
