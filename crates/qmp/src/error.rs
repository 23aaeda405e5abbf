//! What can go wrong between us and QEMU, each with a way out.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why QEMU can't be reached, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// There is no such file.
    #[error(
        "{path}: no such socket; start QEMU with -qmp unix:{path},server=on,wait=off, or look for \
         its -qmp option"
    )]
    NoSocket {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// What was given is QMP over TCP.
    #[error(
        "{given} is no unix socket: QMP over TCP can't carry the file descriptors that Memtwin passes to \
         QEMU; start QEMU with one more -qmp unix:PATH,server=on,wait=off and give PATH"
    )]
    OverTcp {
        /// What was given.
        given: PathBuf,
    },
    /// What was given is an option's value, or an address of ours: there is a path in it.
    #[error("{given}: no such socket; give the path alone: {path}")]
    NotThePath {
        /// What was given.
        given: PathBuf,
        /// The path in it.
        path: PathBuf,
    },
    /// The file is something else, or a socket that carries no streams.
    #[error("{path} is no stream socket; give the path of QEMU's -qmp option")]
    NotASocket {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// We may not connect.
    #[error(
        "{path}: permission denied; connecting takes write permission: run as QEMU's user or as root"
    )]
    Permission {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The socket is there and nobody listens.
    #[error("{path}: nobody listens: QEMU has ended, or has closed its QMP; start it again")]
    NobodyListens {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Some other reason not to be connected.
    #[error("cannot connect to {path}: {errno}")]
    Connect {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system said.
        errno: io::Error,
    },
    /// Who answered is no QMP server.
    #[error(
        "{path} is no QMP server: it began with \"{began}\"{hint}; give the path of QEMU's -qmp option"
    )]
    NotQmp {
        /// The path that was asked for.
        path: PathBuf,
        /// Its first bytes, escaped.
        began: String,
        /// What it looks like, or nothing.
        hint: &'static str,
    },
    /// Connected, but not served.
    #[error(
        "{path}: no greeting in {patience:?}: QEMU serves one QMP client at a time, and another one \
         seems to be connected, or QEMU hangs; find the other with `ss -xp | grep {path}` (libvirt, a monitor shell, \
         another Memtwin), end it, or give QEMU a second -qmp"
    )]
    Busy {
        /// The path that was asked for.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// Connected to something that does not greet, which is no monitor.
    #[error("{path}: no greeting in {patience:?}, {what}; {way_out}")]
    Silent {
        /// The path that was asked for.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
        /// What it is, as far as is known.
        what: String,
        /// Where the monitor is.
        way_out: String,
    },
    /// A descriptor was passed, and QEMU has seen none.
    #[error(
        "{between} stands between us and QEMU and carries bytes, but no file descriptors, which Memtwin \
         has to pass to QEMU; give the path of QEMU's own socket (-qmp unix:PATH,server=on,wait=off)"
    )]
    NoDescriptors {
        /// Who listens on the socket that we are connected to.
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
        matches!(self, Self::Closed { .. } | Self::NobodyListens { .. })
    }

    /// Whether QEMU does not know the command at all (an older or smaller one).
    pub fn is_unknown_command(&self) -> bool {
        matches!(self, Self::Refused { class, .. } if class == "CommandNotFound")
    }
}
