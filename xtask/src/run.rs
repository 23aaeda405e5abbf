//! Runs a program, for this long at most, and leaves nothing of it behind.

use crate::interrupt::Interrupt;
use anyhow::Context;
use memtwin_child::{GroupWatch, Spawn};
use memtwin_wait::Deadline;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often the program is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long it has to end by itself once it is told to. Longer than the ten seconds that nextest
/// gives its tests, which are in process groups of their own: only nextest can end those.
const GRACE: Duration = Duration::from_secs(15);

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProgramEnd {
    /// By itself.
    By(ExitStatus),
    /// It ran longer than it may, and was killed.
    TimedOut(Duration),
    /// We were told to stop, and so was it.
    Interrupted,
}

impl ProgramEnd {
    /// Whether the program ran to its end and was content.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::By(status) if status.success())
    }
}

impl std::fmt::Display for ProgramEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::By(status) => status.fmt(f),
            Self::TimedOut(limit) => write!(f, "killed: not done after {} s", limit.as_secs()),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Runs a program in a process group of its own, without standard input. What is left of the
/// group is killed when this returns.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    interrupt: &Interrupt,
) -> anyhow::Result<ProgramEnd> {
    let deadline = Deadline::after(limit);
    let mut group = ProcessGroup::start(command)?;
    let ended = loop {
        if group.ended()? {
            return Ok(ProgramEnd::By(group.end()?));
        }
        if interrupt.is_set() {
            break ProgramEnd::Interrupted;
        }
        if deadline.is_over() {
            break ProgramEnd::TimedOut(limit);
        }
        deadline.sleep(POLL_INTERVAL);
    };
    group.signal(Signal::TERM);
    let grace = Deadline::after(GRACE);
    while !group.ended()? && !grace.is_over() {
        grace.sleep(POLL_INTERVAL);
    }
    group.end()?;
    Ok(ended)
}

/// A process group, killed when it is dropped.
struct ProcessGroup {
    leader: Child,
    pid: Pid,
    /// Kills the group when we are killed.
    watch: Option<GroupWatch>,
}

impl ProcessGroup {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let (leader, watch) = command
            .stdin(Stdio::null())
            .spawn_bound_group()
            .with_context(|| format!("can't start {}", command.get_program().display()))?;
        let pid = Pid::from_child(&leader);
        Ok(Self { leader, pid, watch: Some(watch) })
    }

    /// Whether the leader has ended. It is not reaped, so that its number stays ours.
    fn ended(&self) -> anyhow::Result<bool> {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), how).context("can't wait for a child")?.is_some())
    }

    /// Kills what is left of the group and reaps the leader.
    fn end(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.watch = None;
        self.leader.wait().context("can't wait for a child")
    }

    fn signal(&self, signal: Signal) {
        // There may be nobody left to hear it.
        let _ = kill_process_group(self.pid, signal);
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // Once the leader is reaped its number may belong to someone else.
        if let Ok(None) = self.leader.try_wait() {
            let _ = self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_wait::wait_until;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Whether the process whose number a script wrote to a file stays there. One that was killed
    /// takes a moment to go.
    fn lives_on(pid: &std::path::Path) -> bool {
        let pid = std::fs::read_to_string(pid).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        !wait_until(Duration::from_secs(10), POLL_INTERVAL, || !alive())
    }

    #[test]
    fn it_tells_how_a_program_ended() {
        let interrupt = Interrupt::default();
        assert!(run(&mut shell("exit 0"), LONG, &interrupt).unwrap().is_success());
        let failed = run(&mut shell("exit 7"), LONG, &interrupt).unwrap();
        assert!(matches!(&failed, ProgramEnd::By(status) if status.code() == Some(7)), "{failed}");
        let missing = run(&mut Command::new("/no/such/program"), LONG, &interrupt).unwrap_err();
        assert!(format!("{missing:#}").contains("can't start /no/such/program"), "{missing:#}");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let limit = Duration::from_millis(300);
        let ended = run(&mut shell(&script), limit, &Interrupt::default()).unwrap();
        assert_eq!(ended, ProgramEnd::TimedOut(limit));
        assert!(!ended.is_success());
        assert!(!lives_on(&pid), "its child lives on");
    }

    #[test]
    fn what_a_program_leaves_behind_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}", pid.display());
        assert!(run(&mut shell(&script), LONG, &Interrupt::default()).unwrap().is_success());
        assert!(!lives_on(&pid), "its child lives on");
    }

    #[test]
    fn an_interrupt_ends_it() {
        let interrupt = Interrupt::default();
        interrupt.set();
        assert_eq!(
            run(&mut shell("sleep 1000"), LONG, &interrupt).unwrap(),
            ProgramEnd::Interrupted
        );
    }
}
