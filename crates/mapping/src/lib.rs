//! Memory that somebody else may write while we read it: a guest's, a twin's, a control page.
//!
//! The one place where Memtwin maps memory. What others write concurrently is never lent out as a
//! slice; it is copied in and out ([`Mapping::read`], [`Mapping::write`]), looked at word by word
//! ([`Mapping::word`]) or compared in place ([`Mapping::equals`]).

mod access;
mod arch;
mod image;
mod map;

pub use access::prefetch;
pub use map::{MapError, Mapping, MappingAdvice, host_page_size};
