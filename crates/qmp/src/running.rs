//! Every QEMU that runs on this host, and how each one's monitor is reached: from the processes' command
//! lines, in containers and other namespaces as well, whose file systems /proc/PID/root shows.

use crate::address::{LibvirtDomain, MonitorAddress};
use crate::command_line::{ListedMonitor, QemuCommandLine};
use crate::libvirt::running_uuid;
use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A QEMU that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningQemu {
    /// Its process.
    pub pid: u32,
    /// Its guest's name, if it was given one.
    pub name: Option<String>,
    /// Its monitors, the first one first: where each is as seen from here, or why it can't be reached. Empty
    /// if its command line has none.
    pub monitors: Vec<Result<MonitorAddress, String>>,
}

/// All that run, in the order of their process ids.
pub fn running() -> Vec<RunningQemu> {
    let mut pids: Vec<u32> = processes().filter(|pid| is_qemu(*pid)).collect();
    pids.sort_unstable();
    let daemons = if pids.is_empty() { Vec::new() } else { LibvirtDaemon::all() };
    pids.into_iter().filter_map(|pid| of_process(pid, &daemons)).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether the program is a QEMU with a machine, and not one that starts it.
fn is_qemu(pid: u32) -> bool {
    let words = || QemuCommandLine::of(pid).words().to_vec();
    let named =
        |name: &str| name.starts_with("qemu-system-") || name == "qemu-kvm" || name == "kvm";
    match program(pid) {
        // A loader that was given the program to load.
        Some(name) if name.starts_with("ld-") || name.starts_with("ld.") => {
            words().iter().any(|word| {
                Path::new(word).file_name().is_some_and(|name| named(&name.to_string_lossy()))
            })
        }
        Some(name) => named(&name),
        // Another user's: by what it calls itself.
        None => words().first().is_some_and(|word| named(&base(word))),
    }
}

fn program(pid: u32) -> Option<String> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = base(&program.to_string_lossy());
    Some(name.trim_end_matches(" (deleted)").to_owned())
}

fn base(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn of_process(pid: u32, daemons: &[LibvirtDaemon]) -> Option<RunningQemu> {
    let line = QemuCommandLine::of(pid);
    // One that has ended meanwhile has no words.
    line.words().iter().find(|word| !word.is_empty())?;
    let monitor = |listed| match listed {
        ListedMonitor::At(address) => seen_from_here(pid, address),
        ListedMonitor::Libvirts => libvirts(pid, &line, daemons),
        ListedMonitor::Unreachable(why) => Err(why.to_owned()),
    };
    let monitors = line.monitors().into_iter().map(monitor).collect();
    Some(RunningQemu { pid, name: line.guest_name(), monitors })
}

/// Whether a process has the same namespace of this kind as we do, as far as may be seen.
fn shares(pid: u32, namespace: &str) -> bool {
    let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{namespace}")).ok();
    of(&pid.to_string()).is_none_or(|theirs| of("self").is_none_or(|ours| ours == theirs))
}

/// A path of a process as it is reached from here.
fn path_of(pid: u32, path: &Path) -> PathBuf {
    if path.is_relative() {
        return Path::new("/proc").join(pid.to_string()).join("cwd").join(path);
    }
    let root = fs::read_link(format!("/proc/{pid}/root"));
    let has_our_root = root.is_ok_and(|root| root == Path::new("/")) && shares(pid, "mnt");
    match path.strip_prefix("/") {
        Ok(below) if !has_our_root => {
            Path::new("/proc").join(pid.to_string()).join("root").join(below)
        }
        _ => path.to_owned(),
    }
}

fn seen_from_here(pid: u32, address: MonitorAddress) -> Result<MonitorAddress, String> {
    let elsewhere = |what: &str| {
        Err(format!(
            "its monitor {address} is {what} of another network namespace; run `nsenter -t {pid} -n memtwin audit \
             {address}`"
        ))
    };
    match &address {
        MonitorAddress::Path(path) => Ok(MonitorAddress::Path(path_of(pid, path))),
        MonitorAddress::Abstract(_) if !shares(pid, "net") => elsewhere("an abstract socket"),
        MonitorAddress::Tcp { .. } if !shares(pid, "net") => elsewhere("a port"),
        _ => Ok(address),
    }
}

/// libvirt's daemon, by the socket on which it listens.
struct LibvirtDaemon {
    user: u32,
    socket: PathBuf,
}

impl LibvirtDaemon {
    /// All that run.
    fn all() -> Vec<Self> {
        let is_one =
            |pid: &u32| program(*pid).is_some_and(|name| name == "libvirtd" || name == "virtqemud");
        processes().filter(is_one).filter_map(Self::of).collect()
    }

    fn of(pid: u32) -> Option<Self> {
        let user = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let held: HashSet<String> = fds
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|link| {
                let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                Some(link.to_owned())
            })
            .collect();
        // Its own table: it may be in another network namespace.
        let table = fs::read(format!("/proc/{pid}/net/unix")).ok()?;
        let table = String::from_utf8_lossy(&table);
        let socket = table.lines().find_map(|line| {
            let (listens, inode, path) = bound_socket(line)?;
            let name = base(path);
            let is_it = listens && held.contains(inode);
            (is_it && (name == "libvirt-sock" || name == "virtqemud-sock"))
                .then(|| PathBuf::from(path))
        })?;
        Some(Self { user, socket: path_of(pid, &socket) })
    }

    fn uri(&self) -> String {
        let whose = if self.user == 0 { "system" } else { "session" };
        let escaped: String = self
            .socket
            .as_os_str()
            .as_bytes()
            .iter()
            .map(|byte| match byte {
                b'/' | b'-' | b'.' | b'_' => char::from(*byte).to_string(),
                byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        format!("qemu+unix:///{whose}?socket={escaped}")
    }
}

/// `Num: RefCount Protocol Flags Type St Inode Path` (proc_pid_net(5)): whether it listens, its inode, its
/// path.
fn bound_socket(line: &str) -> Option<(bool, &str, &str)> {
    let mut rest = line;
    let mut fields = [""; 7];
    for field in &mut fields {
        (*field, rest) = rest.trim_start().split_once(' ')?;
    }
    Some((fields[3] == "00010000", fields[6], rest))
}

/// The domain of this process, through the libvirt that has it.
fn libvirts(
    pid: u32,
    line: &QemuCommandLine,
    daemons: &[LibvirtDaemon],
) -> Result<MonitorAddress, String> {
    let name = line.guest_name().ok_or("libvirt has its monitor, and its domain has no name")?;
    let user = fs::metadata(format!("/proc/{pid}")).map(|about| about.uid()).ok();
    // The daemon of the same user first; the system's own runs QEMU as another one.
    let mut order: Vec<&LibvirtDaemon> = daemons.iter().collect();
    order.sort_by_key(|daemon| (Some(daemon.user) != user, daemon.user != 0));
    let through = order.into_iter().find_map(|daemon| {
        let domain = LibvirtDomain { domain: name.clone(), uri: Some(daemon.uri()) };
        let uuid = running_uuid(&domain)?;
        line.uuid().is_none_or(|ours| ours.eq_ignore_ascii_case(&uuid)).then_some(domain)
    });
    through.map(|domain| MonitorAddress::Libvirt(domain.into())).ok_or_else(|| {
        let what = match daemons.is_empty() {
            true => "no libvirtd or virtqemud runs here; start it",
            false => {
                "no libvirt here knows it; `virsh list` must show it (package libvirt-clients, as its user or root)"
            }
        };
        format!("libvirt has its monitor (domain {name}), and {what}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_reached_where_its_process_sees_it() {
        let us = std::process::id();
        assert_eq!(path_of(us, Path::new("/run/q")), Path::new("/run/q"));
        let relative = path_of(us, Path::new("q"));
        assert_eq!(relative, PathBuf::from(format!("/proc/{us}/cwd/q")));
        assert!(shares(us, "mnt") && shares(us, "net"));
        assert!(!is_qemu(us));
    }

    #[test]
    fn a_bound_socket_is_read_whatever_the_width_of_its_number() {
        let line = |inode: &str| format!("0: 00000002 00000000 00010000 0001 01 {inode} /run/a b");
        assert_eq!(bound_socket(&line("   77")), Some((true, "77", "/run/a b")));
        assert_eq!(bound_socket(&line("4711123")), Some((true, "4711123", "/run/a b")));
        assert_eq!(bound_socket("0: 00000003 00000000 00000000 0001 03 77"), None);
    }

    #[test]
    fn the_socket_of_a_daemon_becomes_a_uri() {
        let uri = |user| LibvirtDaemon { user, socket: "/run/a b/libvirt-sock".into() }.uri();
        assert_eq!(uri(0), "qemu+unix:///system?socket=/run/a%20b/libvirt-sock");
        assert!(uri(1000).starts_with("qemu+unix:///session?"));
    }
}
