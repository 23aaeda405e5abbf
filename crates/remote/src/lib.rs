//! The twin on another host: docs/wire.md, as two ends.
//!
//! [`RemoteTwin`] is the sender, one more [`Sink`](memtwin_replicate::Sink): it never waits for a
//! round trip, makes a broken connection again by itself, and gives back to the engine what a break
//! has swallowed. [`TwinReceiver`] serves one session and writes a twin that is a whole round at every
//! moment, or can be derived from one. Both speak over any byte stream ([`PeerStream`]): TCP, TLS, an ssh.
//!
//! Blocking I/O and a few threads; no runtime.

#![forbid(unsafe_code)]

mod allowance;
mod dial;
mod error;
mod frames;
mod identity;
mod receiver;
mod sender;
mod stream;
mod tls;

pub use dial::{RemoteTarget, Security, TargetError};
pub use error::RemoteError;
pub use identity::{Identity, IdentityError, IdentityPair, KeyPin, new_pair};
pub use receiver::{Listener, PointHook, ReceiveEnd, ReceiverConfig, ReceiverPoint, TwinReceiver};
pub use sender::{Compression, Figures, MemoryGuess, RemoteTwin, SenderConfig, TwinRegion};
pub use stream::PeerStream;
pub use tls::{TlsClient, TlsError, TlsServer};
