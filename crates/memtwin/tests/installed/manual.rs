//! Manual pages and completions, as the built program prints them.

use crate::common::{Place, memtwin};
use std::fs;
use std::process::Output;

fn run(words: &[&str]) -> Output {
    memtwin().args(words).output().unwrap()
}

#[test]
fn a_command_at_any_depth_has_a_page() {
    for words in [&["man", "lab", "run", "check"][..], &["man", "lab-run-check"]] {
        let page = run(words);
        let text = String::from_utf8(page.stdout).unwrap();
        assert!(page.status.success(), "{text}");
        for part in
            ["memtwin\\-lab\\-run\\-check \\-", "EXIT STATUS", "FILES", "EXAMPLES", "--hosts"]
        {
            assert!(text.contains(part) || text.contains(&part.replace("--", "\\-\\-")), "{part}");
        }
    }
    let none = run(&["man", "lab", "run", "away"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("unknown command 'lab run away'"));
}

#[test]
fn every_page_is_written_into_a_folder() {
    let place = Place::new();
    let folder = place.path("share/man/man1");
    let folder = folder.to_str().unwrap();
    // Twice: the second time over those that are there.
    for _ in 0..2 {
        assert!(run(&["man", "--all", folder]).status.success());
    }
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    for name in ["memtwin.1", "memtwin-check.1", "memtwin-lab.1", "memtwin-lab-run-migrate.1"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains("guardian")), "{names:?}");
    // The control: where nothing can be written it says so.
    assert_eq!(run(&["man", "--all", "/proc/nowhere"]).status.code(), Some(3));
}

#[test]
fn completions_know_the_commands_of_commands() {
    // clap_complete's fish goes two commands deep.
    for (shell, word) in [("bash", "board-kernel"), ("zsh", "board-kernel"), ("fish", "console")] {
        let text = String::from_utf8(run(&["completions", shell]).stdout).unwrap();
        assert!(text.contains(word), "{shell}");
    }
}
