//! `cargo xtask structure`: whether the code still stands as ARCHITECTURE.md draws it. Each finding is a line
//! with the place, what was found there and what is allowed.

mod crates;
mod files;
mod imports;
mod map;

use crate::workspace::{cargo, root};
use anyhow::Context;
use cargo_metadata::{Metadata, MetadataCommand};
use files::SourceFile;
use std::fs;

/// How a source says that it is for one architecture alone.
const BY_ARCHITECTURE: &str = concat!("#[cfg(", "target_arch");

/// Checks everything, and prints what was found. Whether nothing was.
///
/// Errors: cargo does not describe the workspace, or a file can't be read.
pub(crate) fn check() -> anyhow::Result<bool> {
    let metadata = metadata()?;
    let mut findings = crates::unlisted_edges(&metadata, map::CRATES);
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let packages = metadata.workspace_packages();
    findings.extend(crates::missing_in(&map, packages.iter().map(|package| package.name.as_str())));
    findings.extend(crates::missing_files(&map, root()));
    for package in packages {
        let folder = package.manifest_path.parent().context("a package without a folder")?;
        let sources = SourceFile::all(folder.join("src").as_std_path())?;
        findings.extend(crates::unused_dependencies(&metadata, package, folder.as_std_path())?);
        findings.extend(files::too_long(&sources));
        findings.extend(files::walled(&package.name, &sources));
        findings.extend(imports::cycles(&sources, map::LARGEST_CIRCLE));
    }
    for finding in &findings {
        println!("{finding}");
    }
    println!("structure: {} findings", findings.len());
    Ok(findings.is_empty())
}

/// The packages of which some source is of one architecture alone.
///
/// Errors: cargo does not describe the workspace, or a file can't be read.
pub(crate) fn packages_by_architecture() -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for package in metadata()?.workspace_packages() {
        let folder = package.manifest_path.parent().context("a package without a folder")?;
        let sources = SourceFile::all(folder.as_std_path())?;
        if sources.iter().any(|source| source.text.contains(BY_ARCHITECTURE)) {
            found.push(package.name.to_string());
        }
    }
    Ok(found)
}

fn metadata() -> anyhow::Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.cargo_path(cargo(&[]).get_program()).current_dir(root());
    command.exec().context("cargo metadata")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_differ_by_architecture_are_found_and_no_others() {
        let found = packages_by_architecture().unwrap();
        for package in ["memtwin-mapping", "memtwin-process", "memtwin-vmm", "memtwin-powerloss"] {
            assert!(found.iter().any(|name| name == package), "{package}: {found:?}");
        }
        for package in ["memtwin-qmp", "xtask"] {
            assert!(!found.iter().any(|name| name == package), "{package}: {found:?}");
        }
    }
}
