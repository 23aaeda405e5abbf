//! Installs Debian packages, as root or through sudo.

use crate::interrupt::Interrupt;
use crate::run::{ProgramEnd, run};
use crate::workspace::works;
use anyhow::{Context, bail};
use memtwin_lab::sources::Sources;
use std::fs;
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

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
    suite: Option<&Suite<'_>>,
    rights: Rights,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let options = suite.map(Suite::options).unwrap_or_default();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    patiently(rights, &[&["apt-get"], &*options, &["update"]].concat(), interrupt)?;
    let mut install = [&["apt-get"], &*options].concat();
    install.extend(["install", "--yes", "--no-install-recommends"]);
    if let Some(suite) = suite {
        install.extend(["--target-release", suite.name]);
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

/// A suite of Debian's that apt is shown for as long as this lives. The system's own sources stay as they
/// are.
pub(crate) struct Suite<'s> {
    name: &'s str,
    /// Read by apt in place of /etc/apt/sources.list.d; none if that has the suite.
    parts: Option<TempDir>,
}

impl<'s> Suite<'s> {
    /// This suite, which lies where this system's own does.
    ///
    /// Errors: the sources don't say where, or there is no place for a copy of them.
    pub(crate) fn new(name: &'s str, sources: &Sources) -> anyhow::Result<Self> {
        if sources.has(name) {
            return Ok(Self { name, parts: None });
        }
        let stanza = sources.stanza(name, None)?;
        Ok(Self { name, parts: Some(parts(name, &stanza, Path::new(PARTS))?) })
    }

    /// What tells apt of it.
    fn options(&self) -> Vec<String> {
        let parts = self.parts.iter();
        parts.flat_map(|parts| ["-o".to_owned(), sourceparts(parts.path())]).collect()
    }
}

/// Where apt looks for further sources (sources.list(5)).
const PARTS: &str = "/etc/apt/sources.list.d";

fn sourceparts(folder: &Path) -> String {
    format!("Dir::Etc::sourceparts={}", folder.display())
}

/// A folder with the system's further sources and one more, for its owner and root alone.
fn parts(name: &str, stanza: &str, system: &Path) -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("memtwin-apt-").tempdir();
    let folder = folder.context("can't make a temporary folder")?;
    let entries = match fs::read_dir(system) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        entries => Some(entries.with_context(|| system.display().to_string())?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.with_context(|| system.display().to_string())?;
        symlink(entry.path(), folder.path().join(entry.file_name()))
            .context("can't link to apt's sources")?;
    }
    let own = folder.path().join(format!("memtwin-{name}.sources"));
    fs::write(own, stanza).context("can't write a source for apt")?;
    Ok(folder)
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
            ProgramEnd::By(status) if status.success() => return Ok(()),
            ProgramEnd::By(_) if is_locked(&errors) && began.elapsed() < LOCKED => {
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

    /// What apt itself makes of the folder: its own sources and one more; and nothing is left.
    #[test]
    fn apt_sees_a_suite_that_its_own_sources_do_not_have() {
        if !has_apt() {
            return;
        }
        let system = tempfile::tempdir().unwrap();
        let stanza = |suite: &str| {
            format!(
                "Types: deb\nURIs: http://mirror.example/debian\nSuites: {suite}\nComponents: main\n"
            )
        };
        fs::write(system.path().join("debian.sources"), stanza("of-the-system")).unwrap();
        let seen = |folder: &Path| {
            let mut apt = Command::new("apt-get");
            // It asks nobody: it says what it would ask for.
            apt.args(["update", "--print-uris", "-o", "Debug::NoLocking=true"]);
            apt.args(["-o", "Dir::Etc::sourcelist=/dev/null", "-o"]).arg(sourceparts(folder));
            let said = apt.output().unwrap();
            assert!(said.status.success(), "{said:?}");
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            ["of-the-system", "one-more"].map(|suite| said.contains(&format!("/dists/{suite}/")))
        };
        let folder = parts("one-more", &stanza("one-more"), system.path()).unwrap();
        assert_eq!(seen(folder.path()), [true, true]);
        // The control: the system's own sources are as they were.
        assert_eq!(seen(system.path()), [true, false]);
        assert_eq!(fs::read_dir(system.path()).unwrap().count(), 1);
        let place = folder.path().to_owned();
        drop(folder);
        assert!(!place.exists() && system.path().join("debian.sources").exists());
    }

    #[test]
    fn a_system_without_further_sources_has_one() {
        let folder = parts("x", "Types: deb\n", Path::new("/no/such/folder")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_is_told_from_other_failures() {
        assert!(is_locked(
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1"
        ));
        assert!(!is_locked("E: Unable to locate package no-such-package"));
    }
}
