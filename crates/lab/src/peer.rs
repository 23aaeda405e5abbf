//! The kernel's own dirty_log_test (`tools/testing/selftests/kvm`), built from Debian's kernel source
//! to run on a board beside ours; and a second time with a patch that drops one dirty bit, to see what
//! it says then.

use crate::apt::{Apt, Package};
use crate::command;
use crate::image::SUITE;
use crate::kernel::own::{archive, kbuild, tools, unpack};
use crate::kernel::{Flavour, KernelError, own::MemoryRoom};
use crate::{Arch, Cache, CacheError, Progress};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What drops a bit.
const PATCH: &str = include_str!("peer/drop-one-bit.patch");
/// Where the tests are, and the name of this one.
const FOLDER: &str = "tools/testing/selftests/kvm";
const TEST: &str = "dirty_log_test";
/// Part of the key: to be raised when the same inputs give other programs.
const FORMAT: u32 = 1;
/// How long a build may take on a small and busy machine.
const LIMIT: Duration = Duration::from_secs(1800);
/// Most of the source, of which these programs need nothing.
const LEFT_OUT: [&str; 5] = ["drivers", "sound", "fs", "net", "Documentation"];
/// The kind of such programs in the cache.
const KIND: &str = "peers";

/// The kernel's test, static.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTest {
    /// Of which version of Debian's kernel source.
    pub version: String,
    /// As it is.
    pub test: PathBuf,
    /// With the patch.
    pub dropping: PathBuf,
}

/// Builds both, unless they are in the cache.
///
/// Errors: a tool is missing, the source can't be obtained, or make fails; the cache has nothing half done.
pub fn build(progress: &mut dyn Progress) -> Result<PeerTest, KernelError> {
    let arch = Arch::Aarch64;
    let place = Cache::place()?;
    let peer = |version: &str, folder: PathBuf| PeerTest {
        version: version.to_owned(),
        test: folder.join(TEST),
        dropping: folder.join(dropping()),
    };
    // Others that make something in the cache would wait as long as it is open.
    let (package, key, source) = {
        let cache = Cache::open(&place, progress)?;
        let apt = Apt::open(&cache, arch, SUITE, progress)?;
        // Its package is that of the source.
        let package = Flavour::Pages64K.package(arch, &apt, progress)?;
        let key = key(&package);
        if cache.has(KIND, &key) {
            return Ok(peer(&package.version, cache.folder(KIND).join(key)));
        }
        tools(arch)?;
        let source = archive(&apt.unpacked(&package, progress)?)?;
        (package, key, source)
    };
    let room = MemoryRoom::enter(&place.join("building-peer"), progress)?;
    make(&source, &room.folder, arch, progress)?;
    let cache = Cache::open(&place, progress)?;
    let folder = cache.entry(KIND, &key, progress, |folder, _| {
        for name in [TEST.to_owned(), dropping()] {
            let built = room.folder.join(&name);
            fs::copy(&built, folder.join(&name)).map_err(CacheError::at(&built))?;
        }
        Ok::<(), KernelError>(())
    })?;
    Ok(peer(&package.version, folder))
}

/// What the programs depend on.
fn key(package: &Package) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [&FORMAT.to_le_bytes(), PATCH.as_bytes(), package.digest.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn dropping() -> String {
    format!("{TEST}-dropping")
}

fn make(
    archive: &Path,
    room: &Path,
    arch: Arch,
    progress: &mut dyn Progress,
) -> Result<(), KernelError> {
    let source = room.join("source");
    unpack(archive, &source, &LEFT_OUT, progress)?;
    progress.say(&format!("building {TEST}"));
    command::output(kbuild(&source, arch).args(["-s", "headers"]), LIMIT, progress)?;
    test(&source, room, arch, &room.join(TEST), progress)?;
    let patch = room.join("drop-one-bit.patch");
    fs::write(&patch, PATCH).map_err(CacheError::at(&patch))?;
    let mut apply = Command::new("patch");
    apply.current_dir(&source).args(["-p1", "--batch", "--fuzz=0", "-i"]).arg(&patch);
    command::output(&mut apply, LIMIT, progress)?;
    test(&source, room, arch, &room.join(dropping()), progress)
}

/// Builds the test as the source is now.
fn test(
    source: &Path,
    room: &Path,
    arch: Arch,
    to: &Path,
    progress: &mut dyn Progress,
) -> Result<(), KernelError> {
    let output = room.join("kvm");
    let built = output.join(TEST);
    let mut make = kbuild(source, arch);
    make.args(["-s", "-C", FOLDER, "LDFLAGS=-static -pthread"]);
    make.arg(format!("OUTPUT={}", output.display())).arg(&built);
    command::output(&mut make, LIMIT, progress)?;
    fs::copy(&built, to).map_err(CacheError::at(&built))?;
    Ok(())
}
