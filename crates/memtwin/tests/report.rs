//! `memtwin report`: records as a page, and what of one is worse than in another.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Place, expect, memtwin};
use std::fs;
use std::path::{Path, PathBuf};

/// A record that is kept with the sources.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn before() -> PathBuf {
    kept("html/tests/records/before.json")
}

fn lossy() -> PathBuf {
    kept("html/tests/records/lossy.json")
}

#[test]
fn records_of_any_version_become_one_page() {
    let place = Place::new();
    let page = place.path("run.html");
    fs::write(&page, "what was there").unwrap();
    let old = kept("memtwin/tests/records/differs.json");
    let (out, err) =
        expect(0, memtwin().arg("report").args([before(), lossy(), old]).arg("-o").arg(&page));
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
    assert_eq!(place.names(), ["run.html"]);
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!DOCTYPE html>") && text.ends_with("</html>"));
    for words in ["before.json", "lossy.json", "differs.json", "0x2004d000"] {
        assert!(text.contains(words), "no {words}");
    }
}

/// Each is said in one line, with nothing on standard output, and leaves what was there.
#[test]
fn what_can_not_be_shown_is_said_and_changes_nothing() {
    let place = Place::new();
    let (page, cut) = (place.path("run.html"), place.path("cut.json"));
    fs::write(&page, "what was there").unwrap();
    let whole = fs::read_to_string(before()).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    fs::copy(before(), place.path("run.json")).unwrap();
    let named = "cut\u{1b}[2J\n.json";
    fs::write(place.path(named), "{}").unwrap();
    for (code, words, said) in [
        (3, &["no.json", "-o", "run.html"][..], "can't read no.json: "),
        (3, &["run.json", "cut.json", "-o", "run.html"], "cut.json: expected a run record"),
        (3, &[named, "-o", "run.html"], "expected a run record"),
        (3, &["run.json", "-o", "/dev/full"], "can't write /dev/full: "),
        (3, &["run.json", "-o", "no/run.html"], "can't write no/run.html: "),
        (3, &["--compare", "run.json", "no.json"], "can't read no.json: "),
        (2, &["run.json", "-o", "./run.json"], "--output ./run.json: that is the record run.json"),
    ] {
        let mut command = memtwin();
        let (out, err) =
            expect(code, command.arg("report").args(words).current_dir(place.0.path()));
        assert_eq!(out, "", "{words:?}");
        assert!(err.contains(said) && !err.contains('\u{1b}'), "{words:?}: {err:?}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    // Usage that clap explains in its own form.
    for words in [&["run.json"][..], &["-o", "run.html"], &["a", "--compare", "a", "b"]] {
        let mut command = memtwin();
        expect(2, command.arg("report").args(words).current_dir(place.0.path()));
    }
    assert_eq!(fs::read_to_string(&page).unwrap(), "what was there");
    assert_eq!(fs::read_to_string(place.path("run.json")).unwrap(), whole);
    assert_eq!(place.names().len(), 4, "{:?}", place.names());
}

#[test]
fn what_is_worse_is_said_by_the_code() {
    let place = Place::new();
    let compare = |code, a: &Path, b: &Path| {
        let mut command = memtwin();
        command.current_dir(place.0.path()).args(["report", "--compare"]).arg(a).arg(b);
        expect(code, command.args(["-o", "c.html"])).0
    };
    let text = compare(1, &before(), &lossy());
    assert!(text.ends_with("4 cases: 4 worse.\n"), "{text}");
    assert!(fs::read_to_string(place.path("c.html")).unwrap().contains("4 cases: 4 worse."));
    let text = compare(0, &lossy(), &before());
    assert!(text.ends_with("4 cases: 4 better.\n"), "{text}");
    let text = compare(0, &before(), &before());
    assert!(text.ends_with("4 cases: 4 same.\n"), "{text}");
    // A move whose cases are not the other's: none was judged on both sides.
    let text = compare(1, &kept("html/tests/records/migrate.json"), &before());
    assert!(text.contains("and is gone"), "{text}");
}

/// The page of a run beside its record; and two files that would be the same one are refused before it.
#[test]
fn a_run_writes_its_page_beside_its_record() {
    let place = Place::new();
    for name in ["memory", "twin"] {
        fs::write(place.path(name), [7; 8192]).unwrap();
    }
    let verify = |more: &[&str]| {
        let mut command = memtwin();
        command
            .current_dir(place.0.path())
            .args(["verify", "memory", "twin", "--quiet"])
            .args(more);
        command
    };
    expect(0, &mut verify(&["--json", "run.json", "--report", "run.html"]));
    let page = fs::read_to_string(place.path("run.html")).unwrap();
    assert!(page.contains("Verified: 1 of 1 case"), "{page}");
    let (_, err) = expect(2, &mut verify(&["--json", "both", "--report", "./both"]));
    assert_eq!(
        err,
        "memtwin: --json and --report both name ./both; give one of them another path\n"
    );
    let (_, err) = expect(3, &mut verify(&["--report", "no/run.html"]));
    assert!(err.starts_with("memtwin: can't write no/run.html: "), "{err}");
    assert_eq!(place.names(), ["memory", "run.html", "run.json", "twin"]);
}
