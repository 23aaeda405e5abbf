//! Prometheus's promtool, which checks our metrics. Debian has it in a package with a server that nobody here
//! needs, so the package is fetched (19 MB) and not installed, and the one program is taken out of it.

use crate::interrupt::Interrupt;
use crate::programs::is_there;
use crate::run::run;
use crate::workspace::root;
use anyhow::{Context, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long the package may take.
const LIMIT: Duration = Duration::from_secs(300);
const PACKAGE: &str = "prometheus";
const PROGRAM: &str = "./usr/bin/promtool";

/// Sees to it that it is there: where a shell finds it, or in `target/tools`.
///
/// Errors: it can't be fetched.
pub(crate) fn fetch(interrupt: &Interrupt) -> anyhow::Result<()> {
    let place = place();
    if is_there("promtool") || place.is_file() {
        return Ok(());
    }
    let folder = place.parent().context("target/tools")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let work = tempfile::tempdir_in(folder).context("can't make a temporary folder")?;
    let step = |command: &mut Command| -> anyhow::Result<()> {
        let ended = run(command.current_dir(work.path()), LIMIT, interrupt)?;
        if ended.is_success() { Ok(()) } else { bail!("promtool: {ended}") }
    };
    // As us: apt's own user may not write here.
    step(Command::new("apt-get").args(["-q", "-o", "APT::Sandbox::User=", "download", PACKAGE]))?;
    let package = only_file(work.path())?;
    let tar = work.path().join("tar");
    let file = fs::File::create(&tar).context("can't make a file")?;
    step(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package).stdout(file))?;
    step(Command::new("tar").arg("-xf").arg(&tar).arg(PROGRAM))?;
    fs::rename(work.path().join(PROGRAM), &place).context("promtool")
}

/// Where it lies; `crates/report/tests/metrics.rs` looks there.
fn place() -> PathBuf {
    root().join("target/tools/promtool")
}

fn only_file(folder: &std::path::Path) -> anyhow::Result<PathBuf> {
    let mut files = fs::read_dir(folder).context("apt-get's folder")?;
    let file = files.next().context("apt-get has fetched nothing")?;
    Ok(file.context("apt-get's folder")?.path())
}
