//! What became of a verdict, a measure, a case.

/// What became of something from before to after. The order is that of how much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It is what it was, as far as the spread lets it be seen.
    Same,
    /// It is better, beyond the spread.
    Better,
    /// It had a verdict and has none now: what became of it is not known.
    Unknown,
    /// It is worse, beyond the spread.
    Worse,
}

impl Change {
    /// Every change, the worst first.
    pub const WORST_FIRST: [Self; 4] = [Self::Worse, Self::Unknown, Self::Better, Self::Same];

    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Unknown => "inconclusive",
            Self::Worse => "worse",
        }
    }
}
