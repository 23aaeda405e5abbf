//! A folder of things that are expensive to make. Each is made elsewhere and put in its place when it
//! is whole, so what is there is whole, whatever happened.
//!
//! Many programs may take from it at the same time; who makes something is alone with it.

use crate::Progress;
use rustix::fs::{FlockOperation, flock};
use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is seen whether another has let go.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Nobody said where.
    #[error("no place for the cache: set MEMTWIN_CACHE, XDG_CACHE_HOME or HOME")]
    NoPlace,
    /// The system refuses a file or folder.
    #[error("{}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The work is not wanted any more.
    #[error("interrupted")]
    Cancelled,
}

impl CacheError {
    /// An error about a path.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}

/// The cache. Drop it once everything is built; what it has given out stays.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    /// Locked as long as it is open.
    lock: File,
    /// Whether nobody else has it open.
    alone: Cell<bool>,
}

impl Cache {
    /// Where the cache is: `$MEMTWIN_CACHE`, else `memtwin` in `$XDG_CACHE_HOME`, else in `~/.cache`.
    ///
    /// Errors: none of the three variables is set.
    pub fn place() -> Result<PathBuf, CacheError> {
        let set =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("MEMTWIN_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("memtwin")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/memtwin")))
            .ok_or(CacheError::NoPlace)
    }

    /// Opens a cache, made if it isn't there; waits while another program makes something in it.
    ///
    /// Errors: the folder can't be made or locked, or the wait is cancelled.
    pub fn open(folder: &Path, progress: &mut dyn Progress) -> Result<Self, CacheError> {
        fs::create_dir_all(folder).map_err(CacheError::at(folder))?;
        // Commands run elsewhere, and are given paths in it.
        let folder = folder.canonicalize().map_err(CacheError::at(folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(CacheError::at(&path))?;
        let cache = Self { folder, lock, alone: Cell::new(false) };
        cache.locked(FlockOperation::NonBlockingLockShared, progress)?;
        Ok(cache)
    }

    /// Waits until nobody else has it open. What was not there before may be there then.
    ///
    /// Errors: the wait is cancelled, or the system refuses.
    pub(crate) fn alone(&self, progress: &mut dyn Progress) -> Result<(), CacheError> {
        if self.alone.get() {
            return Ok(());
        }
        self.locked(FlockOperation::NonBlockingLockExclusive, progress)?;
        self.alone.set(true);
        self.clear_unfinished()
    }

    fn locked(&self, how: FlockOperation, progress: &mut dyn Progress) -> Result<(), CacheError> {
        let mut waits = false;
        while let Err(errno) = flock(&self.lock, how) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(CacheError::at(&self.folder.join("lock"))(errno.into()));
            }
            if progress.is_cancelled() {
                return Err(CacheError::Cancelled);
            }
            if !std::mem::replace(&mut waits, true) {
                progress.say(&format!("waiting: another program uses {}", self.folder.display()));
            }
            // Of two that wait to be alone neither would be, if both kept the lock that they share.
            let _ = flock(&self.lock, FlockOperation::Unlock);
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// A folder in it.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether something is there.
    pub(crate) fn has(&self, kind: &str, key: &str) -> bool {
        self.folder.join(kind).join(key).exists()
    }

    /// The folder of a kind and a key. If it isn't there it is made, once we are alone: `make` fills an
    /// empty one, which is put in its place when that has succeeded.
    ///
    /// Errors: those of `make`, after which nothing is there.
    pub(crate) fn entry<E: From<CacheError>>(
        &self,
        kind: &str,
        key: &str,
        progress: &mut dyn Progress,
        make: impl FnOnce(&Path, &mut dyn Progress) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let kind = self.folder.join(kind);
        let place = kind.join(key);
        if place.exists() {
            return Ok(place);
        }
        self.alone(progress)?;
        // Another may have made it meanwhile.
        if place.exists() {
            return Ok(place);
        }
        let unfinished = self.unfinished();
        fs::create_dir_all(&kind).map_err(CacheError::at(&kind))?;
        fs::create_dir_all(&unfinished).map_err(CacheError::at(&unfinished))?;
        let folder = tempfile::tempdir_in(&unfinished).map_err(CacheError::at(&unfinished))?;
        make(folder.path(), progress)?;
        // What the system has not written yet when the power fails would be there, but empty.
        let opened = File::open(folder.path()).map_err(CacheError::at(folder.path()))?;
        rustix::fs::syncfs(&opened).map_err(|e| CacheError::at(folder.path())(e.into()))?;
        let finished = folder.keep();
        fs::rename(&finished, &place).map_err(CacheError::at(&place))?;
        Ok(place)
    }

    /// Removes what a program that was killed has left.
    fn clear_unfinished(&self) -> Result<(), CacheError> {
        let unfinished = self.unfinished();
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::at(&unfinished)(error))
            }
            _ => Ok(()),
        }
    }

    /// By its name ours: the folder that is named for a cache may hold other things.
    fn unfinished(&self) -> PathBuf {
        self.folder.join("memtwin-unfinished")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    fn cache(folder: &Path) -> Cache {
        Cache::open(folder, &mut Silent).unwrap()
    }

    #[test]
    fn a_thing_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let made = cache.entry("kind", "key", &mut Silent, |folder, _| {
            fs::write(folder.join("file"), "whole").map_err(CacheError::at(folder))
        });
        let made = made.unwrap();
        assert_eq!(fs::read(made.join("file")).unwrap(), b"whole");
        assert!(cache.has("kind", "key"));
        let again =
            cache.entry("kind", "key", &mut Silent, |_, _| Err(CacheError::NoPlace)).unwrap();
        assert_eq!(again, made);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let failed = cache.entry("kind", "key", &mut Silent, |folder, _| {
            fs::write(folder.join("file"), "half").unwrap();
            Err(CacheError::NoPlace)
        });
        assert!(matches!(failed, Err(CacheError::NoPlace)));
        assert!(!cache.has("kind", "key"));
        assert_eq!(fs::read_dir(cache.unfinished()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_program_has_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("memtwin-unfinished/left");
        let others = folder.path().join("unfinished/others");
        fs::create_dir_all(&left).unwrap();
        fs::create_dir_all(&others).unwrap();
        cache(folder.path()).alone(&mut Silent).unwrap();
        assert!(!left.exists());
        assert!(others.exists());
    }

    /// Gives up at once.
    struct Impatient(Vec<String>);

    impl Progress for Impatient {
        fn say(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }

        fn is_cancelled(&self) -> bool {
            !self.0.is_empty()
        }
    }

    #[test]
    fn who_makes_something_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, others) = (cache(folder.path()), cache(folder.path()));
        let impatient = || Impatient(Vec::new());
        let waits = |waited: Impatient| {
            assert!(waited.0[0].starts_with("waiting: another program uses "), "{:?}", waited.0);
        };
        // Nothing is made, or taken away, while another looks on.
        let mut waited = impatient();
        let made = ours.entry("kind", "key", &mut waited, |_, _| Ok::<_, CacheError>(()));
        assert!(matches!(made, Err(CacheError::Cancelled)));
        waits(waited);
        assert!(!others.has("kind", "key"));
        drop(others);
        let make = |_: &Path, _: &mut dyn Progress| {
            let mut waited = impatient();
            let theirs = Cache::open(folder.path(), &mut waited);
            assert!(matches!(theirs, Err(CacheError::Cancelled)));
            waits(waited);
            Ok::<_, CacheError>(())
        };
        let made = ours.entry("kind", "key", &mut Silent, make).unwrap();
        drop(ours);
        // What is there is everybody's.
        let (ours, others) = (cache(folder.path()), cache(folder.path()));
        for cache in [ours, others] {
            let there = cache.entry("kind", "key", &mut Silent, |_, _| Err(CacheError::NoPlace));
            assert_eq!(there.unwrap(), made);
        }
    }

    #[test]
    fn two_that_want_the_same_make_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let (made, together) = (AtomicU32::new(0), Barrier::new(2));
        thread::scope(|scope| {
            let (together, path, made) = (&together, folder.path(), &made);
            for _ in 0..2 {
                scope.spawn(move || {
                    let cache = cache(path);
                    // Both have it open, and neither finds it.
                    together.wait();
                    let make = |folder: &Path, _: &mut dyn Progress| {
                        made.fetch_add(1, Ordering::Relaxed);
                        fs::write(folder.join("file"), "whole").map_err(CacheError::at(folder))
                    };
                    let place = cache.entry("kind", "key", &mut Silent, make).unwrap();
                    assert_eq!(fs::read(place.join("file")).unwrap(), b"whole");
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
