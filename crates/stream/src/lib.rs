//! What QEMU says when it migrates a guest: a decoder of its migration stream, to the end of RAM.
//!
//! A destination of QEMU's migration is sent the guest's memory, page by page, for as long as it
//! holds the source in pre-copy: every page once, then those that the dirty log named, round after
//! round. [`Decoder`] takes these bytes, however they are cut, and tells a [`StreamVisitor`] which pages
//! were in them. What a destination may say in return is in [`return_path`].
//!
//! The references are QEMU's migration/savevm.c (sections, commands), migration/ram.c (blocks and
//! page records) and docs/devel/migration; docs/qemu-stream.md draws the stream byte by byte, as QEMU 7.2
//! and 10.0 send it, and says what is refused.
//!
//! - Nothing is guessed. What the decoder does not understand it refuses, by name and with the
//!   offset: a stream that holds more pages than it was told of must not look complete.
//! - Memory is bounded by [`StreamLimits`] and one page, whatever comes.
//! - A page that lies whole in the input is passed on without being copied.
//!
//! What it can't see: pages that never were in this stream. With `multifd` they travel on other
//! connections, and with machine types older than 8.1 nothing here says so. A caller counts the pages that have come,
//! and takes no block for complete of which one is missing.
//!
//! No operating system, no `unsafe`.

#![forbid(unsafe_code)]

mod bitmap;
mod blocks;
mod cursor;
mod decoder;
mod early;
mod error;
mod fault;
mod feature;
mod header;
mod phase;
mod record;
pub mod return_path;
mod section;
mod visitor;
mod wire;

pub use decoder::{Decoder, StreamLimits};
pub use error::{DecodeError, FeedError};
pub use fault::StreamFault;
pub use feature::Feature;
pub use phase::StreamPhase;
pub use visitor::{BlockEntry, SectionKind, StreamCommand, StreamVisitor};
