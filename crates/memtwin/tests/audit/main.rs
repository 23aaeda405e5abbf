//! `memtwin audit` on real QEMUs, each test on one of its own: what it finds, what it makes of a
//! QEMU or a Memtwin that dies in the middle, and how it leaves QEMU behind.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod all;
#[path = "../common/mod.rs"]
mod common;
mod cut_short;
mod kinds;
mod lying;
mod machine;
mod memory;
mod moment;
mod monitors;
mod operator;
mod others;
mod output;
mod own_bitmaps;
mod pause;
mod plugged;
mod refused;
mod replicated;
mod running;
mod versions;
mod writing;
