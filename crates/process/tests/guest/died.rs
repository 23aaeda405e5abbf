//! Ends that are nobody's wish: a child that is killed, a parent that is.

use crate::{config, guest, wait_for};
use libtest_mimic::Trial;
use memtwin_child::Spawn;
use memtwin_pages::RegionId;
use memtwin_process::{Config, ProcessGuest};
use memtwin_replicate::{Collector, Source, SourceError};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

struct Ignore;

impl Collector for Ignore {
    fn pages(&mut self, _region: RegionId, _bitmap: &[u64]) {}
    fn page(&mut self, _region: RegionId, _page: u64) {}
}

fn kill(guest: &ProcessGuest) {
    let pid = Pid::from_raw(guest.pid() as i32).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether our own child has ended with all its threads. Its state in /proc says no more than
/// that its first thread has; the others may take their time.
fn has_ended(guest: &ProcessGuest) -> bool {
    let pid = Pid::from_raw(guest.pid() as i32).unwrap();
    let merely_looked_at = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    waitid(WaitId::Pid(pid), merely_looked_at).unwrap().is_some()
}

/// Gone, or a zombie that its new parent has not looked at yet: nothing that writes.
fn is_over(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

pub(crate) fn a_killed_child_is_told_by_every_call() {
    type Call = fn(&mut ProcessGuest) -> Result<(), SourceError>;
    let calls: [Call; 3] =
        [|guest| guest.guest().map(|_| ()), |guest| guest.pause(), |guest| guest.start_logging()];
    for call in calls {
        let mut guest = guest(config());
        guest.start_logging().unwrap();
        guest.start();
        wait_for("the first write", || guest.written() > 0);
        kill(&guest);
        wait_for("the end", || has_ended(&guest));
        let error = call(&mut guest).unwrap_err();
        let SourceError::Guest(how) = &error else { panic!("{error}") };
        assert!(how.contains("SIGKILL"), "{how}");
        guest.stop_logging().unwrap();
    }
}

/// Nothing is waited for here: the child may be in the middle of its end. A collection that
/// succeeds says that the child's memory was still there after it.
pub(crate) fn a_killed_child_never_leaves_a_clean_log() {
    for held in [false, true] {
        for _ in 0..20 {
            let mut guest = guest(Config { bytes: 8 << 20, ..config() });
            guest.start_logging().unwrap();
            guest.start();
            wait_for("the first write", || guest.written() > 0);
            if held {
                guest.pause().unwrap();
            }
            kill(&guest);
            let mut collections = 0;
            let error = loop {
                match guest.collect(&mut Ignore) {
                    Ok(()) => collections += 1,
                    Err(error) => break error,
                }
                assert!(collections < 1_000_000, "collecting from the dead");
            };
            assert!(matches!(error, SourceError::Guest(_)), "{error}");
        }
    }
}

pub(crate) fn a_dropped_guest_leaves_nothing_behind() {
    let mut guest = guest(config());
    guest.start();
    wait_for("the first write", || guest.written() > 0);
    guest.pause().unwrap();
    let pid = guest.pid();
    assert!(exists(pid));
    drop(guest);
    assert!(!exists(pid));
}

const ORPHAN_MAKER: &str = "orphan_maker";

/// Not a test: what the next one starts, and kills. Holds a guest, says which, and waits.
pub(crate) fn orphan_maker() -> Trial {
    let make = || {
        if std::env::var_os(ORPHAN_MAKER).is_none() {
            return Ok(());
        }
        let mut guest = guest(config());
        guest.pause().unwrap();
        eprintln!("{}", guest.pid());
        std::thread::sleep(std::time::Duration::from_secs(600));
        Ok(())
    };
    Trial::test(ORPHAN_MAKER, make).with_ignored_flag(true)
}

/// Also one that is held: a stopped process sees no end of a socket.
pub(crate) fn a_child_dies_with_its_parent() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", ORPHAN_MAKER, "--ignored", "--nocapture"])
        .env(ORPHAN_MAKER, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn_bound()
        .unwrap();
    let said = BufReader::new(parent.stderr.take().unwrap());
    let pid: Option<u32> = said.lines().find_map(|line| line.unwrap().parse().ok());
    let before = pid.map(is_over);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_eq!(before, Some(false), "the child should have been there");
    wait_for("the child's end", || is_over(pid.unwrap()));
}
