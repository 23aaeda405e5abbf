//! Whether this host has a dirty log for processes at all, and if not, why.

use crate::pagemap::Pagemap;
use crate::uffd::{self, Userfaultfd};
use crate::{LogError, WriterStartError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

const SINCE: &str = "Linux 6.7 or newer is needed";

/// Asks this host for everything that a [`crate::ProcessGuest`] needs of it, and changes nothing.
///
/// Errors with [`WriterStartError::NoLog`], which says what is missing.
pub fn probe() -> Result<(), WriterStartError> {
    enable(uffd::create().map_err(no_userfaultfd)?)?;
    scannable(&open(Path::new("/proc/self/pagemap"))?)
}

/// Asks a new userfaultfd for its asynchronous mode.
pub(crate) fn enable(fd: OwnedFd) -> Result<Userfaultfd, WriterStartError> {
    Userfaultfd::enable(fd).map_err(|error| match error.errno() {
        Some(libc::EINVAL) => no_log(format!(
            "this kernel's userfaultfd has no asynchronous write-protection of shared memory; {SINCE}"
        )),
        _ => no_log(error.to_string()),
    })
}

/// Opens a process's pagemap.
pub(crate) fn open(path: &Path) -> Result<Pagemap, WriterStartError> {
    Pagemap::open(path).map_err(|errno| no_log(format!("{}: {errno}", path.display())))
}

/// Checks that the kernel can scan a pagemap.
pub(crate) fn scannable(pagemap: &Pagemap) -> Result<(), WriterStartError> {
    pagemap.probe().map_err(|errno| match errno.raw_os_error() {
        Some(libc::ENOTTY) => no_log(format!("this kernel has no PAGEMAP_SCAN; {SINCE}")),
        _ => no_log(LogError::of("PAGEMAP_SCAN")(errno).to_string()),
    })
}

/// Says why there is no userfaultfd.
pub(crate) fn no_userfaultfd(errno: io::Error) -> WriterStartError {
    no_log(match errno.raw_os_error() {
        Some(libc::ENOSYS) => format!("this kernel has no userfaultfd; {SINCE}"),
        Some(libc::EPERM) => format!(
            "userfaultfd: {errno}; for the faults of user mode it needs no privilege and no sysctl, \
             so a seccomp filter (a container's?) forbids it: allow this system call"
        ),
        _ => format!("userfaultfd: {errno}"),
    })
}

fn no_log(reason: String) -> WriterStartError {
    WriterStartError::NoLog { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_has_its_own_reason() {
        let said = |errno| no_userfaultfd(io::Error::from_raw_os_error(errno)).to_string();
        assert!(said(libc::EPERM).contains("seccomp"));
        assert!(said(libc::ENOSYS).contains("Linux 6.7"));
        let nowhere = open(Path::new("/proc/0/pagemap")).unwrap_err();
        assert!(nowhere.to_string().contains("/proc/0/pagemap"), "{nowhere}");
        // A file that is no pagemap does not know the request, as an older kernel's does not.
        let other = Pagemap::open(Path::new("/proc/self/maps")).unwrap();
        let error = scannable(&other).unwrap_err();
        assert!(error.to_string().contains("no PAGEMAP_SCAN"), "{error}");
    }
}
