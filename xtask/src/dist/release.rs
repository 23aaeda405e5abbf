//! What this tree is released as, and how a step towards it is taken.

use crate::interrupt::Interrupt;
use crate::run::run;
use crate::workspace::{root, said};
use anyhow::{Context, ensure};
use std::process::Command;
use std::time::Duration;

/// How long a step may take that builds.
pub(super) const BUILD_LIMIT: Duration = Duration::from_secs(1800);
/// How long another may take.
pub(super) const LIMIT: Duration = Duration::from_secs(600);

/// What this tree is released as.
pub(super) struct Release {
    pub(super) version: String,
    /// When its last commit was made, in seconds since 1970: what is built says so rather than the present.
    pub(super) epoch: u64,
}

impl Release {
    /// The last commit.
    pub(super) fn of_this_tree() -> anyhow::Result<Self> {
        let mut git = Command::new("git");
        git.current_dir(root()).args(["log", "-1", "--format=%ct"]);
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().or_else(|| said(&mut git)).context(
            "git does not say when the last commit was made; without git set SOURCE_DATE_EPOCH",
        )?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: epoch.trim().parse().context("the commit's time, or SOURCE_DATE_EPOCH")?,
        })
    }
}

/// Runs a command to its end.
///
/// Errors: it failed, or took too long.
pub(super) fn done(
    command: &mut Command,
    limit: Duration,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    eprintln!("$ {}", crate::steps::shown(command));
    let ended = run(command, limit, interrupt)?;
    ensure!(ended.is_success(), "{}: {ended}", command.get_program().display());
    Ok(())
}
