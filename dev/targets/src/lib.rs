//! Every target that QEMU emulates, each on a board that needs no firmware: a guest of a few words that
//! stores to one page after the other, for ever, and what an audit of it comes to.
//!
//! [`BOARDS`] is the table; [`TargetBoard::audited`] starts one, audits it with the built binary and says
//! what came of it, as a [`BoardResult`]. `cargo xtask targets` does all of them.

#![forbid(unsafe_code)]

mod audited;
mod board;
mod boards;
mod code;
mod elf;
mod image;
mod result;

pub use audited::{AuditCaller, BoardError};
pub use board::{BoardExpectation, TargetBoard};
pub use boards::BOARDS;
pub use result::{BoardResult, BoardVerdict, markdown};
