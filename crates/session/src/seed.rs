//! Where the random choices of a run begin, unless the configuration says.

use std::hash::{BuildHasher, RandomState};

/// A seed that nobody has had before, short enough to be typed again.
pub fn fresh() -> u64 {
    RandomState::new().hash_one(0) >> 32
}
