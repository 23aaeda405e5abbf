//! The programs that tests run: QEMU, and what makes images.

use crate::interrupt::Interrupt;
use crate::packages::{self, Rights, Suite};
use crate::workspace::said;
use memtwin_lab::sources::Sources;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// The oldest QEMU that the tests know: Debian 13's, and the one in Debian 12's backports.
const QEMU: (u32, u32) = (10, 0);

/// The Debian whose own QEMU is too old, and the suite that has a newer one.
const OLD: (&str, &str) = ("bookworm", "bookworm-backports");

/// A program, and Debian's package of it.
struct SystemProgram {
    name: &'static str,
    package: &'static str,
    /// Its version must be at least this.
    least: Option<(u32, u32)>,
    /// It comes with a service, which a developer's machine is not made to run, or is large and needed by
    /// few: tests that need it are skipped, and say so, where it is not there. CI must have it.
    only_ci: bool,
}

const PROGRAMS: [SystemProgram; 15] = [
    SystemProgram {
        name: "qemu-system-aarch64",
        package: "qemu-system-arm",
        least: Some(QEMU),
        only_ci: false,
    },
    SystemProgram {
        name: "qemu-system-x86_64",
        package: "qemu-system-x86",
        least: Some(QEMU),
        only_ci: false,
    },
    SystemProgram {
        name: "qemu-system-avr",
        package: "qemu-system-misc",
        least: Some(QEMU),
        only_ci: true,
    },
    SystemProgram {
        name: "qemu-system-ppc64",
        package: "qemu-system-ppc",
        least: Some(QEMU),
        only_ci: true,
    },
    SystemProgram {
        name: "qemu-system-s390x",
        package: "qemu-system-s390x",
        least: Some(QEMU),
        only_ci: true,
    },
    SystemProgram { name: "mmdebstrap", package: "mmdebstrap", least: None, only_ci: false },
    SystemProgram { name: "fakeroot", package: "fakeroot", least: None, only_ci: false },
    SystemProgram { name: "chromium", package: "chromium", least: None, only_ci: true },
    SystemProgram { name: "mke2fs", package: "e2fsprogs", least: None, only_ci: false },
    SystemProgram { name: "ssh", package: "openssh-client", least: None, only_ci: false },
    SystemProgram {
        name: "jsonschema",
        package: "python3-jsonschema",
        least: None,
        only_ci: false,
    },
    SystemProgram { name: "socat", package: "socat", least: None, only_ci: false },
    SystemProgram { name: "virsh", package: "libvirt-clients", least: None, only_ci: false },
    SystemProgram { name: "libvirtd", package: "libvirt-daemon", least: None, only_ci: true },
    SystemProgram { name: "sshd", package: "openssh-server", least: None, only_ci: true },
];

/// A program that the tests can't use as it is.
pub(crate) struct Missing {
    program: &'static SystemProgram,
    /// Its version, if it is there but too old.
    found: Option<(u32, u32)>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SystemProgram { name, package, least, .. } = self.program;
        f.write_str(name)?;
        if let Some((major, minor)) = least {
            write!(f, " {major}.{minor} or newer")?;
        }
        if let Some((major, minor)) = self.found {
            write!(f, ", found {major}.{minor}")?;
        }
        write!(f, ": Debian's and Ubuntu's {package}")?;
        let (codename, suite) = OLD;
        if least.is_some() { write!(f, " (on {codename} of {suite})") } else { Ok(()) }
    }
}

/// Those that are missing or too old.
pub(crate) fn missing() -> Vec<Missing> {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    PROGRAMS
        .iter()
        .filter(|program| ci || !program.only_ci)
        .filter_map(SystemProgram::missing)
        .collect()
}

/// Installs those.
///
/// Errors: a command failed; what it said was shown.
pub(crate) fn install(rights: Rights, interrupt: &Interrupt) -> anyhow::Result<()> {
    let package = |missing: Missing| missing.program.package;
    // What must be new from where it is, and the rest from where it comes.
    let (new, plain): (Vec<_>, Vec<_>) =
        missing().into_iter().partition(|missing| missing.program.least.is_some());
    if !new.is_empty() {
        let new: Vec<_> = new.into_iter().map(package).collect();
        install_new(&new, rights, interrupt)?;
    }
    if !plain.is_empty() {
        let plain: Vec<_> = plain.into_iter().map(package).collect();
        packages::install(&plain, None, rights, interrupt)?;
    }
    Ok(())
}

/// Installs packages of a QEMU that is new enough, from where that is.
///
/// Errors: a command failed; what it said was shown.
pub(crate) fn install_new(
    packages: &[&str],
    rights: Rights,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let sources = Sources::read(Path::new("/"))?;
    let (codename, suite) = OLD;
    let old = sources.debian() == Some(codename);
    let suite = if old { Some(Suite::new(suite, &sources)?) } else { None };
    packages::install(packages, suite.as_ref(), rights, interrupt)
}

impl SystemProgram {
    fn missing(&'static self) -> Option<Missing> {
        let missing = |found| Some(Missing { program: self, found });
        let Some(least) = self.least else {
            return if is_there(self.name) { None } else { missing(None) };
        };
        let said = said(Command::new(self.name).arg("--version")).unwrap_or_default();
        let found = version(&said);
        if found >= Some(least) { None } else { missing(found) }
    }
}

/// Whether a shell would find it, or root's would.
pub(crate) fn is_there(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(sbin).any(|folder| folder.join(name).is_file())
}

/// The 10 and 0 of `QEMU emulator version 10.0.2 (Debian …)`.
fn version(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.split_once("version ")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: &str = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\n";

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert_eq!(version(TEN), Some((10, 0)));
        assert_eq!(version("QEMU emulator version 7.2.19"), Some((7, 2)));
        assert_eq!(version(""), None);
        assert!(version(TEN) >= Some(QEMU) && version("version 9.2.0") < Some(QEMU));
        assert!(None < Some(QEMU), "none at all is too old");
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let old = Missing { program: &PROGRAMS[0], found: Some((7, 2)) }.to_string();
        assert_eq!(
            old,
            "qemu-system-aarch64 10.0 or newer, found 7.2: Debian's and Ubuntu's qemu-system-arm (on bookworm of bookworm-backports)"
        );
        let none = Missing { program: &PROGRAMS[6], found: None }.to_string();
        assert_eq!(none, "fakeroot: Debian's and Ubuntu's fakeroot");
    }

    #[test]
    fn programs_are_found_where_a_shell_finds_them() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program"));
    }
}
