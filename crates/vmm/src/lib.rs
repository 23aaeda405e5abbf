//! The embedded guest: a machine without an operating system on /dev/kvm, made to dirty pages.
//!
//! Three memslots: the *system* slot with the guest's code and page tables, the *control* slot
//! through which the host steers it, and the *window* (`aeshmem`), the only memory that is logged
//! and judged. [`KvmGuest`] is the whole of it as a [`memtwin_replicate::Source`].

mod arch;
mod backing;
mod config;
mod error;
mod guest;
mod guest_control;
mod huge;
mod log;
mod machine;
mod ring_probe;
mod translation;
mod vcpu;

pub use backing::{Backing, BackingMemory, UnknownBacking};
pub use config::{Config, WINDOW_GPA, WINDOW_NAME};
pub use error::GuestStartError;
pub use guest::KvmGuest;
pub use machine::probe;
pub use ring_probe::probe_ring;
pub use translation::{Granule, Translation, UnknownGranule};
