//! Child processes, none of which outlives us unawares.
//!
//! Whatever ends us, kill -9 too, each child that we have started ends as well. [`Spawn`] is the only way
//! to start one here (clippy.toml forbids the other), and says how it ends:
//!
//! | | the child ends when we do | for |
//! |---|---|---|
//! | [`Spawn::spawn_bound`] | killed by the kernel | programs |
//! | [`Spawn::spawn_bound_group`] | killed, with all of its process group | programs that start others |
//! | [`Spawn::spawn_on_stdin`] | by itself, at the end of its standard input | shells that clean up, ssh |
//! | [`Spawn::spawn_outliving`] | not at all | what has to go on, and says why |
//!
//! References: PR_SET_PDEATHSIG(2const), pipe(7).

mod between;
mod group;
mod spawner;
#[cfg(test)]
mod tests;

pub use group::GroupWatch;

use between::Between;
use std::io;
use std::process::{Child, Command};

/// The ways to start a child process, by how it ends when this process does.
pub trait Spawn {
    /// Starts a child that the kernel kills (SIGKILL) when this process ends, at any moment from its
    /// first on. Its own children are not killed, unless they are bound to it in turn; nor is one that
    /// changes its credentials (PR_SET_PDEATHSIG(2const)).
    ///
    /// It lives as long as this process, whichever thread calls this. A process that executes another
    /// program in its place kills it, too.
    ///
    /// Errors: as [`Command::spawn`].
    fn spawn_bound(&mut self) -> io::Result<Child>;

    /// As [`Spawn::spawn_bound`], as the leader of a process group, all of which is killed when this
    /// process ends while the watch is held. Let it go before the leader is waited for: then its number
    /// may become another's.
    ///
    /// Errors: as [`Command::spawn`]; or no shell can be started that watches.
    fn spawn_bound_group(&mut self) -> io::Result<(Child, GroupWatch)>;

    /// Starts a child that ends once its standard input does, which must be a pipe or a socket whose
    /// other end only this process has. It is not killed at our end: it may have to clean up.
    ///
    /// Errors: as [`Command::spawn`].
    fn spawn_on_stdin(&mut self) -> io::Result<Child>;

    /// Starts a child that lives on when this process ends, for the reason given.
    ///
    /// Errors: as [`Command::spawn`].
    fn spawn_outliving(&mut self, reason: &'static str) -> io::Result<Child>;
}

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
impl Spawn for Command {
    fn spawn_bound(&mut self) -> io::Result<Child> {
        spawner::spawn(self, Between::Bind)
    }

    fn spawn_bound_group(&mut self) -> io::Result<(Child, GroupWatch)> {
        group::spawn(self)
    }

    fn spawn_on_stdin(&mut self) -> io::Result<Child> {
        self.spawn()
    }

    fn spawn_outliving(&mut self, _reason: &'static str) -> io::Result<Child> {
        self.spawn()
    }
}
