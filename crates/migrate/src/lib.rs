//! Moves a running guest from one QEMU to another, and judges whether it has arrived intact.
//!
//! - [`Side`] is a QEMU on a host: its monitor, its guest's [`Console`](console::Console);
//! - [`migrate`] drives both, follows the rounds ([`Course`]), and always says where the guest is;
//! - [`ram`] compares the memory of both, by digests that each host makes ([`digest`]);
//! - [`curve`] measures how a guest dirties its memory, [`forecast`] tells from it whether it will move;
//! - [`plan`] is where all of that takes place;
//! - [`beat`] reads the guest's heartbeat, [`written`] what it has written to its disk;
//!
//! `docs/migrate.md` describes the whole.

#![forbid(unsafe_code)]

mod advice;
pub mod beat;
mod broken_off;
pub mod console;
mod course;
pub mod curve;
pub mod digest;
mod drive;
mod far_end;
pub mod forecast;
mod give_up;
mod guest;
mod hand_over;
mod moved;
pub mod plan;
mod postcopy;
pub mod ram;
mod side;
mod silence;
pub mod written;

pub use advice::{Advice, Needed};
pub use course::{Course, Round};
pub use drive::{BeginError, Event, STALL, Settings, migrate};
pub use guest::{DISK_MODULES, GuestSpec, NETWORK_MODULES};
pub use moved::{Moved, Whereabouts, Why};
pub use side::{Side, SideError, SideSpec};
