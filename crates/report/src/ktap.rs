//! KTAP version 1, for kernel test harnesses: `Documentation/dev-tools/ktap.rst`, and the totals
//! line of `tools/testing/selftests/kselftest.h`.

use crate::case_tally::CaseTally;
use crate::human::KVM_NOT_TESTED;
use crate::record::{Case, CaseStanding, RunRecord};
use crate::text::{count, one_line, outcome};
use std::io::{self, Write};

/// Writes the results. Diagnostic lines about a case stand before its result line, as the format
/// has it.
pub fn write(record: &RunRecord, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "KTAP version 1")?;
    writeln!(to, "1..{}", record.cases.len())?;
    for (i, case) in record.cases.iter().enumerate() {
        diagnostics(case, to)?;
        result(i + 1, case, to)?;
    }
    if record.kvm_not_tested() {
        writeln!(to, "# {KVM_NOT_TESTED}")?;
    }
    let tally = CaseTally::of(&record.cases);
    writeln!(
        to,
        "# Totals: pass:{} fail:{} xfail:0 xpass:0 skip:{} error:{}",
        tally.passed(),
        tally.failed(),
        tally.skipped,
        tally.inconclusive
    )
}

fn result(number: usize, case: &Case, to: &mut dyn Write) -> io::Result<()> {
    // What follows a hash sign is a directive: a name can't have one.
    let name = one_line(case.name()).replace('#', "_");
    let reason = one_line(case.reason().unwrap_or_default());
    match case.standing() {
        CaseStanding::Passed if case.control().is_some() => {
            writeln!(to, "ok {number} {name} # {}", outcome(case))
        }
        CaseStanding::Passed if case.is_idle() => {
            writeln!(to, "ok {number} {name} # {}", outcome(case))
        }
        CaseStanding::Passed => writeln!(to, "ok {number} {name}"),
        CaseStanding::Skipped => writeln!(to, "ok {number} {name} # SKIP {reason}"),
        CaseStanding::Inconclusive => writeln!(to, "not ok {number} {name} # ERROR {reason}"),
        CaseStanding::Failed if case.control().is_some() => {
            writeln!(to, "not ok {number} {name} # {}", outcome(case))
        }
        CaseStanding::Failed => {
            let lost = count(case.lost().len() as u64, "lost page");
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            writeln!(to, "not ok {number} {name} # {lost}{reason}")
        }
    }
}

fn diagnostics(case: &Case, to: &mut dyn Write) -> io::Result<()> {
    for lost in case.unexplained() {
        write!(
            to,
            "# lost page: region={} gpa={} last_round={} first_byte={} bytes={}",
            one_line(&lost.region),
            lost.gpa,
            lost.last_round,
            lost.first_byte,
            lost.bytes
        )?;
        match &lost.hint {
            Some(hint) => writeln!(to, " hint={}", one_line(hint))?,
            None => writeln!(to)?,
        }
    }
    for page in case.missed() {
        writeln!(to, "# not found: region={} gpa={}", one_line(&page.region), page.gpa)?;
    }
    Ok(())
}
