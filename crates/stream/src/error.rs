//! Why a stream can't be decoded, and where.

use crate::StreamFault;

/// What [`Decoder::feed`](crate::Decoder::feed) fails with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError<E> {
    /// The stream is wrong, or not understood.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The visitor failed.
    #[error("{0}")]
    Visitor(E),
}

/// What is wrong with a stream, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the migration stream: {fault}")]
pub struct DecodeError {
    /// Where the field begins that is wrong, in bytes from the beginning of the stream.
    pub offset: u64,
    /// What is wrong.
    pub fault: StreamFault,
}
