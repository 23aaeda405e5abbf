//! The copy and the prefetch, per architecture. Assembly, because the compiler must assume nothing
//! about bytes that a guest writes meanwhile.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{copy, prefetch};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{copy, prefetch};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("Memtwin runs on aarch64 and x86-64");
