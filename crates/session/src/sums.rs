//! Sums of both sides as `sum -r` prints them, to be compared by eye.

use memtwin_pages::Layout;
use memtwin_report::Case;
use memtwin_report::record::RegionDigests;
use std::fmt::Display;

/// Of each region and its image, by these names; of a region that was not judged there is none.
pub(crate) fn sums(
    layout: &Layout,
    memories: &[&str],
    images: &[String],
    case: &Case,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (((_, region), memory), image) in layout.iter().zip(memories).zip(images) {
        if let Some(digests) = case.digest().get(region.name()) {
            lines.extend(sum_lines(digests, region.bytes(), memory, image));
        }
    }
    lines
}

/// Of a memory and its twin, which have this many bytes each.
pub(crate) fn sum_lines(
    digests: &RegionDigests,
    bytes: u64,
    memory: &dyn Display,
    twin: &dyn Display,
) -> [String; 2] {
    [sum_line(digests.memory.bsd_sum, bytes, memory), sum_line(digests.twin.bsd_sum, bytes, twin)]
}

/// Of one side.
pub(crate) fn sum_line(sum: u16, bytes: u64, name: &dyn Display) -> String {
    format!("{sum:05} {:>5} {name}", bytes.div_ceil(1024))
}
