//! A board that ssh reaches.

use crate::Progress;
use crate::host::{BoardAccess, Host, HostError, Reverse, Ssh};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A board that is up, whoever booted it.
#[derive(Clone, Debug)]
pub struct Board {
    name: String,
    about: String,
    console: PathBuf,
    keyboard: PathBuf,
    access: BoardAccess,
    ssh: Ssh,
}

impl Board {
    /// A board of this name, which says this of itself, and whose console is kept in `console` and typed at by
    /// the socket `keyboard`.
    pub(crate) fn new(
        name: String,
        about: String,
        console: PathBuf,
        keyboard: PathBuf,
        access: BoardAccess,
    ) -> Self {
        let ssh = Ssh::board(&name, &access);
        Self { name, about, console, keyboard, access, ssh }
    }

    /// Its name in the lab: `a`. As a [`Host`] it is `emulated:a`.
    pub fn label(&self) -> &str {
        &self.name
    }

    /// What it says of itself: architecture, kernel, page size.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The file in which its console is kept.
    pub fn console(&self) -> &Path {
        &self.console
    }

    /// The socket of its console's keyboard.
    pub fn keyboard(&self) -> &Path {
        &self.keyboard
    }

    /// How it is reached.
    pub(crate) fn access(&self) -> &BoardAccess {
        &self.access
    }

    /// The ssh that reaches it.
    pub fn ssh(&self) -> &Ssh {
        &self.ssh
    }
}

impl Host for Board {
    fn name(&self) -> &str {
        self.ssh.name()
    }

    fn command(&self, line: &str) -> Command {
        self.ssh.command(line)
    }

    fn put(&self, from: &Path, to: &str, mode: u32) -> Result<(), HostError> {
        self.ssh.put(from, to, mode)
    }

    fn get(&self, from: &str, to: &Path) -> Result<(), HostError> {
        self.ssh.get(from, to)
    }

    fn connect(&self, socket: &str) -> Result<UnixStream, HostError> {
        self.ssh.connect(socket)
    }

    fn reverse(&self, port: u16, progress: &mut dyn Progress) -> Result<Reverse, HostError> {
        self.ssh.reverse(port, progress)
    }
}
