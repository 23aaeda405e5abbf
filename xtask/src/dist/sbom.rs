//! What the program is made of, by cargo-cyclonedx, which knows the format and what cargo resolves.

use super::release::{BUILD_LIMIT, LIMIT, Release, done};
use super::stage;
use crate::interrupt::Interrupt;
use crate::workspace::{cargo, root};
use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that is installed if it is not there.
const VERSION: &str = "0.5.9";

/// Writes it.
pub(super) fn write(
    release: &Release,
    out: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<PathBuf> {
    let tools = root().join("target/tools");
    let program = tools.join("bin/cargo-cyclonedx");
    if !program.exists() {
        let mut install = cargo(&["install", "--locked", "--quiet", "--version", VERSION]);
        done(install.arg("--root").arg(&tools).arg("cargo-cyclonedx"), BUILD_LIMIT, interrupt)?;
    }
    // In a copy: it writes one beside the manifest of each package of the workspace.
    let copy = root().join("target/dist/sbom");
    stage::empty(&copy)?;
    let tree = copy.join("tree.tar");
    let mut git = Command::new("git");
    git.current_dir(root()).args(["archive", "--format=tar", "HEAD", "--output"]).arg(&tree);
    done(&mut git, LIMIT, interrupt)?;
    done(Command::new("tar").current_dir(&copy).arg("-xf").arg(&tree), LIMIT, interrupt)?;
    let mut cyclonedx = Command::new(&program);
    cyclonedx.current_dir(&copy).env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    cyclonedx.args(["cyclonedx", "--format", "json"]);
    cyclonedx.args(["--manifest-path", "crates/memtwin/Cargo.toml"]);
    cyclonedx.args(["--override-filename", "memtwin-sbom"]);
    done(&mut cyclonedx, LIMIT, interrupt)?;
    let written = fs::read_to_string(copy.join("crates/memtwin/memtwin-sbom.json"))
        .context("cargo-cyclonedx has written nothing")?;
    // Where it was built is nobody's business.
    let written = written.replace(&copy.display().to_string(), "/memtwin");
    let sbom = out.join(format!("memtwin-{}-sbom.cdx.json", release.version));
    fs::write(&sbom, written).with_context(|| format!("can't write {}", sbom.display()))?;
    Ok(sbom)
}
