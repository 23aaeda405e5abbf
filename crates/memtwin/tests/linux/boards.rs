//! `memtwin lab` with boards: up, ssh, probe, console, down; killed; and the experiments on a board
//! with KVM/arm64.

use crate::common::{
    Held, Place, conform, expect, json, memtwin, run_within, text, until, verdicts,
};
use memtwin_child::Spawn;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// An experiment on a board, on a busy machine; its own limits are shorter.
pub(crate) const LONG: Duration = Duration::from_secs(1500);

pub(crate) fn lab(words: &[&str], state: &Path) -> Command {
    let mut command = memtwin();
    command.arg("lab").args(words).arg("--state").arg(state);
    command
}

/// Whether any process was given a path in this folder.
fn used(folder: &Path) -> bool {
    let folder = folder.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines =
        processes.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.any(|line| line.contains(&folder) && line.contains("qemu-system"))
}

/// Programs that need no toolchain: boards boot without ours.
pub(crate) fn no_programs(place: &Place) -> String {
    let folder = place.path("programs");
    fs::create_dir_all(&folder).unwrap();
    for name in ["memtwin", "netload", "diskload", "dirtyram", "tstaeshm", "writeout"] {
        fs::write(folder.join(name), "#!/bin/sh\nexit 127\n").unwrap();
    }
    folder.display().to_string()
}

pub(crate) fn up_and_down() {
    let place = Place::new();
    // A short name, for sockets.
    let state = place.path("s");
    let none = |words: &[&str]| {
        let (_, err) = expect(3, &mut lab(words, &state));
        assert!(err.contains("no lab is up"), "{err}");
    };
    none(&["down"]);
    none(&["ssh", "a"]);
    let programs = no_programs(&place);
    let up = ["up", "1", "--detach", "--memory", "384", "--programs", &programs];
    let (_, err) = expect(0, &mut lab(&up, &state));
    assert!(err.contains("board a: aarch64 "), "{err}");

    let (_, err) = expect(3, &mut lab(&up, &state));
    assert!(err.contains("a lab is up there already"), "{err}");
    let ssh = |code, words: &[&str]| {
        let mut command = memtwin();
        command.args(["lab", "ssh", "--state"]).arg(&state).args(words);
        expect(code, &mut command)
    };
    assert_eq!(ssh(0, &["a", "hostname"]).0, "a\n");
    ssh(7, &["a", "exit", "7"]);
    let (_, err) = ssh(2, &["b", "hostname"]);
    assert!(err.contains("no board 'b' is up; there are: a"), "{err}");
    let (out, _) = expect(0, &mut lab(&["probe", "emulated:a", "--json"], &state));
    let probed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&probed["arch"], &probed["page_size"]), (&"aarch64".into(), &4096.into()));
    assert_eq!(probed["qemu"]["needs"]["ivshmem-plain"], true, "{probed}");
    console(&place, &state);
    assert!(used(&state), "the control: there is a QEMU to be found");
    // A board that has ended shows what it said, and takes nothing.
    let orders = |text: &str| {
        fs::write(place.path("orders"), text).unwrap();
        let mut command = lab(&["console", "a"], &state);
        command.stdin(fs::File::open(place.path("orders")).unwrap());
        command
    };
    expect(0, &mut orders("1 poweroff"));
    until("no board", || !used(&state));
    let (out, err) = expect(0, &mut orders(""));
    assert!(out.contains("MEMTWIN READY aarch64") && err.contains("has ended"), "{err}{out}");
    let (_, err) = expect(3, &mut orders("1 run true"));
    assert!(err.contains("board a has ended: it takes no orders"), "{err}");
    expect(0, &mut lab(&["down"], &state));
    until("all is gone", || !state.exists() && !used(&state));

    // Killed, it takes its boards along; the next finds and removes the rest.
    let mut held =
        Held(lab(&up[..2], &state).args(&up[3..]).stderr(Stdio::null()).spawn_bound().unwrap());
    until("a board", || used(&state));
    held.signal(9);
    held.end();
    until("no board", || !used(&state));
    assert!(state.join("memtwin-lab.lock").exists());
    let mut held = Held::spawn(lab(&up[..2], &state).args(&up[3..]));
    until("another board", || used(&state));
    // And told to end before it is up, it leaves nothing.
    held.signal(2);
    assert_eq!(held.end().code(), Some(130));
    assert!(!state.exists() && !used(&state));
}

/// What was said is shown; orders by a pipe are answered; a terminal's keys are the board's.
fn console(place: &Place, state: &Path) {
    let (out, _) = expect(0, &mut lab(&["console", "a"], state));
    assert!(out.contains("MEMTWIN READY aarch64"), "{out}");
    fs::write(place.path("orders"), "x run hostname; exit 7\ny nonsense").unwrap();
    let orders = fs::File::open(place.path("orders")).unwrap();
    let (out, _) = expect(0, lab(&["console", "a"], state).stdin(orders));
    assert!(out.contains("MEMTWIN BEGIN x\r\na\r\n"), "{out}");
    for answer in ["DONE x rc=7\r\n", "unknown order 'nonsense'", "DONE y rc=127\r\n"] {
        assert!(out.contains(answer), "{out}");
    }

    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = fs::File::options().read(true).write(true).open(name).unwrap();
    let modes = || tcgetattr(&terminal).unwrap().local_modes;
    let before = modes();
    let shared = |file: &fs::File| Stdio::from(file.try_clone().unwrap());
    let mut command = lab(&["console", "a"], state);
    command.stdin(shared(&terminal)).stdout(shared(&terminal)).stderr(Stdio::null());
    let mut held = Held(command.spawn_bound().unwrap());
    until("its keys are the board's", || modes() != before);
    // A line that would not end, and the key that ends it.
    let mut keys = fs::File::from(master);
    let mut typed = |keys_typed: &[u8]| keys.write_all(keys_typed).unwrap();
    let log = || fs::read_to_string(state.join("a.console")).unwrap();
    typed(b"1 run sleep 10000\r");
    until("it runs", || log().contains("1 run sleep 10000\r\nMEMTWIN BEGIN 1\r\n"));
    // Again, as a person would: the first may come before the program is there to hear it.
    let mut typed_at = None;
    until("it has ended", || {
        if typed_at.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(2)) {
            typed(b"\x03");
            typed_at = Some(Instant::now());
        }
        log().contains("MEMTWIN DONE 1 rc=130")
    });
    typed(b"2 run hostnamx\x7fe\r");
    until("a second answer", || log().contains("MEMTWIN BEGIN 2\r\na\r\n\r\nMEMTWIN DONE 2 rc=0"));
    typed(b"\x1d");
    assert_eq!(held.end().code(), Some(0));
    assert_eq!(modes(), before);
}

/// A board that is up, by the name of its lab's folder: probed, and checked.
pub(crate) fn check_there() {
    let (place, record) = (Place::new(), Place::new());
    let (state, record) = (place.path("s"), record.path("out.json"));
    let up = run_within(LONG, &mut lab(&["up", "1", "--detach", "--memory", "512"], &state));
    assert_eq!(up.status.code(), Some(0), "{}", text(&up.stderr));
    let (out, _) = expect(0, &mut lab(&["probe", "emulated:a", "--json"], &state));
    let probed: serde_json::Value = serde_json::from_str(&out).unwrap();
    // Memtwin itself has asked KVM there.
    assert_eq!(probed["kvm"]["modes"]["ring"], true, "{probed}");
    let mut command = lab(&["run", "check", "--hosts", "emulated:a"], &state);
    command.arg("--json").arg(&record).args(["--", "--mode", "get,ring", "--stressor", "once"]);
    command.args(["--backing", "shm", "--vcpus", "1", "--rounds", "5"]);
    let output = run_within(LONG, &mut command);
    let said = text(&output.stderr) + &text(&output.stdout);
    println!("{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    let found = verdicts(&json(&record));
    assert!(found.iter().all(|(.., passed)| *passed) && found.len() == 4, "{found:?}");
    let case = "kvm/ring/shm/vcpus=1/once/host=4k,emulated:a";
    assert!(found.contains(&(case.to_owned(), "identical".to_owned(), true)), "{found:?}");
    let mut command = memtwin();
    command.args(["lab", "ssh", "--state"]).arg(&state).args(["a", "ls /tmp | grep memtwin-"]);
    let (left, _) = expect(1, &mut command);
    assert_eq!(left, "", "nothing is left there");
    // No such board, and no such lab.
    let check = ["run", "check", "--hosts", "emulated:b"];
    let (_, err) = expect(2, &mut lab(&check, &state));
    assert!(err.contains("no board 'b' is up; there are: a"), "{err}");
    expect(0, &mut lab(&["down"], &state));
    until("all is gone", || !state.exists() && !used(&state));
    let (_, err) = expect(3, &mut lab(&check, &state));
    assert!(err.contains("no lab is up"), "{err}");
}

/// Runs an experiment on a board of its own; the cases that it must have found. What it said.
fn experiment(
    name: &str,
    options: &[&str],
    expected: &[(&str, &str)],
) -> (String, Vec<(String, String, bool)>) {
    let place = Place::new();
    let record = place.path("out.json");
    let mut command = memtwin();
    command.args(["lab", "run", name, "--hosts", "emulated", "--json"]).arg(&record).args(options);
    let output = run_within(LONG, &mut command);
    let said = text(&output.stderr) + &text(&output.stdout);
    println!("{said}");
    let status = output.status;
    assert_eq!(status.code(), Some(0), "{said}");
    conform(&[&record]);
    let record = json(&record);
    assert_eq!(record["host"]["arch"], "aarch64", "the board's record");
    // Each run there says how it came about.
    let runs: usize = record["remote_runs"]
        .as_object()
        .map_or(0, |runs| runs.values().map(|runs| runs.as_array().unwrap().len()).sum());
    assert!(runs > 0, "{:#}", record["remote_runs"]);
    let found = verdicts(&record);
    assert!(found.iter().all(|(.., passed)| *passed), "{found:?}");
    for (case, verdict) in expected {
        let there = found.iter().any(|(name, found, _)| name == case && found == verdict);
        assert!(there, "{case} {verdict}: {found:?}");
    }
    (said, found)
}

pub(crate) fn replicate() {
    let (said, _) = experiment(
        "replicate",
        &["--seconds", "2s", "--control"],
        &[
            ("replicate/qemu/bitmap", "identical"),
            ("replicate/qemu/bitmap/remote", "identical"),
            ("replicate/qemu/bitmap/control", "differs"),
            ("replicate/qemu/ring", "identical"),
            ("replicate/qemu/ring/remote", "identical"),
            ("replicate/qemu/ring/control", "differs"),
        ],
    );
    // The third side of each, summed here.
    assert_eq!(said.matches(", received here").count(), 2, "{said}");
}

pub(crate) fn audit() {
    let found = experiment(
        "audit",
        &["--seconds", "40s"],
        &[("audit/bitmap/mach-virt.ram", "identical"), ("audit/ring/mach-virt.ram", "identical")],
    )
    .1;
    // Of the block of which most withheld pages were written meanwhile, which is a matter of chance.
    for log in ["audit/bitmap/", "audit/ring/"] {
        let is_control = |name: &str| name.starts_with(log) && name.ends_with("/control");
        let there = found.iter().any(|(name, verdict, _)| is_control(name) && verdict == "differs");
        assert!(there, "{log}: {found:?}");
    }
}

/// On this machine, emulated.
pub(crate) fn audit_here() {
    let place = Place::new();
    let record = place.path("out.json");
    let mut command = memtwin();
    command.args(["lab", "run", "audit", "--accel", "tcg", "--seconds", "20s", "--json"]);
    let (out, _) = expect(0, command.arg(&record));
    for writer in ["virtio-blk", "virtio-rng", "virtio-net", "messages"] {
        assert!(out.contains(&format!("while it was audited, {writer} went from ")), "{out}");
    }
    let found = verdicts(&json(&record));
    assert!(found.contains(&("audit/mach-virt.ram".into(), "identical".into(), true)), "{found:?}");
}
