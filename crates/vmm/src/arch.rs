//! The guest's code and the first state of its CPUs, per architecture.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{GuestProgram, NO_DEVICE, whereabouts};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{GuestProgram, NO_DEVICE, whereabouts};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the embedded guest is written for aarch64 and x86-64");
