//! `memtwin lab run check` on two boards, of which the second dies, and on one that dies in the middle.

use crate::common::{Held, Place, conform, expect, json, memtwin, until, verdicts};
use memtwin_child::Spawn;
use memtwin_lab::remote_runner::check_image;
use memtwin_lab::{Flavour, Progress};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

struct Talk;

impl Progress for Talk {
    fn say(&mut self, line: &str) {
        println!("{line}");
    }
}

pub(crate) fn one_board_dies() {
    // Built here, as what takes minutes on a new machine is no part of a command's limit.
    for flavour in [Flavour::Standard, Flavour::Pages16K] {
        check_image(flavour, None, &mut Talk).unwrap();
    }
    let place = Place::new();
    let (bin, tmp) = (place.path("bin"), place.path("tmp"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&tmp).unwrap();
    let paths = std::env::var_os("PATH").unwrap();
    let name = "qemu-system-aarch64";
    let found = std::env::split_paths(&paths).map(|path| path.join(name));
    let real = found.into_iter().find(|path| path.is_file()).unwrap();
    let (fake, first) = (bin.join(name), place.path("first"));
    let script = format!(
        "#!/bin/sh\nif [ -e {first} ]; then echo 'Kernel panic - not syncing: by order'; exec sleep 1000; fi\n\
         touch {first}\nexec {real} \"$@\"\n",
        first = first.display(),
        real = real.display()
    );
    fs::write(&fake, script).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&paths)));

    let record = place.path("out.json");
    let mut command = memtwin();
    command.args(["lab", "run", "check", "--kernel", "4k,16k", "--json"]).arg(&record);
    command.args(["--", "--mode", "get", "--stressor", "once", "--backing", "shm", "--vcpus", "1"]);
    command.args(["--granule", "64k", "--va-bits", "42", "--rounds", "5"]);
    let (out, err) = expect(11, command.env("PATH", path.unwrap()).env("TMPDIR", &tmp));
    println!("{err}{out}");
    conform(&[&record]);
    let record = json(&record);
    let told: Vec<[&str; 2]> = record["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| ["name", "verdict"].map(|key| case[key].as_str().unwrap()))
        .collect();
    let case = "kvm/get/shm/vcpus=1/once/granule=64k/va=42/host=";
    let names = ["4k", "4k/control", "16k", "16k/control"].map(|end| format!("{case}{end}"));
    let verdicts = ["identical", "differs", "inconclusive", "inconclusive"];
    let expected: Vec<[&str; 2]> =
        names.iter().zip(verdicts).map(|(name, verdict)| [name.as_str(), verdict]).collect();
    assert_eq!(told, expected, "{record}");
    assert_eq!(record["cases"][1]["passed"], true, "{record}");
    assert_eq!(record["boards"]["4k"]["arch"], "aarch64", "{record}");
    assert_eq!(record["boards"]["4k"]["page_size"], 4096, "{record}");
    assert!(record["boards"]["16k"].is_null(), "{record}");
    // The matrix, and the last that the board said, which is kept.
    assert!(out.contains("    Kernel panic - not syncing: by order"), "{out}");
    let row = |host: &str| {
        let line = out.lines().find(|line| line.starts_with(&format!("{host} ")));
        line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("4k"), "4k 64k identical 2", "{out}");
    assert_eq!(row("16k"), "16k 64k inconclusive 2", "{out}");
    let kept = fs::read_dir(&tmp).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(kept.join("console-16k")).unwrap().contains("by order"));
}

/// A board that dies when the first of its cases has ended.
pub(crate) fn dies_amid() {
    check_image(Flavour::Standard, None, &mut Talk).unwrap();
    let place = Place::new();
    let (record, tmp) = (place.path("out.json"), place.path("tmp"));
    fs::create_dir_all(&tmp).unwrap();
    let mut command = memtwin();
    command.args(["lab", "run", "check", "--json"]).arg(&record).env("TMPDIR", &tmp);
    command.args(["--", "--mode", "get", "--stressor", "once,random", "--backing", "shm"]);
    command.args(["--vcpus", "1", "--seconds", "20s"]).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut held = Held(command.spawn_bound().unwrap());
    let console = || {
        let mut folders = fs::read_dir(&tmp).unwrap().flatten();
        let console = folders.next().map(|folder| folder.path().join("console-4k"));
        console.and_then(|console| fs::read_to_string(console).ok()).unwrap_or_default()
    };
    // Whole, with the end of its line.
    until("a case has ended", || {
        console().split_once("MEMTWIN PIECE ").is_some_and(|(_, piece)| piece.contains('\n'))
    });
    let killed = Command::new("pkill").args(["-KILL", "-P", &held.0.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let status = held.end();
    let mut out = String::new();
    held.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    println!("{out}");
    assert_eq!(status.code(), Some(11), "{out}");
    assert!(!out.contains("MEMTWIN PIECE"), "what came is no last word: {out}");
    let name = |end: &str| format!("kvm/get/shm/vcpus=1/{end}");
    let expected = [
        ("once/host=4k", "identical", true),
        ("random/host=4k", "inconclusive", false),
        ("once/host=4k/control", "inconclusive", false),
        ("random/host=4k/control", "inconclusive", false),
    ];
    let expected = expected.map(|(end, verdict, passed)| (name(end), verdict.to_owned(), passed));
    assert_eq!(verdicts(&json(&record)), expected);
}

pub(crate) fn refused() {
    let place = Place::new();
    let lab = || {
        let mut command = memtwin();
        command.args(["lab", "run", "check"]).env("TMPDIR", place.path("none"));
        command
    };
    let (_, err) = expect(2, lab().args(["--", "--mode", "gte"]));
    assert!(err.contains("after --: invalid value 'gte'"), "{err}");
    let (_, err) = expect(2, lab().args(["--hosts", "pi"]));
    assert!(err.contains("'pi': expected local or ssh://"), "{err}");
    let (out, _) = expect(0, lab().args(["--all", "--dry-run"]));
    for end in ["granule=4k/va=39/host=64k", "granule=64k/va=52/host=16k/control"] {
        assert!(out.lines().any(|line| line.ends_with(end)), "{end}");
    }
}
