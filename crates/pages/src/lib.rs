//! The vocabulary of Memtwin: page sizes, guest-physical addresses, regions, and sets and runs of
//! pages. Everything else speaks in these types.
//!
//! No operating system, no `unsafe`, no dependencies.

#![forbid(unsafe_code)]

mod region;
mod set;
mod size;

pub use region::{Gpa, Layout, Region, RegionError, RegionId, Window};
pub use set::{PageSet, Pages, Run, Runs};
pub use size::{PageSize, PageSizeError};
