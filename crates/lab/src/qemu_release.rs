//! QEMUs of several Debian releases, in the cache, each with the libraries that it was built for. They
//! run beside the host's own QEMU, on the host's kernel: by their own dynamic loader, without chroot and
//! without mounts, so without root, and nothing is left to be undone.
//!
//! A release is kept by the content of its packages. `qemus/VERSION` in the cache leads to the newest
//! of it, with the programs in its folder `bin`.

mod arrange;

use crate::apt::{Apt, AptError, Package};
use crate::command::{self, CommandError};
use crate::root::{RootError, room};
use crate::{Arch, Cache, CacheError, Progress};
use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

/// Debian's packages of QEMU for the two architectures of guests.
const PACKAGES: [&str; 2] = ["qemu-system-x86", "qemu-system-arm"];
/// Part of every key: to be raised when the same packages give another folder.
const FORMAT: u32 = 1;
/// Bytes that one needs: packages and their files.
const ROOM: u64 = 800 << 20;
/// How long a package may take to unpack, and a QEMU to say its version.
const LIMIT: Duration = Duration::from_secs(300);

/// A release of QEMU, as one of Debian's suites has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QemuRelease {
    /// 5.2, of December 2020.
    V5_2,
    /// 7.2, of December 2022.
    V7_2,
    /// 10.0, of April 2025.
    V10_0,
    /// 11.1, of August 2026.
    V11_1,
}

/// A release of QEMU in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasedQemu {
    /// Which.
    pub release: QemuRelease,
    folder: PathBuf,
}

/// Why a release of QEMU is not available.
#[derive(Debug, thiserror::Error)]
pub enum QemuReleaseError {
    /// Its packages can't be obtained.
    #[error("QEMU {release}: {error}")]
    Apt {
        /// Which release.
        release: QemuRelease,
        /// Why.
        error: AptError,
    },
    /// The suite has another one by now.
    #[error(
        "QEMU {release}: Debian's {suite} has {found} instead, which is not tested; name a QEMU {release} of your own with --qemu"
    )]
    Moved {
        /// Which was asked for.
        release: QemuRelease,
        /// Where it was.
        suite: &'static str,
        /// The version of the package that is there.
        found: String,
    },
    /// It does not run here, or is another one than its package says.
    #[error("QEMU {release}: {program} --version says '{said}', expected {release}")]
    Other {
        /// Which was asked for.
        release: QemuRelease,
        /// The program.
        program: PathBuf,
        /// What it said.
        said: String,
    },
    /// Its files are not where they are known to be.
    #[error("QEMU {release}: its packages have no {what}; expected one for {arch}")]
    Odd {
        /// Which release.
        release: QemuRelease,
        /// What is missing.
        what: &'static str,
        /// This machine's architecture.
        arch: Arch,
    },
    /// A package can't be unpacked, or a QEMU does not run.
    #[error("QEMU {release}: {error}")]
    Command {
        /// Which release.
        release: QemuRelease,
        /// Why.
        error: CommandError,
    },
    /// The disk is too full.
    #[error(transparent)]
    Room(#[from] RootError),
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] CacheError),
}

impl QemuRelease {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V5_2, Self::V7_2, Self::V10_0, Self::V11_1];

    /// Its first two numbers, as `--qemu-version` takes them.
    pub fn name(self) -> &'static str {
        match self {
            Self::V5_2 => "5.2",
            Self::V7_2 => "7.2",
            Self::V10_0 => "10.0",
            Self::V11_1 => "11.1",
        }
    }

    /// Debian's suites that have it and what it depends on. It is in the last.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V5_2 => &["bullseye"],
            Self::V7_2 => &["bookworm"],
            Self::V10_0 => &["trixie"],
            Self::V11_1 => &["trixie", "trixie-backports"],
        }
    }

    fn suite(self) -> &'static str {
        self.suites().last().copied().unwrap_or_default()
    }

    /// Whether a version is one of it: `11.1.3`, and `1:11.1.3+ds-1` of a package.
    fn has(self, version: &str) -> bool {
        let version = version.split_once(':').map_or(version, |(_, version)| version);
        let rest = version.strip_prefix(self.name());
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    }
}

impl fmt::Display for QemuRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for QemuRelease {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let known = Self::ALL.into_iter().find(|release| release.name() == text);
        known.ok_or_else(|| format!("'{text}': expected one of {}", names()))
    }
}

impl ReleasedQemu {
    /// Its program for guests of this architecture.
    pub fn program(&self, arch: Arch) -> PathBuf {
        self.folder.join("bin").join(program(arch))
    }
}

/// The name of QEMU's program for guests of this architecture.
fn program(arch: Arch) -> String {
    format!("qemu-system-{}", arch.name())
}

/// Fetches a release, or takes it from the cache. Without a network that works as long as it is in the
/// cache. Each of its programs has said its version.
///
/// Errors: its packages can't be fetched, or are of another version; it does not run here; nothing half
/// done is left.
pub fn build(
    cache: &Cache,
    release: QemuRelease,
    progress: &mut dyn Progress,
) -> Result<ReleasedQemu, QemuReleaseError> {
    let at = |error| QemuReleaseError::Apt { release, error };
    let apt = Apt::open_suites(cache, Arch::host(), release.suites(), progress).map_err(at)?;
    match build_by(cache, &apt, release, progress) {
        // Lists may be older than what the archive still has.
        Err(QemuReleaseError::Apt { error, .. }) if !error.is_cancelled() => {
            progress.say(&format!("{error}: trying again with new lists"));
            apt.refresh(progress).map_err(at)?;
            build_by(cache, &apt, release, progress)
        }
        built => built,
    }
}

fn build_by(
    cache: &Cache,
    apt: &Apt<'_>,
    release: QemuRelease,
    progress: &mut dyn Progress,
) -> Result<ReleasedQemu, QemuReleaseError> {
    let at = |error| QemuReleaseError::Apt { release, error };
    let packages = apt.closure(&PACKAGES, progress).map_err(at)?;
    is_of(release, &packages)?;
    let key = key(&packages);
    if !cache.has("qemus", &key) {
        room(&cache.folder(""), ROOM)?;
    }
    let folder = cache.entry("qemus", &key, progress, |folder, progress| {
        let debs = apt.files(&packages, progress).map_err(at)?;
        progress.say(&format!("QEMU {release}"));
        make(release, &debs, folder, progress)
    })?;
    let link = cache.folder("qemus").join(release.name());
    if fs::read_link(&link).ok().as_deref() != Some(Path::new(&key)) {
        cache.alone(progress)?;
        // At no time is there none.
        let new = cache.folder("qemus").join(format!("new-{release}"));
        let made = fs::remove_file(&new).or_else(absent).and_then(|()| symlink(&key, &new));
        made.and_then(|()| fs::rename(&new, &link)).map_err(CacheError::at(&link))?;
    }
    Ok(ReleasedQemu { release, folder })
}

/// What is to be removed may be gone.
fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Errors unless the packages of QEMU are of this release: a suite goes on.
fn is_of(release: QemuRelease, packages: &[Package]) -> Result<(), QemuReleaseError> {
    let ours = |package: &&Package| PACKAGES.contains(&package.name.as_str());
    match packages.iter().filter(ours).find(|package| !release.has(&package.version)) {
        None => Ok(()),
        Some(Package { version, .. }) => {
            Err(QemuReleaseError::Moved { release, suite: release.suite(), found: version.clone() })
        }
    }
}

/// Unpacks the packages, and has each program say what it is.
fn make(
    release: QemuRelease,
    debs: &Path,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<(), QemuReleaseError> {
    let at = |error| QemuReleaseError::Command { release, error };
    let root = folder.join("root");
    fs::create_dir(&root).map_err(CacheError::at(&root))?;
    for deb in crate::kernel::children(debs) {
        let mut unpack = Command::new("dpkg-deb");
        command::run(unpack.arg("-x").arg(&deb).arg(&root), LIMIT, progress).map_err(at)?;
    }
    let odd = |what| QemuReleaseError::Odd { release, what, arch: Arch::host() };
    arrange::prune(&root)?;
    let loader = arrange::Loader::find(&root, Arch::host()).ok_or_else(|| odd("loader"))?;
    for arch in Arch::ALL {
        let name = program(arch);
        if !root.join(arrange::PROGRAMS).join(&name).is_file() {
            return Err(odd("qemu-system program"));
        }
        let starter = loader.write_starter(folder, &name)?;
        let mut asked = Command::new(&starter);
        let said = command::output(asked.arg("--version"), LIMIT, progress).map_err(at)?;
        let said = said.lines().next().unwrap_or_default();
        let version = said.strip_prefix("QEMU emulator version ");
        if !version.is_some_and(|version| release.has(version)) {
            let said = said.to_owned();
            return Err(QemuReleaseError::Other { release, program: starter, said });
        }
    }
    Ok(())
}

/// The digest of all that a release's folder depends on.
fn key(packages: &[Package]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&FORMAT.to_le_bytes()).update(Arch::host().name().as_bytes());
    packages.iter().for_each(|package| {
        hasher.update(package.digest.as_bytes()).update(b" ");
    });
    hasher.finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests;
