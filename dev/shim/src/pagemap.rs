//! Lies about PAGEMAP_SCAN (Documentation/admin-guide/mm/pagemap.rst): a page is taken out of the
//! ranges that it reports, after the kernel has protected it again.

#![allow(unsafe_code, reason = "the request's argument is the caller's structure")]

use crate::kvm::page_size;
use crate::plan::{PlanProgress, WithholdPlan};
use crate::{ledger, real};
use libc::{c_int, c_ulong, c_void};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub(crate) const PAGEMAP_SCAN: c_ulong = 0xc060_6610;
/// The scan also protects what it reports: only such a scan is a collection.
const PM_SCAN_WP_MATCHING: u64 = 1;

#[repr(C)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    ranges: *mut PageRegion,
    ranges_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// The kernel's `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// One process's pages.
struct Scanned {
    /// The lowest address that was asked for: page 0.
    base: u64,
    progress: PlanProgress,
}

static SCANNED: Mutex<Option<HashMap<PathBuf, Scanned>>> = Mutex::new(None);

/// PAGEMAP_SCAN, with a page taken out of its answer if the plan says so.
///
/// # Safety
///
/// As for the request.
pub(crate) unsafe fn scan(plan: WithholdPlan, fd: c_int, arg: *mut c_void) -> c_int {
    let scan = arg.cast::<ScanArg>();
    // SAFETY: the caller's promise; each field is read or written before or after the kernel does.
    unsafe {
        let collects = (*scan).flags & PM_SCAN_WP_MATCHING != 0 && !(*scan).ranges.is_null();
        // Taking a page out of the middle of a range leaves two, so the kernel is told of one
        // range less than there is room for. With room for one it is told of one page only.
        let (room, most) = ((*scan).ranges_len, (*scan).max_pages);
        if collects && room > 1 {
            (*scan).ranges_len = room - 1;
        } else if collects {
            (*scan).max_pages = 1;
        }
        let answer = real::ioctl(fd, PAGEMAP_SCAN, arg);
        ((*scan).ranges_len, (*scan).max_pages) = (room, most);
        let (Ok(reported), true) = (usize::try_from(answer), collects) else { return answer };
        let ranges = std::slice::from_raw_parts_mut((*scan).ranges, room as usize);
        filter_log(plan, fd, (*scan).start, ranges, reported) as c_int
    }
}

/// Takes a page out of the first `reported` of `ranges`; returns how many there are then.
fn filter_log(
    plan: WithholdPlan,
    fd: c_int,
    start: u64,
    ranges: &mut [PageRegion],
    reported: usize,
) -> usize {
    // The link names the process even where it was opened as /proc/self/pagemap.
    let Ok(pagemap) = std::fs::read_link(format!("/proc/self/fd/{fd}")) else { return reported };
    let mut scanned = SCANNED.lock().unwrap_or_else(PoisonError::into_inner);
    let scanned = scanned
        .get_or_insert_default()
        .entry(pagemap.clone())
        .or_insert_with(|| Scanned { base: start, progress: PlanProgress::default() });
    scanned.base = scanned.base.min(start);
    let (base, size) = (scanned.base, page_size());
    let pages = ranges[..reported]
        .iter()
        .flat_map(|range| (range.start..range.end).step_by(size as usize))
        .map(|address| (address - base) / size);
    let Some(page) = scanned.progress.choose(plan, pages) else { return reported };
    let address = base + page * size;
    ledger::note(format_args!(
        "pagemap file={} page={page} address={address:#x} collection={}",
        pagemap.display(),
        scanned.progress.collections(),
    ));
    without(ranges, reported, address, size)
}

/// Takes the page at `address` out of the first `reported` ranges, which has room for one more.
fn without(ranges: &mut [PageRegion], reported: usize, address: u64, size: u64) -> usize {
    let holds = |range: &PageRegion| (range.start..range.end).contains(&address);
    let Some(at) = ranges[..reported].iter().position(holds) else { return reported };
    let whole = ranges[at];
    let before = PageRegion { end: address, ..whole };
    let after = PageRegion { start: address + size, ..whole };
    match (before.start < before.end, after.start < after.end) {
        (true, true) => {
            ranges.copy_within(at + 1..reported, at + 2);
            (ranges[at], ranges[at + 1]) = (before, after);
            reported + 1
        }
        (true, false) => {
            ranges[at] = before;
            reported
        }
        (false, true) => {
            ranges[at] = after;
            reported
        }
        (false, false) => {
            ranges.copy_within(at + 1..reported, at);
            reported - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 0x1000;

    fn ranges(of: &[(u64, u64)]) -> Vec<PageRegion> {
        let range = |&(from, to)| PageRegion { start: from * SIZE, end: to * SIZE, categories: 2 };
        of.iter().map(range).collect()
    }

    /// The ranges, in pages, that are left without one page.
    fn left(of: &[(u64, u64)], page: u64) -> Vec<(u64, u64)> {
        let mut all = ranges(of);
        all.extend(ranges(&[(900, 901)]));
        let count = without(&mut all, of.len(), page * SIZE, SIZE);
        all[..count].iter().map(|range| (range.start / SIZE, range.end / SIZE)).collect()
    }

    #[test]
    fn a_page_is_taken_out_wherever_it_lies() {
        let of = [(1, 2), (4, 9), (12, 14)];
        assert_eq!(left(&of, 1), [(4, 9), (12, 14)]);
        assert_eq!(left(&of, 4), [(1, 2), (5, 9), (12, 14)]);
        assert_eq!(left(&of, 6), [(1, 2), (4, 6), (7, 9), (12, 14)]);
        assert_eq!(left(&of, 8), [(1, 2), (4, 8), (12, 14)]);
        assert_eq!(left(&of, 13), [(1, 2), (4, 9), (12, 13)]);
        assert_eq!(left(&of, 10), of);
    }

    #[test]
    fn the_structure_is_as_large_as_the_request_says() {
        assert_eq!(size_of::<ScanArg>(), (PAGEMAP_SCAN >> 16) as usize & 0x3fff);
    }
}
