//! Another machine, through the system's ssh(1).

use super::{Host, HostError, Reverse, pump, shell, transfer};
use crate::Progress;
use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nobody is there to answer a question, what is dead is noticed, and nothing is set up besides.
const OPTIONS: [&str; 6] = [
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "LogLevel=ERROR",
];

/// Memtwin's command on a machine that has it.
const MEMTWIN: &str = "memtwin";

/// A machine that ssh reaches.
#[derive(Clone, Debug)]
pub struct Ssh {
    name: String,
    program: OsString,
    options: Vec<OsString>,
    target: String,
    /// Memtwin's command there.
    memtwin: String,
}

/// How an emulated board is reached.
#[derive(Clone, Debug)]
pub struct BoardAccess {
    /// Its port on the loopback interface.
    pub port: u16,
    /// The private key.
    pub key: PathBuf,
    /// Which host keys are known.
    pub known_hosts: PathBuf,
    /// The socket of a connection that is shared by all commands, if there is one.
    pub control: PathBuf,
}

impl Ssh {
    /// The machine of an address `ssh://[user@]host[:port]`.
    ///
    /// Errors: it is none.
    pub fn parse(address: &str) -> Result<Self, HostError> {
        let error = || HostError::Name(address.to_owned());
        let rest = address.strip_prefix("ssh://").ok_or_else(error)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(error)?)),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let odd = |word: &str| {
            word.is_empty()
                || word.starts_with('-')
                || word.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
        };
        if odd(host) || user.is_some_and(odd) {
            return Err(error());
        }
        let mut options = Vec::new();
        if let Some(port) = port {
            let port: u16 = port.parse().map_err(|_| error())?;
            options.extend([OsString::from("-p"), port.to_string().into()]);
        }
        let target = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
        let memtwin = MEMTWIN.to_owned();
        Ok(Self { name: address.to_owned(), program: "ssh".into(), options, target, memtwin })
    }

    /// A board of the lab, under a name of its own.
    pub fn board(name: &str, access: &BoardAccess) -> Self {
        let option = |key: &str, path: &Path| {
            // A value with blanks goes in quotation marks (ssh_config(5)).
            let mut option = OsString::from(format!("{key}=\""));
            option.push(path);
            option.push("\"");
            ["-o".into(), option]
        };
        let mut options: Vec<OsString> = ["-F", "none", "-p", &access.port.to_string()]
            .into_iter()
            .chain(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"])
            .chain(["-o", "GlobalKnownHostsFile=none", "-o", "ControlMaster=no"])
            .map(OsString::from)
            .collect();
        options.extend(option("IdentityFile", &access.key));
        options.extend(option("UserKnownHostsFile", &access.known_hosts));
        options.extend(option("ControlPath", &access.control));
        Self {
            name: format!("emulated:{name}"),
            program: "ssh".into(),
            options,
            target: "root@127.0.0.1".to_owned(),
            memtwin: MEMTWIN.to_owned(),
        }
    }

    /// With another program in ssh's place.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self
    }

    /// With Memtwin's command at another place there than in the PATH.
    #[must_use]
    pub fn with_memtwin(mut self, memtwin: impl Into<String>) -> Self {
        self.memtwin = memtwin.into();
        self
    }

    /// With further options of ssh's.
    #[must_use]
    pub fn with_options(mut self, options: impl IntoIterator<Item = OsString>) -> Self {
        self.options.extend(options);
        self
    }

    /// ssh with all options, up to and without the machine itself.
    pub fn options(&self) -> Command {
        let mut command = Command::new(&self.program);
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        command.args(&self.options);
        command
    }

    /// The machine, as ssh is given it.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// ssh on a connection of its own that carries a port there to one here, and runs until its standard
    /// input ends. Of an option's values the first counts.
    fn carrier(&self, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        for option in ["ControlPath=none", "ClearAllForwardings=no", "ExitOnForwardFailure=yes"] {
            command.args(["-o", option]);
        }
        command.args(["-o", "LogLevel=INFO", "-R", &format!("127.0.0.1:0:127.0.0.1:{port}")]);
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        command.args(&self.options).args(["-T", "-a", "-x", "--", &self.target, "exec cat"]);
        command
    }

    /// ssh, told to run words there. The user's own shell takes them first.
    fn words(&self, words: &[String]) -> Command {
        let mut command = self.options();
        let line: Vec<String> = words.iter().map(|word| shell::quoted(word)).collect();
        command.args(["-T", "-a", "-x", "--", &self.target]);
        command.arg(format!("exec {}", line.join(" ")));
        command
    }

    fn plain(&self, line: &str) -> Command {
        self.words(&shell::plain(line))
    }
}

impl Host for Ssh {
    fn name(&self) -> &str {
        &self.name
    }

    fn command(&self, line: &str) -> Command {
        self.words(&shell::watched(line))
    }

    fn put(&self, from: &Path, to: &str, mode: u32) -> Result<(), HostError> {
        transfer::put(&self.name, &|line| self.plain(line), from, to, mode)
    }

    fn get(&self, from: &str, to: &Path) -> Result<(), HostError> {
        transfer::get(&self.name, &|line| self.plain(line), from, to)
    }

    fn connect(&self, socket: &str) -> Result<UnixStream, HostError> {
        let words = [&*self.memtwin, "relay", socket].map(shell::quoted);
        let line = format!("exec {}", words.join(" "));
        pump::through(&self.name, socket, self.plain(&line))
    }

    fn reverse(&self, port: u16, progress: &mut dyn Progress) -> Result<Reverse, HostError> {
        Reverse::through(&self.name, self.carrier(port), progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |address: &str| {
            let ssh = Ssh::parse(address).unwrap();
            let options: Vec<_> = ssh.options.iter().map(|o| o.display().to_string()).collect();
            format!("{} {}", ssh.target, options.join(" ")).trim_end().to_owned()
        };
        assert_eq!(read("ssh://board"), "board");
        assert_eq!(read("ssh://root@board:2222/"), "root@board -p 2222");
        assert_eq!(read("ssh://me@[fe80::1]:22"), "me@fe80::1 -p 22");
        assert_eq!(read("ssh://[::1]"), "::1");
        for odd in ["", "ssh://", "board", "ssh://-oProxyCommand=x", "ssh://@b", "ssh://b:x"] {
            let error = Ssh::parse(odd).unwrap_err().to_string();
            assert!(error.ends_with("expected local or ssh://[user@]host[:port]"), "{error}");
        }
        for odd in ["ssh://a b", "ssh://b:70000", "ssh://-l@b", "ssh://[::1]22", "ssh://b/x"] {
            assert!(Ssh::parse(odd).is_err(), "{odd}");
        }
    }
}
