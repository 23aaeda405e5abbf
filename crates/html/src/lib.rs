//! Run records, and what two of them differ in, as one page for a browser.
//!
//! The page is a single file that fetches nothing: no script, no font, no picture from elsewhere. It is
//! read top down: the verdict, the cases as a matrix, then each case with where its memory was dirtied and lost
//! and how its rounds went, then what moved, and how to repeat the run.
//!
//! A record is somebody else's input. Every text from it is escaped (the template engine does that to whatever
//! is not markup), cut to a length, and counted: a page has at most [`MAX_BYTES`], whatever is in the record.

#![forbid(unsafe_code)]

mod boards;
mod case_matrix;
mod case_section;
mod comparison;
mod frame;
mod heat;
mod limits;
mod lost;
mod marks;
mod migration;
mod picture;
mod provenance;
mod record_section;
mod rounds;
mod sweep;
mod words;

pub use comparison::comparison_page;
pub use limits::MAX_BYTES;
pub use record_section::{TitledRecord, report_page};
