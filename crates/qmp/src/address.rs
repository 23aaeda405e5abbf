//! Where a monitor is: every form in which a person names one, and those in which QEMU prints one
//! (`chardev/char-socket.c`, `info chardev`).
//!
//! | form | what it is |
//! |---|---|
//! | `PATH`, `unix:PATH[,OPTIONS]` | a unix socket in a file system |
//! | `@NAME`, `unix-abstract:NAME`, `unix:NAME,abstract=on[,tight=off]` | one in the abstract namespace (unix(7)) |
//! | `tcp:HOST:PORT[,OPTIONS]` | a TCP port |
//! | `fd:N` | a connected socket that this process was started with |
//! | `libvirt:DOMAIN[@URI]` | libvirt's own monitor of a domain |
//! | `qemu:` and one of these | the same |
//!
//! A path that begins like another form is given with `./` before it.

mod parse;
mod written;

pub(crate) use parse::tcp;

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a monitor is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MonitorAddress {
    /// A unix socket in a file system.
    Path(PathBuf),
    /// A unix socket in the abstract namespace.
    Abstract(AbstractName),
    /// A TCP port.
    Tcp {
        /// The host's name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A connected socket that this process was started with, by its number.
    Descriptor(i32),
    /// A domain, through libvirt.
    Libvirt(Box<LibvirtDomain>),
}

/// A name in the abstract namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AbstractName {
    /// Its bytes, without the zero that begins it.
    pub name: Vec<u8>,
    /// Whether zeros fill it up to the longest that there may be (QEMU's `tight=off`).
    pub padded: bool,
}

/// A domain of libvirt's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LibvirtDomain {
    /// Its name, number or UUID.
    pub domain: String,
    /// libvirt's connection; `None`: the one that virsh takes by itself.
    pub uri: Option<String>,
}

/// What names no monitor: what was given, what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' names no monitor: expected {expected}")]
pub struct AddressError {
    /// What was given, escaped where it is not text.
    pub given: String,
    /// What was expected.
    pub expected: &'static str,
}

impl MonitorAddress {
    /// The same, wherever this process goes: a relative path becomes an absolute one.
    pub fn absolute(&self) -> Self {
        match self {
            Self::Path(path) => {
                Self::Path(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
            }
            other => other.clone(),
        }
    }

    /// As the record names a guest's source.
    pub fn source(&self) -> String {
        match self {
            Self::Libvirt(_) => self.to_string(),
            _ => format!("qemu:{self}"),
        }
    }
}

impl LibvirtDomain {
    /// What libvirt does to a domain whose monitor somebody else speaks with.
    pub const TAINT: &str = "libvirt marks the domain as tainted (custom-monitor) when somebody else speaks \
        with its monitor: in its log and in `virsh dominfo`, until the domain is started again";

    /// The other host that its URI names, if it names one.
    pub(crate) fn other_host(&self) -> Option<&str> {
        let (_, rest) = self.uri.as_deref()?.split_once("://")?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        Some(host).filter(|host| !host.is_empty())
    }
}

impl fmt::Display for MonitorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(AbstractName { name, padded: false }) => {
                write!(f, "@{}", name.escape_ascii())
            }
            Self::Abstract(AbstractName { name, padded: true }) => {
                write!(f, "unix:{},abstract=on,tight=off", name.escape_ascii())
            }
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
            Self::Libvirt(libvirt) => {
                write!(f, "libvirt:{}", libvirt.domain)?;
                libvirt.uri.iter().try_for_each(|uri| write!(f, "@{uri}"))
            }
        }
    }
}

impl From<PathBuf> for MonitorAddress {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for MonitorAddress {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> MonitorAddress {
        text.parse().unwrap()
    }

    #[test]
    fn the_source_and_the_host_are_named() {
        assert_eq!(of("/q").source(), "qemu:/q");
        assert_eq!(of("tcp:h:1").source(), "qemu:tcp:h:1");
        assert_eq!(of("libvirt:g").source(), "libvirt:g");
        let host = |text: &str| match of(text) {
            MonitorAddress::Libvirt(domain) => domain.other_host().map(str::to_owned),
            _ => panic!("{text}"),
        };
        assert_eq!(host("libvirt:g@qemu+ssh://u@far/system").as_deref(), Some("far"));
        assert_eq!(host("libvirt:g@qemu+unix:///session?socket=/a"), None);
        assert_eq!(host("libvirt:g@qemu:///system"), None);
        assert_eq!(host("libvirt:g"), None);
    }
}
