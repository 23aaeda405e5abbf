//! Calls that x86-64 has beside their modern forms, which name the directory that a path begins at.

/// The same call in its modern form.
pub(crate) fn modern(number: i64, arguments: [u64; 6]) -> (i64, [u64; 6]) {
    const HERE: u64 = libc::AT_FDCWD as i64 as u64;
    let [a, b, c, ..] = arguments;
    match number {
        libc::SYS_open => (libc::SYS_openat, [HERE, a, b, c, 0, 0]),
        libc::SYS_creat => {
            let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64;
            (libc::SYS_openat, [HERE, a, flags, b, 0, 0])
        }
        libc::SYS_rename => (libc::SYS_renameat2, [HERE, a, HERE, b, 0, 0]),
        libc::SYS_unlink => (libc::SYS_unlinkat, [HERE, a, 0, 0, 0, 0]),
        libc::SYS_rmdir => (libc::SYS_unlinkat, [HERE, a, libc::AT_REMOVEDIR as u64, 0, 0, 0]),
        libc::SYS_mkdir => (libc::SYS_mkdirat, [HERE, a, b, 0, 0, 0]),
        libc::SYS_link => (libc::SYS_linkat, [HERE, a, HERE, b, 0, 0]),
        libc::SYS_symlink => (libc::SYS_symlinkat, [a, HERE, b, 0, 0, 0]),
        _ => (number, arguments),
    }
}
