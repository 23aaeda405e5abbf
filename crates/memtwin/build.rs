//! Says at build time which sources these are: a release build by git's revision, or by what `git archive`
//! has written into `revision`. A debug build does not say: it would have to be built again with every commit.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=revision");
    println!("cargo::rerun-if-env-changed=MEMTWIN_GIT_REVISION");
    let profile = std::env::var("PROFILE").unwrap_or_default();
    println!("cargo::rustc-env=MEMTWIN_BUILD_PROFILE={profile}");
    let given = std::env::var("MEMTWIN_GIT_REVISION").ok().filter(|given| !given.is_empty());
    let known = given.or_else(archived).or_else(|| (profile == "release").then(of_git).flatten());
    if let Some(revision) = known {
        println!("cargo::rustc-env=MEMTWIN_REVISION={revision}");
    }
}

/// What an archive of git's has in place of the placeholder.
fn archived() -> Option<String> {
    let text = std::fs::read_to_string("revision").ok()?;
    let revision = text.trim();
    (!revision.is_empty() && revision.chars().all(|c| c.is_ascii_hexdigit()))
        .then(|| revision.to_owned())
}

/// The revision, and whether the sources differ from it. Nothing where this is no checkout of ours.
fn of_git() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().ok()?;
    let git = |words: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(words).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // Not of a repository that these sources only lie in.
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if top != root {
        return None;
    }
    let folder = git(&["rev-parse", "--absolute-git-dir"])?;
    for watched in [format!("{folder}/HEAD"), format!("{folder}/logs/HEAD")] {
        if Path::new(&watched).exists() {
            println!("cargo::rerun-if-changed={watched}");
        }
    }
    // Whether they are changed is a matter of all sources.
    for watched in ["crates", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let revision = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { revision } else { format!("{revision}-dirty") })
}
