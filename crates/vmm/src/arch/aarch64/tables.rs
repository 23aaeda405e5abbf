//! The guest's stage-1 page tables (Arm ARM D8.2 and D8.3), for each granule and address size.

use super::shape::TranslationShape;
use crate::WINDOW_GPA;
use crate::machine::SYSTEM_GPA;
use memtwin_mapping::Mapping;
use std::sync::atomic::Ordering;

/// Where things lie in the system slot, in bytes from its beginning; each place is aligned for the
/// largest granule.
pub(super) const CODE: usize = 0x0;
const SCRATCH: usize = 0x1_0000;
const TABLES: usize = 0x2_0000;

/// Where the walker's range begins. The smallest address space ends at twice this.
pub(super) const WALK_BASE: u64 = 1 << 38;
/// At most this many of the window's granules are tables.
const MOST_WALK_TABLES: u64 = 32_768;

/// Valid; a table, or at the last level a page.
const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AP[2]: read-only. With [`DBM`] the walker takes it away when a page is written.
const READ_ONLY: u64 = 1 << 7;
/// SH, inner shareable. With 52-bit addresses of small granules TCR_EL1 says it for all.
const INNER_SHAREABLE: u64 = 0b11 << 8;
/// AF: the access flag.
const ACCESSED: u64 = 1 << 10;
/// DBM: the walker keeps the dirty state.
const DIRTY_MANAGED: u64 = 1 << 51;
/// PXN: no code here.
const NO_CODE: u64 = 1 << 53;

/// The level that every granule has blocks at, counted from the last: of 2, 32 or 512 MiB.
const BLOCK: u32 = 1;

/// A window of up to this many bytes is mapped by pages of the granule, a larger one by blocks: its
/// tables would not fit between the code and the control blocks.
const BY_PAGES: u64 = 16 << 30;

/// The level of the window's descriptors.
fn window_level(window: u64) -> u32 {
    if window <= BY_PAGES { 0 } else { BLOCK }
}

/// How many bytes the system slot has for a window of `window` bytes: room for the last-level tables
/// of the window, what leads to them and to the walker's, and a few more at the top.
pub(super) fn bytes(window: u64, shape: TranslationShape) -> usize {
    let end = WINDOW_GPA.0.saturating_add(window).min(WALK_BASE);
    let last = if window_level(window) == 0 { window.div_ceil(shape.span(1)) } else { 0 };
    let leading =
        end.div_ceil(shape.span(2)) + walk_tables(window, shape).div_ceil(shape.entries());
    TABLES + ((last + leading + 8) << shape.shift()) as usize
}

/// How many of the window's granules are the walker's tables.
pub(super) fn walk_tables(window: u64, shape: TranslationShape) -> u64 {
    let room = WALK_BASE / shape.span(1);
    (window >> shape.shift()).min(room).min(MOST_WALK_TABLES)
}

/// The tables in the system slot, as they grow.
pub(super) struct PageTables<'m> {
    system: &'m Mapping,
    shape: TranslationShape,
    next: usize,
}

impl<'m> PageTables<'m> {
    /// Only a top table, which leads nowhere.
    pub(super) fn new(system: &'m Mapping, shape: TranslationShape) -> Self {
        Self { system, shape, next: TABLES + (1 << shape.shift()) }
    }

    /// The top table's address: TTBR0_EL1.
    pub(super) fn top() -> u64 {
        SYSTEM_GPA.0 + TABLES as u64
    }

    /// Maps code, control blocks and window to themselves: Normal, Write-Back, Inner Shareable.
    /// Accessed and writable already: these tables are not judged, and walks through them write
    /// nothing.
    pub(super) fn map_identity(&mut self, window: u64) -> Result<(), String> {
        let end = WINDOW_GPA.0.saturating_add(window);
        if end > WALK_BASE {
            return Err(format!("a window of {window} bytes does not end below 256 GiB"));
        }
        let normal = VALID | ACCESSED | self.shareable();
        for at in (0..WINDOW_GPA.0).step_by(self.shape.span(BLOCK) as usize) {
            self.map(at, BLOCK, at | normal);
        }
        let level = window_level(window);
        let page = if level == 0 { TABLE_OR_PAGE } else { 0 };
        for at in (WINDOW_GPA.0..end).step_by(self.shape.span(level) as usize) {
            self.map(at, level, at | normal | page | NO_CODE);
        }
        Ok(())
    }

    /// Fills the window with last-level tables, each entry leading to the scratch page and not
    /// accessed (nor, if the walker keeps the `dirty` state, writable), and hangs them up at
    /// [`WALK_BASE`]. The rest of the window stays as it is.
    pub(super) fn map_walk(&mut self, window: &Mapping, dirty: bool) {
        let shift = self.shape.shift();
        let scratch = SYSTEM_GPA.0 + SCRATCH as u64;
        let state = if dirty { DIRTY_MANAGED | READ_ONLY } else { 0 };
        let entry = scratch | VALID | TABLE_OR_PAGE | NO_CODE | self.shareable() | state;
        for table in 0..walk_tables(window.len() as u64, self.shape) {
            let at = WINDOW_GPA.0 + (table << shift);
            self.map(WALK_BASE + table * self.shape.span(1), 1, at | VALID | TABLE_OR_PAGE);
            for index in 0..self.shape.entries() {
                set(window, (table << shift) as usize, index, entry);
            }
        }
    }

    fn shareable(&self) -> u64 {
        if self.shape.wide_outputs() { 0 } else { INNER_SHAREABLE }
    }

    /// Writes the descriptor of an address at a level, counted from the last.
    fn map(&mut self, address: u64, level: u32, descriptor: u64) {
        let mut table = TABLES;
        for upper in (level + 1..self.shape.levels()).rev() {
            let index = self.shape.index(address, upper);
            let next = self.system.word(table + index as usize * 8).load(Ordering::Relaxed);
            table = match next & VALID {
                0 => {
                    let fresh = self.next;
                    self.next += 1 << self.shape.shift();
                    let at = SYSTEM_GPA.0 + fresh as u64;
                    set(self.system, table, index, at | VALID | TABLE_OR_PAGE);
                    fresh
                }
                _ => ((next & ADDRESS) - SYSTEM_GPA.0) as usize,
            };
        }
        set(self.system, table, self.shape.index(address, level), descriptor);
    }
}

/// Where the next table lies, in a descriptor; ours all lie below 4 GiB.
const ADDRESS: u64 = 0xffff_f000;

fn set(memory: &Mapping, table: usize, index: u64, value: u64) {
    memory.word(table + index as usize * 8).store(value, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Granule, Translation};

    /// Walks as the CPU does. Returns the last descriptor, and what its level is counted from the last.
    fn walk(
        memory: &[(&Mapping, u64)],
        shape: TranslationShape,
        address: u64,
    ) -> Option<(u64, u32)> {
        let mut table = PageTables::top();
        for level in (0..shape.levels()).rev() {
            let at = table + shape.index(address, level) * 8;
            let (mapping, base) = memory
                .iter()
                .find(|(mapping, base)| (*base..base + mapping.len() as u64).contains(&at))?;
            let descriptor = mapping.word((at - base) as usize).load(Ordering::Relaxed);
            match (descriptor & 0b11, level) {
                (0b11, 0) | (0b01, BLOCK) => return Some((descriptor, level)),
                (0b11, _) => table = descriptor & 0x0000_ffff_ffff_f000,
                _ => return None,
            }
        }
        None
    }

    fn shapes() -> impl Iterator<Item = TranslationShape> {
        let all = Granule::ALL
            .into_iter()
            .flat_map(|granule| (30..=64).map(move |va_bits| Translation { granule, va_bits }));
        all.filter_map(|translation| TranslationShape::of(translation).ok())
    }

    #[test]
    fn every_address_leads_to_itself_in_every_shape() {
        assert_eq!(shapes().count(), 9);
        for shape in shapes() {
            for window in [4 << 10, 1 << 20, 5 << 20, 3 << 30, 100 << 30] {
                let system = Mapping::anonymous(bytes(window, shape), 1).unwrap();
                let mut tables = PageTables::new(&system, shape);
                tables.map_identity(window).unwrap();
                assert!(tables.next <= system.len(), "{shape:?} {window}");
                assert!(SYSTEM_GPA.0 + (system.len() as u64) < crate::machine::CONTROL_GPA.0);
                let memory = [(&system, SYSTEM_GPA.0)];
                let last = WINDOW_GPA.0 + window - 8;
                for address in [SYSTEM_GPA.0, crate::machine::CONTROL_GPA.0, WINDOW_GPA.0, last] {
                    let (descriptor, level) = walk(&memory, shape, address).unwrap();
                    let output = descriptor & 0x0000_ffff_ffff_f000 & !(shape.span(level) - 1);
                    assert_eq!(output, address & !(shape.span(level) - 1), "{shape:?} {window}");
                    assert_eq!(descriptor & (ACCESSED | READ_ONLY), ACCESSED);
                }
                assert_eq!(walk(&memory, shape, WALK_BASE), None);
            }
        }
    }

    #[test]
    fn the_walkers_tables_lie_in_the_window() {
        for shape in shapes() {
            let bytes_of_window = 1 << 20;
            let system = Mapping::anonymous(bytes(bytes_of_window, shape), 1).unwrap();
            let window = Mapping::anonymous(bytes_of_window as usize, 1).unwrap();
            let mut tables = PageTables::new(&system, shape);
            tables.map_identity(bytes_of_window).unwrap();
            tables.map_walk(&window, true);
            assert!(tables.next <= system.len(), "{shape:?}");
            let memory = [(&system, SYSTEM_GPA.0), (&window, WINDOW_GPA.0)];
            let count = walk_tables(bytes_of_window, shape);
            assert_eq!(count << shape.shift(), bytes_of_window);
            let last = WALK_BASE + count * shape.span(1) - 8;
            for address in [WALK_BASE, last] {
                let (descriptor, level) = walk(&memory, shape, address).unwrap();
                assert_eq!(level, 0);
                assert_eq!(descriptor & 0xffff_0000, SYSTEM_GPA.0 + SCRATCH as u64);
                assert_eq!(
                    descriptor & (ACCESSED | READ_ONLY | DIRTY_MANAGED),
                    READ_ONLY | DIRTY_MANAGED
                );
            }
            // A table that is taken away is one that the walker misses.
            set(&window, ((count - 1) << shape.shift()) as usize, shape.entries() - 1, 0);
            assert_eq!(walk(&memory, shape, last), None);
        }
    }
}
