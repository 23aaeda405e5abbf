//! The Debian package of this machine's architecture, made by debhelper: it knows what Debian wants of units,
//! manual pages and dependencies.

use super::release::{BUILD_LIMIT, LIMIT, Release, done};
use super::stage;
use crate::interrupt::Interrupt;
use crate::packages::{self, Rights};
use crate::workspace::{cargo, root, said, works};
use anyhow::{Context, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What makes a package, and what looks at it.
const TOOLS: [&str; 3] = ["debhelper", "dpkg-dev", "lintian"];

/// Builds it, and has lintian look at it.
///
/// Errors: it can't be built, or lintian has something to say against it.
pub(super) fn build(
    release: &Release,
    profile: &str,
    out: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<PathBuf> {
    install_tools(interrupt)?;
    let mut build = cargo(&["build", "--package", "memtwin", "--profile", profile]);
    done(&mut build, BUILD_LIMIT, interrupt)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let program = root().join("target").join(folder).join("memtwin");

    let work = root().join("target/dist/deb").join(format!("memtwin-{}", release.version));
    stage::empty(work.parent().context("a folder")?)?;
    stage::empty(&work)?;
    let staged = work.join("stage");
    stage::empty(&staged)?;
    stage::fill(&staged, &program, &program, interrupt)?;
    let debian = work.join("debian");
    stage::empty(&debian)?;
    for entry in fs::read_dir(root().join("packaging/debian")).context("packaging/debian")? {
        let path = entry?.path();
        if let Some(name) = path.file_name() {
            stage::copy(&path, &debian.join(name))?;
        }
    }
    fs::create_dir_all(debian.join("source"))?;
    fs::write(debian.join("source/format"), "3.0 (native)\n")?;
    fs::write(debian.join("changelog"), changelog(release)?)?;
    let mut package = Command::new("dpkg-buildpackage");
    package.current_dir(&work).args(["--build=binary", "--no-sign", "--no-check-builddeps"]);
    done(&mut package, LIMIT, interrupt)?;

    let built = work.with_file_name(name(release)?);
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--tag-display-limit", "0"]);
    done(lintian.arg(&built), LIMIT, interrupt)?;
    let deb = out.join(name(release)?);
    stage::copy(&built, &deb)?;
    Ok(deb)
}

fn install_tools(interrupt: &Interrupt) -> anyhow::Result<()> {
    let missing = |tool: &&&str| !works(Command::new("dpkg").args(["--status", tool]));
    let missing: Vec<&str> = TOOLS.iter().filter(missing).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let rights = Rights::ours();
    ensure!(
        rights != Rights::None && packages::has_apt(),
        "a Debian package needs {}: apt-get install {0}",
        missing.join(" ")
    );
    packages::install(&missing, None, rights, interrupt)
}

fn name(release: &Release) -> anyhow::Result<String> {
    let arch = said(Command::new("dpkg").arg("--print-architecture"));
    let arch = arch.context("dpkg does not say its architecture")?;
    Ok(format!("memtwin_{}_{}.deb", release.version, arch.trim()))
}

/// Debian's changelog: what changed stands in CHANGELOG.md.
fn changelog(release: &Release) -> anyhow::Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", "--rfc-email", "--date"]).arg(format!("@{}", release.epoch));
    let date = said(&mut date).context("date failed")?;
    let control = fs::read_to_string(root().join("packaging/debian/control"))?;
    let by = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    Ok(format!(
        "memtwin ({}) unstable; urgency=medium\n\n  * See /usr/share/doc/memtwin/changelog.gz.\n\n -- {}  {}\n",
        release.version,
        by.context("packaging/debian/control names no maintainer")?,
        date.trim()
    ))
}
