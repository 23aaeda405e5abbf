//! The files of a crate that import each other in a circle: whoever wants to read one has to read all.

use super::files::SourceFile;
use crate::workspace::shown;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

/// Circles of more files than are allowed.
pub(super) fn cycles(sources: &[SourceFile], allowed: usize) -> Vec<String> {
    let modules: Vec<SourceModule> = sources.iter().filter_map(SourceModule::of).collect();
    let by_path: BTreeMap<&[String], usize> =
        modules.iter().enumerate().map(|(at, module)| (&module.path[..], at)).collect();
    let mut graph = DiGraphMap::<usize, &str>::new();
    for (from, module) in modules.iter().enumerate() {
        for path in &module.imports {
            if let Some(to) = defined_in(&modules, &by_path, path, 0)
                && to != from
            {
                graph.add_edge(from, to, path.last().map_or("", String::as_str));
            }
        }
    }
    let circles = tarjan_scc(&graph).into_iter().filter(|circle| circle.len() > allowed);
    let name = |at: usize| shown(&modules[at].source.path);
    circles
        .map(|circle| {
            let mut edges: Vec<String> = graph
                .all_edges()
                .filter(|(from, to, _)| circle.contains(from) && circle.contains(to))
                .map(|(from, to, what)| format!("  {} uses {what} of {}", name(from), name(to)))
                .collect();
            edges.sort();
            let files = circle.len();
            format!("{files} files import each other, at most {allowed}:\n{}", edges.join("\n"))
        })
        .collect()
}

/// In which file a path's item is defined, as far as that is seen: what a module only passes on is looked for
/// where it comes from.
fn defined_in(
    modules: &[SourceModule<'_>],
    by_path: &BTreeMap<&[String], usize>,
    path: &[String],
    hops: usize,
) -> Option<usize> {
    let known = (0..=path.len()).rev().find_map(|len| Some((len, *by_path.get(&path[..len])?)));
    let (len, at) = known?;
    let passed_on = path.get(len).and_then(|name| modules[at].passed_on.get(name));
    match passed_on {
        Some(origin) if hops < 8 => defined_in(modules, by_path, origin, hops + 1).or(Some(at)),
        _ => Some(at),
    }
}

/// A module, which is a file.
struct SourceModule<'s> {
    source: &'s SourceFile,
    /// From the crate's root on.
    path: Vec<String>,
    /// What it names of its own crate, from the root on.
    imports: BTreeSet<Vec<String>>,
    /// What it only passes on to others, by name.
    passed_on: BTreeMap<String, Vec<String>>,
}

impl<'s> SourceModule<'s> {
    /// Errors: `None`, where it is no module of a library or does not parse.
    fn of(source: &'s SourceFile) -> Option<Self> {
        let parts: Vec<_> = source.path.iter().map(|part| part.to_string_lossy()).collect();
        let from = parts.iter().rposition(|part| part == "src")?;
        let mut path: Vec<String> = parts[from + 1..].iter().map(ToString::to_string).collect();
        let file = path.pop()?.strip_suffix(".rs")?.to_owned();
        if !matches!(file.as_str(), "lib" | "main" | "mod") {
            path.push(file);
        }
        // Tests know what they test.
        if path.last().is_some_and(|name| name == "tests") {
            return None;
        }
        let parsed = syn::parse_file(&source.text).ok()?;
        let mut module =
            Self { source, path, imports: BTreeSet::new(), passed_on: BTreeMap::new() };
        module.visit_file(&parsed);
        Some(module)
    }

    /// A path as it is written, from the crate's root on; `None` for another crate's.
    fn absolute(&self, written: &[String]) -> Option<Vec<String>> {
        let mut base = self.path.clone();
        let mut rest = written;
        match written.first()?.as_str() {
            "crate" => (base, rest) = (Vec::new(), &written[1..]),
            "self" => rest = &written[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop()?;
                    rest = &rest[1..];
                }
            }
            // A module in this one, perhaps; another crate is no module that is known.
            _ => {}
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>, is_public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before, is_public);
                before.pop();
            }
            syn::UseTree::Name(name) => self.leaf(before, &name.ident, &name.ident, is_public),
            syn::UseTree::Rename(rename) => {
                self.leaf(before, &rename.ident, &rename.rename, is_public)
            }
            syn::UseTree::Glob(_) => self.import(before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, before, is_public);
                }
            }
        }
    }

    fn leaf(
        &mut self,
        before: &[String],
        name: &syn::Ident,
        as_name: &syn::Ident,
        is_public: bool,
    ) {
        let mut written = before.to_vec();
        if name != "self" {
            written.push(name.to_string());
        }
        if let (true, Some(origin)) = (is_public, self.absolute(&written)) {
            self.passed_on.insert(as_name.to_string(), origin);
        } else {
            self.import(&written);
        }
    }

    fn import(&mut self, written: &[String]) {
        self.imports.extend(self.absolute(written));
    }
}

impl<'ast> Visit<'ast> for SourceModule<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Tests and other modules within the file are the file.
        let is_test = item.attrs.iter().any(|attribute| attribute.path().is_ident("cfg"));
        if !is_test {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&item.tree, &mut Vec::new(), is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if written.len() > 1 {
            self.import(&written);
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(files: &[(&str, &str)]) -> Vec<SourceFile> {
        let source = |(path, text): &(&str, &str)| SourceFile {
            path: format!("a/src/{path}").into(),
            text: (*text).to_owned(),
        };
        files.iter().map(source).collect()
    }

    #[test]
    fn a_circle_is_found_through_what_is_passed_on_and_whole_paths() {
        let circle = crate_of(&[
            ("lib.rs", "mod one; mod two; mod three; pub use one::One;"),
            ("one.rs", "use crate::two::Two; pub struct One;"),
            ("two.rs", "pub struct Two; fn f() -> crate::three::Three {}"),
            ("three.rs", "use super::One; pub struct Three;"),
        ]);
        let [found] = &cycles(&circle, 2)[..] else { panic!("{:?}", cycles(&circle, 2)) };
        let edges = [
            "3 files import each other, at most 2:",
            "  a/src/one.rs uses Two of a/src/two.rs",
            "  a/src/three.rs uses One of a/src/one.rs",
            "  a/src/two.rs uses Three of a/src/three.rs",
        ];
        assert_eq!(found.lines().collect::<Vec<_>>(), edges);
        assert_eq!(cycles(&circle, 3), Vec::<String>::new());
    }

    #[test]
    fn a_way_down_and_tests_are_no_circle() {
        let tests = "#[cfg(test)] mod tests { use crate::one::One; }";
        let down = crate_of(&[
            ("lib.rs", "mod one; mod two; pub use one::One; use std::fmt;"),
            ("one.rs", "use crate::two::Two; pub struct One;"),
            ("two.rs", tests),
        ]);
        assert_eq!(cycles(&down, 1), Vec::<String>::new());
    }
}
