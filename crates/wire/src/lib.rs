//! What goes over the wire between a sender and the receiver of its twin: docs/wire.md, as code.
//!
//! Bytes become a validated type once, here; every length is checked before room is made for it.
//! No I/O and no operating system: both ends, the receiver's journal and the tests use the same
//! few types. [`Sealer`] makes frames and [`Opener`] checks them, [`WireMessage`] is what is said in
//! one, [`PageRecords`] is the body of a DATA frame, [`Compressor`] makes it smaller.

#![forbid(unsafe_code)]

mod bytes;
mod compressor;
mod delta;
mod error;
mod frame;
mod inbox;
mod layout;
mod message;
mod record;
mod text;
mod twin_shape;
mod version;

pub use compressor::{CompressionMethod, Compressor, Decompressor};
pub use delta::{Delta, DeltaRuns};
pub use error::WireError;
pub use frame::{Direction, FrameHead, FrameKind, HEAD, MOST_BODY, Opener, SealKey, Sealer};
pub use inbox::Inbox;
pub use layout::{decode_layout, encode_layout};
pub use message::{
    BlockAnswer, BlockQuery, Hello, JournalBase, RefuseCode, RoundEnd, TwinVerdict, Welcome,
    WireMessage,
};
pub use record::{PageRecord, PageRecords, RecordWriter};
pub use text::PeerText;
pub use twin_shape::TwinShape;
pub use version::{Versions, negotiate};
