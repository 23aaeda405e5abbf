//! A parent that is killed at the worst moment leaves no child.

use crate::between::Between;
use crate::{Spawn, spawner};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What the parent is to do, in the process that a test has started for it.
const ROLE: &str = "MEMTWIN_CHILD_TEST_ROLE";
/// What ends a test that hangs.
const LIMIT: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
const LONG: &str = "1000";

/// This test binary once more, as a parent. Killed when this is dropped.
struct Parent {
    process: Child,
    orders: ChildStdin,
    said: ChildStdout,
}

impl Parent {
    fn start(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::the_parent_of_the_others", "--nocapture"]);
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn_bound().unwrap();
        let (orders, said) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, orders, said }
    }

    /// The child that it has started, by what that says of itself: four bytes after a zero.
    fn child(&mut self) -> Orphan {
        let mut pid = [0; 4];
        // The test's own words come first.
        let mut last = [0; 1];
        let mut line = Vec::new();
        while !line.ends_with(b"running 1 test\n") {
            self.said.read_exact(&mut last).unwrap();
            line.push(last[0]);
        }
        self.said.read_exact(&mut pid).unwrap();
        Orphan::of(u32::from_ne_bytes(pid))
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process that is not our child. Killed when this is dropped.
struct Orphan {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Orphan {
    fn of(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        Self { pid, pidfd: pidfd_open(pid, PidfdFlags::empty()).unwrap() }
    }

    fn has_ended_within(&self, limit: &Timespec) -> bool {
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(limit)).unwrap() == 1
    }

    /// Whether it is `sleep` by now.
    fn has_executed(&self) -> bool {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.pid.as_raw_nonzero()));
        name.is_ok_and(|name| name == "sleep\n")
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// No test of its own: what [`Parent`] runs.
#[test]
fn the_parent_of_the_others() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut sleep = Command::new("sleep");
    sleep.arg(LONG);
    let started = match &*role {
        "checks" => spawner::spawn(&mut sleep, Between::Wait { check: true }),
        "does not check" => spawner::spawn(&mut sleep, Between::Wait { check: false }),
        "a group" => {
            let (mut leader, watch) = grandparent().spawn_bound_group().unwrap();
            tell_grandchild(&mut leader);
            // For as long as this runs.
            std::mem::forget(watch);
            Ok(leader)
        }
        "no group" => {
            let mut leader = grandparent().spawn_bound().unwrap();
            tell_grandchild(&mut leader);
            Ok(leader)
        }
        "from a thread" => {
            let started = std::thread::spawn(move || sleep.spawn_bound());
            let started = started.join().unwrap();
            let pid = started.as_ref().unwrap().id().to_ne_bytes();
            rustix::io::write(rustix::stdio::stdout(), &pid).unwrap();
            started
        }
        _ => panic!("{role}"),
    };
    // Until this is killed.
    let _ = std::io::stdin().read(&mut [0]);
    let mut child = started.unwrap();
    let _ = child.kill();
    let _ = child.wait();
}

/// A program that starts another, and says which.
fn grandparent() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("sleep {LONG} & echo $!; wait")]).stdout(Stdio::piped());
    command
}

fn tell_grandchild(leader: &mut Child) {
    let mut line = String::new();
    BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    rustix::io::write(rustix::stdio::stdout(), &pid.to_ne_bytes()).unwrap();
}

/// Kills the parent while its child is between fork and the request for the signal.
fn killed_in_the_window(role: &str) -> (Parent, Orphan) {
    let mut parent = Parent::start(role);
    let child = parent.child();
    parent.kill();
    // It goes on.
    parent.orders.write_all(b"!").unwrap();
    (parent, child)
}

#[test]
fn a_parent_that_dies_before_the_child_asks_leaves_none() {
    for _ in 0..20 {
        let (_parent, child) = killed_in_the_window("checks");
        assert!(child.has_ended_within(&LIMIT), "it lives on");
    }
}

#[test]
fn without_the_check_one_is_left() {
    let (_parent, child) = killed_in_the_window("does not check");
    let began = std::time::Instant::now();
    while !child.has_executed() {
        assert!(began.elapsed().as_secs() < 60, "it did not execute its program");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Its parent has been reaped: nothing will come any more.
    assert!(!child.has_ended_within(&Timespec { tv_sec: 0, tv_nsec: 200_000_000 }));
}

#[test]
fn a_child_lives_as_long_as_the_process_and_not_as_the_thread() {
    let mut parent = Parent::start("from a thread");
    let child = parent.child();
    // The thread that asked for it has been joined.
    assert!(!child.has_ended_within(&Timespec { tv_sec: 0, tv_nsec: 200_000_000 }));
    kill_process(Pid::from_child(&parent.process), Signal::KILL).unwrap();
    assert!(child.has_ended_within(&LIMIT), "it lives on");
}

#[test]
fn a_group_ends_with_its_parent_and_without_a_watch_it_does_not() {
    let mut parent = Parent::start("a group");
    let grandchild = parent.child();
    parent.kill();
    assert!(grandchild.has_ended_within(&LIMIT), "it lives on");
    let mut parent = Parent::start("no group");
    let grandchild = parent.child();
    parent.kill();
    assert!(!grandchild.has_ended_within(&Timespec { tv_sec: 0, tv_nsec: 200_000_000 }));
}

#[test]
fn a_watch_that_is_let_go_kills_nothing() {
    let mut cat = Command::new("cat");
    let (mut cat, watch) = cat.stdin(Stdio::piped()).spawn_bound_group().unwrap();
    drop(watch);
    // It goes on to the end of its input.
    drop(cat.stdin.take());
    assert!(cat.wait().unwrap().success());
    assert!(Command::new("/nonexistent").spawn_bound_group().is_err());
}

#[test]
fn a_command_is_as_it_was_and_what_can_not_start_is_told() {
    let mut command = Command::new("true");
    for _ in 0..3 {
        assert!(command.spawn_bound().unwrap().wait().unwrap().success());
    }
    assert_eq!(command.get_program(), "true");
    let error = Command::new("/nonexistent").spawn_bound().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let mut cat = Command::new("cat");
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::null()).spawn_on_stdin().unwrap();
    drop(cat.stdin.take());
    assert!(cat.wait().unwrap().success());
}
