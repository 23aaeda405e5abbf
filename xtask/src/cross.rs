//! The toolchain for the other architecture: Memtwin runs on x86-64 and on aarch64, and each change
//! is checked for both. It is the active toolchain's, where rustup has its standard library, or
//! Debian's own.

use crate::packages::{self, Rights};
use crate::workspace::{cargo, works};
use memtwin_lab::Arch;
use memtwin_lab::rustc::{self, has_gcc, has_library, is_new_enough};
use std::process::Command;

/// Debian's `cargo clippy`.
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";
/// Debian's package of it.
const CLIPPY_PACKAGE: &str = "rust-web-clippy";

/// An architecture other than this machine's.
#[derive(Clone, Copy)]
pub(crate) struct Other {
    arch: Arch,
    /// Its name for rustc.
    pub(crate) triple: &'static str,
}

/// The architecture that this machine is not.
pub(crate) fn other() -> Other {
    let arch = if Arch::host() == Arch::Aarch64 { Arch::X86_64 } else { Arch::Aarch64 };
    Other { arch, triple: arch.gnu() }
}

/// A Rust toolchain that knows the other architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrossToolchain {
    /// The one that runs us.
    Active,
    /// Debian's rustc, under our cargo.
    Debian,
}

impl Other {
    /// A toolchain that can check for it, if everything is there.
    pub(crate) fn toolchain(&self) -> Option<CrossToolchain> {
        self.rust().filter(|_| has_gcc(self.arch.gcc()))
    }

    /// What is missing, in words and with what would help.
    pub(crate) fn missing(&self) -> Vec<String> {
        let Self { triple, arch } = self;
        let mut missing = Vec::new();
        if self.rust().is_none() {
            missing.push(format!(
                "Rust's standard library for {triple}: rustup target add {triple}, or Debian's {} after dpkg --add-architecture {}",
                self.rust_packages().join(" "),
                arch.debian()
            ));
        }
        if !has_gcc(arch.gcc()) {
            missing.push(format!(
                "{} with the C library's headers: Debian's and Ubuntu's {}",
                arch.gcc(),
                arch.gcc_packages().join(" ")
            ));
        }
        missing
    }

    /// Installs what is missing from Debian's packages.
    pub(crate) fn install(
        &self,
        rights: Rights,
        interrupt: &crate::interrupt::Interrupt,
    ) -> anyhow::Result<()> {
        let mut packages = Vec::new();
        let rust = self.rust().is_none();
        if rust {
            packages.extend(self.rust_packages());
            packages::add_architecture(self.arch.debian(), rights, interrupt)?;
        }
        if !has_gcc(self.arch.gcc()) {
            packages.extend(self.arch.gcc_packages());
        }
        packages::install(&packages, None, rights, interrupt)
    }

    fn rust_packages(&self) -> Vec<&'static str> {
        let library = self.arch.rust_packages();
        library.into_iter().chain([CLIPPY_PACKAGE]).collect()
    }

    /// The command that checks these packages for it, with clippy where the toolchain has it.
    pub(crate) fn check(&self, toolchain: CrossToolchain, packages: &[String]) -> Command {
        let (mut command, clippy) = match toolchain {
            CrossToolchain::Active => (cargo(&["clippy"]), true),
            CrossToolchain::Debian => {
                // Its driver must be of the same make as the library that it reads.
                let clippy = works(Command::new(DEBIAN_CLIPPY).arg("--version"));
                let mut command = cargo(&["check"]);
                if clippy {
                    let cargo = command.get_program().to_owned();
                    command = Command::new(DEBIAN_CLIPPY);
                    command.arg("clippy").current_dir(crate::workspace::root()).env("CARGO", cargo);
                }
                command.env("RUSTC", rustc::DEBIAN);
                (command, clippy)
            }
        };
        packages.iter().for_each(|package| {
            command.args(["--package", package]);
        });
        command.args(["--all-targets", "--target", self.triple]);
        // Apart, so that two toolchains do not take turns in throwing out each other's work.
        command.args(["--target-dir", "target/cross"]);
        if clippy {
            command.args(["--", "-D", "warnings"]);
        }
        command
    }

    fn rust(&self) -> Option<CrossToolchain> {
        if has_library(&rustc::active(), self.triple) {
            Some(CrossToolchain::Active)
        } else if has_library(rustc::DEBIAN, self.triple) && is_new_enough(rustc::DEBIAN) {
            Some(CrossToolchain::Debian)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_architecture_is_not_this_one() {
        assert_ne!(other().arch, Arch::host());
        assert!(other().rust_packages().contains(&CLIPPY_PACKAGE));
    }
}
