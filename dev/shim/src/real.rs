//! libc's own `ioctl`, behind ours.

#![allow(unsafe_code, reason = "dlsym gives an address, and ioctl takes one")]

use libc::{c_int, c_ulong, c_void};
use std::sync::OnceLock;

type Ioctl = unsafe extern "C" fn(c_int, c_ulong, *mut c_void) -> c_int;

static REAL: OnceLock<Ioctl> = OnceLock::new();

/// Calls it.
///
/// # Safety
///
/// As for ioctl(2).
pub(crate) unsafe fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    let real = REAL.get_or_init(|| {
        // SAFETY: the name is a C string, and RTLD_NEXT looks behind this library (dlsym(3)).
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"ioctl".as_ptr()) };
        assert!(!found.is_null(), "memtwin-shim: no ioctl behind this one");
        // SAFETY: what is found under this name has this shape; why a variadic one may be called
        // so is said at our own.
        unsafe { std::mem::transmute::<*mut c_void, Ioctl>(found) }
    });
    // SAFETY: the caller's promise.
    unsafe { real(fd, request, arg) }
}
