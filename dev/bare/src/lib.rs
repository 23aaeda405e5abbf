//! Bare-metal guests for stock QEMU that write memory in known ways, and the scenarios they are for:
//! reproducers of dirty-log bugs, which lose the same pages each time, and layouts that are sound.
//! Tests, benches and `cargo xtask repro` all start them from here; docs/findings.md tells what was
//! found with them.
//!
//! A guest is an [`BareImage`], machine code that comes with this crate and needs no assembler, given a
//! [`GuestJob`], in a [`BareMachine`]. It tells what it has done in a [`Report`] in its own memory. A
//! [`Scenario`] is a machine with what an audit of it has to find.

#![forbid(unsafe_code)]

mod describe;
mod expected;
mod image;
mod job;
mod machine;
mod report;
mod scenario;
mod version;

pub use expected::{Expected, Loss, StopMoment};
pub use image::BareImage;
pub use job::GuestJob;
pub use machine::{Accelerator, BareMachine, PrepareError};
pub use report::{JobState, Report};
pub use scenario::{Scenario, command};
pub use version::{ReleaseVersion, VersionError};
