//! Where senders connect: each introduces itself in a thread of its own and within bounds, and no other
//! waits for it.

use super::admission::{AdmissionSlot, IntroductionProgress, PeerAdmission};
use super::config::ReceiverConfig;
use super::introduction::{hello, refuse, regions};
use super::serving_queue::{IntroductionStep, PendingPeer, ServingQueue, SessionStanding};
use crate::frames::{FrameReader, FrameWriter};
use crate::stream::StreamCloser;
use crate::{PeerStream, RemoteError, TlsServer};
use memtwin_replicate::CancelToken;
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
pub struct Listener {
    way: ListenerKind,
}

enum ListenerKind {
    Tcp { listener: TcpListener, tls: Option<TlsServer> },
    Once(Option<PeerStream>),
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Listener {
    /// Listens at a TCP address. Port 0 is any free one: [`Listener::address`] tells.
    pub fn listen(address: SocketAddr, tls: Option<TlsServer>) -> io::Result<Self> {
        Self::from_socket(TcpListener::bind(address)?, tls)
    }

    /// Listens with a socket that does already: one that systemd handed over.
    pub fn from_socket(listener: TcpListener, tls: Option<TlsServer>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { way: ListenerKind::Tcp { listener, tls } })
    }

    /// A stream that is there already.
    pub fn once(stream: PeerStream) -> Self {
        Self { way: ListenerKind::Once(Some(stream)) }
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.way {
            ListenerKind::Tcp { listener, .. } => listener.local_addr().ok(),
            ListenerKind::Once(_) => None,
        }
    }

    /// Whether nobody will come after the one who came.
    pub(super) fn is_once(&self) -> bool {
        matches!(self.way, ListenerKind::Once(_))
    }

    /// Accepts connections until `over`.
    pub(super) fn open<'s>(
        &mut self,
        scope: &'s Scope<'s, '_>,
        queue: &Arc<ServingQueue>,
        config: &ReceiverConfig,
        stop: &CancelToken,
        over: &CancelToken,
    ) -> Result<(), RemoteError> {
        let host = PeerIntroducer {
            queue: Arc::clone(queue),
            config: config.clone(),
            stop: stop.clone(),
            over: over.clone(),
        };
        let builder = thread::Builder::new().name("door".to_owned());
        match &mut self.way {
            ListenerKind::Tcp { listener, tls } => {
                let (listener, tls) = (listener.try_clone()?, tls.clone());
                builder.spawn_scoped(scope, move || {
                    host.stand(&listener, tls.as_ref());
                    host.queue.close();
                })?;
            }
            ListenerKind::Once(stream) => {
                let stream = stream.take().ok_or(RemoteError::Closed)?;
                builder.spawn_scoped(scope, move || {
                    let admission = PeerAdmission::default();
                    let entry = admission.enter(None, stream.closer.clone());
                    host.meet(stream, &entry);
                    host.queue.close();
                })?;
            }
        }
        Ok(())
    }
}

struct PeerIntroducer {
    queue: Arc<ServingQueue>,
    config: ReceiverConfig,
    stop: CancelToken,
    over: CancelToken,
}

impl PeerIntroducer {
    fn stand(&self, listener: &TcpListener, tls: Option<&TlsServer>) {
        let (admission, threads) = (PeerAdmission::default(), AtomicUsize::new(0));
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
                let closer = StreamCloser::new(move || drop(end.shutdown(Shutdown::Both)));
                let entry = admission.enter(Some(from.ip()), closer);
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
        entry: &AdmissionSlot<'_>,
    ) -> Result<PeerStream, RemoteError> {
        // Accepted sockets of a nonblocking listener may be so too.
        socket.set_nonblocking(false)?;
        let Some(tls) = tls else { return Ok(PeerStream::tcp(socket)?) };
        let heard = || entry.reached(IntroductionProgress::Heard);
        let stream = tls.accept(socket, self.config.patience, &self.over, heard)?;
        entry.reached(IntroductionProgress::Shown);
        Ok(stream)
    }

    /// Hears a stranger out, until it waits to be served or is sent away.
    fn meet(&self, stream: PeerStream, entry: &AdmissionSlot<'_>) {
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
        closer: &StreamCloser,
        entry: &AdmissionSlot<'_>,
    ) -> Result<(), RemoteError> {
        let hello = hello(&mut reader, &self.over)?;
        entry.reached(IntroductionProgress::Shown);
        let session = hello.session;
        let step = match self.queue.greet(session) {
            SessionStanding::Known => Ok(IntroductionStep::Comes(hello)),
            SessionStanding::New => {
                regions(&mut reader, &mut writer, &hello, None, &self.config, &self.over)
                    .map(IntroductionStep::Begins)
            }
            SessionStanding::Foreign => Err(RemoteError::ForeignSession),
        };
        let refused = match step {
            Ok(step) => {
                let closer = closer.clone();
                match self.queue.join(Box::new(PendingPeer {
                    reader,
                    writer,
                    closer,
                    session,
                    step,
                })) {
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
