//! Reading an address: see the table of [forms](super).

use super::{AbstractName, AddressError, LibvirtDomain, MonitorAddress};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

const ANY: &str = "a socket's path, tcp:HOST:PORT, @NAME, fd:N or libvirt:DOMAIN[@URI]";
const TCP: &str = "tcp:HOST:PORT, the port a number from 1 to 65535";
const TELNET: &str =
    "a monitor without telnet: start QEMU with one more -qmp unix:PATH,server=on,wait=off";
const DESCRIPTOR: &str = "fd:N, the number of a connected socket that Memtwin was started with";
const LIBVIRT: &str = "libvirt:DOMAIN or libvirt:DOMAIN@URI, as in libvirt:guest@qemu:///system";
const ABSTRACT: &str = "@NAME, the name of an abstract socket, of 1 to 107 bytes";

/// The longest name of an abstract socket, in bytes.
const LONGEST_NAME: usize = 107;

impl MonitorAddress {
    /// Reads one of the forms; `qemu:` may stand before it.
    ///
    /// Errors: it names none.
    pub fn parse(given: &OsStr) -> Result<Self, AddressError> {
        match after(given, "qemu:") {
            Some(rest) => Self::parse_bare(rest, given),
            None => Self::parse_bare(given, given),
        }
    }

    fn parse_bare(text: &OsStr, given: &OsStr) -> Result<Self, AddressError> {
        let wrong = |expected| {
            let given = given.as_bytes().escape_ascii().to_string();
            AddressError { given: given.replace("\\'", "'"), expected }
        };
        if text.is_empty() {
            return Err(wrong(ANY));
        }
        if let Some(name) = after(text, "@").or_else(|| after(text, "unix-abstract:")) {
            return abstract_name(name, false).ok_or_else(|| wrong(ABSTRACT));
        }
        if let Some(rest) = after(text, "unix:") {
            return unix(rest).ok_or_else(|| wrong(ANY));
        }
        if let Some(rest) = after(text, "tcp:") {
            return rest.to_str().and_then(tcp).ok_or_else(|| wrong(TCP));
        }
        if after(text, "telnet:").is_some() {
            return Err(wrong(TELNET));
        }
        if let Some(rest) = after(text, "fd:") {
            let number =
                rest.to_str().filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
            let number = number.and_then(|number| number.parse().ok());
            return number.map(Self::Descriptor).ok_or_else(|| wrong(DESCRIPTOR));
        }
        if let Some(rest) = after(text, "libvirt:") {
            let domain = rest.to_str().and_then(LibvirtDomain::parse);
            return domain.map(|domain| Self::Libvirt(domain.into())).ok_or_else(|| wrong(LIBVIRT));
        }
        Ok(Self::Path(PathBuf::from(text)))
    }
}

impl LibvirtDomain {
    fn parse(text: &str) -> Option<Self> {
        // A domain's name may have an @ in it; what follows the right one begins like a URI.
        let is_uri = |rest: &str| {
            let scheme = rest.split_once(":/").map(|(scheme, _)| scheme);
            let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.chars().all(is_part))
        };
        let split = text.match_indices('@').find(|(at, _)| is_uri(&text[at + 1..]));
        let (domain, uri) = match split {
            Some((at, _)) => (&text[..at], Some(text[at + 1..].to_owned())),
            None => (text, None),
        };
        let is_name = !domain.is_empty() && !domain.chars().any(char::is_control);
        is_name.then(|| Self { domain: domain.to_owned(), uri })
    }
}

impl FromStr for MonitorAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(OsStr::new(text))
    }
}

/// What follows a prefix, if it is there.
fn after<'t>(text: &'t OsStr, prefix: &str) -> Option<&'t OsStr> {
    text.as_bytes().strip_prefix(prefix.as_bytes()).map(OsStr::from_bytes)
}

fn abstract_name(name: &OsStr, padded: bool) -> Option<MonitorAddress> {
    let name = name.as_bytes().to_vec();
    let fits = (1..=LONGEST_NAME).contains(&name.len());
    fits.then_some(MonitorAddress::Abstract(AbstractName { name, padded }))
}

/// What follows `unix:`, as QEMU prints it and takes it.
fn unix(rest: &OsStr) -> Option<MonitorAddress> {
    let mut parts = rest.as_bytes().split(|byte| *byte == b',');
    let name = OsStr::from_bytes(parts.next()?);
    let options: Vec<&[u8]> = parts.collect();
    let has = |option: &str| options.contains(&option.as_bytes());
    if has("abstract=on") || has("abstract") {
        return abstract_name(name, has("tight=off"));
    }
    match after(name, "@") {
        Some(name) => abstract_name(name, false),
        None if name.is_empty() => None,
        None => Some(MonitorAddress::Path(name.into())),
    }
}

/// `HOST:PORT`, with options behind a comma that are QEMU's.
pub(crate) fn tcp(rest: &str) -> Option<MonitorAddress> {
    let rest = rest.split(',').next().unwrap_or_default();
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':')?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // Without brackets it can't be told where the port begins.
    if inner.is_none() && (host.contains(':') || host.contains('/')) {
        return None;
    }
    let host = match inner.unwrap_or(host) {
        "" => "127.0.0.1",
        host => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(MonitorAddress::Tcp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> MonitorAddress {
        text.parse().unwrap()
    }

    fn name(name: &str, padded: bool) -> MonitorAddress {
        MonitorAddress::Abstract(AbstractName { name: name.into(), padded })
    }

    fn domain(domain: &str, uri: Option<&str>) -> MonitorAddress {
        let uri = uri.map(str::to_owned);
        MonitorAddress::Libvirt(LibvirtDomain { domain: domain.to_owned(), uri }.into())
    }

    fn port(host: &str, port: u16) -> MonitorAddress {
        MonitorAddress::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn every_form_is_read() {
        let path = |path: &str| MonitorAddress::Path(path.into());
        let forms = [
            ("/run/q", path("/run/q")),
            ("q", path("q")),
            ("a:b", path("a:b")),
            ("./tcp:x", path("./tcp:x")),
            ("qemu:/run/q", path("/run/q")),
            ("unix:/run/q,server=on,wait=off", path("/run/q")),
            ("@q", name("q", false)),
            ("unix-abstract:q", name("q", false)),
            ("unix:@q,server=on", name("q", false)),
            ("unix:q,abstract=on,server=on", name("q", false)),
            ("unix:q,abstract=on,tight=off,server=on", name("q", true)),
            ("tcp:127.0.0.1:4444", port("127.0.0.1", 4444)),
            ("tcp:host:1,server=on,wait=off", port("host", 1)),
            ("tcp:[::1]:4444", port("::1", 4444)),
            ("tcp::4444,server=on", port("127.0.0.1", 4444)),
            ("qemu:tcp://h:4444", port("h", 4444)),
            ("fd:7", MonitorAddress::Descriptor(7)),
            ("libvirt:guest", domain("guest", None)),
            ("libvirt:a@b", domain("a@b", None)),
            ("libvirt:g@qemu:///system", domain("g", Some("qemu:///system"))),
            ("libvirt:a@b@qemu+ssh://u@h/system", domain("a@b", Some("qemu+ssh://u@h/system"))),
        ];
        for (text, address) in forms {
            assert_eq!(of(text), address, "{text}");
        }
    }

    #[test]
    fn what_names_none_is_told_what_was_expected() {
        let wrong = [
            ("", "a socket's path"),
            ("qemu:", "a socket's path"),
            ("unix:", "a socket's path"),
            ("tcp:", "tcp:HOST:PORT"),
            ("tcp:host", "tcp:HOST:PORT"),
            ("tcp:host:0", "from 1 to 65535"),
            ("tcp:::1:4444", "tcp:HOST:PORT"),
            ("telnet:h:1", "-qmp unix:PATH"),
            ("fd:", "connected socket"),
            ("fd:-1", "connected socket"),
            ("fd:99999999999", "connected socket"),
            ("libvirt:", "libvirt:DOMAIN"),
            ("libvirt:@qemu:///system", "libvirt:DOMAIN"),
            ("@", "@NAME"),
            (&format!("@{}", "x".repeat(108)), "107 bytes"),
        ];
        for (text, part) in wrong {
            let said = text.parse::<MonitorAddress>().unwrap_err().to_string();
            assert!(
                said.contains(part) && said.starts_with(&format!("'{text}'")),
                "{text}: {said}"
            );
        }
    }
}
