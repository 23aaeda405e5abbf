//! What can go wrong: on the guest's side, on the twin's side, in a round.

use std::error::Error;

/// What went wrong on the guest's side.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The guest died, or makes no progress.
    #[error("the guest: {0}")]
    Guest(String),
    /// The dirty log could not be switched, asked or cleared, or can't be trusted.
    #[error("the dirty log: {0}")]
    Log(Box<dyn Error + Send + Sync>),
    /// The guest's memory could not be read.
    #[error("the guest's memory: {0}")]
    Memory(Box<dyn Error + Send + Sync>),
}

/// What went wrong on the twin's side.
#[derive(Debug, thiserror::Error)]
#[error("the twin: {0}")]
pub struct SinkError(pub Box<dyn Error + Send + Sync>);

impl SinkError {
    /// Wraps what went wrong.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }

    /// Whether the sink is able to go on, and the round is to be tried again.
    pub fn is_again(&self) -> bool {
        self.0.is::<Retry>()
    }
}

/// Why a round was not committed. What it had collected is still owed, and goes with the next.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The guest's side failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The twin's side failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A stop was asked for.
    #[error("interrupted")]
    Interrupted,
    /// An earlier delivery ended in the middle, and a hypervisor sends a page once.
    #[error(
        "an earlier round broke off, and its pages can't be sent again: begin a new replication"
    )]
    Incomplete,
    /// The guest is paused, and yet its log names pages each time it is asked.
    #[error(
        "the log of the paused guest named {pages} more pages in round {round}: something still writes"
    )]
    NeverClean {
        /// How many pages the last collection named.
        pages: u64,
        /// The number of the last round.
        round: u32,
    },
}

/// As the cause of a [`SinkError`]: a part of the round was lost, but the sink has mended what
/// broke. The engine tries the round again, with what [`Sink::take_undelivered`](crate::Sink::take_undelivered) names.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection broke and was made anew: the round goes again")]
pub struct Retry;
