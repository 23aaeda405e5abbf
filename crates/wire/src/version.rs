//! Which versions of the wire a build speaks: its own, and the one before.

use crate::WireError;

/// A range of versions that one side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub lowest: u16,
    /// The highest.
    pub highest: u16,
}

impl Versions {
    /// What this build speaks. There is none before the first.
    pub const OURS: Self = Self { lowest: 1, highest: 1 };
}

/// The version that two sides speak with each other: the highest that both do.
pub fn negotiate(ours: Versions, theirs: Versions) -> Result<u16, WireError> {
    let highest = ours.highest.min(theirs.highest);
    if highest >= ours.lowest.max(theirs.lowest) {
        return Ok(highest);
    }
    Err(WireError::Version {
        ours_low: ours.lowest,
        ours_high: ours.highest,
        theirs_low: theirs.lowest,
        theirs_high: theirs.highest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_and_the_one_before_understand_each_other() {
        // What the build of version n will speak.
        let build = |n: u16| Versions { lowest: n.saturating_sub(1).max(1), highest: n };
        assert_eq!(build(1), Versions::OURS);
        for n in 1..5 {
            assert_eq!(negotiate(build(n), build(n)), Ok(n));
            assert_eq!(negotiate(build(n + 1), build(n)), Ok(n));
            assert_eq!(negotiate(build(n), build(n + 1)), Ok(n));
        }
        let apart = negotiate(build(1), build(3)).unwrap_err().to_string();
        assert!(apart.contains("speaks 1 to 1, the other 2 to 3"), "{apart}");
    }
}
