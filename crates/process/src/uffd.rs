//! A userfaultfd in its asynchronous write-protect mode: it only ever protects pages, and the
//! kernel lifts the protection at the first write. userfaultfd(2), ioctl_userfaultfd(2).
//!
//! Whoever holds the descriptor steers the memory of the process that made it.

#![allow(unsafe_code, reason = "system calls that take addresses")]

use crate::LogError;
use crate::abi::{
    UFFD_API, UFFD_FEATURE_WP_ASYNC, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFD_FEATURE_WP_UNPOPULATED,
    UFFD_USER_MODE_ONLY, UFFDIO_API, UFFDIO_REGISTER, UFFDIO_REGISTER_MODE_WP, UFFDIO_UNREGISTER,
    UFFDIO_WRITEPROTECT, UFFDIO_WRITEPROTECT_MODE_WP, UffdioApi, UffdioRange, UffdioRegister,
    UffdioWriteprotect,
};
use crate::ioctl::ioctl;
use rustix::mm::UserfaultfdFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A userfaultfd that is ready to protect.
#[derive(Debug)]
pub(crate) struct Userfaultfd {
    fd: OwnedFd,
}

/// Makes a userfaultfd for this process. Nothing was asked of it yet.
pub(crate) fn create() -> io::Result<OwnedFd> {
    let user_mode_only = UserfaultfdFlags::from_bits_retain(UFFD_USER_MODE_ONLY);
    let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK | user_mode_only;
    // SAFETY: a new descriptor changes no memory; what is done with it, it does below.
    Ok(unsafe { rustix::mm::userfaultfd(flags) }?)
}

impl Userfaultfd {
    /// Asks a new userfaultfd for the mode. Errors with EINVAL where the kernel does not have it.
    pub(crate) fn enable(fd: OwnedFd) -> Result<Self, LogError> {
        let features =
            UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
        let mut api = UffdioApi { api: UFFD_API, features, ioctls: 0 };
        // SAFETY: the request's own structure, without an address in it.
        unsafe { ioctl(fd.as_fd(), UFFDIO_API, &mut api) }.map_err(LogError::of("UFFDIO_API"))?;
        Ok(Self { fd })
    }

    /// Registers memory for write-protection. Registering it again changes nothing, and fails if
    /// the process is gone: its memory is what the kernel looks at.
    pub(crate) fn register(&self, start: u64, len: u64) -> Result<(), LogError> {
        let range = UffdioRange { start, len };
        let mut register = UffdioRegister { range, mode: UFFDIO_REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: the request's own structure. The range is the other process's: it changes when
        // its pages are writable without a fault, never what they hold.
        unsafe { ioctl(self.borrow(), UFFDIO_REGISTER, &mut register) }
            .map(|_| ())
            .map_err(LogError::of("UFFDIO_REGISTER"))
    }

    /// Protects registered memory, also where there is no page yet. When it returns, every write
    /// to it will be noted.
    pub(crate) fn protect(&self, start: u64, len: u64) -> Result<(), LogError> {
        let range = UffdioRange { start, len };
        loop {
            let mut protect = UffdioWriteprotect { range, mode: UFFDIO_WRITEPROTECT_MODE_WP };
            // SAFETY: as for `register`.
            match unsafe { ioctl(self.borrow(), UFFDIO_WRITEPROTECT, &mut protect) } {
                Ok(_) => return Ok(()),
                // The process's address space was changing; nothing is wrong with it.
                Err(errno) if errno.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(errno) => return Err(LogError::of("UFFDIO_WRITEPROTECT")(errno)),
            }
        }
    }

    /// Undoes `register`, and lifts all protection.
    pub(crate) fn unregister(&self, start: u64, len: u64) -> Result<(), LogError> {
        let mut range = UffdioRange { start, len };
        // SAFETY: as for `register`.
        unsafe { ioctl(self.borrow(), UFFDIO_UNREGISTER, &mut range) }
            .map(|_| ())
            .map_err(LogError::of("UFFDIO_UNREGISTER"))
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
