//! The RAMBlocks of a guest, and where the guest sees them.

use crate::BlocksError;
use crate::block_name::block_name;
use crate::flatview::{self, FlatRange, RangeReading};
use crate::gpa::{gpa_to_hva, hva_of};
use crate::ramblock::{self, RamBlock};
use memtwin_pages::{Gpa, Window};
use memtwin_qmp::Qmp;

/// A RAMBlock: a piece of host memory, which QEMU migrates as RAM if it has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its name, as the monitor prints it, in the form of [`block_name`](crate::block_name);
    /// `unnamed@OFFSET` where it has none. [`find_block`](crate::find_block) finds by it the block of a
    /// name in the stream.
    pub name: String,
    /// Whether it has a name of its own. What has none is never migrated, is in no stream, and its
    /// writes are in no log: a memory backend that no device uses, virtio-pmem's.
    pub is_named: bool,
    /// The bytes in use: what is migrated and can be compared.
    pub used: u64,
    /// The bytes that it may grow to.
    pub total: u64,
    /// Where it begins in QEMU's own memory. None if this QEMU does not say (before 8.2) and the
    /// guest sees too little of it to find out.
    pub hva: Option<u64>,
    /// The size in bytes of the host's pages that back it.
    pub host_page: u64,
    /// Where the guest sees it, by address. Empty where it does not now: a device's memory that
    /// no BAR points to, a ROM that only fw_cfg reads.
    pub windows: Vec<Window>,
    /// Whether QEMU itself maps it read-only (the RO column). Not known before 8.2.
    pub read_only: Option<bool>,
}

impl Block {
    /// Where the guest sees the byte at this offset, if it does.
    pub fn gpa_of(&self, offset: u64) -> Option<Gpa> {
        let window = self
            .windows
            .iter()
            .find(|window| offset >= window.offset && offset - window.offset < window.bytes)?;
        Some(Gpa(window.gpa.0 + (offset - window.offset)))
    }
}

/// Blocks that can't be read: QEMU before 8.2 says where a block lies only by where the guest sees it, and the
/// guest sees nothing of these now, or not as memory (a flash that is being programmed).
pub fn out_of_sight(blocks: &[Block]) -> impl Iterator<Item = &Block> {
    blocks.iter().filter(|block| block.is_named && block.used > 0 && block.hva.is_none())
}

/// How often a guest that moves its memory about is asked again.
const ATTEMPTS: usize = 10;

/// Asks QEMU for all blocks. What the guest maps where can change while it runs; the blocks
/// themselves do with hotplug only.
///
/// Errors: QEMU can't be asked, or its monitor prints something new.
pub fn blocks(qmp: &mut Qmp) -> Result<Vec<Block>, BlocksError> {
    let mut listed = qmp.hmp("info ramblock")?;
    let mut view = qmp.hmp("info mtree -f")?;
    for _ in 0..ATTEMPTS {
        let ranges = flatview::parse(&view)?;
        let mut asked = false;
        let mut to_hva = |gpa| {
            asked = true;
            gpa_to_hva(qmp, gpa)
        };
        let mut joined = joined(ramblock::parse(&listed)?, &ranges, &mut to_hva)?;
        for block in joined.iter_mut().filter(|block| block.hva.is_none()) {
            block.hva = hva_of(block, &mut to_hva)?;
        }
        if !asked {
            return Ok(joined);
        }
        // Answers about addresses belong to the view only if that was the same all the time.
        let before = listed;
        listed = qmp.hmp("info ramblock")?;
        view = qmp.hmp("info mtree -f")?;
        if before == listed && ranges == flatview::parse(&view)? {
            return Ok(joined);
        }
    }
    Err(BlocksError::Unsteady)
}

/// Puts each range to its block. A range names its memory region, which is the end of a block's
/// name (`qemu_ram_set_idstr()` puts the device's path before it), so it may fit several blocks:
/// then its host address decides, and if that is not known, nothing does, and no window is said.
pub(crate) fn joined<E>(
    listed: Vec<RamBlock>,
    ranges: &[FlatRange],
    to_hva: &mut impl FnMut(Gpa) -> Result<Option<u64>, E>,
) -> Result<Vec<Block>, E> {
    let mut blocks: Vec<_> = listed.into_iter().map(Block::from).collect();
    for range in ranges {
        let mut fitting = fitting(&blocks, range);
        if fitting.len() > 1
            && let Some(hva) = to_hva(Gpa(range.gpa))?
        {
            fitting.retain(|(at, reading)| {
                let begin = blocks[*at].hva.and_then(|begin| begin.checked_add(reading.offset));
                begin == Some(hva)
            });
        }
        if let [(at, reading)] = fitting[..] {
            let (gpa, offset) = (Gpa(range.gpa), reading.offset);
            blocks[at].windows.push(Window { gpa, offset, bytes: range.bytes });
        }
    }
    Ok(blocks)
}

/// The blocks that a range may be a part of, by name and size; of the ways to read it, the first
/// that fits any.
fn fitting<'a>(blocks: &[Block], range: &'a FlatRange) -> Vec<(usize, RangeReading<'a>)> {
    let fits = |block: &Block, reading: &RangeReading<'_>| {
        let end = reading.offset.checked_add(range.bytes);
        block.is_named
            && is_of(&block.name, reading.region)
            && end.is_some_and(|end| end <= block.total)
    };
    for reading in range.readings() {
        let fitting: Vec<_> = blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| fits(block, &reading))
            .map(|(at, _)| (at, reading))
            .collect();
        if !fitting.is_empty() {
            return fitting;
        }
    }
    Vec::new()
}

/// Whether a block of this name may be the memory of this memory region: `qemu_ram_set_idstr()` puts the
/// device's path before the region's name.
pub(crate) fn is_of(block: &str, region: &str) -> bool {
    // Both as the list of blocks prints them.
    let region = block_name(region.trim_matches(' ').as_bytes());
    block.strip_suffix(&region).is_some_and(|device| device.is_empty() || device.ends_with('/'))
}

impl From<RamBlock> for Block {
    fn from(listed: RamBlock) -> Self {
        let is_named = listed.name.is_some();
        let unnamed = || match listed.offset {
            Some(offset) => format!("unnamed@{offset:#x}"),
            None => "unnamed".to_owned(),
        };
        Self {
            name: listed.name.map_or_else(unnamed, |name| block_name(name.as_bytes())),
            is_named,
            used: listed.used,
            total: listed.total,
            hva: listed.hva,
            host_page: listed.host_page,
            windows: Vec::new(),
            read_only: listed.read_only,
        }
    }
}

#[cfg(test)]
mod tests;
