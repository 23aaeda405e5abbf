//! What an experiment needs before it can begin: QEMU, the programs that run in guests and on boards, what
//! boards boot.

use crate::boards::LabFile;
use crate::root::{self, BoardImage, RootError};
use crate::{Arch, Cache, CacheError, Flavour, Progress, cross};
use cross::CrossError;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub enum PreparationError {
    /// QEMU for the architecture is not installed.
    #[error("qemu-system-{arch} is not installed; on Debian: apt install {package}")]
    NoQemu {
        /// The guest's architecture.
        arch: Arch,
        /// Debian's package.
        package: &'static str,
    },
    /// A program is not where it was said to be.
    #[error("{}: not there", path.display())]
    NoProgram {
        /// Its path.
        path: PathBuf,
    },
    /// The cache is not to be had.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The programs could not be built.
    #[error(transparent)]
    Cross(#[from] CrossError),
    /// What boards boot could not be made.
    #[error(transparent)]
    Root(#[from] RootError),
}

/// The programs that run in guests.
const GUEST_PROGRAMS: [&str; 5] = ["diskload", "netload", "dirtyram", "writeout", "tstaeshm"];
/// And those on boards: Memtwin, and what runs in their guests.
const BOARD_PROGRAMS: [&str; 6] =
    ["memtwin", "netload", "diskload", "dirtyram", "tstaeshm", "writeout"];

/// Errors unless QEMU is installed.
pub fn need_qemu(arch: Arch) -> Result<(), PreparationError> {
    let qemu = format!("qemu-system-{arch}");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|path| path.join(&qemu).is_file()) {
        return Ok(());
    }
    let package = if arch == Arch::Aarch64 { "qemu-system-arm" } else { "qemu-system-x86" };
    Err(PreparationError::NoQemu { arch, package })
}

/// The cache. Nobody makes anything in it but us until it is dropped.
///
/// Errors: it can't be had, or the wait for it is given up.
pub fn open_cache(progress: &mut dyn Progress) -> Result<Cache, PreparationError> {
    Ok(Cache::open(&Cache::place()?, progress)?)
}

/// The programs that run in guests: those of a folder, or built from a source tree.
///
/// Errors: one is not there, or can't be built.
pub fn guest_programs(
    arch: Arch,
    folder: Option<&Path>,
    source: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, PreparationError> {
    if let Some(folder) = folder {
        let paths: Vec<PathBuf> = GUEST_PROGRAMS.iter().map(|name| folder.join(name)).collect();
        return match paths.iter().find(|path| !path.is_file()) {
            Some(path) => Err(PreparationError::NoProgram { path: path.clone() }),
            None => Ok(paths),
        };
    }
    Ok(cross::build(&cross::source(source)?, arch, &[cross::GUEST], progress)?)
}

/// Memtwin and the guests' programs, built for boards; or as they lie in a folder.
///
/// Errors: they can't be built.
pub fn board_programs(
    folder: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Vec<LabFile>, PreparationError> {
    let built = match folder {
        Some(folder) => BOARD_PROGRAMS.iter().map(|name| folder.join(name)).collect(),
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

/// What boards boot of, and what runs on them: the one comes from the network while the other is built.
///
/// Errors: the first that failed; the other is given up then.
pub fn board_image_and_programs(
    kernel: Flavour,
    folder: Option<&Path>,
    progress: &mut (dyn Progress + Send),
) -> Result<(BoardImage, Vec<LabFile>), PreparationError> {
    let image = |progress: &mut dyn Progress| -> Result<BoardImage, PreparationError> {
        Ok(root::build(&open_cache(progress)?, kernel, progress)?)
    };
    side_by_side(progress, image, |progress| board_programs(folder, progress))
}

/// Does both at once. When one fails the other is given up.
///
/// Errors: the one that failed first.
fn side_by_side<A: Send, B, E: Send>(
    progress: &mut (dyn Progress + Send),
    a: impl FnOnce(&mut dyn Progress) -> Result<A, E> + Send,
    b: impl FnOnce(&mut dyn Progress) -> Result<B, E>,
) -> Result<(A, B), E> {
    let (progress, failed) = (Mutex::new(progress), AtomicBool::new(false));
    let shared = || SharedProgress { progress: &progress, failed: &failed };
    let (a, b) = thread::scope(|scope| {
        let theirs = shared();
        let a = scope.spawn(|| theirs.run(a));
        let b = shared().run(b);
        (a.join().unwrap_or_else(|panic| resume_unwind(panic)), b)
    });
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err((failure, _)), Ok(_)) | (Ok(_), Err((failure, _))) => Err(failure),
        // The later one was given up for the earlier.
        (Err((a, at)), Err((b, then))) => Err(if at < then { a } else { b }),
    }
}

/// One progress for work that goes on beside other work: it is not wanted any more when that has failed.
struct SharedProgress<'s, 'p> {
    progress: &'s Mutex<&'p mut (dyn Progress + Send)>,
    failed: &'s AtomicBool,
}

impl SharedProgress<'_, '_> {
    /// Does a part of the work, and notes when it fails.
    fn run<T, E>(
        mut self,
        work: impl FnOnce(&mut dyn Progress) -> Result<T, E>,
    ) -> Result<T, (E, Instant)> {
        work(&mut self).map_err(|failure| {
            let at = Instant::now();
            self.failed.store(true, Ordering::Relaxed);
            (failure, at)
        })
    }
}

impl Progress for SharedProgress<'_, '_> {
    fn say(&mut self, line: &str) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).say(line);
    }

    fn is_cancelled(&self) -> bool {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.is_cancelled() || self.failed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[derive(Default)]
    struct Told(Arc<AtomicBool>);

    impl Progress for Told {
        fn say(&mut self, _line: &str) {}

        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// Goes on until it is given up.
    fn patient(progress: &mut dyn Progress) -> Result<(), &'static str> {
        while !progress.is_cancelled() {
            thread::sleep(Duration::from_millis(1));
        }
        Err("given up")
    }

    #[test]
    fn one_that_fails_ends_the_other_and_is_told() {
        let mut told = Told::default();
        let both = side_by_side(&mut told, |_| Ok::<_, &str>(1), |_| Ok("b"));
        assert_eq!(both, Ok((1, "b")));
        let broken = |_: &mut dyn Progress| -> Result<(), _> { Err("broken") };
        assert_eq!(side_by_side(&mut told, broken, patient), Err("broken"));
        assert_eq!(side_by_side(&mut told, patient, broken), Err("broken"));
        // What comes after goes on.
        assert!(!told.is_cancelled());
    }

    #[test]
    fn an_interrupt_ends_both() {
        let mut told = Told::default();
        told.0.store(true, Ordering::Relaxed);
        assert_eq!(side_by_side(&mut told, patient, patient), Err("given up"));
    }
}
