//! Boards with networks: they boot side by side, ssh reaches them, they reach each other, a link can
//! be cut; one that dies or does not boot says its last words, and nothing is left of any.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may end, and may talk"
)]

#[allow(dead_code, reason = "what another test needs")]
mod place;

use libtest_mimic::Arguments;
use memtwin_child::Spawn;
use memtwin_lab::board::BoardSpec;
use memtwin_lab::boards::{Lab, LabError, LabFile, LabFolder, LabSpec, Nic, Node};
use memtwin_lab::host::{Host, HostError, run};
use memtwin_lab::root::{self, BoardImage};
use memtwin_lab::{Arch, Cache, Flavour, MachineError, Progress};
use place::Place;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(240);

/// Shows what goes on.
struct Talk;

impl Progress for Talk {
    fn say(&mut self, line: &str) {
        println!("{line}");
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let arm = &[Arch::Aarch64];
    let trials = vec![
        place::trial("boards_reach_each_other_and_die_alone", arm, lab),
        place::trial("a_board_that_does_not_boot_says_why", arm, no_boot),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn image() -> BoardImage {
    let cache = Cache::open(&Cache::place().unwrap(), &mut Talk).unwrap();
    root::build(&cache, Flavour::Standard, &mut Talk).unwrap()
}

fn node(name: &str, host: u8) -> Node {
    Node {
        name: name.to_owned(),
        spec: BoardSpec { cpus: 1, memory: 384, ..BoardSpec::default() },
        nics: vec![Nic { address: Some(format!("192.168.10.{host}/24")), mtu: Some(9000) }],
        disks: Vec::new(),
        load: vec!["tun".to_owned()],
    }
}

fn lab() {
    let place = Place::new("boards");
    let file = place.file("greeting", 0);
    fs::write(&file, "#!/bin/sh\necho greetings from $(hostname)\n").unwrap();
    let files = vec![LabFile { path: "bin/greet".to_owned(), from: file.clone(), program: true }];
    let spec = LabSpec { nodes: vec![node("a", 100), node("b", 101)], files };
    let began = Instant::now();
    let folder = LabFolder::temporary().unwrap();
    let path = folder.path("");
    let mut lab = Lab::boot(&spec, &image(), folder, &mut Talk).unwrap();
    println!("two boards: {:.1} s", began.elapsed().as_secs_f64());

    let said = |lab: &Lab, name: &str, line: &str| {
        run(&lab.board(name).unwrap().host, line, LONG, &mut Talk)
    };
    assert_eq!(said(&lab, "a", "greet").unwrap(), "greetings from a\n");
    assert_eq!(said(&lab, "b", "test -c /dev/kvm && grep -c ^tun /proc/modules").unwrap(), "1\n");
    said(&lab, "b", "qemu-system-aarch64 --version && mount.nfs -V && tc -V | grep iproute2")
        .unwrap();

    // What is started over a connection ends with it.
    let host = &lab.board("a").unwrap().host;
    let mut child = host.command("sleep 1234").stdin(Stdio::piped()).spawn_on_stdin().unwrap();
    let sleeps = || said(&lab, "a", "pgrep -f '[s]leep 1234' | wc -l").unwrap() != "0\n";
    until(&sleeps);
    child.kill().unwrap();
    child.wait().unwrap();
    until(&|| !sleeps());
    // A file goes there and back.
    host.put(&image().boot.initrd, "/tmp/initrd", 0o640).unwrap();
    host.get("/tmp/initrd", &file).unwrap();
    assert_eq!(fs::read(&file).unwrap(), fs::read(&image().boot.initrd).unwrap());

    let ping = "ping -c 1 -W 10 192.168.10.101";
    said(&lab, "a", ping).unwrap();
    said(&lab, "a", "ping -c 1 -W 10 -s 8000 -M do 192.168.10.101").unwrap();
    // The control: without the cable there is no answer, and with it there is one again.
    let b = lab.hub.of("b").unwrap();
    b.cut(true);
    assert!(said(&lab, "a", ping).is_err());
    b.cut(false);
    said(&lab, "a", "ping -c 5 192.168.10.101").unwrap();

    // One dies in the middle of something, a moment after it has answered: it is told, and the other lives.
    let boards = &mut lab.boards;
    boards[1]
        .machine
        .order("run (sleep 3; echo c >/proc/sysrq-trigger) &", LONG, &mut Talk)
        .unwrap();
    let host = boards[1].host.clone();
    let error = run(&host, "sleep 200", LONG, &mut Talk).unwrap_err();
    assert!(matches!(error, HostError::Unreachable { .. }), "{error}");
    let error = boards[1].machine.line("its end", LONG, &mut Talk, &mut |_| false).unwrap_err();
    let (MachineError::Panicked { last, .. } | MachineError::Ended { last, .. }) = &error else {
        panic!("{error}")
    };
    println!("{last:?}");
    assert_eq!(said(&lab, "a", "greet").unwrap(), "greetings from a\n");

    let pids: Vec<u32> = lab.boards.iter().map(|board| board.machine.pid()).collect();
    drop(lab);
    assert!(!path.exists());
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
    place.done();
}

fn until(so: &dyn Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < LONG, "never");
    }
}

/// A disk that has no file system.
fn no_boot() {
    let place = Place::new("no-boot");
    let root = place.file("empty", 1 << 20);
    let image = BoardImage { root, ..image() };
    let spec = LabSpec { nodes: vec![node("c", 102)], files: Vec::new() };
    let error = Lab::boot(&spec, &image, LabFolder::temporary().unwrap(), &mut Talk).unwrap_err();
    println!("{error}");
    let LabError::Board { name, error } = &error else { panic!("{error}") };
    let (MachineError::Panicked { log, last, .. } | MachineError::Ended { log, last, .. }) = error
    else {
        panic!("{error}")
    };
    assert_eq!(name, "c");
    assert!(last.iter().any(|line| line.contains("no root file system")), "{last:?}");
    // The console stays, and nothing else does.
    let folder = log.parent().unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    fs::remove_dir_all(folder).unwrap();
    place.done();
}
