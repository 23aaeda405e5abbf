//! JUnit XML, for CI systems: one test suite, a test case for each case.

use crate::human::KVM_NOT_TESTED;
use crate::record::{Case, CaseStanding, RunRecord};
use crate::text::{count, one_line, outcome};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

/// Writes the results. Times are the time in rounds, in seconds.
pub fn write(record: &RunRecord, to: &mut dyn Write) -> io::Result<()> {
    let mut suite = TestSuite::new(one_line(&record.command));
    let host = &record.host;
    for (name, value) in [
        ("memtwin.version", &record.version),
        ("host.arch", &host.arch),
        ("host.kernel", &host.kernel),
        ("host.page_size", &host.page_size.to_string()),
        ("host.cpus", &host.cpus.to_string()),
    ] {
        suite.add_property(Property::new(name, value.as_str()));
    }
    let times = record.cases.iter().map(Case::time_in_rounds);
    let time = times.fold(Duration::ZERO, Duration::saturating_add);
    suite.add_test_cases(record.cases.iter().map(test_case));
    suite.set_time(time);
    if record.kvm_not_tested() {
        suite.set_system_out(KVM_NOT_TESTED);
    }
    let mut report = Report::new("memtwin");
    report.add_test_suite(suite);
    report.set_time(time);
    // In memory first: an error of the writer is then the writer's own, a broken pipe and all.
    to.write_all(report.to_string().map_err(io::Error::other)?.as_bytes())
}

fn test_case(case: &Case) -> TestCase {
    let reason = one_line(case.reason().unwrap_or_default());
    let status = match case.standing() {
        CaseStanding::Passed => TestCaseStatus::success(),
        CaseStanding::Skipped => message(TestCaseStatus::skipped(), &reason),
        CaseStanding::Inconclusive => {
            message(TestCaseStatus::non_success(NonSuccessKind::Error), &reason)
        }
        CaseStanding::Failed => {
            let what = match (case.control(), reason.is_empty()) {
                (Some(_), _) => outcome(case),
                (None, true) => count(case.lost().len() as u64, "lost page"),
                (None, false) => reason,
            };
            let mut status = message(TestCaseStatus::non_success(NonSuccessKind::Failure), &what);
            status.set_type(case.verdict().name()).set_description(findings(case));
            status
        }
    };
    let mut test = TestCase::new(one_line(case.name()), status);
    test.set_classname(one_line(case.source())).set_time(case.time_in_rounds());
    test
}

fn message(mut status: TestCaseStatus, text: &str) -> TestCaseStatus {
    status.set_message(text);
    status
}

/// Every lost page and every injected one that was not found, a line each.
fn findings(case: &Case) -> String {
    let mut lines = String::new();
    // Writing to a string can't fail.
    for lost in case.unexplained() {
        let hint = lost.hint.as_deref().map(|hint| format!(": {}", one_line(hint)));
        let _ = writeln!(
            lines,
            "lost: {} {}, last in round {}, differs from byte {} on, {}{}",
            one_line(&lost.region),
            lost.gpa,
            lost.last_round,
            lost.first_byte,
            count(lost.bytes, "byte"),
            hint.unwrap_or_default()
        );
    }
    for page in case.missed() {
        let _ = writeln!(lines, "injected and not found: {} {}", one_line(&page.region), page.gpa);
    }
    lines
}
