//! A stock QEMU seen from outside, over QMP and through /proc.
//!
//! - what it says of itself: [`version()`], [`status()`], [`target()`], [`kvm()`], [`migration()`]
//! - whether its guest may give memory back: [`balloon()`]
//! - how much memory its guest changes, by QEMU's own sampling: [`dirtied()`]
//! - its migration settings, changed and put back: [`QemuSettings`]
//! - its RAMBlocks and where the guest sees them: [`blocks()`], [`Block`]
//! - the guest's real memory, which the judge compares the twin with: [`Process`], [`BlockMemory`]
//!
//! Nothing here writes to the guest's memory.

#![forbid(unsafe_code)]

mod about;
mod absent;
mod balloon;
mod block;
mod blocks_error;
mod callback;
mod dirty_rate;
mod discover;
mod flatview;
mod gpa;
mod hazard;
mod maps;
mod memory;
mod migration;
mod process;
mod process_id;
mod proof;
mod ramblock;
mod refusal;
mod resident;
mod run_state;
mod settings;

pub use about::{Kvm, QemuVersion, kvm, target, version};
pub use balloon::{Balloon, balloon};
pub use block::{Block, blocks};
pub use blocks_error::BlocksError;
pub use callback::CallbackSocket;
pub use dirty_rate::{DirtyRate, DirtyRateError, dirtied};
pub use hazard::migration_hazard;
pub use memory::BlockMemory;
pub use migration::{Migration, MigrationStatus, RamCounters, migration};
pub use process::{MemoryError, Process};
pub use process_id::ProcessId;
pub use resident::Footprint;
pub use run_state::{GuestStatus, RunState, status};
pub use settings::{
    Capabilities, Parameters, QemuSettings, SettingsError, capabilities, parameters,
    set_capabilities, set_parameters,
};
