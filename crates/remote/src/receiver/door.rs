//! The door: who comes in introduces himself in a thread of his own and within bounds, and nobody
//! else waits for him.

use super::Config;
use super::crowd::{Crowd, Entry, Progress};
use super::introduction::{hello, refuse, regions};
use super::lobby::{Caller, Lobby, Standing, Step};
use crate::frames::{FrameReader, FrameWriter};
use crate::stream::Closer;
use crate::{RemoteError, Stream, TlsServer};
use memtwin_replicate::Stop;
use memtwin_wire::Direction;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope};
use std::time::Duration;

/// How many threads may be there for strangers, with those who were just sent away.
const MOST_THREADS: usize = 128;

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

    /// Whether nobody will come after the one who came.
    pub(super) fn is_once(&self) -> bool {
        matches!(self.way, Way::Once(_))
    }

    /// Lets people in until `over`.
    pub(super) fn open<'s>(
        &mut self,
        scope: &'s Scope<'s, '_>,
        lobby: &Arc<Lobby>,
        config: &Config,
        stop: &Stop,
        over: &Stop,
    ) -> Result<(), RemoteError> {
        let host = Host {
            lobby: Arc::clone(lobby),
            config: config.clone(),
            stop: stop.clone(),
            over: over.clone(),
        };
        let builder = thread::Builder::new().name("door".to_owned());
        match &mut self.way {
            Way::Tcp { listener, tls } => {
                let (listener, tls) = (listener.try_clone()?, tls.clone());
                builder.spawn_scoped(scope, move || {
                    host.stand(&listener, tls.as_ref());
                    host.lobby.close();
                })?;
            }
            Way::Once(stream) => {
                let stream = stream.take().ok_or(RemoteError::Closed)?;
                builder.spawn_scoped(scope, move || {
                    let crowd = Crowd::default();
                    let entry = crowd.enter(None, stream.closer.clone());
                    host.meet(stream, &entry);
                    host.lobby.close();
                })?;
            }
        }
        Ok(())
    }
}

struct Host {
    lobby: Arc<Lobby>,
    config: Config,
    stop: Stop,
    over: Stop,
}

impl Host {
    fn stand(&self, listener: &TcpListener, tls: Option<&TlsServer>) {
        let (crowd, threads) = (Crowd::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            while !self.over.is_set() && !self.stop.is_set() {
                let came = if threads.load(Ordering::Relaxed) < MOST_THREADS {
                    listener.accept()
                } else {
                    Err(io::ErrorKind::WouldBlock.into())
                };
                let Ok((socket, from)) = came else {
                    // Nobody is there, or no file descriptor is free.
                    self.over.wait(Duration::from_millis(5));
                    continue;
                };
                let Ok(end) = socket.try_clone() else { continue };
                let closer = Closer::new(move || drop(end.shutdown(Shutdown::Both)));
                let entry = crowd.enter(Some(from.ip()), closer);
                threads.fetch_add(1, Ordering::Relaxed);
                let counts = &threads;
                let met = thread::Builder::new().name("stranger".to_owned()).spawn_scoped(
                    scope,
                    move || {
                        match self.secure(socket, tls, &entry) {
                            Ok(stream) => self.meet(stream, &entry),
                            Err(error) => tracing::warn!("{from}: {error}"),
                        }
                        drop(entry);
                        counts.fetch_sub(1, Ordering::Relaxed);
                    },
                );
                if met.is_err() {
                    threads.fetch_sub(1, Ordering::Relaxed);
                }
            }
        });
    }

    fn secure(
        &self,
        socket: TcpStream,
        tls: Option<&TlsServer>,
        entry: &Entry<'_>,
    ) -> Result<Stream, RemoteError> {
        // Accepted sockets of a nonblocking listener may be so too.
        socket.set_nonblocking(false)?;
        let Some(tls) = tls else { return Ok(Stream::tcp(socket)?) };
        let heard = || entry.reached(Progress::Heard);
        let stream = tls.accept(socket, self.config.patience, &self.over, heard)?;
        entry.reached(Progress::Shown);
        Ok(stream)
    }

    /// Hears a stranger out, until it waits to be served or is sent away.
    fn meet(&self, stream: Stream, entry: &Entry<'_>) {
        let closer = stream.closer.clone();
        let patience = self.config.patience;
        let reader = FrameReader::new(stream.read, Direction::FromSender, patience);
        let from = Direction::FromReceiver;
        let writer = FrameWriter::new(stream.write, from, patience, self.stop.clone());
        if let Err(error) = self.introduced(reader, writer, &closer, entry) {
            tracing::warn!("a stranger: {error}");
            closer.close();
        }
    }

    fn introduced(
        &self,
        mut reader: FrameReader,
        mut writer: FrameWriter,
        closer: &Closer,
        entry: &Entry<'_>,
    ) -> Result<(), RemoteError> {
        let hello = hello(&mut reader, &self.over)?;
        entry.reached(Progress::Shown);
        let session = hello.session;
        let step = match self.lobby.greet(session) {
            Standing::Known => Ok(Step::Comes(hello)),
            Standing::New => {
                regions(&mut reader, &mut writer, &hello, None, &self.config, &self.over)
                    .map(Step::Begins)
            }
            Standing::Foreign => Err(RemoteError::ForeignSession),
        };
        let refused = match step {
            Ok(step) => {
                let closer = closer.clone();
                match self.lobby.join(Box::new(Caller { reader, writer, closer, session, step })) {
                    Ok(()) => return Ok(()),
                    Err(back) => {
                        (reader, writer) = (back.reader, back.writer);
                        RemoteError::ForeignSession
                    }
                }
            }
            Err(error) => error,
        };
        refuse(&refused, &mut reader, &self.over, |why| writer.send(why));
        Err(refused)
    }
}
