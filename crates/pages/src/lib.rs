//! The vocabulary of Memtwin: page sizes, guest-physical addresses, regions, sets and runs of
//! pages, and a memory that can be read ([`Image`]). Everything else speaks in these types.
//!
//! No `unsafe`, no dependencies; of the operating system only the reading of a file.

#![forbid(unsafe_code)]

mod image;
mod region;
mod set;
mod size;

pub use image::Image;
pub use region::{Gpa, Layout, Region, RegionError, RegionId, Window};
pub use set::{PageSet, Pages, Run, Runs};
pub use size::{PageSize, PageSizeError};
