//! Making and undoing a mapping: mmap(2), madvise(2), munmap(2).

#![allow(unsafe_code, reason = "mmap, munmap and madvise work on addresses")]

use rustix::mm::{self, MapFlags, ProtFlags};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// The page size of this host, asked from the system.
pub fn host_page_size() -> usize {
    rustix::param::page_size()
}

/// Why memory could not be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot map {bytes} bytes of {what}: {errno}")]
pub struct MapError {
    /// What was to be mapped.
    pub what: &'static str,
    /// How many bytes were asked for.
    pub bytes: u64,
    /// What the system said.
    pub errno: io::Error,
}

/// What the kernel is told about how a mapping will be used: madvise(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingAdvice {
    /// Use transparent huge pages (MADV_HUGEPAGE).
    HugePages,
    /// Use base pages only (MADV_NOHUGEPAGE).
    BasePages,
    /// Make every page present and writable now (MADV_POPULATE_WRITE).
    PopulateWrite,
}

/// A range of memory shared with somebody else. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a `Mapping` owns its address range and lends out no reference into it but atomics; every
// access is a machine-level copy or an atomic load, which any thread may do at any time.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of private anonymous memory at an address that is a multiple of `align`.
    pub fn anonymous(len: usize, align: usize) -> Result<Self, MapError> {
        Self::reserve(len, align).and_then(|reserved| {
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
            // SAFETY: MAP_FIXED replaces exactly the range that `reserved` owns and nobody uses.
            unsafe { mm::mmap_anonymous(reserved.start.as_ptr().cast(), len, prot, flags) }
                .map_err(|errno| reserved.error("anonymous memory", errno))?;
            Ok(reserved)
        })
    }

    /// Maps the first `len` bytes of a file, shared, at an address that is a multiple of `align`.
    ///
    /// The file must stay at least that long: a touch past its end is SIGBUS.
    pub fn shared(file: BorrowedFd<'_>, len: usize, align: usize) -> Result<Self, MapError> {
        Self::reserve(len, align).and_then(|reserved| {
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::SHARED | MapFlags::FIXED;
            // SAFETY: MAP_FIXED replaces exactly the range that `reserved` owns and nobody uses.
            unsafe { mm::mmap(reserved.start.as_ptr().cast(), len, prot, flags, file, 0) }
                .map_err(|errno| reserved.error("a shared file", errno))?;
            Ok(reserved)
        })
    }

    /// Maps `len` bytes of a device file at `offset`, wherever the kernel likes.
    pub fn device(file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<Self, MapError> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let start =
            unsafe { mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, file, offset) }
                .map_err(|errno| MapError {
                    what: "device memory",
                    bytes: len as u64,
                    errno: errno.into(),
                })?;
        Self::own(start.cast(), len)
    }

    /// Takes an address range of `len` bytes, aligned to `align`, without memory behind it.
    fn reserve(len: usize, align: usize) -> Result<Self, MapError> {
        let align = align.max(host_page_size());
        assert!(align.is_power_of_two(), "alignment {align}");
        let error = |errno: io::Error| MapError { what: "address space", bytes: len as u64, errno };
        let whole = len
            .checked_add(align)
            .filter(|_| len > 0)
            .ok_or_else(|| error(io::ErrorKind::InvalidInput.into()))?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let at =
            unsafe { mm::mmap_anonymous(std::ptr::null_mut(), whole, ProtFlags::empty(), flags) }
                .map_err(|errno| error(errno.into()))?;
        let start = (at as usize).next_multiple_of(align);
        let len_in_pages = len.next_multiple_of(host_page_size());
        let head = start - at as usize;
        let tail = whole.next_multiple_of(host_page_size()) - head - len_in_pages;
        for (from, bytes) in [(at as usize, head), (start + len_in_pages, tail)] {
            if bytes > 0 {
                // SAFETY: the range is part of the mapping made above, which nobody uses yet.
                unsafe { mm::munmap(from as *mut _, bytes) }
                    .map_err(|errno| error(errno.into()))?;
            }
        }
        Self::own(start as *mut u8, len)
    }

    fn own(start: *mut u8, len: usize) -> Result<Self, MapError> {
        let start = NonNull::new(start).ok_or(MapError {
            what: "memory at address 0",
            bytes: len as u64,
            errno: io::ErrorKind::Other.into(),
        })?;
        Ok(Self { start, len })
    }

    fn error(&self, what: &'static str, errno: rustix::io::Errno) -> MapError {
        MapError { what, bytes: self.len as u64, errno: errno.into() }
    }

    /// Advises the kernel on `len` bytes from `offset`; both multiples of the host's page size.
    pub fn advise(&self, advice: MappingAdvice, offset: usize, len: usize) -> Result<(), MapError> {
        self.check(offset, len);
        let (raw, what) = match advice {
            MappingAdvice::HugePages => (mm::Advice::LinuxHugepage, "huge pages"),
            MappingAdvice::BasePages => (mm::Advice::LinuxNoHugepage, "base pages"),
            MappingAdvice::PopulateWrite => (mm::Advice::LinuxPopulateWrite, "memory, populated"),
        };
        // SAFETY: the range lies in this mapping, and none of these advices drops its contents.
        unsafe { mm::madvise(self.start.as_ptr().add(offset).cast(), len, raw) }
            .map_err(|errno| self.error(what, errno))
    }

    /// The address at which the mapping begins in this process (the HVA, for a memslot).
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// How many bytes are mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a mapping of no bytes can't be made.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The address of the byte at `offset`, of which `len` bytes are in the mapping.
    pub(crate) fn at(&self, offset: usize, len: usize) -> *mut u8 {
        self.check(offset, len);
        // SAFETY: `check` has shown offset + len <= self.len, so this stays inside the mapping.
        unsafe { self.start.as_ptr().add(offset) }
    }

    fn check(&self, offset: usize, len: usize) {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} bytes at {offset} of a mapping of {}",
            self.len
        );
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's own, and no reference outlives `self`. A failure
        // would leave it mapped, which is harmless.
        let _ = unsafe { mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_zero_aligned_and_writable() {
        let huge = 1 << 21;
        let mapping = Mapping::anonymous(3 * host_page_size(), huge).unwrap();
        assert_eq!(mapping.address() % huge as u64, 0);
        let mut page = vec![1; host_page_size()];
        mapping.read(2 * host_page_size(), &mut page);
        assert!(page.iter().all(|&byte| byte == 0));
        mapping.write(host_page_size() - 4, b"straddle");
        let mut eight = [0; 8];
        mapping.read(host_page_size() - 4, &mut eight);
        assert_eq!(&eight, b"straddle");
    }

    #[test]
    fn a_shared_file_is_seen_on_both_sides() {
        use std::os::fd::AsFd;
        use std::os::unix::fs::FileExt;
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let mapping = Mapping::shared(file.as_fd(), 8192, 1).unwrap();
        mapping.write(5000, b"from here");
        let mut seen = [0; 9];
        file.read_exact_at(&mut seen, 5000).unwrap();
        assert_eq!(&seen, b"from here");
        file.write_all_at(b"and there", 5000).unwrap();
        mapping.read(5000, &mut seen);
        assert_eq!(&seen, b"and there");
    }

    #[test]
    fn nothing_is_an_error() {
        assert!(Mapping::anonymous(0, 1).is_err());
        assert!(Mapping::anonymous(usize::MAX - 5, 1).is_err());
    }

    #[test]
    #[should_panic(expected = "2 bytes at 8191 of a mapping of 8192")]
    fn past_the_end_is_a_bug_of_the_caller() {
        let mapping = Mapping::anonymous(8192, 1).unwrap();
        mapping.read(8191, &mut [0; 2]);
    }
}
