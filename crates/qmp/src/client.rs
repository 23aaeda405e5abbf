//! The client: one command at a time, each with an id of its own.

use crate::QmpError;
use crate::events::{EventQueue, QmpEvent};
use crate::message::{CommandBand, QmpMessage, parse, request};
use crate::monitor_socket::{LONGEST_LINE, MonitorSocket, ReadStop, deadline};
use crate::peer;
use crate::route::MonitorRoute;
use rustix::event::PollFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A byte that JSON can't contain, and an end of line: whatever QEMU's parser had half of before,
/// it gives up (`qobject/json-lexer.c`), says so, and begins again.
const BEGIN_ANEW: &[u8] = b"\xff\n";

/// How many messages are taken in when nothing is waited for.
const MOST_AT_ONCE: usize = 1024;

/// A connection to QEMU on which it takes commands.
///
/// No call of a `Qmp` waits longer than its patience: an answer that comes later is dropped, and
/// the connection stays usable.
#[derive(Debug)]
pub struct Qmp {
    pub(crate) wire: MonitorSocket,
    pub(crate) route: MonitorRoute,
    /// Whether descriptors reach QEMU, as far as is known.
    pub(crate) passes_descriptors: bool,
    /// Whether an event that comes before an answer happened before it.
    pub(crate) orders_events: bool,
    pub(crate) patience: Duration,
    pub(crate) events: EventQueue,
    /// What all our ids begin with.
    pub(crate) ours: String,
    pub(crate) commands: u64,
    /// Whether the other side may be in the middle of a message, and we may be too. Until the
    /// next answer that is ours, what makes no sense is skipped.
    pub(crate) torn: bool,
}

impl Qmp {
    /// How long an answer may take from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// How long an answer may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Executes a command and waits for what it returns. `arguments` is what serde makes an
    /// object of, or `()`.
    ///
    /// Errors: [`QmpError::Refused`] with QEMU's reason, or the connection does not work.
    pub fn execute<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: impl Serialize,
    ) -> Result<T, QmpError> {
        self.run(CommandBand::In, command, arguments, None)
    }

    /// Executes a command out of band: QEMU takes it even while its main loop, and with it every other
    /// command, waits for a disk or a stream. Few commands can be executed so; and none, while others on
    /// the same connection wait for their turn: it needs one of its own ([`Qmp::urgent_on`]).
    ///
    /// Errors: as [`Qmp::execute`].
    pub fn execute_urgently<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: impl Serialize,
    ) -> Result<T, QmpError> {
        self.run(CommandBand::Out, command, arguments, None)
    }

    /// Has the human monitor run a line, and returns what it prints. It reports its errors as
    /// text too: what comes back has to be parsed with that in mind.
    ///
    /// Errors: as [`Qmp::execute`].
    pub fn hmp(&mut self, line: &str) -> Result<String, QmpError> {
        self.execute("human-monitor-command", json!({ "command-line": line }))
    }

    /// Whether QEMU's events come in, before the answers that they precede: they do on a connection to QEMU
    /// itself, not through libvirt, and not for sure through any program.
    pub fn orders_events(&self) -> bool {
        self.orders_events
    }

    /// A program stands between, which may hand events over as it likes.
    pub fn distrust_events(&mut self) {
        self.orders_events = false;
    }

    /// Takes in what events there are, without waiting, for [`Qmp::events`].
    ///
    /// Errors: the connection does not work.
    pub fn look_for_events(&mut self) -> Result<(), QmpError> {
        let now = Instant::now();
        // A flood of them is looked at again the next time.
        for _ in 0..MOST_AT_ONCE {
            let line = match self.wire.message(now) {
                Err(ReadStop::Late) => break,
                line => line.map_err(|stop| self.failed(stop, "an event"))?,
            };
            self.take_in(&line, "an event")?;
        }
        Ok(())
    }

    /// The events that came in while answers were waited for, oldest first. Does not look for new
    /// ones.
    pub fn events(&mut self) -> Vec<QmpEvent> {
        self.events.drain()
    }

    /// The events that wait to be taken, and how many had to be dropped.
    pub fn kept_events(&self) -> &EventQueue {
        &self.events
    }

    /// Waits for an event, of those kept or of new ones; the others are kept. None if none
    /// comes in time.
    ///
    /// Errors: the connection does not work.
    pub fn wait_event(
        &mut self,
        timeout: Duration,
        mut wanted: impl FnMut(&QmpEvent) -> bool,
    ) -> Result<Option<QmpEvent>, QmpError> {
        let until = deadline(timeout);
        let mut found = self.events.take(&mut wanted);
        while found.is_none() {
            let line = match self.wire.message(until) {
                Err(ReadStop::Late) => break,
                line => line.map_err(|stop| self.failed(stop, "an event"))?,
            };
            if self.take_in(&line, "an event")?.is_event {
                found = self.events.take_newest(&mut wanted);
            }
            if Instant::now() >= until {
                break;
            }
        }
        Ok(found)
    }

    /// A second descriptor of this connection, for a process that takes it over after us with
    /// [`Qmp::resume_on`]. Closed on exec.
    ///
    /// Errors: the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.wire.socket().try_clone_to_owned()
    }

    /// The process at the other end. Of a unix socket it is who listened there when we connected
    /// (SO_PEERCRED, unix(7)): QEMU, or who started it and gave it the socket. Of TCP it is who has the
    /// connection's other end. None if we can't see that process, and through libvirt.
    ///
    /// Errors: the system does not say.
    pub fn peer_pid(&self) -> io::Result<Option<u32>> {
        match self.route {
            MonitorRoute::Libvirt => Ok(None),
            _ => peer::pid(self.wire.socket()),
        }
    }

    pub(crate) fn run<T: DeserializeOwned>(
        &mut self,
        band: CommandBand,
        command: &str,
        arguments: impl Serialize,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<T, QmpError> {
        let until = deadline(self.patience);
        let id = self.next_id();
        let request = request(band, command, arguments, &id)?;
        self.send(command, &request, fd, until)?;
        let returned = self.answer(command, &id, until)?;
        serde_json::from_str(&returned).map_err(|error| QmpError::BadAnswer {
            command: command.to_owned(),
            problem: error.to_string(),
        })
    }

    /// The id of another command.
    pub(crate) fn next_id(&mut self) -> String {
        self.commands += 1;
        format!("{}{}", self.ours, self.commands)
    }

    /// Sends a command, and receives meanwhile: QEMU may be stuck until we do.
    pub(crate) fn send(
        &mut self,
        command: &str,
        request: &[u8],
        mut fd: Option<BorrowedFd<'_>>,
        until: Instant,
    ) -> Result<(), QmpError> {
        let was_torn = self.torn;
        let begin_anew = if was_torn { BEGIN_ANEW } else { &[] };
        // The descriptor goes with the command's own first byte.
        for (part, carries) in [(begin_anew, false), (request, true)] {
            let mut left = part;
            while !left.is_empty() {
                let carried = if carries { fd } else { None };
                let sent = self.wire.send_some(left, carried);
                let sent = sent.map_err(|stop| self.failed(stop, command))?;
                if sent > 0 {
                    fd = if carries { None } else { fd };
                    left = &left[sent..];
                    // Whoever gives up here leaves half a command behind.
                    self.torn |= !left.is_empty();
                    continue;
                }
                let either = self.wire.wait(PollFlags::IN | PollFlags::OUT, until);
                let ready = either.map_err(|stop| self.failed(stop, command))?;
                if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.wire.fill().map_err(|stop| self.failed(stop, command))?;
                    while let Some(line) = self.wire.next_message() {
                        self.take_in(&line, command)?;
                    }
                }
            }
        }
        self.torn = was_torn;
        Ok(())
    }

    /// Waits for the answer of this id.
    pub(crate) fn answer(
        &mut self,
        command: &str,
        id: &str,
        until: Instant,
    ) -> Result<String, AnswerWait> {
        loop {
            let line = match self.wire.message(until) {
                Err(ReadStop::Late) => return Err(self.late(command)),
                line => line.map_err(|stop| self.failed(stop, command))?,
            };
            let taken = self.take_in(&line, command)?;
            let ours = taken.id.as_deref() == Some(id);
            // An error without an id is the parser's, and the only thing it parses is ours.
            let about_ours = taken.id.is_none() && !taken.is_event && !self.torn;
            if let Some(outcome) = taken.outcome
                && (ours || (about_ours && outcome.is_err()))
            {
                self.torn = false;
                return Ok(outcome?);
            }
            // In a flood there is always a next line.
            if Instant::now() >= until {
                return Err(self.late(command));
            }
        }
    }

    /// Sorts a line in: events are kept, an answer is handed back, rubbish is skipped if we have
    /// to expect it.
    fn take_in(&mut self, line: &[u8], doing: &str) -> Result<TakenLine, QmpError> {
        match parse(line, doing) {
            Ok(QmpMessage::Event(event)) => {
                self.events.push(line.len(), event);
                Ok(TakenLine { is_event: true, id: None, outcome: None })
            }
            Ok(QmpMessage::Answer { id, outcome }) => {
                let outcome = outcome.map(str::to_owned).map_err(|refusal| QmpError::Refused {
                    command: doing.to_owned(),
                    class: refusal.class,
                    // A line break in it would forge a line of ours.
                    desc: refusal.desc.lines().collect::<Vec<_>>().join(" "),
                });
                Ok(TakenLine { is_event: false, id, outcome: Some(outcome) })
            }
            Err(_) if self.torn => Ok(TakenLine { is_event: false, id: None, outcome: None }),
            Err(error) => Err(error),
        }
    }

    fn late(&self, command: &str) -> AnswerWait {
        AnswerWait::Late(self.failed(ReadStop::Late, command))
    }

    fn failed(&self, stop: ReadStop, doing: &str) -> QmpError {
        let doing = doing.to_owned();
        match stop {
            ReadStop::Late => QmpError::Timeout { command: doing, patience: self.patience },
            ReadStop::Closed => QmpError::Closed { doing },
            ReadStop::TooLong => QmpError::LineTooLong { doing, limit: LONGEST_LINE },
            ReadStop::Errno(errno) => QmpError::Socket { doing, errno },
        }
    }
}

/// Why an answer has not come.
#[derive(Debug)]
pub(crate) enum AnswerWait {
    /// Not in time.
    Late(QmpError),
    /// It is an error, or the connection does not work.
    Failed(QmpError),
}

impl From<QmpError> for AnswerWait {
    fn from(error: QmpError) -> Self {
        Self::Failed(error)
    }
}

impl From<AnswerWait> for QmpError {
    fn from(wait: AnswerWait) -> Self {
        match wait {
            AnswerWait::Late(error) | AnswerWait::Failed(error) => error,
        }
    }
}

/// To poll for input: an event, or the end. See [`Qmp::wait_event`], and mind that it may hold
/// lines already.
impl AsFd for Qmp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.socket()
    }
}

/// What a line turned out to be.
struct TakenLine {
    is_event: bool,
    id: Option<String>,
    outcome: Option<Result<String, QmpError>>,
}
