//! The testbed itself: it leaves nothing behind.

use crate::PC;
use memtwin_child::Spawn;
use memtwin_testbed::{Need, Qemu, lacks};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn is_over(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

#[test]
fn a_dropped_qemu_is_gone_with_its_files() {
    if lacks(&[Need::Program(PC)]) {
        return;
    }
    let qemu = Qemu::start(PC, &["-M", "none"]).unwrap();
    let (pid, dir) = (qemu.pid(), qemu.dir().to_owned());
    assert!(!is_over(pid) && dir.exists());
    drop(qemu);
    assert!(is_over(pid) && !dir.exists());
    let error = Qemu::start(PC, &["-M", "no-such-machine"]).unwrap_err();
    assert!(error.to_string().contains("machine type"), "{error}");
}

const ORPHAN: &str = "MEMTWIN_TEST_ORPHAN";

/// Not a test: what the next one starts, and kills.
#[test]
#[ignore = "run by a_qemu_dies_with_its_test"]
fn orphan_maker() {
    if std::env::var_os(ORPHAN).is_some() {
        let qemu = Qemu::start(PC, &["-M", "none"]).unwrap();
        eprintln!("{}", qemu.pid());
        std::thread::sleep(std::time::Duration::from_secs(600));
    }
}

#[test]
fn a_qemu_dies_with_its_test() {
    if lacks(&[Need::Program(PC)]) {
        return;
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "testbed::orphan_maker", "--ignored", "--nocapture"])
        .env(ORPHAN, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn_bound()
        .unwrap();
    let said = BufReader::new(parent.stderr.take().unwrap());
    let pid: Option<u32> = said.lines().find_map(|line| line.unwrap().parse().ok());
    let before = pid.map(is_over);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_eq!(before, Some(false), "QEMU should have been there");
    crate::wait_for("QEMU's end", || is_over(pid.unwrap()));
}
