//! The guest of the reference setup's second experiment: a Linux guest with a window of memory that the host sees as
//! a file, and `tstaeshm` that dirties it.
//!
//! - [`Setup`] chooses where the window is, and refuses where QEMU's own dirty log is known to lie;
//! - [`WindowGuest`] boots it, lets the program write, stops it, asks for its sum.
//!
//! Replicating the window is the caller's. `docs/reference-setup-b.md` walks through the whole.

mod command;
mod guest;
mod setup;
#[cfg(test)]
mod tests;

pub use command::Files;
pub use guest::{WindowGuest, updates};
pub use setup::{Accel, Choice, Setup, SetupError, Window, WindowBacking};
