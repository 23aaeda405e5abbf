//! The child as a process: started, held, let go, watched, and never left behind.

use memtwin_child::Spawn;
use memtwin_wait::{Deadline, wait_for};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

/// How long a child that gives up its memory may take to end.
const ENDING: Duration = Duration::from_secs(2);

/// How often such a child is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// How long one may take to stop, and how often it is looked at. It takes microseconds, unless the
/// machine is out of memory.
const STOPPING: Duration = Duration::from_secs(10);
const STOP_LOOK: Duration = Duration::from_micros(20);

/// A child process. Killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    pid: Pid,
    held: bool,
}

impl Child {
    /// Executes a program with `stdin` as its standard input.
    ///
    /// In a process group of its own: an interrupt from the keyboard is for the parent, which ends
    /// the child when it is done with it.
    pub(crate) fn spawn(mut command: Command, stdin: OwnedFd) -> io::Result<Self> {
        command.stdin(Stdio::from(stdin)).stdout(Stdio::null()).process_group(0);
        let process = command.spawn_bound()?;
        // The command holds the child's end of the socket: it must not outlive the child.
        drop(command);
        let pid = Pid::from_child(&process);
        Ok(Self { process, pid, held: false })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match self.process.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("the writer process ended: {status}")),
            Err(errno) => Some(format!("the writer process can't be waited for: {errno}")),
        }
    }

    /// As [`Child::ended`], of one that seems to be about to end.
    pub(crate) fn ending(&mut self) -> Option<String> {
        wait_for(ENDING, POLL_INTERVAL, || self.ended())
    }

    /// Stops all its threads. When this returns, none runs. Errors if it has ended.
    pub(crate) fn hold(&mut self) -> Result<(), String> {
        if let Some(how) = self.ended() {
            return Err(how);
        }
        if self.held && self.confirm_held().is_ok() {
            return Ok(());
        }
        // Noted first: if waiting fails, the signal was sent all the same.
        self.held = true;
        self.signal(Signal::STOP)?;
        // The kernel says that a process has stopped when its last thread has (wait(2)). It says so
        // once: what it says after this is of another stop, and that it ran in between.
        let what = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
        let deadline = Deadline::after(STOPPING);
        loop {
            match waitid(WaitId::Pid(self.pid), what) {
                Ok(Some(status)) if status.stopped() => return Ok(()),
                // By an earlier release of ours, or by somebody else before all had stopped.
                Ok(Some(_)) => self.signal(Signal::STOP)?,
                Ok(None) | Err(Errno::INTR) => {
                    if let Some(how) = self.ended() {
                        return Err(how);
                    }
                    if deadline.is_over() {
                        let seconds = STOPPING.as_secs();
                        return Err(format!("the writer process did not stop in {seconds} s"));
                    }
                    thread::sleep(STOP_LOOK);
                }
                Err(errno) => {
                    return Err(format!("the writer process can't be waited for: {errno}"));
                }
            }
        }
    }

    /// Errors unless it is in the same stop into which [`Child::hold`] has brought it: it has not run
    /// for a moment, even if it was let go on and stopped again.
    pub(crate) fn confirm_held(&mut self) -> Result<(), String> {
        if !self.held {
            return Err("the writer process is not held".to_owned());
        }
        if let Some(how) = self.ended() {
            return Err(how);
        }
        let what = WaitIdOptions::STOPPED
            | WaitIdOptions::CONTINUED
            | WaitIdOptions::EXITED
            | WaitIdOptions::NOWAIT
            | WaitIdOptions::NOHANG;
        match rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid), what)) {
            Ok(None) => Ok(()),
            Ok(Some(status)) if status.stopped() || status.continued() => {
                Err("something else let the writer process go on (SIGCONT)".to_owned())
            }
            Ok(Some(_)) => Err(self.ended().unwrap_or_else(|| "the writer process ended".into())),
            Err(errno) => Err(format!("the writer process can't be waited for: {errno}")),
        }
    }

    /// Whether [`Child::hold`] stopped it and we have not let it go since.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Lets it run on. Does nothing if it is not held.
    pub(crate) fn release(&mut self) -> Result<(), String> {
        if self.held {
            if let Some(how) = self.ended() {
                return Err(how);
            }
            self.signal(Signal::CONT)?;
            self.held = false;
        }
        Ok(())
    }

    /// Signals it; the caller has seen that it was not reaped, so the id is still its own.
    fn signal(&self, signal: Signal) -> Result<(), String> {
        kill_process(self.pid, signal)
            .map_err(|errno| format!("the writer process can't be signalled: {errno}"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if it has ended already. A stopped process can be killed too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(program: &str, argument: &str) -> Child {
        let mut command = Command::new(program);
        command.arg(argument);
        let (stdin, _) = crate::handshake::pair().unwrap();
        Child::spawn(command, stdin).unwrap()
    }

    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    }

    #[test]
    fn a_held_child_is_stopped_each_time_and_runs_after() {
        let mut child = child("sleep", "600");
        for _ in 0..20 {
            child.hold().unwrap();
            assert_eq!(state(child.pid()), Some('T'));
            child.hold().unwrap();
            child.release().unwrap();
            child.release().unwrap();
            assert_ne!(state(child.pid()), Some('T'));
        }
        assert_eq!(child.ended(), None);
    }

    fn wait_for_state(pid: u32, stopped: bool) {
        let is_so = || (state(pid) == Some('T')) == stopped;
        let waited = memtwin_wait::wait_until(Duration::from_secs(60), POLL_INTERVAL, is_so);
        assert!(waited, "never stopped: {stopped}");
    }

    #[test]
    fn one_that_was_let_go_on_did_not_stay_held() {
        let mut child = child("sleep", "600");
        assert!(child.confirm_held().is_err(), "not held at all");
        for stopped_again in [false, true] {
            for _ in 0..20 {
                child.hold().unwrap();
                child.confirm_held().unwrap();
                child.hold().unwrap();
                child.confirm_held().unwrap();
                kill_process(child.pid, Signal::CONT).unwrap();
                wait_for_state(child.pid(), false);
                if stopped_again {
                    kill_process(child.pid, Signal::STOP).unwrap();
                    wait_for_state(child.pid(), true);
                }
                for _ in 0..2 {
                    let why = child.confirm_held().unwrap_err();
                    assert!(why.contains("SIGCONT"), "{why}");
                }
                // And it can be held again, in the same hold and in a new one.
                child.hold().unwrap();
                child.confirm_held().unwrap();
                child.release().unwrap();
            }
        }
        child.hold().unwrap();
        kill_process(child.pid, Signal::KILL).unwrap();
        assert!(child.ending().is_some());
        assert!(child.confirm_held().unwrap_err().contains("SIGKILL"));
    }

    #[test]
    fn a_dropped_child_is_gone_even_if_held() {
        let mut child = child("sleep", "600");
        child.hold().unwrap();
        let pid = child.pid();
        drop(child);
        assert_eq!(state(pid), None);
    }

    #[test]
    fn how_it_ended_is_told() {
        let mut child = child("sleep", "600");
        kill_process(child.pid, Signal::KILL).unwrap();
        assert!(child.ending().unwrap().contains("SIGKILL"));
        assert!(child.hold().unwrap_err().contains("SIGKILL"));
        let mut false_ = self::child("false", "");
        assert!(false_.ending().unwrap().contains("exit status: 1"));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let (stdin, _) = crate::handshake::pair().unwrap();
        let error = Child::spawn(Command::new("/nonexistent"), stdin).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
