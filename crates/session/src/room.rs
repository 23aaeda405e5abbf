//! Memory, asked for before it is taken.

use memtwin_mapping::host_page_size;
use memtwin_qemu::{Block, Footprint, Process};
use memtwin_qmp::MonitorAddress;
use memtwin_room::{MemoryNeed, MemoryRoom, NoRoom, mebibytes};
use std::path::Path;

/// What Memtwin needs besides what grows with a guest: its program, its buffers.
const BESIDES: u64 = 64 << 20;

/// One in this many bytes of a window goes into page tables, and into the bits of its log.
const TABLES: u64 = 64;

/// Errors unless QEMU has room for what it takes itself when its memory is read, as any migration
/// does.
pub(crate) fn for_reading(process: &Process, blocks: &[Block]) -> Result<(), NoRoom> {
    let nothing = MemoryNeed::of("nothing of ours");
    beside(&nothing, process, &process.footprint(blocks))
}

/// The same, and room here for a copy of what these blocks have in memory.
pub(crate) fn for_copy(
    what: &str,
    process: &Process,
    blocks: &[Block],
    monitor: &MonitorAddress,
) -> Result<(), NoRoom> {
    let footprint = process.footprint(blocks);
    let pages = footprint.nominal / host_page_size() as u64;
    let copy = footprint.resident + footprint.resident / 16;
    let way_out = format!(
        "`memtwin replicate {} file:DIR` keeps the twin on a disk, and judges it too",
        monitor.source()
    );
    let what = format!("{what} of {}", mebibytes(footprint.nominal));
    let need = MemoryNeed {
        // Beside the pages, what is kept of each: some bits, and a number.
        memory: copy.min(footprint.nominal) + 2 * pages + BESIDES,
        address_space: footprint.nominal,
        way_out: &way_out,
        ..MemoryNeed::of(&what)
    };
    beside(&need, process, &footprint)
}

fn beside(need: &MemoryNeed<'_>, process: &Process, footprint: &Footprint) -> Result<(), NoRoom> {
    let what = format!(
        "QEMU (process {}): its guest's shared memory that was never touched comes to exist when a \
         migration reads it",
        process.pid()
    );
    let theirs = MemoryNeed {
        memory: footprint.untouched_shared,
        way_out: "give it that much more, or start it with memory that is not shared",
        ..MemoryNeed::of(&what)
    };
    MemoryRoom::of_self().check_beside(need, &MemoryRoom::of_process(process.pid()), &theirs)
}

/// Errors unless there is room for this many times a window of our own in memory: itself, its twin.
/// `file` is what it lies in, if that has a path: what its file system has is asked when it is made.
pub(crate) fn for_window(file: Option<&Path>, bytes: u64, times: u64) -> Result<(), NoRoom> {
    let room = MemoryRoom::of_self();
    let way_out = match largest(&room, file, times) {
        0 => String::new(),
        fits => format!("--size {}M would fit", fits >> 20),
    };
    let what = format!("a window of {} and its twin", mebibytes(bytes));
    room.check(&MemoryNeed {
        memory: bytes.saturating_mul(times).saturating_add(BESIDES + bytes / TABLES),
        address_space: bytes.saturating_mul(2),
        way_out: &way_out,
        ..MemoryNeed::of(&what)
    })
}

/// The largest window that would fit, in whole MiB.
fn largest(room: &MemoryRoom, file: Option<&Path>, times: u64) -> u64 {
    let memory = room.tightest().map_or(u64::MAX, |limit| limit.spendable());
    let by_memory = memory.saturating_sub(BESIDES) / (TABLES * times + 1) * TABLES;
    let by_file = file.and_then(memtwin_room::tmpfs_limit).map(|limit| limit.available);
    by_file.map_or(by_memory, |by_file| by_memory.min(by_file)) >> 20 << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_larger_than_memory_is_refused_with_one_that_fits() {
        let total = MemoryRoom::of_self().tightest().unwrap().total;
        for_window(None, 1 << 20, 2).unwrap();
        let refused = for_window(None, total, 2).unwrap_err().to_string();
        assert_eq!(refused.lines().count(), 1);
        let fits = refused.split("--size ").nth(1).and_then(|rest| rest.split('M').next());
        let fits: u64 = fits.unwrap_or_else(|| panic!("{refused}")).parse().unwrap();
        // What there is changes while it is asked, but not by half.
        for_window(None, (fits << 20) / 2, 2).unwrap();
        for_window(None, fits << 22, 2).unwrap_err();
    }
}
