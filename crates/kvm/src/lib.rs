//! The dirty log of KVM, in the three ways in which it can be asked.
//!
//! Reference: the kernel's `Documentation/virt/kvm/api.rst`, sections 4.8 (KVM_GET_DIRTY_LOG),
//! 4.117 (KVM_CLEAR_DIRTY_LOG), 7.18 (manual protect) and 8.29 (the dirty ring).
//!
//! All requests go through libc's `ioctl`, so that a tracer can stand between.

mod ioctl;
mod mode;
mod ring;
mod slot;

pub use mode::{LogCapabilities, LogStorage, Mode, UnknownMode};
pub use ring::{Ring, Rings};
pub use slot::SlotLog;

/// A request to KVM that failed.
#[derive(Debug, thiserror::Error)]
#[error("{request}: {errno}")]
pub struct LogError {
    /// The request, by its name in the kernel.
    pub request: &'static str,
    /// What the kernel said.
    pub errno: std::io::Error,
}
