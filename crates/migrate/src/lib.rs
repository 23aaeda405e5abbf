//! Moves a running guest from one QEMU to another, and judges whether it has arrived intact.
//!
//! [`run`] does all that a [`MigrationConfig`] asks for, and returns a [`MigrationReport`]; what goes on
//! meanwhile is told to a [`Progress`](memtwin_lab::Progress). In the order of the work:
//!
//! - `hosts` sets up what the two sides need where they are, and undoes it on every way out;
//! - [`Side`] is a QEMU on a host: its monitor, its guest's [`Console`](guest::console::Console);
//! - `experiment` boots the guest, puts it to work, and moves it once or several times; `faults` breaks
//!   something meanwhile; `sweep` tries a grid of loads and bandwidths;
//! - [`migrate`] is one move ([`driver`]): it drives both sides, and always says where the guest is;
//! - [`forecast`] tells whether a guest will move, from how it dirties its memory ([`forecast::curve`]);
//! - [`verdict`] judges memory, disk, guest and network, by digests that each host makes ([`digest`]).
//!
//! `docs/migrate.md` describes the whole.

#![forbid(unsafe_code)]

mod bit_rate;
mod config;
pub mod driver;
mod experiment;
mod faults;
pub mod forecast;
pub mod guest;
mod hosts;
pub mod plan;
mod report;
mod run;
mod side;
mod sweep;
pub mod verdict;

pub use bit_rate::BitRate;
pub use config::{GuestLoad, MigrationConfig, PlanSource, SweepConfig};
pub use driver::{
    BeginError, ConvergenceAdvice, FailureReason, GuestLocation, MigrationEvent, MigrationOutcome,
    MigrationProgress, MigrationSettings, Needed, PrecopyRound, STALL_TIMEOUT, migrate,
};
pub use faults::{FaultKind, MigrationFault};
pub use guest::{DISK_MODULES, GuestSpec, NETWORK_MODULES};
pub use hosts::HostChoice;
pub use report::MigrationReport;
pub use run::run;
pub use side::{Side, SideError, SideSpec};
pub use verdict::digest;
