//! The files that are installed beside the program: manual pages, completions, units, licences, documents.

use super::release::{LIMIT, done};
use crate::interrupt::Interrupt;
use crate::workspace::{root, said};
use anyhow::Context;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The shells, each with its completion's file name.
const SHELLS: [(&str, &str); 3] =
    [("bash", "memtwin"), ("zsh", "_memtwin"), ("fish", "memtwin.fish")];

/// What is taken from the tree as it is.
const FILES: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Fills an empty folder: `program` goes there, and what `native`, the same program for this machine, says of itself.
pub(super) fn fill(
    folder: &Path,
    program: &Path,
    native: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let make = |name: &str| -> anyhow::Result<_> {
        let path = folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(path)
    };
    let (man, completions) = (make("man")?, make("completions")?);
    let (docs, units) = (make("docs")?, make("systemd")?);
    copy(program, &folder.join("memtwin"))?;
    for name in FILES {
        copy(&root().join(name), &folder.join(name))?;
    }
    done(Command::new(native).args(["man", "--all"]).arg(&man), LIMIT, interrupt)?;
    for (shell, name) in SHELLS {
        let script = said(Command::new(native).args(["completions", shell]));
        let script = script.with_context(|| format!("memtwin completions {shell} failed"))?;
        fs::write(completions.join(name), script)?;
    }
    all(&root().join("docs"), &docs)?;
    all(&root().join("docs/tutorials"), &make("docs/tutorials")?)?;
    all(&root().join("packaging/systemd"), &units)
}

/// Copies the files of a folder, but not its folders.
fn all(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("can't list {}", from.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// Copies a file with its permissions.
pub(super) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("can't copy {}", from.display()))?;
    Ok(())
}

/// An empty folder of this name.
pub(super) fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("can't empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))
}
