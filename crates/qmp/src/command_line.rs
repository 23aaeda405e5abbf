//! What a QEMU's command line says of its monitors and of its other sockets (qemu(1), `-qmp`, `-mon`,
//! `-chardev`). Nothing is sent to find that out.

mod fields;
mod other_socket;

pub(crate) use other_socket::OtherSocket;

use crate::address::{MonitorAddress, tcp};
use fields::{field, fields, implied, listens};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name that libvirt gives to the character device of its monitor.
const LIBVIRT_MONITOR: &str = "charmonitor";

/// The words that a QEMU was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuCommandLine {
    words: Vec<String>,
}

/// A QMP monitor as a command line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedMonitor {
    /// QEMU listens there; a path is as QEMU sees it.
    At(MonitorAddress),
    /// libvirt has it.
    Libvirts,
    /// It can't be connected to, and why.
    Unreachable(&'static str),
}

impl QemuCommandLine {
    /// Of this process; without words if it is gone or may not be looked at.
    pub fn of(pid: u32) -> Self {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|byte| *byte == 0);
        Self { words: words.map(|word| String::from_utf8_lossy(word).into_owned()).collect() }
    }

    #[cfg(test)]
    pub(crate) fn split(line: &str) -> Self {
        Self { words: line.split(' ').map(str::to_owned).collect() }
    }

    /// Its words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Every value of an option.
    fn values<'w>(&'w self, option: &'w str) -> impl Iterator<Item = &'w str> {
        self.words.windows(2).filter_map(move |pair| {
            let is_it = pair[0].starts_with('-') && pair[0].trim_start_matches('-') == option;
            is_it.then_some(pair[1].as_str())
        })
    }

    /// The guest's name (`-name`).
    pub fn guest_name(&self) -> Option<String> {
        let value = self.values("name").next()?;
        let name = field(value, "guest").or_else(|| implied(value));
        name.filter(|name| !name.is_empty())
    }

    /// The guest's UUID (`-uuid`).
    pub fn uuid(&self) -> Option<&str> {
        self.values("uuid").next()
    }

    /// Its QMP monitors, in order.
    pub fn monitors(&self) -> Vec<ListedMonitor> {
        let mut found = Vec::new();
        for pair in self.words.windows(2).filter(|pair| pair[0].starts_with('-')) {
            let value = pair[1].as_str();
            match pair[0].trim_start_matches('-') {
                "qmp" | "qmp-pretty" => found.push(self.device(value)),
                "mon" if field(value, "mode").as_deref() == Some("control") => {
                    let id = field(value, "chardev").or_else(|| implied(value)).unwrap_or_default();
                    found.push(self.chardev(&id));
                }
                _ => {}
            }
        }
        found
    }

    /// A value of `-qmp`: an address in short, or the name of a character device.
    fn device(&self, value: &str) -> ListedMonitor {
        if let Some(id) = value.strip_prefix("chardev:") {
            return self.chardev(id);
        }
        if !listens(value) {
            return ListedMonitor::Unreachable("QEMU connects to its monitor's client by itself");
        }
        match value.strip_prefix("tcp:").map(tcp) {
            Some(Some(address)) => return ListedMonitor::At(address),
            Some(None) => return ListedMonitor::Unreachable("its TCP port is not known"),
            None => {}
        }
        match value.starts_with("unix:").then(|| value.parse()) {
            Some(Ok(address)) => ListedMonitor::At(address),
            _ => ListedMonitor::Unreachable("its QMP is no socket"),
        }
    }

    /// A character device that is a monitor.
    fn chardev(&self, id: &str) -> ListedMonitor {
        let is_it = |value: &&str| field(value, "id").as_deref() == Some(id);
        let Some(value) = self.values("chardev").find(is_it) else {
            return ListedMonitor::Unreachable("its monitor's character device is not known");
        };
        if id == LIBVIRT_MONITOR {
            return ListedMonitor::Libvirts;
        }
        if implied(value).as_deref() != Some("socket") {
            return ListedMonitor::Unreachable("its QMP is no socket");
        }
        if !listens(value) {
            return ListedMonitor::Unreachable("QEMU connects to its monitor's client by itself");
        }
        let is_abstract =
            ["on", "yes"].iter().any(|on| field(value, "abstract").as_deref() == Some(on));
        let address = match (field(value, "path"), field(value, "port")) {
            (Some(path), _) if is_abstract => {
                let loose = field(value, "tight").as_deref() == Some("off");
                let loose = if loose { ",tight=off" } else { "" };
                format!("unix:{path},abstract=on{loose}").parse().ok()
            }
            (Some(path), _) => Some(MonitorAddress::Path(PathBuf::from(path))),
            (None, Some(port)) => {
                let host = field(value, "host").unwrap_or_default();
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                tcp(&format!("{host}:{port}"))
            }
            (None, None) => None,
        };
        match address {
            Some(address) => ListedMonitor::At(address),
            None => ListedMonitor::Unreachable("its monitor was given to it as a descriptor"),
        }
    }

    /// The first monitor that is a socket, as a person gives it.
    pub(crate) fn monitor(&self) -> Option<MonitorAddress> {
        self.monitors().into_iter().find_map(|monitor| match monitor {
            ListedMonitor::At(address) => Some(address),
            _ => None,
        })
    }

    /// What a socket is that is no monitor, if the command line says it.
    pub(crate) fn other_use(&self, bound: &str) -> Option<OtherSocket> {
        let is_it = |word: &&String| !bound.is_empty() && socket_of(word).as_deref() == Some(bound);
        let at = self.words.iter().position(|word| is_it(&word))?;
        let option = self.words.get(at.checked_sub(1)?)?;
        let id = field(&self.words[at], "id");
        let uses = |word: &&String| {
            id.as_deref().is_some_and(|id| {
                field(word, "chardev").as_deref() == Some(id)
                    || word.strip_prefix("chardev:") == Some(id)
            })
        };
        let user = self.words.iter().find(uses);
        match (option.trim_start_matches('-'), user) {
            ("serial", _) => Some(OtherSocket::Serial),
            ("monitor", _) => Some(OtherSocket::HumanMonitor),
            ("chardev", Some(user)) if user.contains("guest_agent") => Some(OtherSocket::Agent),
            ("chardev", Some(user)) if user.starts_with("chardev:") || user.contains("serial") => {
                Some(OtherSocket::Serial)
            }
            _ => None,
        }
    }
}

/// The path in `unix:PATH,…` or `socket,path=PATH,…`.
fn socket_of(word: &str) -> Option<String> {
    match word.strip_prefix("unix:") {
        Some(rest) => fields(rest).into_iter().next(),
        None => field(word, "path"),
    }
}

/// The domain whose monitor lies at this path, where libvirt puts it:
/// `…/qemu/domain-7-NAME/monitor.sock`.
pub(crate) fn libvirt_domain(path: &Path) -> Option<String> {
    if path.file_name() != Some(OsStr::from_bytes(b"monitor.sock")) {
        return None;
    }
    let dir = path.parent()?.file_name()?.to_str()?.strip_prefix("domain-")?;
    let (number, name) = dir.split_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests;
