//! The tutorials of docs/tutorials, run as they are written: each page's commands in one shell, in an empty folder,
//! and what they say is what the page says.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]
#![allow(clippy::print_stderr, reason = "what is not tested has to be said")]

#[path = "../common/mod.rs"]
mod common;
mod page;

use common::{run_within, text};
use memtwin_testbed::{Need, lacks};
use page::Page;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a page may take on a machine with other work.
const LIMIT: Duration = Duration::from_secs(180);

const NEEDS: [Need; 3] = [Need::Root, Need::Kvm, Need::Program("qemu-system-x86_64")];

fn tutorial(name: &str) -> String {
    fs::read_to_string(docs().join("tutorials").join(name)).unwrap()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Runs a page's commands. Errors: the first that failed, or said something else.
fn tried(text_of_page: &str) -> Result<(), String> {
    let page = Page::read(text_of_page);
    for (command, why) in &page.not_run {
        eprintln!("not run: {command} ({why})");
        understood(command)?;
    }
    let asked = |n: usize| page.steps.get(n + 1).is_some_and(|next| next.command == "echo $?");
    // Each command's words, then its exit code; a command hears the code of the one before it, and is the last
    // one if it fails and nobody asks.
    let mut script = String::from("exec 2>&1; code=0\n");
    for (n, step) in page.steps.iter().enumerate() {
        let last = if asked(n) { "" } else { "[ $code = 0 ] || exit" };
        script += &format!(
            "printf '\\001%s\\002' {n}; (exit $code)\n{}\ncode=$?; printf '\\003%s\\004' $code; {last}\n",
            step.command
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_memtwin"));
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("unshare");
    // Whatever a page starts ends with its shell, the first process of its own world.
    shell.args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", &script]);
    shell.current_dir(folder.path()).env("HOME", folder.path());
    shell.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
    let output = run_within(LIMIT, &mut shell);
    let said = text(&output.stdout);
    for (n, step) in page.steps.iter().enumerate() {
        let begins = said.split_once(&format!("\u{1}{n}\u{2}"));
        let ends = begins.and_then(|(_, rest)| rest.split_once('\u{3}'));
        let Some((words, rest)) = ends else {
            return Err(format!("it never came to\n{step}{said}"));
        };
        let code = rest.split('\u{4}').next().unwrap_or_default();
        if code != "0" && !asked(n) {
            return Err(format!("exit code {code} of\n{step}which said\n{words}"));
        }
        if !step.is_said_by(words) {
            return Err(format!("expected\n{step}but it said\n{words}"));
        }
    }
    Ok(())
}

/// Whether a command that is not run is one that Memtwin knows: with --help it only says so.
fn understood(command: &str) -> Result<(), String> {
    let mut words = command.split_whitespace();
    if words.next() != Some("memtwin") {
        return Err(format!("{command}: what is not run here is to be Memtwin's own"));
    }
    let output = common::run(common::memtwin().args(words).arg("--help"));
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command}: {}", text(&output.stderr))),
    }
}

fn passes(name: &str) {
    if !lacks(&NEEDS) {
        tried(&tutorial(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

#[test]
fn is_my_host_s_dirty_log_right() {
    passes("check.md");
}

#[test]
fn audit_a_guest_of_mine() {
    passes("audit.md");
}

#[test]
fn keep_a_replica() {
    passes("replica.md");
}

#[test]
fn validate_a_kernel_on_arm_boards() {
    passes("boards.md");
}

/// The control: what is wrong in a page is found.
#[test]
fn a_page_that_is_wrong_is_found() {
    if lacks(&NEEDS) {
        return;
    }
    let page = |block: &str| tried(&format!("Text.\n\n```console\n{block}\n```\n"));
    assert_eq!(page("$ echo yes\nyes"), Ok(()));
    assert!(page("$ echo yes\nno").unwrap_err().contains("but it said\nyes"));
    assert!(page("$ memtwin check --no-such-option\n…").unwrap_err().contains("exit code 2"));
    assert_eq!(page("$ false\n$ echo $?\n1"), Ok(()));
    assert!(page("$ exit 0\n$ echo after\nafter").unwrap_err().contains("it never came to"));
    assert!(page("$ cat no-such-file\n…").is_err());
    let unknown = "```console not-in-ci: no board\n$ memtwin lab run check --no-such-option\n```\n";
    assert!(tried(unknown).is_err());
}

/// The links of a page that lead to no file. `folder`: where it lies.
fn dead_links(folder: &Path, page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let files = targets.filter_map(|(target, _)| target.split('#').next());
    files
        .filter(|file| !file.is_empty() && !file.contains("://") && !folder.join(file).exists())
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let root = docs().join("..");
    for folder in [root.clone(), docs(), docs().join("tutorials")] {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                let dead = dead_links(&folder, &fs::read_to_string(&path).unwrap());
                assert!(dead.is_empty(), "{}: {dead:?}", path.display());
            }
        }
    }
    // The control.
    let page = "[a](README.md#there) [b](https://example.org/x) [c](#here) [d](no-such.md)";
    assert_eq!(dead_links(&docs(), page), ["no-such.md"]);
}

/// Every page of docs/ is in its list.
#[test]
fn the_list_of_documents_is_whole() {
    let list = fs::read_to_string(docs().join("README.md")).unwrap();
    for folder in ["", "tutorials"] {
        for entry in fs::read_dir(docs().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let link = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if name.ends_with(".md") && link != "README.md" {
                assert!(list.contains(&format!("({link})")), "docs/README.md does not name {link}");
            }
        }
    }
}
