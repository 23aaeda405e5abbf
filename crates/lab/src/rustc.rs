//! Which Rust compilers there are, and what they can build for.

use std::fs;
use std::process::Command;

/// Debian's rustc.
pub const DEBIAN: &str = "/usr/bin/rustc";

/// The rustc that our cargo uses.
pub fn active() -> String {
    std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())
}

/// The cargo that runs us, or the one that a shell would find.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether a rustc has the standard library of a target.
pub fn has_library(rustc: &str, triple: &str) -> bool {
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
pub fn is_new_enough(rustc: &str) -> bool {
    let version = said(Command::new(rustc).arg("--version"));
    let version = version.as_deref().and_then(|version| version.strip_prefix("rustc "));
    version.and_then(minor) >= minor(env!("CARGO_PKG_RUST_VERSION"))
}

/// The 88 of `1.88` and of `1.88.0 (…)`.
pub fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether a C compiler is there, with its C library's headers.
pub fn has_gcc(gcc: &str) -> bool {
    let preprocess = ["-E", "-include", "stdio.h", "-x", "c", "/dev/null", "-o", "/dev/null"];
    said(Command::new(gcc).args(preprocess)).is_some()
}

/// What a program says on standard output, if it is there and content.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arch;

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
        let host = Arch::host().gnu();
        assert!(has_library("rustc", host));
        assert!(!has_library("rustc", "no-such-target"));
        assert!(!has_library("/no/such/rustc", host));
        assert!(!has_gcc("/no/such/gcc"));
    }
}
