//! What a child does between fork(2) and execve(2).

#![allow(
    unsafe_code,
    reason = "what runs between fork and exec is told to std by an unsafe function"
)]

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What is done there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Between {
    /// The child asks for SIGKILL at its parent's death, and sees whether that has died before it asked.
    Bind,
    /// For tests: it says on standard output that it is there, and waits for a byte on standard input
    /// before it asks. Without the check, as a control.
    #[cfg(test)]
    Wait {
        /// Whether it sees whether the parent has died.
        check: bool,
    },
}

impl Between {
    /// Has the command's child do it. The child's parent will be this process.
    pub(crate) fn of(self, command: &mut Command) {
        let parent = getpid();
        // SAFETY: the closure makes a few system calls on values that it has copied, allocates nothing and
        // takes no lock: it may run in the child of a process with threads.
        unsafe { command.pre_exec(move || self.run(parent)) };
    }

    fn run(self, parent: Pid) -> io::Result<()> {
        #[cfg(test)]
        if let Self::Wait { .. } = self {
            let pid = getpid().as_raw_nonzero().get().to_ne_bytes();
            rustix::io::write(rustix::stdio::stdout(), &pid)?;
            rustix::io::read(rustix::stdio::stdin(), &mut [0])?;
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        match self {
            #[cfg(test)]
            Self::Wait { check: false } => Ok(()),
            // It died before the signal was asked for, and none will come: an orphan has another parent.
            _ if getppid() != Some(parent) => Err(Errno::SRCH.into()),
            _ => Ok(()),
        }
    }
}
