//! The stressors by name.

use std::fmt;
use std::str::FromStr;

/// A way in which pages get dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stressor {
    /// Random pages, a changing word in each: the reference setup's `tstaeshm`.
    Random,
    /// Each page in turn.
    Sequential,
    /// Every N-th page, then the same one page further on: the reference setup's `dirtyram`.
    Strided,
    /// An atomic read-modify-write in random pages: a locked instruction, or LSE.
    Atomic,
    /// Whole pages set to zero by `DC ZVA` or `rep stos`, alternating with a word that is not.
    Zero,
    /// One store of which a half falls on each side of a page boundary.
    Straddle,
    /// Each page exactly once, at a random moment: no later write can hide a lost one.
    Once,
    /// The page-table walker's own accessed and dirty updates, in tables that lie in the window.
    Walker,
}

impl Stressor {
    /// Every stressor.
    pub const ALL: [Self; 8] = [
        Self::Random,
        Self::Sequential,
        Self::Strided,
        Self::Atomic,
        Self::Zero,
        Self::Straddle,
        Self::Once,
        Self::Walker,
    ];

    /// Its name, as on the command line and in case names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Sequential => "sequential",
            Self::Strided => "strided",
            Self::Atomic => "atomic",
            Self::Zero => "zero",
            Self::Straddle => "straddle",
            Self::Once => "once",
            Self::Walker => "walker",
        }
    }

    /// Its code in a control block.
    pub const fn code(self) -> u64 {
        match self {
            Self::Random => 0,
            Self::Sequential => 1,
            Self::Strided => 2,
            Self::Atomic => 3,
            Self::Zero => 4,
            Self::Straddle => 5,
            Self::Once => 6,
            Self::Walker => 7,
        }
    }

    /// The stressor of a code in a control block.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|stressor| stressor.code() == code)
    }
}

impl fmt::Display for Stressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no stressor has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown stressor '{0}': expected random, sequential, strided, atomic, zero, straddle, once or walker"
)]
pub struct UnknownStressor(String);

impl FromStr for Stressor {
    type Err = UnknownStressor;

    fn from_str(name: &str) -> Result<Self, UnknownStressor> {
        Self::ALL
            .into_iter()
            .find(|stressor| stressor.name() == name)
            .ok_or_else(|| UnknownStressor(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_lead_back() {
        for stressor in Stressor::ALL {
            assert_eq!(stressor.name().parse(), Ok(stressor));
            assert_eq!(Stressor::from_code(stressor.code()), Some(stressor));
        }
        assert!("randon".parse::<Stressor>().unwrap_err().to_string().contains("'randon'"));
        assert_eq!(Stressor::from_code(8), None);
    }
}
