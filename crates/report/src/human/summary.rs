//! The last lines: what the run came to.

use super::table::paint;
use crate::case_tally::CaseTally;
use crate::record::RunRecord;
use crate::text::count;
use anstyle::AnsiColor;
use std::io::{self, Write};

/// What the last line says when no KVM case ran, in every format that people read.
pub(crate) const KVM_NOT_TESTED: &str = "KVM NOT TESTED";

pub(super) fn write(record: &RunRecord, to: &mut dyn Write, colour: bool) -> io::Result<()> {
    let tally = CaseTally::of(&record.cases);
    let mut parts = Vec::new();
    let some = |n: u64, what: &str| (n > 0).then(|| format!("{n} {what}"));
    let idle = match tally.idle {
        0 => String::new(),
        idle => format!(
            " ({idle} not exercised: the log named no page of {} after pre-copy)",
            it_or_them(idle)
        ),
    };
    parts.extend(some(tally.identical, &format!("identical{idle}")));
    parts.extend(some(tally.differs, if tally.differs == 1 { "differs" } else { "differ" }));
    if tally.controls > 0 {
        let of = count(tally.controls, "control");
        parts.push(format!("{} of {of} found", tally.controls_found));
    }
    parts.extend(some(tally.inconclusive, "inconclusive"));
    parts.extend(some(tally.skipped, "skipped"));
    if tally.cases > tally.skipped {
        parts.push(format!("{} judged", count(tally.judged_pages, "dirty page")));
        parts.push(format!("{} lost", count(tally.lost_pages, "page")));
        let discarded = count(tally.discarded_pages, "page");
        parts.extend((tally.discarded_pages > 0).then(|| format!("{discarded} discarded")));
    }
    let cases = count(tally.cases, "case");
    match parts.as_slice() {
        [] => writeln!(to, "{cases}")?,
        parts => writeln!(to, "{cases}: {}", parts.join(", "))?,
    }
    for (reason, cases) in &tally.skip_reasons {
        writeln!(to, "{cases} skipped: {reason}")?;
    }
    if record.kvm_not_tested() {
        let yellow = AnsiColor::Yellow.on_default().bold();
        writeln!(to, "{}", paint(KVM_NOT_TESTED, yellow, colour))?;
    }
    Ok(())
}

fn it_or_them(n: u64) -> &'static str {
    if n == 1 { "it" } else { "them" }
}
