//! A kernel that Debian has not: built from Debian's kernel source with a configuration of ours
//! (`Documentation/kbuild/kconfig.rst`: `allnoconfig` and KCONFIG_ALLCONFIG). The same source and
//! configuration give the same key in the cache; what is built is put there when it is whole.

use super::{Flavour, Kernel, KernelError};
use crate::apt::{Apt, Package};
use crate::command;
use crate::{Arch, Cache, CacheError, Progress};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The configuration.
const CONFIG: &str = include_str!("board-64k.config");
/// Part of the key: to be raised when the same inputs give another kernel.
const FORMAT: u32 = 1;
/// How long a build may take on a small and busy machine.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// The kind of such kernels in the cache.
const KIND: &str = "kernels";
/// After how many files a build says how far it is, and about how many there are.
const STEP: usize = 100;
const FILES: usize = 900;

/// What of ours a kernel boots with besides: its default huge pages have 512 MiB, of which a small
/// board has none.
pub const COMMAND_LINE: &str = "default_hugepagesz=2M hugepagesz=2M";

/// Builds the kernel, unless it is in the cache.
///
/// Errors: a tool is missing, the source can't be obtained, or make fails; the cache has nothing half done.
pub fn build(
    flavour: Flavour,
    suite: &str,
    jobs: usize,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KernelError> {
    let arch = Arch::Aarch64;
    let place = Cache::place()?;
    // Others that make something in the cache would wait for a build of many minutes.
    let (key, source) = {
        let cache = Cache::open(&place, progress)?;
        let apt = Apt::open(&cache, arch, suite, progress)?;
        let package = flavour.package(arch, &apt, progress)?;
        let key = key(&package);
        if cache.has(KIND, &key) {
            return Ok(cache.folder(KIND).join(key));
        }
        tools(arch)?;
        (key, archive(&apt.unpacked(&package, progress)?)?)
    };
    let room = MemoryRoom::enter(&place.join("building"), progress)?;
    let image = make(&source, &room.folder, arch, jobs, progress)?;
    let cache = Cache::open(&place, progress)?;
    cache.entry(KIND, &key, progress, |folder, _| {
        let boot = folder.join("boot");
        fs::create_dir_all(&boot).map_err(CacheError::at(&boot))?;
        for (from, to) in
            [(image, "vmlinuz-64k"), (room.folder.join("build/.config"), "config-64k")]
        {
            fs::copy(&from, boot.join(to)).map_err(CacheError::at(&from))?;
        }
        // It has no modules, and everything that it has is built in.
        let modules = folder.join("lib/modules/64k");
        fs::create_dir_all(&modules).map_err(CacheError::at(&modules))?;
        let list = modules.join("modules.builtin");
        Ok(fs::write(&list, "").map_err(CacheError::at(&list))?)
    })
}

/// The kernel, if it has been built.
///
/// Errors: it has not.
pub(crate) fn built(cache: &Cache, package: &Package) -> Result<Kernel, KernelError> {
    let key = key(package);
    if !cache.has(KIND, &key) {
        return Err(KernelError::NotBuilt { version: package.version.clone() });
    }
    Kernel::find(&cache.folder(KIND).join(key))
}

/// What a kernel depends on.
pub(crate) fn key(package: &Package) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [&FORMAT.to_le_bytes(), CONFIG.as_bytes(), package.digest.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Errors unless all that builds a kernel is installed.
pub(crate) fn tools(arch: Arch) -> Result<(), KernelError> {
    let compiler = if arch == Arch::host() { "gcc" } else { arch.gcc() };
    let tools = [
        ("make", "make"),
        (compiler, if arch == Arch::host() { "gcc" } else { arch.gcc_packages()[0] }),
        ("gcc", "gcc"),
        ("flex", "flex"),
        ("bison", "bison"),
        ("bc", "bc"),
        ("tar", "tar"),
        ("xz", "xz-utils"),
        ("patch", "patch"),
    ];
    let missing = tools.iter().filter(|(program, _)| !has_program(program));
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    Err(KernelError::NoTools { packages: packages.join(" ") })
}

fn has_program(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| path.join(name).is_file())
}

/// The source's archive in its unpacked package.
pub(crate) fn archive(package: &Path) -> Result<PathBuf, KernelError> {
    let files = super::children(&package.join("usr/src"));
    let archive = files.into_iter().find(|path| path.to_string_lossy().ends_with(".tar.xz"));
    let expected = "usr/src/linux-source-*.tar.xz";
    archive.ok_or_else(|| KernelError::Odd { folder: package.to_owned(), expected })
}

/// Unpacks the source's archive into a folder, without the folders at its top that are left out:
/// a whole source takes seconds to write, and more to remove.
pub(crate) fn unpack(
    archive: &Path,
    folder: &Path,
    left_out: &[&str],
    progress: &mut dyn Progress,
) -> Result<(), KernelError> {
    fs::create_dir_all(folder).map_err(CacheError::at(folder))?;
    progress.say(&format!("unpacking {}", archive.display()));
    let mut tar = Command::new("tar");
    // The first folder is the archive's own.
    tar.arg("--anchored")
        .args(left_out.iter().map(|name| format!("--exclude=linux-source-*/{name}")));
    tar.args(["--strip-components=1", "-xJf"]).arg(archive).arg("-C").arg(folder);
    Ok(command::run(&mut tar, LIMIT, progress)?)
}

/// make for a kernel source, told what it builds for.
pub(crate) fn kbuild(source: &Path, arch: Arch) -> Command {
    let mut make = Command::new("make");
    make.current_dir(source).args(["ARCH=arm64", "KBUILD_BUILD_USER=memtwin"]);
    make.args(["KBUILD_BUILD_HOST=memtwin", "KBUILD_BUILD_TIMESTAMP=@0", "KBUILD_BUILD_VERSION=1"]);
    if arch != Arch::host() {
        make.arg(format!("CROSS_COMPILE={}", arch.gcc().trim_end_matches("gcc")));
    }
    make
}

/// Makes the kernel; its image.
fn make(
    archive: &Path,
    folder: &Path,
    arch: Arch,
    jobs: usize,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KernelError> {
    let (source, build) = (folder.join("source"), folder.join("build"));
    unpack(archive, &source, &[], progress)?;
    fs::create_dir_all(&build).map_err(CacheError::at(&build))?;
    let config = folder.join("board.config");
    fs::write(&config, CONFIG).map_err(CacheError::at(&config))?;
    let mut output = std::ffi::OsString::from("O=");
    output.push(&build);
    let mut configure = kbuild(&source, arch);
    configure.arg(&output).env("KCONFIG_ALLCONFIG", &config).arg("allnoconfig");
    command::run(&mut configure, LIMIT, &mut CountedBuild { progress: &mut *progress, files: 0 })?;
    refused(&build.join(".config"))?;
    progress.say("building a kernel with pages of 64 KiB: minutes");
    let mut image = kbuild(&source, arch);
    image.arg(&output).arg(format!("-j{jobs}")).arg("Image");
    command::run(&mut image, LIMIT, &mut CountedBuild { progress, files: 0 })?;
    Ok(build.join("arch/arm64/boot/Image"))
}

/// Errors if the source has not taken all of our configuration over.
fn refused(config: &Path) -> Result<(), KernelError> {
    let made = fs::read_to_string(config).map_err(CacheError::at(config))?;
    let ours = CONFIG.lines().filter(|line| line.starts_with("CONFIG_"));
    match ours.into_iter().find(|line| !made.lines().any(|made| made == *line)) {
        Some(line) => Err(KernelError::Refused { line: line.to_owned() }),
        None => Ok(()),
    }
}

/// Hears of each file that is built, and says how many.
struct CountedBuild<'p> {
    progress: &'p mut dyn Progress,
    files: usize,
}

impl Progress for CountedBuild<'_> {
    fn say(&mut self, line: &str) {
        if line.starts_with("  CC ") || line.starts_with("  AS ") {
            self.files += 1;
            if self.files.is_multiple_of(STEP) {
                self.progress.say(&format!("{} of about {FILES} files", self.files));
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.progress.is_cancelled()
    }
}

/// A folder to build in: ours alone, empty, and gone at the end.
pub(crate) struct MemoryRoom {
    pub(crate) folder: PathBuf,
    _lock: File,
}

impl MemoryRoom {
    /// Takes it. What a build that was killed has left is removed.
    ///
    /// Errors: another program builds, or the folder can't be made.
    pub(crate) fn enter(folder: &Path, progress: &mut dyn Progress) -> Result<Self, KernelError> {
        let path = folder.with_extension("lock");
        let lock = File::create(&path).map_err(CacheError::at(&path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(KernelError::Busy { folder: folder.to_owned() });
        }
        if folder.exists() {
            progress.say("removing what an interrupted build has left");
            fs::remove_dir_all(folder).map_err(CacheError::at(folder))?;
        }
        fs::create_dir_all(folder).map_err(CacheError::at(folder))?;
        let folder = folder.canonicalize().map_err(CacheError::at(folder))?;
        Ok(Self { folder, _lock: lock })
    }
}

impl Drop for MemoryRoom {
    fn drop(&mut self) {
        // What stays is removed by the next who enters.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    #[test]
    fn a_configuration_that_is_not_taken_over_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join(".config");
        fs::write(&made, CONFIG).unwrap();
        refused(&made).unwrap();
        fs::write(&made, CONFIG.replace("CONFIG_KVM=y", "# CONFIG_KVM is not set")).unwrap();
        let error = refused(&made).unwrap_err().to_string();
        assert!(error.contains("CONFIG_KVM=y"), "{error}");
    }

    #[test]
    fn one_builds_at_a_time_in_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("building");
        fs::create_dir_all(place.join("left")).unwrap();
        let room = MemoryRoom::enter(&place, &mut Silent).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        assert!(matches!(MemoryRoom::enter(&place, &mut Silent), Err(KernelError::Busy { .. })));
        drop(room);
        assert!(!place.exists());
    }

    #[test]
    fn the_key_is_the_sources_and_the_configurations() {
        let package = |digest: &str| Package {
            name: "linux-source-6.12".to_owned(),
            version: "6.12.1".to_owned(),
            bytes: 1,
            digest: digest.to_owned(),
        };
        assert_eq!(key(&package("a")), key(&package("a")));
        assert_ne!(key(&package("a")), key(&package("b")));
    }
}
