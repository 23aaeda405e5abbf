//! The one call of ioctl(2), through libc's function: what interposes there sees every request.

#![allow(unsafe_code, reason = "ioctl passes an address to the kernel")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes a request; returns what the kernel answers, which is not negative.
///
/// # Safety
/// `argument` must be what the request is defined on, and all addresses in it must be good for what
/// the request does there.
pub(crate) unsafe fn ioctl<A>(
    fd: BorrowedFd<'_>,
    request: u32,
    argument: &mut A,
) -> io::Result<usize> {
    // SAFETY: an open descriptor and an exclusive reference to the request's argument; the rest is
    // the caller's promise.
    let answer = unsafe {
        libc::ioctl(fd.as_raw_fd(), request as libc::Ioctl, std::ptr::from_mut(argument))
    };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}
