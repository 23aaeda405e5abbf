//! What a lab and its guests need before anything boots: QEMU, the cache, programs, images.

use crate::boards::{LabError, LabFile};
use crate::in_parallel::in_parallel;
use crate::root::{self, BoardImage};
use crate::{Arch, Cache, CacheError, Flavour, Progress, cross};
use std::path::{Path, PathBuf};

/// The programs that run in guests.
const GUEST_PROGRAMS: [&str; 5] = ["diskload", "netload", "dirtyram", "writeout", "tstaeshm"];
/// What runs on boards and in their guests.
const BOARD_PROGRAMS: [&str; 6] =
    ["memtwin", "netload", "diskload", "dirtyram", "tstaeshm", "writeout"];

/// Errors unless QEMU for this architecture is installed.
pub fn need_qemu(arch: Arch) -> Result<(), LabError> {
    let (program, package) = match arch {
        Arch::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
        Arch::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
    };
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|path| path.join(program).is_file()) {
        return Ok(());
    }
    Err(LabError::Missing { program, package })
}

/// The cache, at its usual place. Nobody makes anything in it but us until it is dropped.
///
/// Errors: it can't be opened, or the wait for another who has it is not wanted any more.
pub fn open_cache(progress: &mut dyn Progress) -> Result<Cache, CacheError> {
    Cache::open(&Cache::place()?, progress)
}

/// The programs that run in guests: those of a folder, or built from a source tree (the one that this was
/// built from, unless another is given).
///
/// Errors: one is not in the folder, or they can't be built.
pub fn guest_programs(
    arch: Arch,
    folder: Option<&Path>,
    source: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, LabError> {
    if let Some(folder) = folder {
        return GUEST_PROGRAMS.iter().map(|name| program_in(folder, name)).collect();
    }
    let source = cross::source(source)?;
    Ok(cross::build(&source, arch, &[cross::GUEST], progress)?)
}

/// A program that was built before.
///
/// Errors: it is not in the folder.
pub fn program_in(folder: &Path, name: &str) -> Result<PathBuf, LabError> {
    let path = folder.join(name);
    if path.is_file() { Ok(path) } else { Err(LabError::NoProgram { path }) }
}

/// Memtwin and the guests' programs, built for boards; or as they lie in a folder.
///
/// Errors: they can't be built.
pub fn board_programs(
    folder: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Vec<LabFile>, LabError> {
    let built = match folder {
        Some(folder) => {
            BOARD_PROGRAMS.iter().map(|name| program_in(folder, name)).collect::<Result<_, _>>()?
        }
        None => {
            let packages = [cross::MEMTWIN, cross::GUEST];
            cross::build(&cross::source(None)?, Arch::Aarch64, &packages, progress)?
        }
    };
    let file = |from: PathBuf| {
        let name = from.file_name()?.to_str()?.to_owned();
        Some(LabFile { path: format!("bin/{name}"), from, program: true })
    };
    Ok(built.into_iter().filter_map(file).collect())
}

/// The image of boards with networks, built if it is not in the cache.
///
/// Errors: it can't be built.
pub fn board_image(flavour: Flavour, progress: &mut dyn Progress) -> Result<BoardImage, LabError> {
    let cache = open_cache(progress)?;
    Ok(root::build(&cache, flavour, progress)?)
}

/// What boards boot of, and what runs on them: the one comes from the network while the other is built.
///
/// Errors: one of them can't be built.
pub fn board_image_and_programs(
    flavour: Flavour,
    folder: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<(BoardImage, Vec<LabFile>), LabError> {
    in_parallel(
        progress,
        |progress| board_image(flavour, progress),
        |progress| board_programs(folder, progress),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    #[test]
    fn a_folder_of_programs_must_have_each() {
        let folder = tempfile::tempdir().unwrap();
        for name in GUEST_PROGRAMS {
            let taken = guest_programs(Arch::Aarch64, Some(folder.path()), None, &mut Silent);
            let error = taken.unwrap_err().to_string();
            assert!(error.ends_with(&format!("{name}: not there")), "{error}");
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let taken = guest_programs(Arch::Aarch64, Some(folder.path()), None, &mut Silent);
        assert_eq!(taken.unwrap().len(), GUEST_PROGRAMS.len());
    }
}
