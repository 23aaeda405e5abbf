//! The judge: digests, and the page-by-page comparison of two images (a guest's memory and its
//! twin, or two files).
//!
//! It stands at the end of the way of the data and knows neither the engine nor the sinks: a
//! mistake of theirs is not repeated here. Both sides come in as an
//! [`Image`](memtwin_pages::Image), each byte is read
//! once, and everything (comparison, ranges, digests) is taken from that one copy: memory that
//! changes meanwhile can't make the parts of a verdict contradict each other.

#![forbid(unsafe_code)]

mod baton;
mod bsd;
mod capture;
mod compare;
mod difference;
mod digest;
mod discards;
mod hint;
mod judge;
mod kind;
#[cfg(test)]
mod model;
mod overlay;
mod pages;
mod steady;
mod suspects;

pub use capture::{Captured, capture};
pub use compare::{CompareError, Comparison, Side, compare, verify};
pub use difference::Difference;
pub use digest::{Digester, ImageDigests};
pub use discards::Discards;
pub use hint::Hint;
pub use kind::FileKind;
pub use overlay::Overlay;
pub use pages::differences;
pub use steady::Steady;
pub use suspects::{SuspectCounts, SuspectTracker};
