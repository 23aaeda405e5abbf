//! System calls that change files, or make them durable.

use super::arch;
use crate::RecordError;

/// A directory's descriptor, and where in memory the rest of the path is.
pub(super) type At = (i32, u64);

/// What a system call asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Open {
        path: At,
        flags: i32,
    },
    /// The flags of openat2(2) are in memory.
    OpenHow {
        path: At,
        how: u64,
    },
    /// Without an offset it is the descriptor's.
    Write {
        fd: i32,
        at: Option<u64>,
        bytes: (u64, u64),
    },
    Resize {
        fd: i32,
        len: u64,
    },
    Allocate {
        fd: i32,
        mode: i32,
        end: u64,
    },
    Sync {
        fd: i32,
    },
    Rename {
        from: At,
        to: At,
        flags: u32,
    },
    Remove {
        path: At,
        flags: i32,
    },
    MakeDirectory {
        path: At,
    },
    /// Changes what this descriptor is of, in a way that is not recorded.
    Unknown {
        fd: i32,
        what: &'static str,
    },
    /// Gives a name in a way that is not recorded.
    UnknownName {
        path: At,
        what: &'static str,
    },
    /// Nothing that matters.
    Other,
}

impl Call {
    /// Errors: it does what can't be seen from outside.
    pub(super) fn of(number: i64, arguments: [u64; 6]) -> Result<Self, RecordError> {
        let (number, arguments) = arch::modern(number, arguments);
        let fd = |i: usize| arguments[i] as i32;
        let at = |i: usize| (arguments[i] as i32, arguments[i + 1]);
        let unknown = |i, what| Self::Unknown { fd: fd(i), what };
        Ok(match number {
            libc::SYS_openat => Self::Open { path: at(0), flags: fd(2) },
            libc::SYS_openat2 => Self::OpenHow { path: at(0), how: arguments[2] },
            libc::SYS_write | libc::SYS_sendto => {
                Self::Write { fd: fd(0), at: None, bytes: (arguments[1], arguments[2]) }
            }
            libc::SYS_pwrite64 => Self::Write {
                fd: fd(0),
                at: Some(arguments[3]),
                bytes: (arguments[1], arguments[2]),
            },
            libc::SYS_ftruncate => Self::Resize { fd: fd(0), len: arguments[1] },
            libc::SYS_fallocate => Self::Allocate {
                fd: fd(0),
                mode: fd(1),
                end: arguments[2].saturating_add(arguments[3]),
            },
            libc::SYS_fsync | libc::SYS_fdatasync => Self::Sync { fd: fd(0) },
            libc::SYS_renameat => Self::Rename { from: at(0), to: at(2), flags: 0 },
            libc::SYS_renameat2 => {
                Self::Rename { from: at(0), to: at(2), flags: arguments[4] as u32 }
            }
            libc::SYS_unlinkat => Self::Remove { path: at(0), flags: fd(2) },
            libc::SYS_mkdirat => Self::MakeDirectory { path: at(0) },
            libc::SYS_linkat => Self::UnknownName { path: at(2), what: "linkat" },
            libc::SYS_symlinkat => Self::UnknownName { path: at(1), what: "symlinkat" },
            libc::SYS_writev => unknown(0, "writev"),
            libc::SYS_pwritev => unknown(0, "pwritev"),
            libc::SYS_pwritev2 => unknown(0, "pwritev2"),
            libc::SYS_copy_file_range => unknown(2, "copy_file_range"),
            libc::SYS_splice => unknown(2, "splice"),
            libc::SYS_sendfile => unknown(0, "sendfile"),
            libc::SYS_mmap
                if fd(3) & libc::MAP_TYPE != libc::MAP_PRIVATE && fd(2) & libc::PROT_WRITE != 0 =>
            {
                unknown(4, "a shared mapping for writing")
            }
            libc::SYS_io_uring_setup => return Err(RecordError::Blind("io_uring")),
            _ => Self::Other,
        })
    }
}
