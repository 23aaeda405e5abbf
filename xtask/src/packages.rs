//! Installs Debian packages, as root or through sudo.

use crate::interrupt::Interrupt;
use crate::run::{Ended, run};
use crate::workspace::works;
use anyhow::{Context, bail};
use memtwin_lab::sources::Sources;
use std::fs;
use std::io::{Read, Seek};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long someone else may hold the package system's locks.
const LOCKED: Duration = Duration::from_secs(300);

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(1200);

/// How we may change the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// We are root.
    Root,
    /// sudo asks for no password.
    Sudo,
    /// Not at all.
    None,
}

impl Rights {
    /// What we may do.
    pub(crate) fn ours() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Root
        } else if works(Command::new("sudo").args(["-n", "true"])) {
            Self::Sudo
        } else {
            Self::None
        }
    }

    /// A program that is run with them.
    pub(crate) fn command(self, program: &str) -> Command {
        match self {
            Self::Root | Self::None => Command::new(program),
            Self::Sudo => {
                // What runs as root only root can end.
                let limit = LIMIT.as_secs().to_string();
                let mut command = Command::new("sudo");
                command.args(["-n", "timeout", "--kill-after=20", &limit, program]);
                command
            }
        }
    }
}

/// Whether this system's packages are Debian's kind.
pub(crate) fn has_apt() -> bool {
    works(Command::new("apt-get").arg("--version")) && works(Command::new("dpkg").arg("--version"))
}

/// Installs packages; from a suite, where one is given, with what they depend on.
///
/// Errors: a command failed; what it said was shown.
pub(crate) fn install(
    packages: &[&str],
    suite: Option<&str>,
    rights: Rights,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    patiently(rights, &["apt-get", "update"], interrupt)?;
    let mut install = vec!["apt-get", "install", "--yes", "--no-install-recommends"];
    if let Some(suite) = suite {
        install.extend(["--target-release", suite]);
    }
    install.extend(packages);
    patiently(rights, &install, interrupt)
}

/// Lets dpkg take packages of a foreign architecture.
///
/// Errors: the command failed; what it said was shown.
pub(crate) fn add_architecture(
    architecture: &str,
    rights: Rights,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    if foreign_architectures()?.lines().any(|line| line == architecture) {
        return Ok(());
    }
    patiently(rights, &["dpkg", "--add-architecture", architecture], interrupt)
}

/// Adds a suite of Debian's to the system's sources, unless they have it. It lies where this system's
/// own suite does.
///
/// Errors: the sources don't say where, or can't be written.
pub(crate) fn add_suite(
    suite: &str,
    sources: &Sources,
    rights: Rights,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    if sources.has(suite) {
        return Ok(());
    }
    let entry = tempfile::NamedTempFile::new().context("can't make a temporary file")?;
    let text = format!("# Added by Memtwin's set-up.\n{}", sources.stanza(suite, None)?);
    fs::write(entry.path(), text).context("can't write a temporary file")?;
    let from = entry.path().display().to_string();
    let to = format!("/etc/apt/sources.list.d/memtwin-{suite}.sources");
    patiently(rights, &["install", "--mode=644", &from, &to], interrupt)
}

fn foreign_architectures() -> anyhow::Result<String> {
    let output = Command::new("dpkg").arg("--print-foreign-architectures").output();
    Ok(String::from_utf8_lossy(&output.context("can't start dpkg")?.stdout).into_owned())
}

/// Runs a command; waits and tries again while someone else holds a lock. apt-get can wait for
/// dpkg's lock by itself, but not for that of its lists.
fn patiently(rights: Rights, words: &[&str], interrupt: &Interrupt) -> anyhow::Result<()> {
    let line = words.join(" ");
    let began = Instant::now();
    loop {
        eprintln!("$ {line}");
        let mut said = tempfile::tempfile().context("can't make a temporary file")?;
        let ended = run(
            rights
                .command("env")
                // Messages that we can read, and no questions.
                .args(["LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"])
                .args(words)
                .stderr(said.try_clone().context("can't share a temporary file")?),
            LIMIT,
            interrupt,
        )?;
        let mut errors = String::new();
        said.rewind().and_then(|()| said.read_to_string(&mut errors)).context("can't read back")?;
        eprint!("{errors}");
        match ended {
            Ended::By(status) if status.success() => return Ok(()),
            Ended::By(_) if is_locked(&errors) && began.elapsed() < LOCKED => {
                eprintln!("someone else is installing packages; trying again");
                thread::sleep(Duration::from_secs(3));
            }
            ended => bail!("{line}: {ended}"),
        }
    }
}

fn is_locked(errors: &str) -> bool {
    ["Could not get lock", "Unable to lock", "Unable to acquire the dpkg"]
        .iter()
        .any(|message| errors.contains(message))
}

/// The name of this system, for a message.
pub(crate) fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "this system".to_owned(), |name| name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_told_from_other_failures() {
        assert!(is_locked(
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1"
        ));
        assert!(!is_locked("E: Unable to locate package no-such-package"));
    }
}
