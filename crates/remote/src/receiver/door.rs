//! The door: who comes in introduces himself first, in a thread of his own and within a time, and
//! nobody else waits for him.

use super::{Config, locked};
use crate::frames::{FrameReader, FrameWriter};
use crate::stream::Closer;
use crate::{RemoteError, Stream, TlsServer};
use memtwin_replicate::Stop;
use memtwin_wire::{Direction, Hello, Kind, Message, RefuseCode, WireError};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::Duration;

/// How many strangers may be introducing themselves at once; the next one is sent away.
const MOST_STRANGERS: usize = 16;

/// Where senders come in.
pub struct Door {
    way: Way,
}

enum Way {
    Tcp { listener: TcpListener, tls: Option<TlsServer> },
    Once(Option<Stream>),
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

/// A sender who has introduced himself.
pub(super) struct Caller {
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
    pub(super) closer: Closer,
    pub(super) hello: Hello,
}

/// The session that is served, and its connection of the moment.
type Bound = Option<([u8; 16], Closer)>;

/// Those who have introduced themselves.
pub(super) struct Callers {
    queue: Receiver<Caller>,
    bound: Arc<Mutex<Bound>>,
    /// Nobody will come after the one who came.
    once: bool,
}

impl Callers {
    pub(super) fn next(&self, within: Duration) -> Result<Caller, RecvTimeoutError> {
        self.queue.recv_timeout(within)
    }

    pub(super) fn bind(&self, to: Bound) {
        *locked(&self.bound) = to;
    }

    pub(super) fn is_last(&self) -> bool {
        self.once
    }
}

impl Door {
    /// A door at a TCP address. Port 0 is any free one: [`Door::address`] tells.
    pub fn listen(address: SocketAddr, tls: Option<TlsServer>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { way: Way::Tcp { listener, tls } })
    }

    /// A stream that is there already.
    pub fn once(stream: Stream) -> Self {
        Self { way: Way::Once(Some(stream)) }
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.way {
            Way::Tcp { listener, .. } => listener.local_addr().ok(),
            Way::Once(_) => None,
        }
    }

    /// Lets people in until `over`.
    pub(super) fn open<'s>(
        &mut self,
        scope: &'s Scope<'s, '_>,
        config: &Config,
        stop: &Stop,
        over: &Stop,
    ) -> Result<Callers, RemoteError> {
        let (to, queue) = sync_channel(1);
        let bound = Arc::new(Mutex::new(None));
        let host = Host {
            to,
            bound: Arc::clone(&bound),
            patience: config.patience,
            stop: stop.clone(),
            over: over.clone(),
        };
        let once = match &mut self.way {
            Way::Tcp { listener, tls } => {
                let (listener, tls) = (listener.try_clone()?, tls.clone());
                thread::Builder::new()
                    .name("door".to_owned())
                    .spawn_scoped(scope, move || host.stand(&listener, tls.as_ref()))?;
                false
            }
            Way::Once(stream) => {
                let stream = stream.take().ok_or(RemoteError::Closed)?;
                thread::Builder::new()
                    .name("door".to_owned())
                    .spawn_scoped(scope, move || host.meet(stream))?;
                true
            }
        };
        Ok(Callers { queue, bound, once })
    }
}

#[derive(Clone)]
struct Host {
    to: SyncSender<Caller>,
    bound: Arc<Mutex<Bound>>,
    patience: Duration,
    stop: Stop,
    over: Stop,
}

impl Host {
    fn stand(&self, listener: &TcpListener, tls: Option<&TlsServer>) {
        let strangers = AtomicUsize::new(0);
        thread::scope(|scope| {
            while !self.over.is_set() && !self.stop.is_set() {
                let (socket, from) = match listener.accept() {
                    Ok(came) => came,
                    Err(_) => {
                        // Nobody is there, or no file descriptor is free.
                        self.over.wait(Duration::from_millis(5));
                        continue;
                    }
                };
                if strangers.fetch_add(1, Ordering::Relaxed) >= MOST_STRANGERS {
                    strangers.fetch_sub(1, Ordering::Relaxed);
                    tracing::warn!("{from}: too many strangers at the door");
                    continue;
                }
                let (host, tls, strangers) = (self.clone(), tls.cloned(), &strangers);
                let met = thread::Builder::new().name("stranger".to_owned()).spawn_scoped(
                    scope,
                    move || {
                        match host.secure(socket, tls.as_ref()) {
                            Ok(stream) => host.meet(stream),
                            Err(error) => tracing::warn!("{from}: {error}"),
                        }
                        strangers.fetch_sub(1, Ordering::Relaxed);
                    },
                );
                if met.is_err() {
                    strangers.fetch_sub(1, Ordering::Relaxed);
                }
            }
        });
    }

    fn secure(&self, socket: TcpStream, tls: Option<&TlsServer>) -> Result<Stream, RemoteError> {
        // Accepted sockets of a nonblocking listener may be so too.
        socket.set_nonblocking(false)?;
        match tls {
            Some(tls) => tls.accept(socket, self.patience, &self.over),
            None => Ok(Stream::tcp(socket)?),
        }
    }

    /// Hears a stranger's HELLO.
    fn meet(&self, stream: Stream) {
        let closer = stream.closer.clone();
        let mut reader = FrameReader::new(stream.read, Direction::FromSender, self.patience);
        let mut writer = FrameWriter::new(
            stream.write,
            Direction::FromReceiver,
            self.patience,
            self.stop.clone(),
        );
        let hello = match self.hello(&mut reader) {
            Ok(hello) => hello,
            Err(error) => {
                tracing::warn!("a stranger: {error}");
                closer.close();
                return;
            }
        };
        let bound = locked(&self.bound).clone();
        match bound {
            // A sender that comes again knows that its last connection is broken.
            Some((session, last)) if session == hello.session => last.close(),
            Some(_) => {
                let why = "another session is being received here";
                // He is told if he listens.
                let _ = writer.send(&Message::Refuse { code: RefuseCode::ForeignSession, why });
                closer.close();
                return;
            }
            None => {}
        }
        let mut caller = Caller { reader, writer, closer, hello };
        // Only one waits at a time; the others are let wait, or go.
        loop {
            match self.to.try_send(caller) {
                Ok(()) | Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return,
                Err(std::sync::mpsc::TrySendError::Full(back)) => caller = back,
            }
            if self.over.wait(Duration::from_millis(20)) {
                caller.closer.close();
                return;
            }
        }
    }

    fn hello(&self, reader: &mut FrameReader) -> Result<Hello, RemoteError> {
        let kind = reader.next(&self.over, || ())?;
        if kind != Kind::Hello {
            return Err(WireError::Unexpected { expected: "HELLO", got: kind }.into());
        }
        match reader.message(kind)? {
            Message::Hello(hello) => Ok(hello),
            other => Err(WireError::Unexpected { expected: "HELLO", got: other.kind() }.into()),
        }
    }
}
