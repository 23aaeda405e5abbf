//! The stores that Rust has no word for, per architecture.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{clear, store};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{clear, store};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("Memtwin runs on aarch64 and x86-64");
