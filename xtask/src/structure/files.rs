//! The files of a crate: how long each is, and how much of a crate is hidden in it.

use crate::workspace::shown;
use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};

/// How many lines a file may have, its unit tests included.
const LONGEST: usize = 500;

/// How many items for each 1,000 lines a crate may keep to itself with `pub(crate)` and the like. A crate
/// with more of them is a library that others can't use.
const WALL: usize = 80;

/// A crate that is smaller than this has no wall.
const SMALL: usize = 500;

/// A source file.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// What is in it.
    pub(super) text: String,
}

impl SourceFile {
    /// Every source file in a folder and those in it, build results aside.
    ///
    /// Errors: a folder or a file can't be read.
    pub(super) fn all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let mut found = Vec::new();
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.with_context(|| folder.display().to_string())?.path());
        }
        paths.sort();
        for path in paths {
            if path.is_dir() && !path.ends_with("target") {
                found.extend(Self::all(&path)?);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                found.push(Self { path, text });
            }
        }
        Ok(found)
    }

    /// What it takes in from elsewhere by `#[path = "…"]`, as far as it is there.
    pub(super) fn included(&self) -> impl Iterator<Item = String> {
        let folder = self.path.parent();
        let paths =
            self.text.split("#[path = \"").skip(1).filter_map(|rest| rest.split('"').next());
        paths.filter_map(move |path| fs::read_to_string(folder?.join(path)).ok())
    }
}

/// Files with too many lines.
pub(super) fn too_long(sources: &[SourceFile]) -> Vec<String> {
    let lines = |source: &SourceFile| source.text.lines().count();
    let long = sources.iter().filter(|source| lines(source) > LONGEST);
    long.map(|source| {
        format!("{}: {} lines, at most {LONGEST}", shown(&source.path), lines(source))
    })
    .collect()
}

/// A crate that keeps too much to itself.
pub(super) fn walled(name: &str, sources: &[SourceFile]) -> Option<String> {
    let lines: usize = sources.iter().map(|source| source.text.lines().count()).sum();
    let hidden: usize = sources.iter().map(|source| source.text.matches("pub(").count()).sum();
    let share = hidden * 1000 / lines.max(1);
    (lines >= SMALL && share > WALL).then(|| {
        format!("{name}: {share} items of 1,000 lines are for the crate alone, at most {WALL}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: String) -> Vec<SourceFile> {
        vec![SourceFile { path: "a.rs".into(), text }]
    }

    #[test]
    fn a_file_of_501_lines_is_found() {
        assert_eq!(too_long(&source("\n".repeat(500))), Vec::<String>::new());
        assert_eq!(too_long(&source("\n".repeat(501))), ["a.rs: 501 lines, at most 500"]);
    }

    #[test]
    fn a_wall_is_found_and_a_small_crate_has_none() {
        let wall = |times| source("pub(crate) fn f() {}\n\n".repeat(times));
        assert!(walled("a", &wall(300)).unwrap().contains("500 items of 1,000 lines"));
        assert_eq!(walled("a", &wall(200)), None);
        assert_eq!(walled("a", &source("fn f() {}\n".repeat(600))), None);
    }
}
