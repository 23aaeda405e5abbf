//! The heat map of a case: by region where pages were dirtied, falsely dirtied and lost.

mod drawing;
mod regions;

use crate::limits::{REGIONS, ZOOMED};
use crate::picture::legend;
use crate::words::{bytes, count, name};
use drawing::CellPicture;
use maud::{Markup, html};
use memtwin_report::record::Case;
use regions::RegionHeat;

/// How many cells the picture of a whole region has at most.
const STRIP: u64 = 128;

/// How many pages are drawn one by one around a lost one.
const CLOSE: u64 = 512;

/// The regions of a case, those with lost pages first.
pub(crate) fn section(id: &str, case: &Case) -> Markup {
    // Of a region without heat only its lost pages can be drawn.
    let mut regions = RegionHeat::of(case);
    regions.retain(RegionHeat::is_drawn);
    if regions.is_empty() {
        return html! {};
    }
    let knows_heat = regions.iter().any(|region| region.entry.heat.is_some());
    let is_control = case.control().is_some();
    let mut entries = Vec::new();
    if knows_heat {
        entries.extend([("h0", "not dirtied"), ("h2", "dirtied"), ("h5", "dirtied most often")]);
        entries.push(("f-false", "falsely dirtied"));
    }
    let has_unknown =
        |region: &RegionHeat<'_>| region.entry.heat.is_none() || !places(region).is_empty();
    if regions.iter().take(REGIONS).any(has_unknown) {
        entries.push(("f-unknown", "not recorded how often"));
    }
    entries.push(("f-lost", "lost"));
    if is_control {
        entries.push(("f-found", "injected and found"));
    }
    html! {
        h4 { "Memory" }
        (legend(&entries))
        @if !knows_heat {
            p.soft { "This record does not say where pages were dirtied: only lost pages are drawn." }
        }
        @for (at, region) in regions.iter().take(REGIONS).enumerate() {
            (one(&format!("{id}-m{at}"), region))
        }
        @if regions.len() > REGIONS {
            p.soft { (count((regions.len() - REGIONS) as u64, "more region")) " in the record." }
        }
    }
}

fn one(id: &str, region: &RegionHeat<'_>) -> Markup {
    let per_cell = region.pages.div_ceil(STRIP).max(region.pages_per_bucket);
    // Whole buckets: else a bucket would count in two cells.
    let per_cell = per_cell.div_ceil(region.pages_per_bucket) * region.pages_per_bucket;
    let whole = CellPicture {
        id: id.to_owned(),
        title: title(region),
        region,
        first_page: 0,
        pages: region.pages,
        per_cell,
        strip: true,
    };
    let finer = per_cell > region.pages_per_bucket;
    let places = places(region);
    html! {
        (whole.draw())
        @if finer || !places.is_empty() {
            details open[!places.is_empty()] {
                summary { "Zoom: " (name(&region.entry.name)) }
                @if finer {
                    (CellPicture {
                        id: format!("{id}-z"),
                        title: format!("{} for each cell", count(region.pages_per_bucket, "page")),
                        per_cell: region.pages_per_bucket,
                        strip: false,
                        ..whole.clone()
                    }.draw())
                }
                @for (at, (first, pages)) in places.iter().take(ZOOMED).enumerate() {
                    (CellPicture {
                        id: format!("{id}-p{at}"),
                        title: format!("Page by page from {}", region.address(*first)),
                        first_page: *first,
                        pages: *pages,
                        per_cell: 1,
                        strip: false,
                        ..whole.clone()
                    }.draw())
                }
                @if places.len() > ZOOMED {
                    p.soft { (count((places.len() - ZOOMED) as u64, "more place")) " with lost pages in the record." }
                }
            }
        }
    }
}

/// What a region is, and what was found in it.
fn title(region: &RegionHeat<'_>) -> String {
    let end = region.entry.gpa.0.saturating_add(region.entry.bytes);
    let mut title = format!(
        "{}: {} at {} to {end:#x}",
        name(&region.entry.name),
        bytes(region.entry.bytes),
        region.entry.gpa
    );
    for (pages, what) in [(&region.lost, "lost"), (&region.found, "injected and found")] {
        if !pages.is_empty() {
            title.push_str(&format!(", {} {what}", count(pages.len() as u64, "page")));
        }
    }
    title
}

/// Where pages were lost or injected, if a cell of the finest whole picture has more than one page: first page
/// and how many.
fn places(region: &RegionHeat<'_>) -> Vec<(u64, u64)> {
    if region.pages_per_bucket == 1 {
        return Vec::new();
    }
    let mut places: Vec<(u64, u64)> = Vec::new();
    for &page in region.lost.iter().chain(&region.found) {
        if places.last().is_none_or(|(first, pages)| !(*first..first + pages).contains(&page)) {
            let first = page - page % CLOSE;
            places.push((first, CLOSE.min(region.pages - first)));
        }
    }
    places.sort_unstable();
    places.dedup();
    places
}
