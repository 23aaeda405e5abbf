//! The system calls of each architecture.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::modern;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::modern;

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
compile_error!("the recorder does not know this architecture's system calls");
