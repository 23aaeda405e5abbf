//! `memtwin check` on this host's KVM, as a user runs it.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Held, Place, expect, json, memtwin, root, verdicts};
use std::process::Command;

/// Said in a line, with what would fit, before any of it is taken.
#[test]
fn a_size_that_memory_has_no_room_for_is_refused() {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = info.lines().next().unwrap().split_whitespace().nth(1).unwrap();
    let most = total.parse::<u64>().unwrap() >> 10;
    let began = std::time::Instant::now();
    for command in [&["check", "--source", "process"][..], &["replicate", "process", "discard"]] {
        let size = format!("{}M", most - 1);
        let (_, err) = expect(3, memtwin().args(command).args(["--size", &size, "--quiet"]));
        assert_eq!(err.lines().count(), 1, "{err}");
        for part in ["no room for a window of", "needed", "available by", "would fit"] {
            assert!(err.contains(part), "{part}: {err}");
        }
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "it was taken");
}

#[test]
fn the_main_job_ends_verified() {
    let place = Place::new();
    let record = place.path("out.json");
    let (out, _) = expect(0, memtwin().args(["check", "--json"]).arg(&record));
    let record = json(&record);
    assert_eq!(record["schema_version"], 1);
    let cases = verdicts(&record);
    for mode in ["kvm/get/", "kvm/clear/"] {
        for part in ["/shm/", "/anon/", "/random", "/once", "/walker", "vcpus=1", "vcpus=2"] {
            let seen = cases.iter().any(|(name, verdict, passed)| {
                name.starts_with(mode) && name.contains(part) && verdict == "identical" && *passed
            });
            assert!(seen, "no identical case of {mode}…{part}: {cases:?}");
        }
        let controls: Vec<_> = cases
            .iter()
            .filter(|(name, ..)| name.starts_with(mode) && name.ends_with("/control"))
            .collect();
        assert!(!controls.is_empty(), "{mode} has no control");
        for (name, verdict, passed) in controls {
            assert!(verdict == "differs" && *passed, "{name}: {verdict}");
        }
    }
    let rounds = record["cases"].as_array().unwrap().iter();
    let dirty: u64 = rounds
        .flat_map(|case| case["rounds"].as_array().unwrap())
        .map(|round| round["dirty_pages"].as_u64().unwrap())
        .sum();
    assert!(dirty > 100_000, "{dirty} dirty pages in all");
    assert!(out.contains("identical"), "{out}");
    assert_eq!(place.names(), ["out.json"]);
}

#[test]
fn a_ring_never_passes_by_luck() {
    let place = Place::new();
    let record = place.path("ring.json");
    let mut command = memtwin();
    command.args(["check", "--mode", "ring", "--stressor", "random,zero", "--json"]).arg(&record);
    let output = common::run(&mut command);
    let code = output.status.code();
    let record = json(&record);
    for case in record["cases"].as_array().unwrap() {
        let (verdict, reason) = (case["verdict"].as_str().unwrap(), case["reason"].to_string());
        match code {
            // A host whose ring holds.
            Some(0) => assert!(["identical", "differs", "skipped"].contains(&verdict)),
            Some(1 | 11) if verdict != "skipped" => {
                assert_ne!(verdict, "identical", "{case}");
                assert!(reason.contains("overflow") || verdict == "differs", "{reason}");
            }
            Some(1 | 11) => {}
            other => panic!("{other:?}: {record}"),
        }
    }
}

#[test]
fn every_format_says_the_same() {
    let place = Place::new();
    let few = ["--mode", "get", "--backing", "shm", "--vcpus", "1", "--stressor", "once"];
    let memory = place.path("memory");
    let check = || {
        let mut command = memtwin();
        command.arg("check").args(few).arg("--memory").arg(&memory);
        command
    };
    let (ktap, _) = expect(0, check().args(["--format", "ktap"]));
    assert!(ktap.starts_with("KTAP version 1\n1..2\n"), "{ktap}");
    assert!(ktap.contains("ok 1 kvm/get/shm/vcpus=1/once\n"), "{ktap}");
    let (junit, _) = expect(0, check().args(["--format", "junit"]));
    assert!(junit.contains("<testcase name=\"kvm/get/shm/vcpus=1/once/control\""), "{junit}");
    let (stdout, progress) = expect(0, check().args(["--json", "-"]));
    let record: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(verdicts(&record).len(), 2);
    assert!(progress.contains("kvm/get/shm/vcpus=1/once"), "no progress: {progress}");
    let (_, quiet) = expect(0, check().arg("--quiet"));
    assert_eq!(quiet, "");
    assert_eq!(place.names(), Vec::<String>::new(), "the memory file was left behind");
}

#[test]
fn wrong_words_are_refused_before_anything_runs() {
    for (args, said) in [
        (vec!["--mode", "rings"], "unknown mode 'rings'"),
        (vec!["--stressor", "sometimes"], "unknown stressor 'sometimes'"),
        (vec!["--backing", "tape"], "unknown backing 'tape'"),
        (vec!["--size", "0"], "0 bytes"),
        (vec!["--size", "1000001"], "expected a multiple of the page size"),
        (vec!["--size", "100T"], "larger than this machine's memory"),
        (vec!["--vcpus", "0"], "0"),
        (vec!["--json", "/proc/no/such/file"], "/proc/no/such/file"),
    ] {
        let code = if args[0] == "--json" { 3 } else { 2 };
        let (out, err) = expect(code, memtwin().arg("check").args(&args));
        assert!(err.contains(said), "{args:?}: {err}");
        assert_eq!(out, "", "{args:?}");
    }
}

#[test]
fn a_memory_file_in_use_is_refused() {
    let place = Place::new();
    let memory = place.path("memory");
    let mut first = memtwin();
    first.args(["check", "--mode", "get", "--backing", "shm", "--seconds", "60", "--quiet"]);
    let first = Held::spawn(first.arg("--memory").arg(&memory));
    common::until("the memory file is there", || memory.exists());
    let (_, err) = expect(3, memtwin().args(["check", "--memory"]).arg(&memory));
    assert!(err.contains("in use by another memtwin"), "{err}");
    drop(first);
    // A killed instance holds no lock, and its file is taken over.
    let few = ["check", "--mode", "get", "--backing", "shm", "--stressor", "once", "--memory"];
    expect(0, memtwin().args(few).arg(&memory));
}

#[test]
fn a_signal_ends_it_with_what_there_is() {
    for signal in [2, 15] {
        let place = Place::new();
        let record = place.path("out.json");
        let memory = place.path("memory");
        let mut command = memtwin();
        command.args(["check", "--seconds", "100", "--json"]).arg(&record);
        let mut held = Held::spawn(command.arg("--memory").arg(&memory));
        common::until("it runs", || memory.exists());
        std::thread::sleep(std::time::Duration::from_millis(300));
        held.signal(signal);
        assert_eq!(held.end().code(), Some(130), "signal {signal}");
        assert!(verdicts(&json(&record)).is_empty());
        assert_eq!(place.names(), ["out.json"]);
    }
}

/// A shell line in a mount namespace of its own, where this host's devices can be changed.
fn elsewhere(line: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", line, "sh", env!("CARGO_BIN_EXE_memtwin")]);
    command
}

#[test]
fn without_kvm_the_process_source_is_run_and_that_is_said() {
    if !root() {
        println!("skipped: hiding /dev/kvm needs root");
        return;
    }
    // A /dev of the namespace's own, with what the test needs, and our binary where anyone may
    // run it; all of it is gone with the namespace.
    let dev = "mount -t tmpfs none /dev; mkdir -m 1777 /dev/shm; mknod -m 666 /dev/null c 1 3; \
               cp $1 /dev/memtwin; ";
    let (out, _) = expect(0, &mut elsewhere(&format!("{dev} exec /dev/memtwin check --quiet")));
    let last = out.lines().last().unwrap();
    assert!(last.contains("KVM NOT TESTED"), "{out}");
    assert!(out.contains("process/"), "{out}");

    for (name, line, said) in [
        ("missing", "exec /dev/memtwin check --mode get", "/dev/kvm: no such device"),
        ("not KVM", "mknod /dev/kvm c 1 3; exec /dev/memtwin check --mode get", "/dev/kvm: "),
        (
            "forbidden",
            "mknod -m 600 /dev/kvm c 10 232; exec setpriv --reuid 65534 --regid 65534 \
             --clear-groups /dev/memtwin check --mode get",
            "permission denied; add yourself to the group kvm",
        ),
    ] {
        let (_, err) = expect(3, &mut elsewhere(&format!("{dev} {line}")));
        assert!(err.contains(said), "{name}: {err}");
    }
}
