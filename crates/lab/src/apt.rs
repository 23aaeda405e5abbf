//! Debian packages of any architecture and suite (or a suite with its backports), through an apt whose state is our own: its lists and
//! downloads lie in the cache, the system's apt and dpkg are not touched, and no root is needed. apt
//! verifies what it fetches with the keys that the system's sources name.

mod configuration;
mod package;
mod thinned;

use crate::command::{self, CommandError};
use crate::sources::{Sources, SourcesError};
use crate::{Arch, Cache, CacheError, Progress};
pub use package::Package;
use package::{printed, set_key};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use thinned::Thinned;

/// How long the lists, or a package, may take.
const LIMIT: Duration = Duration::from_secs(900);

/// Why there are no packages.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// apt or dpkg failed, or is not there.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It is not known where from.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// There is no place for them.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// apt prints a package in a way that we don't know.
    #[error(
        "apt prints a package as \"{line}\", expected 'URI' NAME BYTES SHA256:DIGEST; report it with apt's version"
    )]
    NotUnderstood {
        /// What it printed.
        line: String,
    },
    /// apt does not know a package, or answers in a way that we don't know.
    #[error("apt knows no package {name} of {arch} in {suite}")]
    Unknown {
        /// The package.
        name: String,
        /// Its architecture.
        arch: Arch,
        /// Where it was looked for.
        suite: String,
    },
}

impl AptError {
    /// Whether the work was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Command(CommandError::Cancelled) | Self::Cache(CacheError::Cancelled))
    }
}

/// apt for one architecture and one suite, or a suite with those that build on it.
#[derive(Debug)]
pub struct Apt<'a> {
    cache: &'a Cache,
    arch: Arch,
    suite: String,
    folder: PathBuf,
}

impl<'a> Apt<'a> {
    /// Sets it up; fetches the lists if they are not there. Lists that are there are used as they are,
    /// so that nothing changes by itself, until [`Apt::refresh`].
    ///
    /// Errors: no archive has the suite, or the lists can't be obtained.
    pub fn open(
        cache: &'a Cache,
        arch: Arch,
        suite: &str,
        progress: &mut dyn Progress,
    ) -> Result<Self, AptError> {
        Self::open_suites(cache, arch, &[suite], progress)
    }

    /// The same for a suite and what builds on it, as `trixie` and `trixie-backports`: the last has
    /// precedence, and the others have what it lacks.
    ///
    /// Errors: as [`Apt::open`].
    pub fn open_suites(
        cache: &'a Cache,
        arch: Arch,
        suites: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Self, AptError> {
        let system = Sources::read(Path::new("/"))?;
        // No translations, no icons.
        let stanza = |suite: &&str| {
            system.stanza(suite, Some(arch.debian())).map(|text| text + "Targets: Packages\n")
        };
        let sources = suites.iter().map(stanza).collect::<Result<Vec<_>, _>>()?.join("\n");
        // Other sources, other lists.
        let digest = blake3::hash(sources.as_bytes()).to_hex();
        let suite = suites.join("+");
        let name = format!("apt/{suite}-{}-{}", arch.debian(), &digest[..8]);
        let apt = Self { cache, arch, suite, folder: cache.folder(&name) };
        let preferred = suites.last().filter(|_| suites.len() > 1).copied();
        let own = configuration::files(&apt.folder, arch, &sources, preferred);
        if !configuration::is_there(&own) {
            cache.alone(progress)?;
            configuration::write(&apt.folder, &own)?;
        }
        if !apt.fetched().exists() {
            cache.alone(progress)?;
            // Another may have fetched them meanwhile.
            if !apt.fetched().exists() {
                apt.refresh(progress)?;
            }
        }
        Ok(apt)
    }

    /// Fetches the lists.
    ///
    /// Errors: one of them can't be obtained.
    pub fn refresh(&self, progress: &mut dyn Progress) -> Result<(), AptError> {
        self.cache.alone(progress)?;
        progress.say(&format!("lists of {} for {}", self.suite, self.arch));
        // What the old lists said holds no longer, whatever comes of this.
        for old in [self.answers(), self.fetched()] {
            let removed =
                if old.is_dir() { fs::remove_dir_all(&old) } else { fs::remove_file(&old) };
            removed.or_else(absent).map_err(CacheError::at(&old))?;
        }
        command::run(self.command("apt-get").arg("update"), LIMIT, progress)?;
        let fetched = self.fetched();
        Ok(fs::write(&fetched, "").map_err(CacheError::at(&fetched))?)
    }

    /// The current versions of packages, in the order of their names here.
    ///
    /// Errors: one is unknown.
    pub fn resolve(
        &self,
        names: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, AptError> {
        let words = [&["download", "--print-uris"], names].concat();
        let said = self.answer("apt-get", &words, progress);
        let said = match said {
            Err(AptError::Command(CommandError::Failed { last, .. }))
                if last.iter().any(|line| line.contains("Unable to locate package")) =>
            {
                let quoted = last.iter().find_map(|line| line.split_once("locate package "));
                return Err(self.unknown(quoted.map_or("", |(_, name)| name)));
            }
            said => said?,
        };
        let packages: Vec<Package> = said.lines().filter_map(printed).collect();
        let package = |name: &&str| {
            let package = packages.iter().find(|package| package.name == *name).cloned();
            package.ok_or_else(|| self.unknown(name))
        };
        names.iter().map(package).collect()
    }

    /// Packages with all that they depend on, but not what is only recommended; sorted by name.
    ///
    /// Errors: one is unknown.
    pub fn closure(
        &self,
        names: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, AptError> {
        // Nothing is installed: our apt knows no installed package, and prints only.
        let install = ["install", "--print-uris", "--no-install-recommends", "-qq"];
        let said = self.answer("apt-get", &[&install, names].concat(), progress)?;
        let mut packages = all_printed(&said)?;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        match names.iter().find(|name| !packages.iter().any(|package| package.name == **name)) {
            Some(name) => Err(self.unknown(name)),
            None => Ok(packages),
        }
    }

    /// Whether the files of packages are in the cache.
    pub fn has_files(&self, packages: &[Package]) -> bool {
        self.cache.has("sets", &set_key(packages))
    }

    /// The folder with the files of packages, as the archive has them, fetched together if they are
    /// not there.
    ///
    /// Errors: one can't be fetched; then none of them is in the cache.
    pub fn files(
        &self,
        packages: &[Package],
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, AptError> {
        self.cache.entry::<AptError>("sets", &set_key(packages), progress, |folder, progress| {
            let bytes: u64 = packages.iter().map(|package| package.bytes).sum();
            progress.say(&format!("{} packages ({:.1} MB)", packages.len(), bytes as f64 / 1e6));
            let exact = packages.iter().map(|p| format!("{}={}", p.name, p.version));
            let mut apt = self.command("apt-get");
            apt.args(["-q", "download"]).args(exact).current_dir(folder);
            Ok(command::run(&mut apt, LIMIT, &mut Thinned::new(progress))?)
        })
    }

    /// The names of the packages that a package depends on, without alternatives and versions.
    ///
    /// Errors: it is unknown.
    pub fn depends(
        &self,
        package: &Package,
        progress: &mut dyn Progress,
    ) -> Result<Vec<String>, AptError> {
        let exact = format!("{}={}", package.name, package.version);
        let said = self.answer("apt-cache", &["show", &exact], progress)?;
        let depends = said.lines().find_map(|line| line.strip_prefix("Depends:"));
        let names = depends.unwrap_or_default().split(',');
        Ok(names.filter_map(|name| name.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Whether a package is in the cache.
    pub fn has(&self, package: &Package) -> bool {
        self.cache.has("packages", &package.key())
    }

    /// The folder with a package's files, fetched if it isn't there.
    ///
    /// Errors: it can't be fetched or unpacked; then nothing of it is in the cache.
    pub fn unpacked(
        &self,
        package: &Package,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, AptError> {
        let Package { name, version, bytes, .. } = package;
        self.cache.entry("packages", &package.key(), progress, |folder, progress| {
            progress.say(&format!("package {name} {version} ({:.1} MB)", *bytes as f64 / 1e6));
            let mut apt = self.command("apt-get");
            apt.args(["download", &format!("{name}={version}")]).current_dir(folder);
            command::run(&mut apt, LIMIT, progress)?;
            let file = only_file(folder).ok_or_else(|| self.unknown(name))?;
            let mut unpack = Command::new("dpkg-deb");
            command::run(unpack.arg("-x").arg(&file).arg(folder), LIMIT, progress)?;
            Ok(fs::remove_file(&file).map_err(CacheError::at(&file))?)
        })
    }

    fn unknown(&self, name: &str) -> AptError {
        let name = name.trim().to_owned();
        AptError::Unknown { name, arch: self.arch, suite: self.suite.clone() }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Messages that we can read, and no questions.
        command.env("LC_ALL", "C").arg("-c").arg(self.folder.join("apt.conf"));
        command
    }

    /// What a command of apt says about the lists. It is kept as long as they are, as apt needs a
    /// second to read them.
    fn answer(
        &self,
        program: &str,
        words: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<String, AptError> {
        let key = blake3::hash([&[program], words].concat().join(" ").as_bytes()).to_hex();
        let kept = self.answers().join(&key[..16]);
        if let Ok(answer) = fs::read_to_string(&kept) {
            return Ok(answer);
        }
        // apt writes an index of the lists when it reads them.
        self.cache.alone(progress)?;
        let answer = command::output(self.command(program).args(words), LIMIT, progress)?;
        let unfinished = kept.with_extension("unfinished");
        fs::create_dir_all(self.answers()).map_err(CacheError::at(&self.answers()))?;
        fs::write(&unfinished, &answer).map_err(CacheError::at(&unfinished))?;
        fs::rename(&unfinished, &kept).map_err(CacheError::at(&kept))?;
        Ok(answer)
    }

    fn answers(&self) -> PathBuf {
        self.folder.join("answers")
    }

    /// Written when all lists are there.
    fn fetched(&self) -> PathBuf {
        self.folder.join("fetched")
    }
}

/// The packages that apt printed. None is left out: what is made of them would lack it.
fn all_printed(said: &str) -> Result<Vec<Package>, AptError> {
    let package =
        |line: &str| printed(line).ok_or_else(|| AptError::NotUnderstood { line: line.to_owned() });
    said.lines().filter(|line| line.starts_with('\'')).map(package).collect()
}

/// What is to be removed may be gone.
fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// The package that lies in a folder, alone.
fn only_file(folder: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut debs = paths.filter(|path| path.extension().is_some_and(|ending| ending == "deb"));
    debs.next().filter(|_| debs.next().is_none())
}

#[cfg(test)]
mod tests;
