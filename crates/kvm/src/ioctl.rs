//! The requests themselves.

#![allow(unsafe_code, reason = "ioctl passes addresses to the kernel")]

use crate::LogError;
use kvm_bindings::{KVMIO, kvm_clear_dirty_log, kvm_dirty_log, kvm_enable_cap};
use std::io;
use std::os::fd::BorrowedFd;
use vmm_sys_util::ioctl::{ioctl, ioctl_with_ref, ioctl_with_val};
use vmm_sys_util::{ioctl_io_nr, ioctl_iow_nr, ioctl_iowr_nr};

ioctl_io_nr!(KVM_CHECK_EXTENSION, KVMIO, 0x03);
ioctl_iow_nr!(KVM_GET_DIRTY_LOG, KVMIO, 0x42, kvm_dirty_log);
ioctl_iow_nr!(KVM_ENABLE_CAP, KVMIO, 0xa3, kvm_enable_cap);
ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);
ioctl_io_nr!(KVM_RESET_DIRTY_RINGS, KVMIO, 0xc7);

/// Writes the log of a slot over `bitmap`, which must hold a bit for each of its `pages` pages.
pub(crate) fn get_dirty_log(
    vm: BorrowedFd<'_>,
    slot: u32,
    pages: u64,
    bitmap: &mut [u64],
) -> Result<(), LogError> {
    assert!(bitmap.len() as u64 >= pages.div_ceil(64), "a bitmap too small for {pages} pages");
    let mut log = kvm_dirty_log { slot, ..Default::default() };
    log.__bindgen_anon_1.dirty_bitmap = bitmap.as_mut_ptr().cast();
    // SAFETY: the kernel writes one bit for each page of the slot, rounded up to 64-bit words; the
    // caller's word that the slot has `pages` pages makes that fit, and `bitmap` is ours alone.
    check("KVM_GET_DIRTY_LOG", unsafe { ioctl_with_ref(&vm, KVM_GET_DIRTY_LOG(), &log) })
        .map(|_| ())
}

/// Clears the log for the set bits of `bitmap`, of which bit 0 is page `first`, a multiple of 64.
pub(crate) fn clear_dirty_log(
    vm: BorrowedFd<'_>,
    slot: u32,
    first: u64,
    pages: u32,
    bitmap: &[u64],
) -> Result<(), LogError> {
    assert!(bitmap.len() as u64 >= u64::from(pages).div_ceil(64), "a bitmap too small");
    let mut log =
        kvm_clear_dirty_log { slot, num_pages: pages, first_page: first, ..Default::default() };
    log.__bindgen_anon_1.dirty_bitmap = bitmap.as_ptr().cast_mut().cast();
    // SAFETY: the kernel only reads `num_pages` bits, rounded up to words, which `bitmap` has.
    check("KVM_CLEAR_DIRTY_LOG", unsafe { ioctl_with_ref(&vm, KVM_CLEAR_DIRTY_LOG(), &log) })
        .map(|_| ())
}

/// Gives the harvested entries of all rings back to the kernel, which write-protects their pages
/// again. Returns how many there were.
pub(crate) fn reset_dirty_rings(vm: BorrowedFd<'_>) -> Result<u32, LogError> {
    // SAFETY: the request takes no argument.
    check("KVM_RESET_DIRTY_RINGS", unsafe { ioctl(&vm, KVM_RESET_DIRTY_RINGS()) })
}

/// Asks for a capability of the machine: 0 where it is not there.
pub(crate) fn check_extension(vm: BorrowedFd<'_>, capability: u32) -> u32 {
    // SAFETY: the request takes a number.
    let answer = unsafe { ioctl_with_val(&vm, KVM_CHECK_EXTENSION(), u64::from(capability)) };
    u32::try_from(answer).unwrap_or(0)
}

/// Switches a capability of the machine on.
pub(crate) fn enable_cap(
    vm: BorrowedFd<'_>,
    request: &'static str,
    capability: u32,
    argument: u64,
) -> Result<(), LogError> {
    let mut cap = kvm_enable_cap { cap: capability, ..Default::default() };
    cap.args[0] = argument;
    // SAFETY: the kernel reads the structure and nothing that it could point to.
    check(request, unsafe { ioctl_with_ref(&vm, KVM_ENABLE_CAP(), &cap) }).map(|_| ())
}

fn check(request: &'static str, answer: i32) -> Result<u32, LogError> {
    u32::try_from(answer)
        .map_err(|_negative| LogError { request, errno: io::Error::last_os_error() })
}
