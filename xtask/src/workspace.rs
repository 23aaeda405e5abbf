//! Where the workspace lies, and its cargo.

use crate::interrupt::Interrupt;
use crate::run::run;
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// A path as it is shown: from the workspace's folder on.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The cargo that runs us, in the workspace's folder.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// Whether cargo has a subcommand.
pub(crate) fn has_subcommand(name: &str) -> bool {
    works(&mut cargo(&[name, "--version"]))
}

/// Whether a program is there and content. What it says is not shown.
pub(crate) fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// What a program says on standard output, if it is there and content.
pub(crate) fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds a package's program, optimized; where it lies.
pub(crate) fn built(package: &str, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    let messages = folder.path().join("messages");
    let mut build = cargo(&["build", "--release", "--package", package]);
    build.arg("--message-format=json-render-diagnostics");
    build.stdout(File::create(&messages).context("can't make a file")?);
    let ended = run(&mut build, Duration::from_secs(1200), interrupt)?;
    if !ended.is_success() {
        bail!("cargo build: {ended}");
    }
    let messages = fs::read_to_string(&messages).context("can't read cargo's messages")?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no executable of {package}"))
}
