//! The toolchain for the other architecture: Memtwin runs on x86-64 and on aarch64, and each change
//! is checked for both. It is the active toolchain's, where rustup has its standard library, or
//! Debian's own.

use crate::packages::{self, Rights};
use crate::workspace::{cargo, said, works};
use std::fs;
use std::process::Command;

/// Debian's rustc.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Debian's `cargo clippy`.
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// An architecture other than this machine's.
pub(crate) struct Other {
    /// Its name for rustc.
    pub(crate) triple: &'static str,
    /// Its name for Debian.
    debian: &'static str,
    /// Its C compiler, for the C in the crates that we use.
    gcc: &'static str,
    /// Debian's packages of that compiler.
    gcc_packages: [&'static str; 2],
    /// Debian's packages of a Rust toolchain.
    rust_packages: [&'static str; 3],
}

const AARCH64: Other = Other {
    triple: "aarch64-unknown-linux-gnu",
    debian: "arm64",
    gcc: "aarch64-linux-gnu-gcc",
    gcc_packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    rust_packages: ["rustc-web", "rust-web-clippy", "libstd-rust-web-dev:arm64"],
};

const X86_64: Other = Other {
    triple: "x86_64-unknown-linux-gnu",
    debian: "amd64",
    gcc: "x86_64-linux-gnu-gcc",
    gcc_packages: ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
    rust_packages: ["rustc-web", "rust-web-clippy", "libstd-rust-web-dev:amd64"],
};

/// The architecture that this machine is not.
pub(crate) fn other() -> &'static Other {
    if std::env::consts::ARCH == "aarch64" { &X86_64 } else { &AARCH64 }
}

/// A Rust toolchain that knows the other architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The one that runs us.
    Active,
    /// Debian's rustc, under our cargo.
    Debian,
}

impl Other {
    /// A toolchain that can check for it, if everything is there.
    pub(crate) fn toolchain(&self) -> Option<Toolchain> {
        self.rust().filter(|_| self.has_gcc())
    }

    /// What is missing, in words and with what would help.
    pub(crate) fn missing(&self) -> Vec<String> {
        let Self { triple, gcc, .. } = self;
        let mut missing = Vec::new();
        if self.rust().is_none() {
            missing.push(format!(
                "Rust's standard library for {triple}: rustup target add {triple}, or Debian's {} after dpkg --add-architecture {}",
                self.rust_packages.join(" "),
                self.debian
            ));
        }
        if !self.has_gcc() {
            missing.push(format!(
                "{gcc} with the C library's headers: Debian's and Ubuntu's {}",
                self.gcc_packages.join(" ")
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
            packages.extend(self.rust_packages);
        }
        if !self.has_gcc() {
            packages.extend(self.gcc_packages);
        }
        packages::install(&packages, rust.then_some(self.debian), rights, interrupt)
    }

    /// The command that checks the workspace for it, with clippy where the toolchain has it.
    pub(crate) fn check(&self, toolchain: Toolchain) -> Command {
        let (mut command, clippy) = match toolchain {
            Toolchain::Active => (cargo(&["clippy"]), true),
            Toolchain::Debian => {
                // Its driver must be of the same make as the library that it reads.
                let clippy = works(Command::new(DEBIAN_CLIPPY).arg("--version"));
                let mut command = cargo(&["check"]);
                if clippy {
                    let cargo = command.get_program().to_owned();
                    command = Command::new(DEBIAN_CLIPPY);
                    command.arg("clippy").current_dir(crate::workspace::root()).env("CARGO", cargo);
                }
                command.env("RUSTC", DEBIAN_RUSTC);
                (command, clippy)
            }
        };
        command.args(["--workspace", "--all-targets", "--target", self.triple]);
        // Apart, so that two toolchains do not take turns in throwing out each other's work.
        command.args(["--target-dir", "target/cross"]);
        if clippy {
            command.args(["--", "-D", "warnings"]);
        }
        command
    }

    fn rust(&self) -> Option<Toolchain> {
        if has_library(&active_rustc(), self.triple) {
            Some(Toolchain::Active)
        } else if has_library(DEBIAN_RUSTC, self.triple) && is_new_enough(DEBIAN_RUSTC) {
            Some(Toolchain::Debian)
        } else {
            None
        }
    }

    fn has_gcc(&self) -> bool {
        let preprocess = ["-E", "-include", "stdio.h", "-x", "c", "/dev/null", "-o", "/dev/null"];
        works(Command::new(self.gcc).args(preprocess))
    }
}

/// The rustc that our cargo uses.
pub(crate) fn active_rustc() -> String {
    std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())
}

fn has_library(rustc: &str, triple: &str) -> bool {
    let Some(folder) =
        said(Command::new(rustc).args(["--print", "target-libdir", "--target", triple]))
    else {
        return false;
    };
    fs::read_dir(folder.trim()).is_ok_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| file.file_name().as_encoded_bytes().starts_with(b"libstd-"))
        })
    })
}

/// Whether a rustc can build the workspace.
fn is_new_enough(rustc: &str) -> bool {
    let version = said(Command::new(rustc).arg("--version"));
    let version = version.as_deref().and_then(|version| version.strip_prefix("rustc "));
    version.and_then(minor) >= minor(env!("CARGO_PKG_RUST_VERSION"))
}

/// The 88 of `1.88` and of `1.88.0 (…)`.
pub(crate) fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(minor("1.88"), Some(88));
        assert_eq!(minor("1.100.1 (abc 2030-01-01)"), Some(100));
        assert_eq!(minor("1.95 (abc 2026-01-01)"), Some(95));
        assert!(minor("1.100") > minor("1.88"));
        assert_eq!(minor("nonsense"), None);
    }

    #[test]
    fn the_host_has_its_own_library_and_not_that_of_a_target_that_is_none() {
        let host = if std::env::consts::ARCH == "aarch64" { AARCH64 } else { X86_64 };
        assert!(has_library("rustc", host.triple));
        assert!(!has_library("rustc", "no-such-target"));
        assert!(!has_library("/no/such/rustc", host.triple));
    }
}
