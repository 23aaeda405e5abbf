//! QEMU processes for the tests of other crates: started with a QMP socket in a directory of
//! their own, and never left behind, whatever becomes of the test.

mod keeper;
mod need;
mod qemu;

pub use need::{Need, lacks, program};
pub use qemu::{Qemu, StartError};
