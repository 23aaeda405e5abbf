//! A stock QEMU seen from outside, over QMP and through /proc.
//!
//! - what it says of itself: [`version()`], [`status()`], [`target()`], [`kvm()`], [`migration()`]
//! - whether its guest may give memory back: [`balloon()`]
//! - whether its guest must not be made to migrate: [`migration_obstacle()`]
//! - how much memory its guest changes, by QEMU's own sampling: [`dirtied()`]
//! - the nodes of its block layer, and their dirty bitmaps: [`block_nodes()`]
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
mod block_name;
mod block_node;
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
mod obstacle;
mod process;
mod process_id;
mod proof;
mod qom;
mod ramblock;
mod refusal;
mod resident;
mod run_state;
mod settings;

pub use about::{Kvm, QemuVersion, kvm, machine_version, target, version};
pub use balloon::{Balloon, balloon};
pub use block::{Block, blocks, out_of_sight};
pub use block_name::{block_name, find_block};
pub use block_node::{BlockNode, add_bitmap_node, block_nodes, remove_bitmap_node};
pub use blocks_error::BlocksError;
pub use callback::CallbackSocket;
pub use dirty_rate::{DirtyRate, DirtyRateError, dirtied};
pub use memory::BlockMemory;
pub use migration::{Migration, MigrationStatus, RamCounters, migration};
pub use obstacle::{HazardPolicy, MigrationObstacle, migration_obstacle};
pub use process::{MemoryError, Process};
pub use process_id::ProcessId;
pub use resident::Footprint;
pub use run_state::{GuestStatus, RunState, status};
pub use settings::{
    Capabilities, Parameters, QemuSettings, SettingsError, capabilities, parameters,
    set_capabilities, set_parameters,
};
