//! Archives: of the source, and of a static program for each architecture.

use super::release::{LIMIT, Release, done};
use super::stage;
use crate::interrupt::Interrupt;
use crate::shown::Shown;
use crate::workspace::{built, root, said};
use anyhow::{Context, ensure};
use memtwin_lab::Arch;
use memtwin_lab::cross::{self, MEMTWIN, Toolchain};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The source of the last commit.
pub(super) fn source(
    release: &Release,
    out: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<PathBuf> {
    let name = format!("memtwin-{}", release.version);
    let archive = out.join(format!("{name}-source.tar.gz"));
    let mut git = Command::new("git");
    git.current_dir(root()).args(["archive", "--format=tar.gz"]);
    git.arg(format!("--prefix={name}/")).arg("--output").arg(&archive).arg("HEAD");
    done(&mut git, LIMIT, interrupt)?;
    Ok(archive)
}

/// A static program for each architecture, with what is installed beside it.
pub(super) fn programs(
    release: &Release,
    out: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<PathBuf>> {
    // Its manual pages are those of any.
    let native = built("memtwin", interrupt)?;
    let mut archives = Vec::new();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let triple = Toolchain::find(arch)?.triple();
        let place = ("dist", "dist/build");
        let programs = cross::build_profile(
            &cross::source(None)?,
            arch,
            &[MEMTWIN],
            place,
            &mut Shown(interrupt),
        )?;
        let program = programs.first().context("cargo built no program")?;
        is_static(program)?;
        let name = format!("memtwin-{}-{triple}", release.version);
        let folder = root().join("target/dist/stage").join(&name);
        stage::empty(&folder)?;
        stage::fill(&folder, program, &native, interrupt)?;
        stage::copy(&root().join("packaging/Containerfile"), &folder.join("Containerfile"))?;
        let archive = out.join(format!("{name}.tar.gz"));
        done(&mut packed(release, &folder, &archive), LIMIT, interrupt)?;
        archives.push(archive);
    }
    Ok(archives)
}

/// tar, told to write the same bytes each time.
fn packed(release: &Release, folder: &Path, archive: &Path) -> Command {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{}", release.epoch))
        .arg("--use-compress-program=gzip --no-name --best");
    tar.arg("--file").arg(archive);
    tar.arg("--directory").arg(folder.parent().unwrap_or(folder));
    tar.args(folder.file_name());
    tar
}

/// Errors if a program needs a dynamic linker.
fn is_static(program: &Path) -> anyhow::Result<()> {
    let headers = said(Command::new("readelf").args(["--program-headers", "--wide"]).arg(program));
    let headers = headers.context("readelf, of binutils, does not read the program")?;
    ensure!(headers.contains("LOAD"), "{}: no program", program.display());
    ensure!(!headers.contains("INTERP"), "{} is not static", program.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_dynamic_linker_is_not_static() {
        let error = is_static(Path::new("/proc/self/exe")).unwrap_err().to_string();
        assert!(error.contains("is not static"), "{error}");
    }
}
