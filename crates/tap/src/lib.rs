//! Any QEMU as a source: the tap plays the destination of a migration that never comes to its end.
//!
//! QEMU collects its dirty log by itself and sends the pages; the tap keeps it from leaving pre-copy, for as
//! long as we like while the guest runs, by what this QEMU waits for (`hold.rs`). At the end it is let go: QEMU
//! pauses the guest and sends the last pages, and while it waits for us to take the guest over, the
//! guest stands still for a judge. Then the migration is ended, and QEMU lets the guest run on.
//!
//! - Nothing in QEMU is patched, and nothing of the guest is prepared; the tap needs QMP alone.
//! - The tap never pauses the guest by a command: QEMU does so by itself, and lets it run on by
//!   itself when the migration ends, however it ends. So our death leaves no guest paused.
//! - What is changed in QEMU are migration capabilities and parameters, and where a dirty bitmap holds it, a
//!   block node of ours. All is put back at the end, by a guardian process if we are killed.
//! - Between rounds QEMU is held at 10 bytes a second: it looks at its dirty log about ten times a
//!   second, if nothing is pending, and costs no CPU time.
//!
//! References: QEMU's migration/migration.c (`migration_iteration_run()`,
//! `migration_rate_limit()`), docs/devel/migration/; docs/qemu.md says what was measured.

#![forbid(unsafe_code)]

mod cleanup;
mod coverage;
mod deliver;
mod error;
mod guardian;
mod hold;
mod migration_tap;
mod opening;
mod pause;
mod pre_copy;
mod preview;
mod reader;
mod settings;
mod socket;
mod speed;
mod stream_offer;
mod throttle;
mod tracker;
mod undo;
mod undo_note;

pub use cleanup::CloseError;
pub use error::OpenError;
pub use guardian::guardian_main;
pub use hold::HoldKind;
pub use migration_tap::{Counters, MigrationTap};
pub use opening::TapTarget;
pub use pause::PausedInterval;
pub use preview::TapPreview;
pub use stream_offer::StreamPath;
pub use undo::{Undo, UndoError};
