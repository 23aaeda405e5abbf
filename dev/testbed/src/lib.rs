//! Processes for the tests of other crates, a QEMU with a QMP socket or an sshd: started in a
//! directory of their own, and never left behind, whatever becomes of the test. And another local user.

mod cgroup;
mod keeper;
mod loop_device;
mod need;
mod nobody;
mod qemu;
mod release;
mod sshd;

pub use cgroup::MemoryCgroup;
pub use loop_device::{LoopDevice, MountedDevice};
pub use need::{Need, lacks, program};
pub use nobody::{NOBODY, as_nobody};
pub use qemu::{Qemu, StartError};
pub use release::release_program;
pub use sshd::Sshd;
