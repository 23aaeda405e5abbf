//! A child process that ends with us.

#![allow(
    unsafe_code,
    reason = "what runs between fork and exec is told to std by an unsafe function"
)]

use rustix::process::{Signal, set_parent_process_death_signal};
use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::{self, JoinHandle};

/// A child process. Killed and reaped when dropped, killed by the kernel when we are.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) child: Child,
    keeper: Option<(Sender<Infallible>, JoinHandle<()>)>,
}

impl Kept {
    /// Starts it. Errors: it can't be started.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        // SAFETY: the closure makes one system call (prctl) and touches no memory: it may run in
        // the child of a process with threads.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        // The signal comes when the *thread* ends that started the child
        // (PR_SET_PDEATHSIG(2const)); tests come and go, so one starts it that does nothing else.
        let (give, take) = sync_channel(1);
        let (alive, ended) = channel::<Infallible>();
        let keeper = thread::Builder::new().name("qemu-keeper".to_owned()).spawn(move || {
            let spawned = command.spawn();
            drop(command);
            if give.send(spawned).is_ok() {
                // Nothing is ever sent: this returns when the sender is dropped.
                let _ = ended.recv();
            }
        })?;
        let child = take.recv().map_err(|_| io::Error::other("no thread to start it"))??;
        Ok(Self { child, keeper: Some((alive, keeper)) })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some((alive, keeper)) = self.keeper.take() {
            drop(alive);
            let _ = keeper.join();
        }
    }
}
