//! The twin on another host: docs/wire.md, as two ends.
//!
//! [`RemoteTwin`] is the sender, one more [`Sink`](memtwin_replicate::Sink): it never waits for a
//! round trip, makes a broken connection anew by itself, and gives back to the engine what a break
//! has swallowed. [`Receiver`] serves one session and writes a twin that is a whole round at every
//! moment, or can be told from one. Both speak over any byte stream ([`Stream`]): TCP, TLS, an ssh.
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

pub use dial::{Security, Target, TargetError};
pub use error::RemoteError;
pub use identity::{Identity, IdentityError, Pair, Pin, new_pair};
pub use receiver::{At, Config as ReceiverConfig, Door, Ended, Point, Receiver};
pub use sender::{Compression, Config as SenderConfig, Figures, Guess, RemoteTwin, TwinRegion};
pub use stream::Stream;
pub use tls::{TlsClient, TlsError, TlsServer};
