//! One session: a guest is replicated by its dirty log, stopped, and judged.
//!
//! On the way of the data (dirty log -> round -> twin -> verdict -> report) this crate is the one that joins
//! a source, a sink and the judge: the commands `check`, `replicate` and `audit` are each a configuration
//! ([`CheckConfig`], [`ReplicateConfig`], [`QemuReplicateConfig`], [`AuditConfig`]) and a function here; a source
//! that comes from elsewhere is replicated by [`replicate_source`]. It
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
mod driver;
mod findings;
mod helper;
mod host_facts;
mod judge;
mod memory_file;
mod observer;
mod open_twin;
mod paused_read;
mod process_guest;
mod qemu_guest;
mod read_twin;
mod received;
mod replicate;
mod replicate_qemu;
mod replicate_source;
mod room;
mod seed;
mod session;
mod sums;
mod verdict;
mod verify;

pub use audit::{
    AuditAll, AuditConfig, AuditJudge, Audited, audit, audit_all, audit_steered, preview_all,
    preview_audit, resolved_audit,
};
pub use check::{CheckConfig, CheckPlan, CheckSource, Checked, check_case_names};
pub use controller::ReplicationController;
pub use driver::{ForeignGuest, GuestDriver, OwnGuest};
pub use findings::JudgeError;
pub use helper::HelperCommand;
pub use host_facts::host_facts;
pub use judge::{InPlaceJudge, Judge, RunningPlan};
pub use memory_file::{DEFAULT_MEMORY_FILE, MemoryFile, MemoryFileError};
pub use memtwin_qemu::HazardPolicy;
pub use memtwin_qmp::{AddressError, LibvirtDomain, MonitorAddress};
pub use observer::SessionObserver;
pub use open_twin::{OpenTwin, TwinTarget};
pub use read_twin::{FilePart, ReadTwin, TwinReadError};
pub use received::received_case;
pub use replicate::{ReplicateConfig, ReplicatedGuest, replicate};
pub use replicate_qemu::{QemuReplicateConfig, replicate_qemu};
pub use replicate_source::{Replicated, SourceReplicateConfig, replicate_source};
pub use seed::fresh as fresh_seed;
pub use session::{LastStop, Session, SessionEnd, SessionPlan};
pub use verdict::{CaseFacts, Override, verdict_of};
pub use verify::{VerifiedImages, VerifyConfig, verify_images};
