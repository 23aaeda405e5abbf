//! One session: a guest is replicated by its dirty log, stopped, and judged.
//!
//! On the way of the data (dirty log -> round -> twin -> verdict -> report) this crate is the one that joins
//! a source, a sink and the judge: the commands `check`, `replicate` and `audit` are each a configuration
//! ([`CheckConfig`], [`ReplicateConfig`], [`QemuReplicateConfig`], [`AuditConfig`]) and a function here. It
//! knows no command line and prints nothing: what happens is told to a [`SessionObserver`], and what is left
//! to say stands in the outcome's notes, which go into the run record.

#![forbid(unsafe_code)]

mod audit;
mod bitmap_file;
mod bounded;
mod check;
mod controller;
mod convergence;
mod discards;
mod guest;
mod helper;
mod image;
mod judge;
mod memory_file;
mod observer;
mod process_guest;
mod qemu_guest;
mod remote_twin;
mod replicate;
mod replicate_qemu;
mod room;
mod seed;
mod standing;

pub use audit::{AuditConfig, Audited, audit, preview_audit};
pub use check::{CheckConfig, CheckPlan, CheckSource, Checked, check_case_names};
pub use controller::ReplicationController;
pub use helper::HelperCommand;
pub use image::FilePart;
pub use judge::{digest_entry, lost_page};
pub use memory_file::{DEFAULT_MEMORY_FILE, MemoryFile, MemoryFileError};
pub use observer::SessionObserver;
pub use remote_twin::TwinTarget;
pub use replicate::{ReplicateConfig, Replicated, ReplicatedGuest, replicate};
pub use replicate_qemu::{QemuReplicateConfig, replicate_qemu};
