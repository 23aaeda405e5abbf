//! Runs a program under ptrace(2) and notes what it does to the files below a directory.

mod arch;
mod call;
mod tracee;
mod watch;

use crate::RecordError;
use crate::op::Recording;
use memtwin_child::Spawn;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tracee::Tracee;
use watch::{CallEffect, FileWatch};

/// Runs `program` with these arguments and variables, and records what it and its threads do to the
/// files below `directory`, to its end. It is killed when this process ends.
///
/// `started` is called once it runs. Errors: it can't be traced, does what is not understood, or
/// fails.
pub fn record(
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
    directory: &Path,
) -> Result<Recording, RecordError> {
    let mut watch = FileWatch::new(directory)?;
    // A shell that waits until it is traced, and becomes the program then: so that no thread begins
    // before, and nothing has to be done between fork and exec.
    let mut command = Command::new("sh");
    command.args(["-ec", "read go; exec \"$@\"", "sh"]).arg(program).args(arguments);
    command.envs(variables.iter().copied());
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut group = TracedGroup(command.spawn_bound()?);
    let leader = Pid::from_raw(group.0.id() as i32);
    ptrace::seize(
        leader,
        ptrace::Options::PTRACE_O_TRACESYSGOOD
            | ptrace::Options::PTRACE_O_TRACECLONE
            | ptrace::Options::PTRACE_O_TRACEFORK
            | ptrace::Options::PTRACE_O_TRACEVFORK
            | ptrace::Options::PTRACE_O_TRACEEXEC
            | ptrace::Options::PTRACE_O_EXITKILL,
    )?;
    ptrace::interrupt(leader)?;
    if let Some(mut stdin) = group.0.stdin.take() {
        stdin.write_all(b"\n")?;
    }
    follow(leader, &mut watch)?;
    Ok(watch.into_recording())
}

/// The program and what it has started, ended when dropped.
struct TracedGroup(Child);

impl Drop for TracedGroup {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.0.id() as i32);
        // Mostly it has ended, and been waited for.
        let _ = killpg(group, Signal::SIGKILL);
        let any = Pid::from_raw(-group.as_raw());
        while waitpid(any, Some(WaitPidFlag::__WALL)).is_ok() {}
    }
}

/// Lets it run from system call to system call until all of it has ended.
fn follow(leader: Pid, watch: &mut FileWatch) -> Result<(), RecordError> {
    let any = Pid::from_raw(-leader.as_raw());
    let mut begun: HashMap<Pid, CallEffect> = HashMap::new();
    let mut ended = None;
    loop {
        let status = match waitpid(any, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => break,
            Err(Errno::EINTR) => continue,
            status => status?,
        };
        let (thread, signal) = match status {
            WaitStatus::Exited(pid, code) => {
                begun.remove(&pid);
                if pid == leader {
                    ended = Some((code == 0, format!("code {code}")));
                }
                continue;
            }
            WaitStatus::Signaled(pid, signal, _) => {
                begun.remove(&pid);
                if pid == leader {
                    ended = Some((false, signal.to_string()));
                }
                continue;
            }
            WaitStatus::PtraceSyscall(pid) => {
                let tracee = Tracee(pid);
                match tracee.stop()? {
                    tracee::TraceStop::Entry(number, arguments) => {
                        begun.insert(pid, watch.begin(&tracee, number, arguments)?);
                    }
                    tracee::TraceStop::Exit(result) => {
                        if let Some(call) = begun.remove(&pid) {
                            watch.end(&tracee, call, result)?;
                        }
                    }
                    tracee::TraceStop::Other => {}
                }
                (pid, None)
            }
            // The stop in which a new thread begins looks like a signal that nobody sent.
            WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            _ => continue,
        };
        match ptrace::syscall(thread, signal) {
            // Killed while it was stopped.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    match ended {
        Some((true, _)) => Ok(()),
        Some((false, how)) => Err(RecordError::Failed(how)),
        None => Err(RecordError::Failed("nothing".to_owned())),
    }
}
