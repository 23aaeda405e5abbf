//! What can go wrong between us and QEMU, each with a way out.

use crate::MonitorAddress;
use std::io;
use std::time::Duration;

const DESCRIPTOR: &str =
    "a connected stream socket to QEMU's monitor that Memtwin was started with";

/// Why QEMU can't be reached, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// There is no such socket.
    #[error("{address}: no such socket; {way_out}")]
    NoSocket {
        /// Where it was looked for.
        address: MonitorAddress,
        /// What would help.
        way_out: String,
    },
    /// The file is something else, or a socket that carries no streams.
    #[error("{address} is no stream socket; give the path of QEMU's -qmp option")]
    NotASocket {
        /// Where it was looked for.
        address: MonitorAddress,
    },
    /// We may not connect.
    #[error(
        "{address}: permission denied; connecting takes write permission: run as QEMU's user or as root"
    )]
    Permission {
        /// Where it is.
        address: MonitorAddress,
    },
    /// The socket is there and nobody listens.
    #[error("{address}: nobody listens: QEMU has ended, or has closed its QMP; start it again")]
    NobodyListens {
        /// Where it is.
        address: MonitorAddress,
    },
    /// No process has this TCP port.
    #[error(
        "{address}: nobody listens there; look at its host for QEMU's option -qmp tcp:… (`ss -tlnp` lists who \
         listens on what)"
    )]
    NobodyOnPort {
        /// Where it was looked for.
        address: MonitorAddress,
    },
    /// Some other reason not to be connected.
    #[error("cannot connect to {address}: {errno}")]
    Connect {
        /// Where to.
        address: MonitorAddress,
        /// What the system said.
        errno: io::Error,
    },
    /// The descriptor is no connection.
    #[error("{address} is {got}: expected {}", DESCRIPTOR)]
    BadDescriptor {
        /// Which.
        address: MonitorAddress,
        /// What it is.
        got: String,
    },
    /// The connection can't be made a second time.
    #[error(
        "{address} was given as a connection, and can't be connected to again, as its other end has no name"
    )]
    NoWayBack {
        /// Which.
        address: MonitorAddress,
    },
    /// libvirt does not reach the domain.
    #[error("{address}: {reason}")]
    Libvirt {
        /// The domain.
        address: MonitorAddress,
        /// What virsh said, or why it can't be asked, and what would help.
        reason: String,
    },
    /// Who answered is no QMP server.
    #[error(
        "{address} is no QMP server: it began with \"{began}\"{hint}; give the path of QEMU's -qmp option"
    )]
    NotQmp {
        /// Where it is.
        address: MonitorAddress,
        /// Its first bytes, escaped.
        began: String,
        /// What it looks like, or nothing.
        hint: &'static str,
    },
    /// Connected, but not served.
    #[error(
        "{address}: no greeting in {patience:?}: QEMU serves one QMP client at a time, and another one \
         seems to be connected, or QEMU hangs; find the other with `{find}` (libvirt, a monitor shell, \
         another Memtwin), end it, or give QEMU a second -qmp"
    )]
    Busy {
        /// Where it is.
        address: MonitorAddress,
        /// How long was waited.
        patience: Duration,
        /// The command that shows who is connected.
        find: String,
    },
    /// libvirt is the one client of this monitor.
    #[error(
        "{address}: no greeting in {patience:?}: it is libvirt's own monitor, which QEMU serves alone; go through \
         libvirt: memtwin audit {through}"
    )]
    HeldByLibvirt {
        /// Where it is.
        address: MonitorAddress,
        /// How long was waited.
        patience: Duration,
        /// The address that goes through libvirt.
        through: Box<MonitorAddress>,
    },
    /// Connected to something that does not greet, which is no monitor.
    #[error("{address}: no greeting in {patience:?}, {what}; {way_out}")]
    Silent {
        /// Where it is.
        address: MonitorAddress,
        /// How long was waited.
        patience: Duration,
        /// What it is, as far as is known.
        what: &'static str,
        /// Where the monitor is.
        way_out: String,
    },
    /// A descriptor was passed, and QEMU has seen none.
    #[error(
        "{between} stands between us and QEMU and carries bytes, but no file descriptors; a socket of QEMU's \
         own carries them (-qmp unix:PATH,server=on,wait=off)"
    )]
    NoDescriptors {
        /// Who or what that is.
        between: String,
    },
    /// The other side closed the connection.
    #[error(
        "QEMU closed the connection while {doing} was waited for: it has ended, or its QMP has; look at its log"
    )]
    Closed {
        /// What was waited for.
        doing: String,
    },
    /// A command was not answered.
    #[error(
        "QEMU did not answer {command} in {patience:?}: it hangs, or is very busy; try again, with more time"
    )]
    Timeout {
        /// The command.
        command: String,
        /// How long was waited.
        patience: Duration,
    },
    /// QEMU said no.
    #[error("QEMU refused {command}: {desc} ({class})")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class of error, most often GenericError.
        class: String,
        /// QEMU's reason.
        desc: String,
    },
    /// A message without end.
    #[error(
        "QEMU sent a line of more than {limit} bytes while {doing} was waited for: not a QMP message"
    )]
    LineTooLong {
        /// What was waited for.
        doing: String,
        /// The most bytes that a message may have.
        limit: usize,
    },
    /// A message that is no JSON, or no QMP message.
    #[error(
        "QEMU's message is not understood at byte {offset} (\"{around}\") while {doing} was waited for: {problem}; is it QMP?"
    )]
    BadMessage {
        /// What was waited for.
        doing: String,
        /// Where in the line, in bytes from its beginning.
        offset: usize,
        /// The bytes from there on, escaped.
        around: String,
        /// What the parser said.
        problem: String,
    },
    /// An answer that is not of the form that we know.
    #[error(
        "QEMU's answer to {command} has an unknown form: {problem}; report it with QEMU's version"
    )]
    BadAnswer {
        /// The command.
        command: String,
        /// What the parser said.
        problem: String,
    },
    /// Arguments that can't be written as a JSON object: a mistake of ours.
    #[error("the arguments of {command} can't be written as JSON: {problem}")]
    BadArguments {
        /// The command.
        command: String,
        /// What serde said.
        problem: String,
    },
    /// The socket failed otherwise.
    #[error("the QMP socket failed while {doing} was waited for: {errno}")]
    Socket {
        /// What was waited for.
        doing: String,
        /// What the system said.
        errno: io::Error,
    },
}

impl QmpError {
    /// Whether QEMU is gone, as far as this connection can tell.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::NobodyListens { .. } | Self::NobodyOnPort { .. })
    }

    /// Whether the connection is of no use any more; QEMU may live.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Socket { .. })
    }

    /// Whether QEMU does not know the command at all (an older or smaller one).
    pub fn is_unknown_command(&self) -> bool {
        matches!(self, Self::Refused { class, .. } if class == "CommandNotFound")
    }
}
