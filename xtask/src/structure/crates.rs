//! The crates: who uses whom, beside what is allowed; what is named in a manifest and not used.

use super::files::SourceFile;
use anyhow::Context;
use cargo_metadata::{DependencyKind, Metadata, Package};
use std::collections::BTreeSet;
use std::path::Path;

/// Edges between the workspace's crates that the map does not have, and crates and edges of the map that
/// the workspace does not have. Edges of tests alone are free.
pub(super) fn unlisted_edges(metadata: &Metadata, map: &[(&str, &[&str])]) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let edges = packages.iter().map(|package| (package.name.as_str(), uses(package)));
    let mut findings = compare(&edges.collect::<Vec<_>>(), map);
    findings.extend(upward(map));
    findings
}

/// The workspace's crates that a package uses outside its tests.
fn uses(package: &Package) -> BTreeSet<&str> {
    let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    ours.filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
        .collect()
}

fn compare(edges: &[(&str, BTreeSet<&str>)], map: &[(&str, &[&str])]) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, uses) in edges {
        let Some((_, allowed)) = map.iter().find(|(listed, _)| listed == name) else {
            findings.push(format!("{name}: not in the map (xtask/src/structure/map.rs)"));
            continue;
        };
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        for used in uses.difference(&allowed) {
            findings.push(format!("{name} uses {used}: the map allows {allowed:?}"));
        }
        for unused in allowed.difference(uses) {
            findings.push(format!("{name} does not use {unused}: the map says that it does"));
        }
    }
    let gone = map.iter().filter(|(listed, _)| edges.iter().all(|(name, _)| name != listed));
    findings.extend(gone.map(|(name, _)| format!("{name}: in the map, and no crate")));
    findings
}

/// Crates of the map that use one which stands above them: a crate is listed after all that it uses.
fn upward(map: &[(&str, &[&str])]) -> Vec<String> {
    let place = |name: &str| map.iter().position(|(listed, _)| *listed == name);
    let mut findings = Vec::new();
    for (at, (name, uses)) in map.iter().enumerate() {
        for used in uses.iter().filter(|used| place(used).is_none_or(|used| used >= at)) {
            findings.push(format!("{name} uses {used}, which does not stand below it in the map"));
        }
    }
    findings
}

/// Crates that a document does not name, each as `name` without what they all begin with.
pub(super) fn missing_in<'p>(
    document: &str,
    packages: impl Iterator<Item = &'p str>,
) -> Vec<String> {
    packages
        .map(|package| package.trim_start_matches("memtwin-"))
        .filter(|name| !document.contains(&format!("`{name}`")))
        .map(|name| format!("ARCHITECTURE.md does not name the crate `{name}`"))
        .collect()
}

/// Files that a document names (`crate/src/….rs`, below `crates` or the root) and that are not there.
pub(super) fn missing_files(document: &str, root: &Path) -> Vec<String> {
    let named = document.split('`').skip(1).step_by(2);
    let files = named.filter(|name| name.contains("/src/") && name.ends_with(".rs"));
    files
        // A pattern stands for several.
        .filter(|name| !name.contains(['*', '{']))
        .filter(|name| !root.join("crates").join(name).exists() && !root.join(name).exists())
        .map(|name| format!("ARCHITECTURE.md names {name}, and there is no such file"))
        .collect()
}

/// Dependencies that no source of a package names, tests and all.
///
/// Errors: a source can't be read.
pub(super) fn unused_dependencies(
    metadata: &Metadata,
    package: &Package,
    folder: &Path,
) -> anyhow::Result<Vec<String>> {
    let mut text = String::new();
    for source in SourceFile::all(folder)? {
        text.push_str(&source.text);
        text.extend(source.included());
    }
    let nodes = &metadata.resolve.as_ref().context("cargo metadata resolved nothing")?.nodes;
    let node = nodes.iter().find(|node| node.id == package.id).context("an unknown package")?;
    // By the name that its code has, which may be another than its package's.
    let unused = node.deps.iter().filter(|dependency| !names(&text, &dependency.name));
    Ok(unused
        .map(|dependency| {
            format!("{}: does not use its dependency {}", package.name, dependency.name)
        })
        .collect())
}

/// Whether a text names a crate, as a path begins or as a whole.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + name.len()..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        !before.is_some_and(is_word)
            && [":", ";", " as", ",", "}", "!"].iter().any(|end| after.starts_with(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_beside_the_map_is_found_and_one_that_is_gone() {
        let edges =
            |to: &[&'static str]| vec![("a", BTreeSet::new()), ("b", to.iter().copied().collect())];
        let map: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"])];
        assert_eq!(compare(&edges(&["a"]), map), Vec::<String>::new());
        assert_eq!(compare(&edges(&[]), map), ["b does not use a: the map says that it does"]);
        assert_eq!(compare(&edges(&["a", "c"]), map), [r#"b uses c: the map allows {"a"}"#]);
        assert_eq!(compare(&edges(&["a"])[..1], map), ["b: in the map, and no crate"]);
        let listed = compare(&edges(&["a"]), &map[..1]);
        assert_eq!(listed, ["b: not in the map (xtask/src/structure/map.rs)"]);
    }

    #[test]
    fn a_circle_of_crates_can_not_be_listed() {
        assert_eq!(upward(&[("a", &[]), ("b", &["a"])]), Vec::<String>::new());
        assert_eq!(upward(&[("a", &["b"]), ("b", &["a"])]).len(), 1);
        assert_eq!(upward(&[("a", &["a"])]).len(), 1);
    }

    #[test]
    fn a_crate_that_the_document_does_not_name_is_found() {
        let document = "| `pages` | words |\nand memtwin-twin, or twin, without its marks";
        let missing = |packages: &[&'static str]| missing_in(document, packages.iter().copied());
        assert_eq!(missing(&["memtwin-pages"]), Vec::<String>::new());
        let found = missing(&["memtwin-pages", "memtwin-twin", "memtwin-page"]);
        let line = |name| format!("ARCHITECTURE.md does not name the crate `{name}`");
        assert_eq!(found, ["twin", "page"].map(line));
    }

    #[test]
    fn a_file_that_is_named_and_gone_is_found() {
        let root = crate::workspace::root();
        let there = "see `kvm/src/mode.rs`, `xtask/src/main.rs`, `a/src/*.rs`";
        assert_eq!(missing_files(there, root), Vec::<String>::new());
        let gone = missing_files("see `kvm/src/none.rs`", root);
        assert_eq!(gone, ["ARCHITECTURE.md names kvm/src/none.rs, and there is no such file"]);
    }

    #[test]
    fn a_dependency_is_used_where_a_path_begins_with_it() {
        assert!(names("use serde_json::Value;", "serde_json"));
        assert!(names("serde_json::from_str(text)", "serde_json"));
        assert!(!names("// serde_json would do", "serde_json"));
        assert!(!names("my_serde_json::from_str(text)", "serde_json"));
    }
}
