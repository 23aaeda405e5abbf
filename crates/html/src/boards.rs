//! The matrix of a run on several boards: host page size by the guest's granule.

use crate::limits::{COLUMNS, ROWS};
use crate::marks::{class, sign};
use crate::words::name;
use maud::{Markup, html};
use memtwin_report::RunRecord;
use memtwin_report::board_matrix::{BoardMatrix, USUAL};

/// The matrix, if the run has one.
pub(crate) fn section(record: &RunRecord) -> Markup {
    let Some(matrix) = BoardMatrix::of(record) else { return html! {} };
    let heading = |bits: &str| match bits {
        USUAL => USUAL.to_owned(),
        bits => format!("VA {}", name(bits)),
    };
    html! {
        h3 { "Host page size and guest granule" }
        table.boards {
            thead { tr {
                th scope="col" { "Host" } th scope="col" { "Guest" }
                @for bits in matrix.columns.iter().take(COLUMNS) { th scope="col" { (heading(bits)) } }
            } }
            tbody {
                @for row in matrix.rows.iter().take(ROWS) {
                    tr {
                        th scope="row" { (name(&row.host)) }
                        td { (name(&row.granule)) }
                        @for sum in row.cells.iter().take(COLUMNS) {
                            @match sum {
                                Some(sum) => td.(class(sum.worst())) {
                                    span aria-hidden="true" { (sign(sum.worst())) " " } (sum.words())
                                },
                                None => td { "·" },
                            }
                        }
                    }
                }
            }
        }
        p.soft { "A cell: its worst verdict, and how many of its cases; + some were skipped." }
    }
}
