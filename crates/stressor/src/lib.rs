//! The stressors: the ways in which a page gets dirty, and how a host steers whoever does it.
//!
//! A *writer* is a vCPU of the embedded guest or a thread of the process source. Each owns one
//! [block](control) of the control page, through which the host starts, paces and stops it and
//! reads how much it has written. The control page is never judged.

#![forbid(unsafe_code)]

pub mod control;
mod controls;
mod fill;
mod kind;
mod watch;

pub use controls::{Controls, WriterWindow};
pub use fill::fill;
pub use kind::{Stressor, UnknownStressor};
pub use watch::{StallWatch, StalledWriter};
