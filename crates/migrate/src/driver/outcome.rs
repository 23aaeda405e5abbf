//! What a migration came to: where the guest is, and why it is not where it should be.

use super::progress::MigrationProgress;
use crate::verdict::compare::{RamError, RamVerdict};
use memtwin_pages::RegionId;
use std::time::{Duration, Instant};

/// Where the guest is, and why it is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestLocation {
    /// It runs at the destination.
    Destination,
    /// It runs at the source.
    Source(FailureReason),
    /// It runs nowhere.
    Nowhere(FailureReason),
}

/// Why it did not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// It was given up at the time limit.
    NotConverged,
    /// We were told to stop.
    Interrupted,
    /// QEMU says that it failed.
    Failed(String),
    /// The destination ended.
    DestinationGone(String),
    /// The source ended.
    SourceGone(String),
    /// Its memory did not arrive as it was.
    RamDiffers,
    /// Its memory could not be judged.
    NotJudged(String),
    /// The control's word at the destination may not be as it was.
    Spoilt,
    /// Nothing was sent for this long, and it was cancelled.
    Stalled(Duration),
}

impl std::fmt::Display for FailureReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotConverged => f.write_str("it did not converge in time and was cancelled"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Failed(why) => write!(f, "the migration failed: {why}"),
            Self::DestinationGone(why) => write!(f, "the destination's QEMU is gone: {why}"),
            Self::SourceGone(why) => write!(f, "the source's QEMU is gone: {why}"),
            Self::RamDiffers => f.write_str("its memory did not arrive as it was"),
            Self::NotJudged(why) => write!(f, "its memory could not be judged: {why}"),
            Self::Spoilt => f.write_str("the control's word may not be as it was"),
            Self::Stalled(time) => write!(
                f,
                "nothing was sent for {} s, and the migration was cancelled: is the link cut?",
                time.as_secs()
            ),
        }
    }
}

/// What a migration came to.
#[derive(Debug)]
pub struct MigrationOutcome {
    /// Where the guest is.
    pub location: GuestLocation,
    /// Its rounds.
    pub progress: MigrationProgress,
    /// The verdict on RAM, if it came to one.
    pub ram: Option<Result<RamVerdict, RamError>>,
    /// The page in which the control flipped a word, and what was found then.
    pub control: Option<(RegionId, u64, Result<RamVerdict, RamError>)>,
    /// How long the guest stood still only so that its memory could be judged.
    pub pause: Duration,
    /// When the source was told to migrate.
    pub began: Instant,
    /// When the guest was seen to stand still on both sides.
    pub arrived: Option<Instant>,
    /// When it ran again.
    pub resumed: Option<Instant>,
    /// How often both sides were asked at once whether they run their guest.
    pub looks: u64,
    /// How often both did: never, if all is well.
    pub doubled: u64,
}

impl MigrationOutcome {
    /// Of one that was begun just now, and has come to nothing yet.
    pub(super) fn begun(now: Instant) -> Self {
        Self {
            location: GuestLocation::Source(FailureReason::Interrupted),
            progress: MigrationProgress::default(),
            ram: None,
            control: None,
            pause: Duration::ZERO,
            began: now,
            arrived: None,
            resumed: None,
            looks: 0,
            doubled: 0,
        }
    }
}
