//! Where the copy goes: the twins, and the injector that makes a log lie.
//!
//! On the way of the data this is the end: the engine hands over whole pages, a
//! [`Sink`](memtwin_replicate::Sink) takes them. [`FileTwin`] keeps them in a regular file or on a
//! block device, [`DirTwin`] in a file for each region, [`MemoryTwin`] in one without a name, [`Discard`]
//! not at all. [`TwinStore`] is the life of a twin, also of one that is received from another host. While a
//! twin is written it says so itself ([`UnfinishedTwin`]), and whoever takes an image for whole asks
//! [`ImageValidity`]. A twin lends itself to the judge as a file handle (`reader`), so that the judge reads
//! with its own code.
//!
//! [`Injector`] wraps a source for a control case: the proof that a check can fail. For a source that
//! hands its pages over, [`WithheldTwin`] has the part.

#![forbid(unsafe_code)]

mod backing;
mod device;
mod dir;
mod discard;
mod error;
mod file;
mod injector;
mod marker;
mod memory;
mod page_store;
mod room;
mod sparse;
mod trailer;
mod twin_image;
mod twin_path;
mod twin_store;
mod unfinished_twin;
mod validity;
mod withheld;

#[cfg(test)]
mod tests;

pub use device::DeviceOptions;
pub use dir::DirTwin;
pub use discard::Discard;
pub use error::TwinError;
pub use file::FileTwin;
pub use injector::Injector;
pub use marker::{Inode, MarkerRecord, TwinMarker};
pub use memory::MemoryTwin;
pub use page_store::offset_of;
pub use room::is_memory;
pub use sparse::SparseMemory;
pub use trailer::TwinTrailer;
pub use twin_image::TwinImage;
pub use twin_path::TwinPath;
pub use twin_store::{StoreRole, TwinPlace, TwinStore};
pub use unfinished_twin::UnfinishedTwin;
pub use validity::{ImageValidity, is_marked_incomplete};
pub use withheld::WithheldTwin;
