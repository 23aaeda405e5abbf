//! How a verdict, or a change, looks: a sign and a word, so that no colour is needed.

use maud::{Markup, html};
use memtwin_report::comparison::Change;
use memtwin_report::record::CaseStanding;

/// The class that colours it.
pub(crate) fn class(standing: CaseStanding) -> &'static str {
    match standing {
        CaseStanding::Passed => "pass",
        CaseStanding::Failed => "fail",
        CaseStanding::Inconclusive => "open",
        CaseStanding::Skipped => "skip",
    }
}

/// Its sign.
pub(crate) fn sign(standing: CaseStanding) -> &'static str {
    match standing {
        CaseStanding::Passed => "✓",
        CaseStanding::Failed => "✗",
        CaseStanding::Inconclusive => "?",
        CaseStanding::Skipped => "–",
    }
}

/// The class that colours a change.
pub(crate) fn change_class(change: Change) -> &'static str {
    match change {
        Change::Same => "skip",
        Change::Better => "pass",
        Change::Unknown => "open",
        Change::Worse => "fail",
    }
}

/// A sign for the eye and a word for everybody.
pub(crate) fn badge(standing: CaseStanding, word: &str) -> Markup {
    html! { span.badge.(class(standing)) { span aria-hidden="true" { (sign(standing)) " " } (word) } }
}

/// The same of a change.
pub(crate) fn change_badge(change: Change) -> Markup {
    html! { span.badge.(change_class(change)) { (change.name()) } }
}
