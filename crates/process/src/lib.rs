//! The process source: a guest that is no guest at all, but a child process whose threads write
//! shared memory. Needs no hypervisor, and is the baseline that one is compared with.
//!
//! Its dirty log is the kernel's own: asynchronous write-protection by userfaultfd
//! (`Documentation/admin-guide/mm/userfaultfd.rst`) and the request PAGEMAP_SCAN
//! (`Documentation/admin-guide/mm/pagemap.rst`), both since Linux 6.7. The child makes the
//! userfaultfd, as one watches the memory of the process that made it, and hands it over; all
//! that is asked of it and of the child's pagemap, this side asks.
//!
//! [`ProcessGuest`] is the whole of it as a [`memtwin_replicate::Source`]; [`writer_main`] is what
//! the child runs.

mod abi;
mod arch;
mod child;
mod config;
mod error;
mod guest;
mod guest_control;
mod handshake;
mod ioctl;
mod log;
mod pagemap;
mod probe;
mod store;
mod stress;
mod uffd;
mod writer;

pub use config::{Config, WINDOW_GPA, WINDOW_NAME};
pub use error::{LogError, WriterError, WriterStartError};
pub use guest::ProcessGuest;
pub use probe::probe;
pub use writer::writer_main;
