//! Moves a running guest from one QEMU to another, and judges whether it has arrived intact.
//!
//! - [`Side`] is a QEMU on a host: its monitor, its guest's [`Console`](guest::console::Console);
//! - [`migrate`] drives both ([`driver`]), follows the rounds ([`MigrationProgress`]), and always says
//!   where the guest is;
//! - [`verdict`] compares the memory of both, by digests that each host makes ([`digest`]), and reads what
//!   the guest has written to its disk;
//! - [`forecast`] tells whether a guest will move, from how it dirties its memory ([`forecast::curve`]);
//! - [`plan`] is where all of that takes place;
//! - [`guest`] reads the guest's console and its heartbeat.
//!
//! `docs/migrate.md` describes the whole.

#![forbid(unsafe_code)]

pub mod driver;
pub mod forecast;
pub mod guest;
pub mod plan;
mod side;
pub mod verdict;

pub use driver::{
    Advice, BeginError, FailureReason, GuestLocation, MigrationEvent, MigrationOutcome,
    MigrationProgress, MigrationSettings, Needed, PrecopyRound, STALL_TIMEOUT, migrate,
};
pub use guest::{DISK_MODULES, GuestSpec, NETWORK_MODULES};
pub use side::{Side, SideError, SideSpec};
pub use verdict::digest;
