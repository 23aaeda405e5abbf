//! Which QEMU it is.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A version of QEMU: what decides on a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseVersion {
    /// 10 of 10.0.2.
    pub major: u32,
    /// 0 of 10.0.2.
    pub minor: u32,
}

/// Why a version is not known.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The program can't be started.
    #[error("{program} --version: {errno}; is QEMU for this architecture installed?")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        errno: io::Error,
    },
    /// It does not say.
    #[error("{program} --version says '{said}', expected 'QEMU emulator version N.N…'")]
    Unknown {
        /// The program.
        program: PathBuf,
        /// Its first line.
        said: String,
    },
}

impl ReleaseVersion {
    /// What a QEMU says of itself.
    pub fn of(program: &Path) -> Result<Self, VersionError> {
        let output = Command::new(program)
            .arg("--version")
            .output()
            .map_err(|errno| VersionError::Start { program: program.into(), errno })?;
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.lines().next().unwrap_or_default();
        Self::parse(said)
            .ok_or_else(|| VersionError::Unknown { program: program.into(), said: said.into() })
    }

    /// Whether it says where each RAMBlock lies in its memory (8.2 and later). An older one does not of
    /// what its guest does not see, and that is not judged there.
    pub fn gives_addresses(self) -> bool {
        self >= Self { major: 8, minor: 2 }
    }

    fn parse(said: &str) -> Option<Self> {
        let version = said.strip_prefix("QEMU emulator version ")?;
        let mut numbers = version.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next()?.parse().ok();
        Some(Self { major: number()?, minor: number()? })
    }
}

impl fmt::Display for ReleaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_and_minor_are_read() {
        let version = |said| ReleaseVersion::parse(said);
        let ten = Some(ReleaseVersion { major: 10, minor: 0 });
        assert_eq!(version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"), ten);
        let seven = Some(ReleaseVersion { major: 7, minor: 2 });
        assert_eq!(version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"), seven);
        assert_eq!(version("QEMU emulator version ten"), None);
        assert_eq!(version("bash: 10.0"), None);
    }

    #[test]
    fn a_missing_or_other_program_is_named() {
        let error = ReleaseVersion::of(Path::new("/no/such/qemu")).unwrap_err().to_string();
        assert!(error.starts_with("/no/such/qemu --version: "), "{error}");
        let error = ReleaseVersion::of(Path::new("true")).unwrap_err().to_string();
        assert!(error.contains("expected 'QEMU emulator version"), "{error}");
    }
}
