//! What a test needs of the machine, and what is said where it is missing.

use crate::{MemoryCgroup, release_program};
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

/// Something that not every machine has.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// A program, as [`program`] finds it.
    Program(&'static str),
    /// A QEMU of this version (`7.2`), as [`release_program`] finds it.
    Release(&'static str),
    /// A usable /dev/kvm.
    Kvm,
    /// To be root.
    Root,
    /// A memory cgroup of its own.
    MemoryCgroup,
    /// To make a [`LoopDevice`](crate::LoopDevice).
    LoopDevice,
}

impl Need {
    /// Why it is missing, if it is.
    fn lack(self) -> Option<String> {
        match self {
            Self::Program(name) => {
                let paths = std::env::var_os("PATH").unwrap_or_default();
                let program = PathBuf::from(program(name));
                // An absolute path stands for itself when it is joined.
                let found = std::env::split_paths(&paths).any(|path| path.join(&program).is_file());
                (!found).then(|| format!("{} is not installed", program.display()))
            }
            Self::Release(version) => {
                let program = release_program(version, "qemu-system-x86_64");
                let lacks = || {
                    format!(
                        "no QEMU {version} at {}: cargo xtask repro --qemu-version {version} fetches it",
                        program.display()
                    )
                };
                (!program.is_file()).then(lacks)
            }
            Self::Kvm => {
                let opened = File::options().read(true).write(true).open("/dev/kvm");
                opened.err().map(|error| format!("/dev/kvm: {error}"))
            }
            Self::LoopDevice => {
                let opened = File::options().read(true).write(true).open("/dev/loop-control");
                opened.err().map(|error| format!("/dev/loop-control: {error}"))
            }
            Self::MemoryCgroup => MemoryCgroup::lacks(),
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "not root".to_owned()),
        }
    }
}

/// The program that stands for this one in tests: what the environment variable of its name says
/// (`QEMU_SYSTEM_X86_64` for qemu-system-x86_64; perhaps an older QEMU), or itself.
pub fn program(name: &str) -> OsString {
    let variable = name.replace('-', "_").to_uppercase();
    std::env::var_os(variable).unwrap_or_else(|| name.into())
}

/// Whether something is missing: then the test that asks returns, and the reason was printed.
///
/// Panics instead where nothing may be missing (`CI=true`).
#[allow(clippy::print_stderr, reason = "it is what the reader of a test's output looks for")]
pub fn lacks(needs: &[Need]) -> bool {
    let lacks: Vec<_> = needs.iter().filter_map(|need| need.lack()).collect();
    if lacks.is_empty() {
        return false;
    }
    let reason = lacks.join(", ");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "nothing may lack in CI: {reason}"
    );
    eprintln!("skipped: {reason}");
    true
}
