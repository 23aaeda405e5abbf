//! The root file system of boards, made of Debian packages and a few files of ours; and what boots it:
//! a kernel, and an initramfs that has its modules. Both are kept by their content. All boards share
//! one file system, which none of them changes.

mod boot;
mod files;

use crate::apt::{Apt, AptError, Package};
use crate::command::{self, CommandError};
use crate::ext4::{self, Ext4Error};
use crate::image::{Image, Plan, SUITE};
use crate::kernel::KernelError;
use crate::modules::ModuleError;
use crate::{Arch, Cache, CacheError, Flavour, Progress};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is on a board: QEMU, NFS on both sides, networks, ssh, file systems.
/// busybox fills what gaps are left; but programs that start others are packages' own, as busybox's
/// prefer its own applets to the programs in the PATH.
const PACKAGES: [&str; 14] = [
    "busybox-static",
    "coreutils",
    "dash",
    "dropbear-bin",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "kmod",
    "mount",
    "nfs-common",
    "nfs-kernel-server",
    "qemu-system-arm",
    "rpcbind",
    "util-linux",
];

/// Part of every key: to be raised when the same inputs give other bytes.
const FORMAT: u32 = 1;
/// The size of the file system; its image is sparse.
const MEBIBYTES: u64 = 1024;
/// Room that a build needs: packages, the files, the image.
const ROOM: u64 = 900 << 20;
/// How long the packages may take to unpack.
const UNPACK: Duration = Duration::from_secs(600);

/// Why boards have nothing to boot.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The packages can't be obtained.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The kernel can't be obtained.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A module can't be obtained.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The file system can't be made.
    #[error(transparent)]
    Ext4(#[from] Ext4Error),
    /// A package can't be unpacked.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] CacheError),
    /// The disk is too full.
    #[error("{}: {} MiB free, {} needed; set MEMTWIN_CACHE to a place with more", path.display(), free >> 20, needed >> 20)]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
}

/// What boards boot. Its files stay in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardImage {
    /// The kernel, and the initramfs with its modules.
    pub boot: Image,
    /// The root file system, not to be written to.
    pub root: PathBuf,
}

/// Makes it, or takes it from the cache. Without a network that works as long as all is in the cache.
///
/// Errors: something can't be fetched, read or written; the cache has nothing half done.
pub fn build(
    cache: &Cache,
    kernel: Flavour,
    progress: &mut dyn Progress,
) -> Result<BoardImage, RootError> {
    ext4::need()?;
    let apt = Apt::open(cache, Arch::Aarch64, SUITE, progress)?;
    let all = |progress: &mut dyn Progress| {
        let boot = boot::build(cache, &apt, kernel, progress)?;
        let root = build_root(cache, &apt, progress)?;
        Ok(BoardImage { boot, root })
    };
    match all(progress) {
        // Lists may be older than what the archive still has.
        Err(RootError::Apt(error) | RootError::Kernel(KernelError::Apt(error)))
            if !error.is_cancelled() =>
        {
            progress.say(&format!("{error}: trying again with new lists"));
            apt.refresh(progress)?;
            all(progress)
        }
        built => built,
    }
}

/// What a build would fetch. Fetches the lists of packages themselves if they are not there.
///
/// Errors: a package is unknown, or the lists can't be obtained.
pub fn plan(
    cache: &Cache,
    kernel: Flavour,
    progress: &mut dyn Progress,
) -> Result<Plan, RootError> {
    let apt = Apt::open(cache, Arch::Aarch64, SUITE, progress)?;
    let kernel = kernel.package(Arch::Aarch64, &apt, progress)?;
    let there = apt.has(&kernel);
    let packages = apt.closure(&PACKAGES, progress)?;
    let all = apt.has_files(&packages);
    let packages = packages.into_iter().map(|package| (package, all));
    Ok(Plan { packages: std::iter::once((kernel, there)).chain(packages).collect() })
}

fn build_root(
    cache: &Cache,
    apt: &Apt<'_>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, RootError> {
    let packages = apt.closure(&PACKAGES, progress)?;
    let key = key(&packages);
    if !cache.has("roots", &key) {
        room(&cache.folder(""), ROOM)?;
    }
    let folder = cache.entry("roots", &key, progress, |folder, progress| {
        let debs = apt.files(&packages, progress)?;
        progress.say(&format!("root file system {key}"));
        let root = folder.join("root");
        unpack(&debs, &root, progress)?;
        files::arrange(&root)?;
        ext4::make(&root, &folder.join("board.ext4"), "board", MEBIBYTES, progress)?;
        Ok::<(), RootError>(fs::remove_dir_all(&root).map_err(CacheError::at(&root))?)
    })?;
    Ok(folder.join("board.ext4"))
}

/// Errors unless there is room for a build that needs this many bytes.
pub(crate) fn room(path: &Path, needed: u64) -> Result<(), RootError> {
    let stat = rustix::fs::statvfs(path).map_err(|errno| CacheError::at(path)(errno.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= needed {
        return Ok(());
    }
    Err(RootError::NoRoom { path: path.to_owned(), free, needed })
}

/// The digest of all that the root file system depends on.
fn key(packages: &[Package]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&FORMAT.to_le_bytes());
    packages.iter().for_each(|package| {
        hasher.update(package.digest.as_bytes()).update(b" ");
    });
    files::add_to(&mut hasher);
    hasher.finalize().to_hex()[..16].to_owned()
}

fn unpack(debs: &Path, root: &Path, progress: &mut dyn Progress) -> Result<(), RootError> {
    fs::create_dir(root).map_err(CacheError::at(root))?;
    for deb in crate::kernel::children(debs) {
        let mut unpack = Command::new("dpkg-deb");
        command::run(unpack.arg("-x").arg(&deb).arg(root), UNPACK, progress)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_about_the_packages() {
        let package = |digest: &str| Package {
            name: "x".to_owned(),
            version: "1".to_owned(),
            bytes: 1,
            digest: digest.to_owned(),
        };
        assert_eq!(key(&[package("a")]), key(&[package("a")]));
        assert_ne!(key(&[package("a")]), key(&[package("b")]));
        assert_ne!(key(&[package("a"), package("b")]), key(&[package("a")]));
    }

    #[test]
    fn a_full_disk_is_said() {
        let error = RootError::NoRoom { path: "/c".into(), free: 5 << 20, needed: ROOM };
        let said = error.to_string();
        assert!(said.starts_with("/c: 5 MiB free, 900 needed; set MEMTWIN_CACHE"), "{said}");
    }
}
