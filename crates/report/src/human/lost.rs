//! The lost pages, named: the first ones, and where all of them are read.

use super::table::{Cell, TextTable, paint};
use crate::record::Case;
use crate::text::{count, one_line};
use anstyle::{AnsiColor, Style};
use memtwin_pages::Gpa;
use std::io::{self, Write};

/// How many pages of a case are listed: the record has all of them.
const LISTED: usize = 20;

/// Writes the pages that a case lost and that nobody injected, and the injected ones that it did
/// not find. What a control found as it should is no finding: the record has it.
pub(super) fn write(case: &Case, to: &mut dyn Write, colour: bool) -> io::Result<()> {
    let red = AnsiColor::Red.on_default().bold();
    let lost = case.unexplained().count() as u64;
    if lost > 0 {
        heading(case, &format!("{} lost", count(lost, "page")), red, to, colour)?;
        lost_pages(case).write(to, "  ", colour)?;
        more(lost, to)?;
        if case.unexplained().take(LISTED).any(|lost| lost.detail.is_some()) {
            writeln!(to)?;
            details(case).write(to, "  ", colour)?;
        }
        writeln!(to)?;
    }
    let missed = case.missed().count() as u64;
    if missed > 0 {
        let what = format!("{} injected and not found", count(missed, "page"));
        heading(case, &what, red, to, colour)?;
        missed_pages(case).write(to, "  ", colour)?;
        more(missed, to)?;
        writeln!(to)?;
    }
    Ok(())
}

/// How many of `all` are not listed, and where they are.
fn more(all: u64, to: &mut dyn Write) -> io::Result<()> {
    match all.saturating_sub(LISTED as u64) {
        0 => Ok(()),
        left => writeln!(to, "  and {left} more: --json FILE writes all of them"),
    }
}

fn heading(
    case: &Case,
    what: &str,
    style: Style,
    to: &mut dyn Write,
    colour: bool,
) -> io::Result<()> {
    writeln!(to, "{}: {}", one_line(case.name()), paint(what, style, colour))
}

fn lost_pages(case: &Case) -> TextTable {
    let hint =
        if case.unexplained().take(LISTED).any(|lost| lost.hint.is_some()) { "HINT" } else { "" };
    let mut table = TextTable::new(&[
        "REGION",
        ">GPA",
        ">PAGE",
        ">LAST ROUND",
        ">FIRST BYTE",
        ">BYTES DIFFER",
        hint,
    ]);
    for lost in case.unexplained().take(LISTED) {
        table.row([
            Cell::plain(one_line(&lost.region)),
            Cell::plain(lost.gpa.to_string()),
            Cell::plain(match &lost.detail {
                Some(detail) => {
                    detail.offset.checked_div(case.page_size()).unwrap_or_default().to_string()
                }
                None => page_number(case, &lost.region, lost.gpa),
            }),
            Cell::plain(lost.last_round.to_string()),
            Cell::plain(lost.first_byte.to_string()),
            Cell::plain(lost.bytes.to_string()),
            Cell::plain(lost.hint.as_deref().map(one_line).unwrap_or_default()),
        ]);
    }
    table
}

/// The bytes of the pages whose bytes were kept: the first ones.
fn details(case: &Case) -> TextTable {
    let mut table = TextTable::new(&["REGION", ">OFFSET", ">BYTES", "TWIN", "MEMORY", "FROM BYTE"]);
    let listed = case.unexplained().take(LISTED);
    for (lost, detail) in listed.filter_map(|lost| Some((lost, lost.detail.as_ref()?))) {
        let ranges: Vec<String> = detail
            .ranges
            .iter()
            .map(|(from, to)| format!("{from:#x}-{:#x}", to.saturating_sub(1)))
            .collect();
        table.row([
            Cell::plain(one_line(&lost.region)),
            Cell::plain(format!("{:#x}", detail.offset)),
            Cell::plain(one_line(&ranges.join(","))),
            Cell::plain(one_line(&detail.twin)),
            Cell::plain(one_line(&detail.memory)),
            Cell::plain(format!("{:#x}", lost.first_byte & !7)),
        ]);
    }
    table
}

fn missed_pages(case: &Case) -> TextTable {
    let mut table = TextTable::new(&["REGION", ">GPA", ">PAGE"]);
    for page in case.missed().take(LISTED) {
        table.row([
            Cell::plain(one_line(&page.region)),
            Cell::plain(page.gpa.to_string()),
            Cell::plain(page_number(case, &page.region, page.gpa)),
        ]);
    }
    table
}

fn page_number(case: &Case, region: &str, gpa: Gpa) -> String {
    case.page_number(region, gpa).map_or_else(|| "-".to_owned(), |page| page.to_string())
}
