//! Arguments as the system may pass them: any bytes but zero.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Place, expect, json, memtwin, run, text};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A name that is not UTF-8, and that is nowhere.
const NAME: &[u8] = b"/no\xffwhere/n\xfe";

fn bad() -> &'static OsStr {
    OsStr::from_bytes(NAME)
}

/// `prefix` and the name, as one word.
fn word(prefix: &str) -> OsString {
    let mut word = OsString::from(prefix);
    word.push(bad());
    word
}

/// Each command with such an argument in each position: a path that is not there, or no text.
#[test]
fn what_is_not_utf_8_is_no_panic() {
    let place = Place::new();
    let there = place.path("there");
    std::fs::write(&there, [7; 4096]).unwrap();
    let there = there.as_os_str();
    let s = OsStr::new;
    let (file, qemu) = (word("file:"), word("qemu:"));
    let (ssh, tcp) = (word("ssh://"), word("tcp://"));
    let json = word("--json=");
    let bad = bad();
    let commands: &[(i32, &[&OsStr])] = &[
        (2, &[bad]),
        (3, &[s("verify"), bad, there]),
        (3, &[s("verify"), there, bad]),
        (3, &[s("verify"), there, there, &json]),
        (2, &[s("verify"), there, there, s("--page-size"), bad]),
        (2, &[s("verify"), there, there, s("--format"), bad]),
        (2, &[s("verify"), there, there, bad]),
        (3, &[s("audit"), bad]),
        (3, &[s("audit"), bad, s("--dry-run")]),
        (2, &[s("audit"), bad, s("--pid"), bad]),
        (2, &[s("audit"), bad, s("--seconds"), bad]),
        (2, &[s("replicate"), bad, s("discard")]),
        (3, &[s("replicate"), &qemu, s("discard")]),
        (2, &[s("replicate"), s("process"), bad]),
        (3, &[s("replicate"), s("process"), &file]),
        (2, &[s("replicate"), s("process"), &ssh]),
        (2, &[s("replicate"), s("process"), &tcp]),
        (3, &[s("replicate"), s("process"), s("discard"), s("--dirty-bitmap"), bad]),
        (3, &[s("replicate"), s("process"), s("discard"), s("--memory"), bad]),
        (3, &[s("replicate"), s("process"), s("discard"), s("--json"), bad]),
        (2, &[s("replicate"), s("process"), s("discard"), s("--block"), bad]),
        (2, &[s("replicate"), s("process"), s("discard"), s("--stressor"), bad]),
        (3, &[s("replicate"), s("process"), s("tcp://127.0.0.1:9"), s("--identity"), bad]),
        (2, &[s("receive"), bad, there]),
        (3, &[s("receive"), s("127.0.0.1:0"), bad]),
        (3, &[s("receive"), s("127.0.0.1:0"), there, s("--identity"), bad]),
        (2, &[s("check"), bad]),
        (3, &[s("check"), s("--json"), bad]),
        (2, &[s("check"), s("--mode"), bad]),
        (2, &[s("check"), s("--backing"), bad]),
        (2, &[s("check"), s("--size"), bad]),
        (2, &[s("migrate"), bad]),
        (2, &[s("migrate"), s("--plan"), bad, s("--hosts"), s("ssh://a,ssh://b")]),
        (2, &[s("migrate"), s("--hosts"), bad]),
        (2, &[s("migrate"), s("--load"), bad]),
        (3, &[s("migrate"), s("--json"), bad]),
        (2, &[s("lab"), bad]),
        (2, &[s("lab"), s("plan"), bad]),
        (2, &[s("lab"), s("run"), bad]),
        (3, &[s("lab"), s("ssh"), s("a"), s("--state"), bad]),
        (2, &[s("lab"), s("ssh"), bad]),
        (3, &[s("lab"), s("ssh"), s("--state"), bad, s("a"), bad]),
        (3, &[s("lab"), s("down"), s("--state"), bad]),
        (2, &[s("lab"), s("console"), bad]),
        (2, &[s("lab"), s("probe"), bad]),
        (2, &[s("man"), bad]),
        (2, &[s("completions"), bad]),
        (3, &[s("digest"), bad]),
        (2, &[s("digest"), bad, s("--page"), bad]),
        (3, &[s("relay"), bad]),
    ];
    for (code, words) in commands {
        let output = run(memtwin().args(*words));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(*code), "{words:?}\n{out}{err}");
        assert!(!err.contains("panicked"), "{words:?}\n{err}");
    }
}

/// Where text is needed, that is said in a line, with the argument as it can be shown.
#[test]
fn what_must_be_text_is_named() {
    let (_, err) = expect(2, memtwin().args(["man".as_ref(), bad()]));
    assert_eq!(
        err,
        "memtwin: the argument '/no\\xffwhere/n\\xfe' is not UTF-8: expected text, as it is not a file's path\n"
    );
}

/// A file of such a name is a file as any other, and the record shows the command as text.
#[test]
fn a_name_that_is_not_utf_8_is_a_name() {
    let place = Place::new();
    let odd = place.0.path().join(OsStr::from_bytes(b"n\xff"));
    std::fs::write(&odd, [7; 4096]).unwrap();
    let record = place.0.path().join(OsStr::from_bytes(b"r\xff.json"));
    expect(0, memtwin().arg("verify").args([&odd, &odd]).arg("--json").arg(&record));
    let command = json(&record)["command"].as_str().unwrap().to_owned();
    assert!(command.contains("verify") && command.contains("n\u{fffd}"), "{command}");
    let mut twin = OsString::from("file:");
    twin.push(place.0.path().join(OsStr::from_bytes(b"t\xff")));
    let mut replicate = memtwin();
    replicate.args(["replicate", "process"]).arg(&twin).args(["--rounds", "2"]);
    expect(0, &mut replicate);
    assert!(place.0.path().join(OsStr::from_bytes(b"t\xff")).exists());
}

/// What steers a terminal does not reach it: a file's name, here.
#[test]
fn names_with_escape_sequences_are_shown_harmless() {
    let place = Place::new();
    let name = place.path("\u{1b}]0;x\u{7}\u{9b}31m");
    let (_, err) = expect(3, memtwin().arg("verify").args([&name, &name]));
    assert!(!err.trim_end().contains(char::is_control), "{err:?}");
    assert!(err.contains(r"\u{1b}]0;x\u{7}"), "{err:?}");
    std::fs::write(&name, [7; 4096]).unwrap();
    let (out, _) = expect(0, memtwin().arg("verify").args([&name, &name]));
    assert!(!out.contains('\u{1b}') && out.contains(r"\u{1b}]0;x"), "{out:?}");
}
