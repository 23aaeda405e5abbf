//! A child process that ends with us.

use memtwin_child::Spawn;
use std::io;
use std::process::{Child, Command};

/// A child process. Killed and reaped when dropped, killed by the kernel when we are.
#[derive(Debug)]
pub(crate) struct KeptChild {
    pub(crate) child: Child,
}

impl KeptChild {
    /// Starts it. Errors: it can't be started.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        Ok(Self { child: command.spawn_bound()? })
    }
}

impl Drop for KeptChild {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
