//! What a disk may hold after a power loss, for tests of what is written to it.
//!
//! [`record`] runs a program under ptrace(2) and notes every system call that changes files below a
//! directory, or makes them durable: nothing in the program has to take part, and nothing it does is
//! left out ([`RecordError::Blind`]). [`CrashDisk`] then plays a prefix of the recording, and says what may
//! be there if the power fails at that moment: what a sync covered is there, and of everything else
//! any part.

#![deny(unsafe_code)]

mod disk;
mod error;
mod op;
mod record;

pub use disk::{CrashDisk, State, make_files};
pub use error::RecordError;
pub use op::{FileId, Op, Recording};
pub use record::record;
