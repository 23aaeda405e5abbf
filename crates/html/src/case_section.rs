//! A case: what it came to, where its memory was dirtied and lost, how its rounds went.

use crate::limits::ROWS;
use crate::marks::badge;
use crate::words::{bytes, count, name, sentence};
use crate::{heat, lost, rounds};
use maud::{Markup, html};
use memtwin_report::outcome;
use memtwin_report::record::{Case, JudgeKind};

/// The section of the case with this number.
pub(crate) fn section(id: &str, number: usize, case: &Case, open: bool) -> Markup {
    let id = format!("{id}-c{number}");
    html! {
        details.case id=(id) open[open] {
            summary { (badge(case.standing(), &outcome(case))) " " (name(case.name())) }
            dl {
                dt { "Source" } dd { (name(case.source())) }
                @if let Some(reason) = case.reason() { dt { "Reason" } dd { (sentence(reason)) } }
                @if case.page_size() > 0 { dt { "Page size" } dd { (bytes(case.page_size())) } }
                @if case.discarded_pages() > 0 {
                    dt { "Given up by the guest" } dd { (count(case.discarded_pages(), "page")) ", not judged" }
                }
                @if let Some(pause) = case.guest_pause() {
                    dt { "The guest stood still for" } dd { (memtwin_report::time(pause)) " at most" }
                }
                @if let Some(judge) = case.judge().filter(|judge| judge.kind == JudgeKind::Running) {
                    dt { "Judged while the guest ran" }
                    dd {
                        (count(judge.sweeps, "sweep")) ", " (count(judge.pages_compared, "page")) " compared; "
                        (count(judge.suspects, "suspect")) ", " (judge.dismissed.to_string()) " dismissed, "
                        (judge.confirmed.to_string()) " confirmed"
                    }
                }
                @if let Some(facts) = case.hypervisor() {
                    dt { "Hypervisor" }
                    dd {
                        (name(&facts.name))
                        @for more in [&facts.version, &facts.machine, &facts.accelerator, &facts.hold].into_iter().flatten() {
                            ", " (name(more))
                        }
                    }
                }
            }
            (heat::section(&id, case))
            (lost::section(number, case))
            (rounds::section(&id, case))
            (digests(case))
        }
    }
}

fn digests(case: &Case) -> Markup {
    let side = |digest: &memtwin_report::record::RecordedDigest| {
        html! { code { (digest.blake3) } ", sum -r " code { (format!("{:05}", digest.bsd_sum)) } }
    };
    html! {
        @if !case.digest().is_empty() {
            details {
                summary { "Digests" }
                dl {
                    @for (region, digests) in case.digest().iter().take(ROWS) {
                        dt { (name(region)) ", memory" } dd { (side(&digests.memory)) }
                        dt { (name(region)) ", twin" } dd { (side(&digests.twin)) }
                    }
                }
                @if case.digest().len() > ROWS {
                    p.soft { (count((case.digest().len() - ROWS) as u64, "more region")) " in the record." }
                }
            }
        }
    }
}
