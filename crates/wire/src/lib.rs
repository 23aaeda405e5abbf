//! What goes over the wire between a sender and the receiver of its twin: docs/wire.md, as code.
//!
//! Bytes become a validated type once, here; every length is checked before room is made for it.
//! No I/O and no operating system: both ends, the receiver's journal and the tests use the same
//! few types. [`Sealer`] makes frames and [`Opener`] checks them, [`Message`] is what is said in
//! one, [`Records`] is the body of a DATA frame, [`Squeeze`] makes it smaller.

#![forbid(unsafe_code)]

mod bytes;
mod delta;
mod error;
mod frame;
mod inbox;
mod layout;
mod message;
mod record;
mod shape;
mod squeeze;
mod text;
mod version;

pub use delta::{Delta, DeltaRuns};
pub use error::WireError;
pub use frame::{Direction, HEAD, Head, Key, Kind, MOST_BODY, Opener, Sealer};
pub use inbox::Inbox;
pub use layout::{decode_layout, encode_layout};
pub use message::{Answer, Asked, Base, Hello, Message, Outcome, RefuseCode, Round, Welcome};
pub use record::{Record, RecordWriter, Records};
pub use shape::Shape;
pub use squeeze::{Method, Squeeze, Unsqueeze};
pub use text::Text;
pub use version::{Versions, negotiate};
