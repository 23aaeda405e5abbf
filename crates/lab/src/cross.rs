//! Builds programs of this workspace for a guest: static ones, so that they run in any, with whichever
//! toolchain is there.

use crate::command::{self, CommandError};
use crate::rustc::{self, has_gcc, has_library, is_new_enough};
use crate::{Arch, CacheError, Progress};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a build may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// The package of the programs that run in guests.
pub const GUEST: &str = "memtwin-guest";
/// The package of Memtwin's own command.
pub const MEMTWIN: &str = "memtwin";

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum CrossError {
    /// No toolchain builds static programs for the architecture.
    #[error(
        "no toolchain builds static programs for {arch}; one of these would:{}",
        command::indented(ways)
    )]
    NoToolchain {
        /// The architecture.
        arch: Arch,
        /// What would help.
        ways: Vec<String>,
    },
    /// The source tree isn't where it was.
    #[error("{}: no source tree of Memtwin: clone it, and give its folder with --source", folder.display())]
    NoSource {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// cargo failed, or is not there.
    #[error(transparent)]
    Cargo(#[from] CommandError),
    /// cargo has built nothing.
    #[error("cargo built no program of {packages}")]
    Nothing {
        /// The packages.
        packages: String,
    },
    /// A program can't be put in its place.
    #[error(transparent)]
    File(#[from] CacheError),
}

/// A toolchain that builds static programs for an architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler; none if it is the active one.
    rustc: Option<&'static str>,
    /// Rust's target.
    triple: &'static str,
    /// The linker, unless it is the usual one.
    linker: Option<&'static str>,
}

impl Toolchain {
    /// Finds one: the active toolchain for musl, the active one for GNU, or Debian's.
    ///
    /// Errors: there is none.
    pub fn find(arch: Arch) -> Result<Self, CrossError> {
        let active = rustc::active();
        // Programs for this machine are linked as all are; for another its compiler is needed.
        let linker = (arch != Arch::host()).then(|| arch.gcc());
        let links = linker.is_none_or(has_gcc);
        let with = |rustc, triple| Self { rustc, triple, linker };
        match arch {
            _ if links && has_library(&active, arch.musl()) => Ok(with(None, arch.musl())),
            _ if links && has_library(&active, arch.gnu()) => Ok(with(None, arch.gnu())),
            _ if links
                && has_library(rustc::DEBIAN, arch.gnu())
                && is_new_enough(rustc::DEBIAN) =>
            {
                Ok(with(Some(rustc::DEBIAN), arch.gnu()))
            }
            _ => Err(CrossError::NoToolchain { arch, ways: ways(arch) }),
        }
    }

    /// The target that it builds for, as rustc names it.
    pub fn triple(&self) -> &'static str {
        self.triple
    }

    /// cargo, told to build with it.
    fn cargo(&self, profile: &str) -> Command {
        let mut command = rustc::cargo();
        // What a cargo that runs us says of our package, build scripts would take for a change: all
        // would be built again each time another program asks.
        let ours = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_"];
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if ours.iter().any(|prefix| name_text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        let key = self.triple.to_uppercase().replace('-', "_");
        command
            // Of these the first that is set counts, and the user's may not be for this target.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        if let Some(linker) = self.linker {
            command.env(format!("CARGO_TARGET_{key}_LINKER"), linker);
            // For the C in the crates that we use.
            command.env(format!("CC_{}", self.triple.replace('-', "_")), linker);
        }
        if let Some(rustc) = self.rustc {
            command.env("RUSTC", rustc);
        }
        command.args(["build", "--profile", profile, "--target", self.triple]);
        command
    }
}

/// What would give a toolchain.
fn ways(arch: Arch) -> Vec<String> {
    let gcc = arch.gcc_packages().join(" ");
    let rust = arch.rust_packages().join(" ");
    let musl = arch.musl();
    let mut ways = vec![
        format!("rustup target add {musl}"),
        format!("on Debian: dpkg --add-architecture {}; apt-get install {rust}", arch.debian()),
    ];
    if arch != Arch::host() {
        ways.iter_mut().for_each(|way| way.push_str(&format!("; and Debian's and Ubuntu's {gcc}")));
    }
    ways
}

/// The source tree: the one that is given, or the one that this was built from.
///
/// Errors: it isn't there.
pub fn source(given: Option<&Path>) -> Result<PathBuf, CrossError> {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = given.map_or_else(own, Path::to_owned);
    let there = folder.join("guest/Cargo.toml").is_file() && folder.join("Cargo.toml").is_file();
    match folder.canonicalize() {
        Ok(folder) if there => Ok(folder),
        _ => Err(CrossError::NoSource { folder }),
    }
}

/// Builds packages of the source tree for an architecture, optimised where they are hot: somebody waits for them.
/// The programs lie in `target/guest/ARCH` of the source tree; returned are their paths, sorted.
///
/// Errors: there is no toolchain for it, or the build fails.
pub fn build(
    source: &Path,
    arch: Arch,
    packages: &[&str],
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, CrossError> {
    build_profile(source, arch, packages, ("board", "guest"), progress)
}

/// The same in this profile of cargo; the programs lie in `target/FOLDER/ARCH`.
///
/// Errors: as [`build`].
pub fn build_profile(
    source: &Path,
    arch: Arch,
    packages: &[&str],
    (profile, folder): (&str, &str),
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, CrossError> {
    let toolchain = Toolchain::find(arch)?;
    // A folder of its own, as others build with other flags, and at the same time.
    let target = source.join("target").join(folder);
    let mut cargo = toolchain.cargo(profile);
    cargo.current_dir(source).arg("--target-dir").arg(target.join("build"));
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    cargo.args(["--bins", "--message-format=json-render-diagnostics"]);
    progress.say(&format!("{} for {}", packages.join(", "), toolchain.triple));
    let messages = command::output(&mut cargo, LIMIT, progress)?;

    let folder = target.join(arch.name());
    fs::create_dir_all(&folder).map_err(CacheError::at(&folder))?;
    let mut programs = Vec::new();
    for built in executables(&messages) {
        let Some(name) = built.file_name() else { continue };
        let place = folder.join(name);
        replace(&built, &place)?;
        programs.push(place);
    }
    if programs.is_empty() {
        return Err(CrossError::Nothing { packages: packages.join(", ") });
    }
    programs.sort();
    Ok(programs)
}

/// The programs that cargo says it has built.
fn executables(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    let executable = |message: serde_json::Value| message["executable"].as_str().map(PathBuf::from);
    messages.filter_map(executable).collect()
}

/// Copies a file in one step, so that whoever reads it sees a whole one.
fn replace(from: &Path, to: &Path) -> Result<(), CacheError> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    fs::copy(from, &unfinished).map_err(CacheError::at(from))?;
    fs::rename(&unfinished, to).map_err(CacheError::at(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_source_tree_is_found() {
        let own = source(None).unwrap();
        assert!(own.join("crates/lab/Cargo.toml").is_file());
        assert_eq!(source(Some(&own)).unwrap(), own);
        let error = source(Some(Path::new("/no/such/tree"))).unwrap_err().to_string();
        assert!(error.starts_with("/no/such/tree: no source tree"), "{error}");
    }

    #[test]
    fn a_missing_toolchain_comes_with_what_would_help() {
        let other = Arch::ALL.into_iter().find(|arch| *arch != Arch::host()).unwrap();
        let error = CrossError::NoToolchain { arch: other, ways: ways(other) }.to_string();
        assert!(error.contains(&format!("rustup target add {}", other.musl())), "{error}");
        assert!(error.contains(other.gcc_packages()[0]), "{error}");
    }

    #[test]
    fn programs_are_read_from_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\nnoise\n{\"executable\":\"/t/writeout\"}\n";
        assert_eq!(executables(messages), [PathBuf::from("/t/writeout")]);
    }
}
