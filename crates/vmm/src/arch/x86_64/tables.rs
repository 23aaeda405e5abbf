//! The guest's page tables (Intel SDM volume 3, 5.5: 4-level paging).

use crate::WINDOW_GPA;
use crate::machine::SYSTEM_GPA;
use memtwin_mapping::Mapping;
use std::sync::atomic::Ordering;

/// Where things lie in the system slot, in bytes from its beginning.
pub(super) const CODE: usize = 0x0;
pub(super) const PML4: usize = 0x1000;
const IDENTITY_PDPT: usize = 0x2000;
const WALK_PDPT: usize = 0x3000;
const SCRATCH: usize = 0x4000;
const WALK_PDS: usize = 0x5000;
const IDENTITY_PDS: usize = WALK_PDS + WALK_PD_COUNT * TABLE;

const TABLE: usize = 0x1000;
const ENTRIES: u64 = 512;

/// Present, writable, accessed, dirty, large page.
const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;

/// Where the walker's range begins: the second entry of the top table, far from the identity.
pub(super) const WALK_BASE: u64 = 1 << 39;
/// At most this many page directories lead into the window: 32,768 of its pages are tables then.
const WALK_PD_COUNT: usize = 64;

/// How many bytes the system slot has for a window of `window` bytes.
pub(super) fn bytes(window: u64) -> usize {
    IDENTITY_PDS + gibibytes(window) as usize * TABLE
}

/// Up to where the identity goes, in GiB.
fn gibibytes(window: u64) -> u64 {
    WINDOW_GPA.0.saturating_add(window).div_ceil(1 << 30).min(ENTRIES)
}

/// Maps every address up to the window's end to itself, in pages of 2 MiB. Accessed and dirty are
/// set already: these tables are not judged, and walks through them write nothing.
pub(super) fn write_identity(system: &Mapping, window: u64) -> Result<(), String> {
    if WINDOW_GPA.0.saturating_add(window) > ENTRIES << 30 {
        return Err(format!("a window of {window} bytes does not end below 512 GiB"));
    }
    set(system, PML4, 0, table_at(IDENTITY_PDPT));
    for gibibyte in 0..gibibytes(window) {
        let pd = IDENTITY_PDS + gibibyte as usize * TABLE;
        set(system, IDENTITY_PDPT, gibibyte, table_at(pd));
        for entry in 0..ENTRIES {
            let page = (gibibyte << 30) | (entry << 21);
            set(system, pd, entry, page | P | RW | A | D | PS);
        }
    }
    Ok(())
}

/// Fills the window with last-level tables, each entry leading to the scratch page with neither
/// accessed nor dirty set, and hangs them up at [`WALK_BASE`]. Returns how many of the window's
/// pages are tables; the rest stay as they are.
pub(super) fn write_walk(system: &Mapping, window: &Mapping) -> u64 {
    let tables = (window.len() / TABLE).min(WALK_PD_COUNT * ENTRIES as usize) as u64;
    set(system, PML4, WALK_BASE >> 39, table_at(WALK_PDPT));
    for table in 0..tables {
        let pd = WALK_PDS + (table / ENTRIES) as usize * TABLE;
        set(system, WALK_PDPT, table / ENTRIES, table_at(pd));
        let at = WINDOW_GPA.0 + table * TABLE as u64;
        set(system, pd, table % ENTRIES, at | P | RW | A);
        for entry in 0..ENTRIES {
            set(window, table as usize * TABLE, entry, (SYSTEM_GPA.0 + SCRATCH as u64) | P | RW);
        }
    }
    tables
}

/// An entry that leads to a table in the system slot.
fn table_at(offset: usize) -> u64 {
    (SYSTEM_GPA.0 + offset as u64) | P | RW | A
}

fn set(memory: &Mapping, table: usize, entry: u64, value: u64) {
    memory.word(table + entry as usize * 8).store(value, Ordering::Relaxed);
}
