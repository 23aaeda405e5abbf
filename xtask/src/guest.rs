//! `cargo xtask guest`: builds the programs that run in guests.

use crate::interrupt::Interrupt;
use crate::shown::Shown;
use clap::Args;
use memtwin_lab::Arch;
use memtwin_lab::cross::{self, CrossError};

/// What to build.
#[derive(Args)]
pub(crate) struct GuestBuild {
    /// aarch64 or x86_64 [default: both]
    #[arg(long)]
    arch: Vec<Arch>,
    /// Build Memtwin's own command as well
    #[arg(long)]
    memtwin: bool,
}

impl GuestBuild {
    /// What the tests take into their guests and onto their boards.
    pub(crate) fn of_the_tests() -> Self {
        Self { arch: vec![Arch::Aarch64], memtwin: true }
    }

    /// Builds it. Whether all could be built.
    ///
    /// Errors: there is no toolchain for an architecture.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        let archs = if self.arch.is_empty() { &Arch::ALL[..] } else { &self.arch };
        let mut packages = vec![cross::GUEST];
        packages.extend(self.memtwin.then_some(cross::MEMTWIN));
        let source = cross::source(None)?;
        for &arch in archs {
            match cross::build(&source, arch, &packages, &mut Shown(interrupt)) {
                Ok(programs) => programs.iter().for_each(|path| println!("{}", path.display())),
                Err(CrossError::Cargo(error)) => {
                    eprintln!("xtask: {error}");
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
