//! The embedded guest on aarch64: not written yet. Every case is refused with that reason, and so
//! skipped; nothing here pretends to run.

use crate::StartError;
use crate::machine::{Machine, Slots};
use kvm_ioctls::VcpuFd;
use memtwin_pages::PageSize;
use memtwin_stressor::{Controls, Stressor};

const REASON: &str = "the embedded guest is not written for aarch64 yet";

/// How large the system slot must be: there is nothing to put into it.
pub(crate) fn system_bytes(_window: u64) -> usize {
    1
}

/// Refuses.
pub(crate) fn load(
    _slots: &Slots,
    _controls: &Controls,
    _stressor: Stressor,
    _page_size: PageSize,
) -> Result<(), String> {
    Err(REASON.to_owned())
}

/// Never reached: [`load`] comes first.
pub(crate) fn set_up(_machine: &Machine, _vcpu: &VcpuFd, _index: usize) -> Result<(), StartError> {
    Err(StartError::NoStressor { stressor: Stressor::Random, reason: REASON.to_owned() })
}

/// Where a vCPU stands, for an error's reader.
pub(crate) fn whereabouts(_vcpu: &VcpuFd) -> String {
    "nowhere known".to_owned()
}
