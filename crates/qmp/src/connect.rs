//! From an address to a connection that is one of QMP's: greeted, or known to have been.

use crate::address::{AbstractName, MonitorAddress, tcp};
use crate::libvirt::Bridge;
use crate::message::{is_event, is_greeting, quoted};
use crate::monitor_socket::{LONGEST_LINE, MonitorSocket, ReadStop, deadline};
use crate::{QmpError, silent};
use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getpeername, socket_with,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often a full queue is tried again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a connection that somebody else made may take to greet, if it was not greeted before.
const INHERITED: Duration = Duration::from_secs(1);
/// How long virsh and libvirt may take at least, which start programs for it.
const LIBVIRT: Duration = Duration::from_secs(60);

/// A connection, and whether it was greeted here: one that somebody else made may have been before.
pub(crate) struct Connected {
    pub(crate) wire: MonitorSocket,
    pub(crate) is_fresh: bool,
}

/// Connects, and waits for the greeting.
pub(crate) fn connected(
    address: &MonitorAddress,
    patience: Duration,
) -> Result<Connected, QmpError> {
    let until = deadline(patience);
    let fresh = |wire| Connected { wire, is_fresh: true };
    match address {
        MonitorAddress::Path(path) => {
            let socket = through_path(path, address, patience, until)?;
            greeted(socket, address, patience).map(fresh)
        }
        MonitorAddress::Abstract(name) => {
            let to = abstract_address(name).map_err(|errno| QmpError::Connect {
                address: address.clone(),
                errno: errno.into(),
            })?;
            let socket = through(&to, address, patience, until)?;
            greeted(socket, address, patience).map(fresh)
        }
        MonitorAddress::Tcp { host, port } => {
            let socket = over_tcp(host, *port, address, patience)?;
            greeted(socket, address, patience).map(fresh)
        }
        MonitorAddress::Descriptor(number) => inherited(*number, address),
        MonitorAddress::Libvirt(domain) => {
            let failed = |reason: String| QmpError::Libvirt { address: address.clone(), reason };
            let bridge = Bridge::start(domain).map_err(&failed)?;
            let patience = patience.max(LIBVIRT);
            let greeted = greeted(bridge.socket, address, patience).map(fresh);
            greeted.map_err(|error| bridge.why.get().map_or(error, |why| failed(why.clone())))
        }
    }
}

fn greeted(
    socket: OwnedFd,
    address: &MonitorAddress,
    patience: Duration,
) -> Result<MonitorSocket, QmpError> {
    let mut wire = MonitorSocket::new(socket);
    let until = deadline(patience);
    loop {
        let line =
            first_words(&mut wire, until).map_err(|stop| failed(address, patience, &wire, stop))?;
        match &line {
            line if is_greeting(line) => return Ok(wire),
            // A QEMU that starts sends events to a monitor that it has not greeted yet. They tell of a time
            // before us, and of nothing that is not asked for.
            line if is_event(line) && Instant::now() < until => {}
            line => return Err(not_qmp(address, line)),
        }
    }
}

/// The first message, or what begins like none.
fn first_words(wire: &mut MonitorSocket, until: Instant) -> Result<Vec<u8>, ReadStop> {
    loop {
        if let Some(line) = wire.next_message() {
            return Ok(line);
        }
        // What does not begin like a message need not end like one: a prompt has no line end.
        let begun = wire.rest().trim_ascii_start();
        if begun.first().is_some_and(|byte| *byte != b'{') {
            return Ok(begun.to_vec());
        }
        wire.wait(PollFlags::IN, until)?;
        wire.fill()?;
    }
}

fn through_path(
    path: &Path,
    address: &MonitorAddress,
    patience: Duration,
    until: Instant,
) -> Result<OwnedFd, QmpError> {
    let other = |errno: Errno| QmpError::Connect { address: address.clone(), errno: errno.into() };
    let short = match SocketAddrUnix::new(path) {
        Ok(short) => return through(&short, address, patience, until),
        Err(Errno::NAMETOOLONG) => path,
        Err(errno) => return Err(other(errno)),
    };
    // By its directory, held open: a path may be longer than a socket's address.
    let (Some(dir), Some(name)) = (short.parent(), short.file_name()) else {
        return Err(other(Errno::NAMETOOLONG));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(dir, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => no_socket(address),
        Errno::ACCESS | Errno::PERM => QmpError::Permission { address: address.clone() },
        Errno::NOTDIR => QmpError::NotASocket { address: address.clone() },
        errno => other(errno),
    })?;
    let near = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    let near = SocketAddrUnix::new(&near).map_err(|errno| match errno {
        Errno::NAMETOOLONG => QmpError::Connect {
            address: address.clone(),
            errno: io::Error::other(
                "its name is too long for a socket, whose address has 108 bytes",
            ),
        },
        errno => other(errno),
    })?;
    through(&near, address, patience, until)
}

fn abstract_address(name: &AbstractName) -> Result<SocketAddrUnix, Errno> {
    /// As many bytes as an address has behind its first zero.
    const LONGEST: usize = 107;
    let mut bytes = name.name.clone();
    if name.padded {
        bytes.resize(LONGEST, 0);
    }
    SocketAddrUnix::new_abstract_name(&bytes)
}

fn through(
    to: &SocketAddrUnix,
    address: &MonitorAddress,
    patience: Duration,
    until: Instant,
) -> Result<OwnedFd, QmpError> {
    let other = |errno: Errno| QmpError::Connect { address: address.clone(), errno: errno.into() };
    // Not blocking, as connecting waits for ever while the server's queue is full (unix(7)).
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(other)?;
    loop {
        let address = address.clone();
        match connect(&socket, to) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < until => thread::sleep(AGAIN),
            // Connected to nothing: what is known is its address.
            Err(Errno::AGAIN) => return Err(silent::why(socket.as_fd(), &address, patience)),
            Err(Errno::NOENT) => return Err(no_socket(&address)),
            Err(Errno::ACCESS | Errno::PERM) => return Err(QmpError::Permission { address }),
            Err(Errno::PROTOTYPE | Errno::NOTDIR) => return Err(QmpError::NotASocket { address }),
            // Also said of a file that is no socket at all.
            Err(Errno::CONNREFUSED) => return Err(nobody(address)),
            Err(errno) => return Err(other(errno)),
        }
    }
}

fn nobody(address: MonitorAddress) -> QmpError {
    let is_socket = |path: &Path| path.metadata().is_ok_and(|about| about.file_type().is_socket());
    match &address {
        MonitorAddress::Path(path) if is_socket(path) => QmpError::NobodyListens { address },
        MonitorAddress::Path(_) => QmpError::NotASocket { address },
        _ => {
            let way_out = "look at its QEMU's -qmp option; an abstract socket is seen in its own network \
                           namespace alone (nsenter -t PID -n)";
            QmpError::NoSocket { address, way_out: way_out.to_owned() }
        }
    }
}

/// What is no file may be what other programs take: a host and a port.
fn no_socket(address: &MonitorAddress) -> QmpError {
    let address = address.clone();
    let given = address.to_string();
    let way_out = match tcp(&given).filter(|_| !given.contains('/')) {
        Some(port) => format!("a TCP port is given as {port}"),
        None => format!(
            "start QEMU with -qmp unix:{given},server=on,wait=off, or look for its -qmp option"
        ),
    };
    QmpError::NoSocket { address, way_out }
}

fn over_tcp(
    host: &str,
    port: u16,
    address: &MonitorAddress,
    patience: Duration,
) -> Result<OwnedFd, QmpError> {
    let other = |errno| QmpError::Connect { address: address.clone(), errno };
    let mut why = io::Error::other("its name has no address");
    for to in (host, port).to_socket_addrs().map_err(other)? {
        match TcpStream::connect_timeout(&to, patience) {
            Ok(stream) => {
                // A command is a few bytes that are waited for.
                stream.set_nodelay(true).map_err(other)?;
                return Ok(stream.into());
            }
            Err(errno) => why = errno,
        }
    }
    Err(match why.kind() {
        io::ErrorKind::ConnectionRefused => QmpError::NobodyOnPort { address: address.clone() },
        _ => other(why),
    })
}

/// A connection that this process was started with: greeted by now, or by whoever made it.
fn inherited(number: i32, address: &MonitorAddress) -> Result<Connected, QmpError> {
    let bad = |got: String| QmpError::BadDescriptor { address: address.clone(), got };
    let ours = pidfd_open(getpid(), PidfdFlags::empty());
    let socket = ours.and_then(|ours| pidfd_getfd(&ours, number, PidfdGetfdFlags::empty()));
    let socket = socket.map_err(|errno| match errno {
        Errno::BADF => bad("not open".to_owned()),
        errno => bad(io::Error::from(errno).to_string()),
    })?;
    let kind = socket_domain(&socket).and_then(|domain| Ok((domain, socket_type(&socket)?)));
    match kind {
        Ok((
            AddressFamily::UNIX | AddressFamily::INET | AddressFamily::INET6,
            SocketType::STREAM,
        )) => {}
        Ok(_) => return Err(bad("a socket that carries no streams".to_owned())),
        Err(_) => return Err(bad("no socket".to_owned())),
    }
    if getpeername(&socket).is_err() {
        return Err(bad("a socket that is not connected".to_owned()));
    }
    let mut wire = MonitorSocket::new(socket);
    match first_words(&mut wire, deadline(INHERITED)) {
        Ok(line) if is_greeting(&line) => Ok(Connected { wire, is_fresh: true }),
        // An event: somebody has been greeted before us.
        Ok(line) if line.trim_ascii_start().starts_with(b"{") => {
            Ok(Connected { wire, is_fresh: false })
        }
        Ok(line) => Err(not_qmp(address, &line)),
        // Nothing is sent to what is known to be something else: it could be typed into a guest's shell.
        Err(ReadStop::Late) if silent::what_is(wire.socket(), address).is_none() => {
            Ok(Connected { wire, is_fresh: false })
        }
        Err(stop) => Err(failed(address, INHERITED, &wire, stop)),
    }
}

fn failed(
    address: &MonitorAddress,
    patience: Duration,
    wire: &MonitorSocket,
    stop: ReadStop,
) -> QmpError {
    let begun = wire.rest();
    let doing = || "the greeting".to_owned();
    match stop {
        ReadStop::Late if begun.is_empty() => silent::why(wire.socket(), address, patience),
        ReadStop::Closed if begun.is_empty() => QmpError::Closed { doing: doing() },
        ReadStop::Late | ReadStop::Closed => not_qmp(address, begun),
        ReadStop::TooLong => QmpError::LineTooLong { doing: doing(), limit: LONGEST_LINE },
        ReadStop::Errno(errno) => QmpError::Socket { doing: doing(), errno },
    }
}

fn not_qmp(address: &MonitorAddress, line: &[u8]) -> QmpError {
    /// What telnet begins its own words with (RFC 854).
    const INTERPRET_AS_COMMAND: u8 = 0xff;
    let is_monitor = line.starts_with(b"QEMU ") || line.starts_with(b"(qemu)");
    let hint = match line.first() {
        _ if is_monitor => ", which is QEMU's human monitor",
        Some(&INTERPRET_AS_COMMAND) => ", which is telnet: give QEMU a monitor without it",
        _ => "",
    };
    QmpError::NotQmp { address: address.clone(), began: quoted(line.trim_ascii()), hint }
}
