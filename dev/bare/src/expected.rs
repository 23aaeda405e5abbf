//! What an audit of a scenario has to find.

use crate::image::BareImage;
use std::fmt;
use std::ops::Range;

/// What an audit has to find, in one version of QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// No lost page.
    Identical,
    /// Lost pages.
    Lost(Loss),
    /// No lost page, save in some RAMBlocks, if the guest was stopped at certain moments.
    AtMoments {
        /// Those blocks, by QEMU's names.
        blocks: &'static [&'static str],
        /// Those moments.
        when: StopMoment,
    },
    /// QEMU aborts when dirty logging begins, and the guest is gone.
    Aborts {
        /// What QEMU's assertion says.
        assertion: &'static str,
    },
}

/// When a guest has to be stopped for a page to be lost that is not lost at any other time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMoment {
    /// After a reset, and before the firmware has asked for what QEMU itself has filled again without
    /// the log.
    AfterReset,
    /// While a flash takes a command: KVM has no memslot of it then, and so no log.
    FlashCommand,
}

impl fmt::Display for StopMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AfterReset => "shortly after a reset",
            Self::FlashCommand => "while the flash takes a command",
        })
    }
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
    /// Whether this is the block that it is about. Machine types of before 4.0 name a device's block
    /// without the device.
    pub fn is_of(&self, block: &str) -> bool {
        self.block == block
            || self.block.strip_suffix(block).is_some_and(|rest| rest.ends_with('/'))
    }

    /// Whether another bug may lose this page, a byte offset in the block.
    pub fn excuses(&self, block: &str, offset: u64) -> bool {
        self.also.iter().any(|(name, range)| *name == block && range.contains(&offset))
    }

    /// Whether these lost pages, of this size and as byte offsets in the block, are what the bug explains:
    /// at least one, all within, and none missing if all are bound to be lost. QEMU's pages may be smaller
    /// than the guest's (1 KiB on old Arm machines): of a guest's page one has to be lost.
    pub fn explains(&self, lost: &[u64], page: u64) -> bool {
        let covers = |offset: &u64, range: &Range<u64>| {
            *offset < range.end && range.start < offset.saturating_add(page)
        };
        let within = |offset: &u64| self.within.iter().any(|range| covers(offset, range));
        let size = BareImage::PAGE;
        let all = || self.within.iter().flat_map(|range| range.clone().step_by(size as usize));
        let is_lost = |at: u64| lost.iter().any(|offset| covers(offset, &(at..at + size)));
        !lost.is_empty() && lost.iter().all(within) && (!self.all || all().all(is_lost))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical => f.write_str("no lost page"),
            Self::AtMoments { blocks, when } => {
                write!(f, "no lost page but, {when}, of {}", blocks.join(", "))
            }
            Self::Aborts { assertion } => write!(f, "QEMU aborts: {assertion}"),
            Self::Lost(loss) => {
                let pages: u64 = loss
                    .within
                    .iter()
                    .map(|range| (range.end - range.start) / BareImage::PAGE)
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
        let named = Loss { block: "0000:00:02.0/vga.vram", ..some.clone() };
        assert!(named.is_of("0000:00:02.0/vga.vram") && named.is_of("vga.vram"));
        assert!(!named.is_of("vram") && !named.is_of("a.vram"));
        assert!(!some.explains(&[4096, 8192], 4096), "a page outside");
        let all = Loss { all: true, ..some };
        assert!(!all.explains(&[0, 4096], 4096), "one is missing");
        assert!(all.explains(&[0, 4096, 16384], 4096));
        assert!(all.explains(&[1024, 4096, 7168, 17408], 1024), "pages of 1 KiB");
        assert!(!all.explains(&[1024, 7168, 20480], 1024), "one behind the range");
        assert!(all.explains(&[0, 16384], 8192), "pages of 8 KiB");
    }
}
