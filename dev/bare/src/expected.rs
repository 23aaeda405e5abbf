//! What an audit of a scenario has to find.

use std::fmt;
use std::ops::Range;

/// What an audit has to find, in one version of QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// No lost page.
    Identical,
    /// Lost pages.
    Lost(Loss),
    /// No lost page, save in RAMBlocks that QEMU itself fills again when the machine is reset, without
    /// the log: they differ if the guest was stopped after a reset and before its firmware asked for
    /// them.
    Reset {
        /// Those blocks, by QEMU's names.
        blocks: &'static [&'static str],
    },
    /// QEMU aborts when dirty logging begins, and the guest is gone.
    Aborts {
        /// What QEMU's assertion says.
        assertion: &'static str,
    },
}

/// The pages that a bug loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The RAMBlock, by QEMU's name.
    pub block: &'static str,
    /// Every page that may be lost, as byte offsets in the block.
    pub within: Vec<Range<u64>>,
    /// Whether all of them are, in an audit of two seconds.
    pub all: bool,
    /// The bits by which an 8-byte word may differ; all, if there is no pattern.
    pub bits: u64,
    /// Whether it takes a few audits until one shows it.
    pub by_chance: bool,
    /// Pages of any block, as byte offsets in it, that another bug may lose in the same guest.
    pub also: Vec<(&'static str, Range<u64>)>,
}

impl Loss {
    /// Whether another bug may lose this page, a byte offset in the block.
    pub fn excuses(&self, block: &str, offset: u64) -> bool {
        self.also.iter().any(|(name, range)| *name == block && range.contains(&offset))
    }

    /// Whether these lost pages, as byte offsets in the block, are what the bug explains: at least
    /// one, all within, and none missing if all are bound to be lost.
    pub fn explains(&self, lost: &[u64], page: u64) -> bool {
        let within = |offset: &u64| self.within.iter().any(|range| range.contains(offset));
        let every = || self.within.iter().flat_map(|range| range.clone().step_by(page as usize));
        !lost.is_empty()
            && lost.iter().all(within)
            && (!self.all || every().all(|offset| lost.contains(&offset)))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical => f.write_str("no lost page"),
            Self::Reset { blocks } => {
                write!(f, "no lost page but, shortly after a reset, of {}", blocks.join(", "))
            }
            Self::Aborts { assertion } => write!(f, "QEMU aborts: {assertion}"),
            Self::Lost(loss) => {
                let pages: u64 = loss
                    .within
                    .iter()
                    .map(|range| (range.end - range.start) / crate::BareImage::PAGE)
                    .sum();
                let quantity = if loss.all { "all" } else { "some" };
                write!(f, "lost: {quantity} of {pages} pages of {}", loss.block)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_explains_its_own_pages_only() {
        let some = Loss {
            block: "b",
            within: vec![0..8192, 16384..20480],
            all: false,
            bits: !0,
            by_chance: false,
            also: vec![("c", 0..4096)],
        };
        assert!(some.excuses("c", 0) && !some.excuses("c", 4096) && !some.excuses("b", 0));
        assert!(some.explains(&[4096], 4096));
        assert!(!some.explains(&[], 4096), "nothing lost");
        assert!(!some.explains(&[4096, 8192], 4096), "a page outside");
        let all = Loss { all: true, ..some };
        assert!(!all.explains(&[0, 4096], 4096), "one is missing");
        assert!(all.explains(&[0, 4096, 16384], 4096));
    }
}
