//! The embedded guest on x86-64: long mode from its first instruction, everything identity-mapped.

mod code;
mod tables;

use crate::StartError;
use crate::machine::{CONTROL_GPA, Machine, SYSTEM_GPA, Slots};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment};
use kvm_ioctls::{Kvm, VcpuFd};
use memtwin_pages::PageSize;
use memtwin_stressor::control::BLOCK;
use memtwin_stressor::{Controls, Stressor};

/// Protected mode, x87 as it is today, write protection, paging.
const CR0: u64 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
/// Physical address extension.
const CR4: u64 = 1 << 5;
/// Long mode, enabled and active.
const EFER: u64 = 1 << 8 | 1 << 10;
/// The bit of RFLAGS that is always set; interrupts stay off.
const RFLAGS: u64 = 1 << 1;

/// How large the system slot must be for a window of `window` bytes.
pub(crate) fn system_bytes(window: u64) -> usize {
    tables::bytes(window)
}

/// Writes the code and the page tables, and for [`Stressor::Walker`] the window's own tables.
///
/// Errors with the reason if this architecture can't do it.
pub(crate) fn load(
    slots: &Slots,
    controls: &Controls,
    stressor: Stressor,
    _page_size: PageSize,
) -> Result<(), String> {
    let window = slots.window.len() as u64;
    slots.system.write(tables::CODE, code::bytes());
    tables::write_identity(&slots.system, window)?;
    if stressor == Stressor::Walker {
        let walk = tables::write_walk(&slots.system, &slots.window);
        for writer in 0..controls.writers() {
            controls.set_arch(writer, 0, tables::WALK_BASE);
            controls.set_arch(writer, 1, walk);
        }
    }
    Ok(())
}

/// Puts a vCPU at the code's first instruction, with its control block in RDI.
pub(crate) fn set_up(_machine: &Machine, vcpu: &VcpuFd, index: usize) -> Result<(), StartError> {
    let cpuid = Kvm::new()
        .map_err(StartError::kvm("opening /dev/kvm"))?
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(StartError::kvm("KVM_GET_SUPPORTED_CPUID"))?;
    vcpu.set_cpuid2(&cpuid).map_err(StartError::kvm("KVM_SET_CPUID2"))?;

    let mut sregs = vcpu.get_sregs().map_err(StartError::kvm("KVM_GET_SREGS"))?;
    let code = kvm_segment {
        limit: u32::MAX,
        selector: 8,
        type_: 0b1011,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment { selector: 16, type_: 0b0011, l: 0, db: 1, ..code };
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr0 = CR0;
    sregs.cr3 = SYSTEM_GPA.0 + tables::PML4 as u64;
    sregs.cr4 = CR4;
    sregs.efer = EFER;
    vcpu.set_sregs(&sregs).map_err(StartError::kvm("KVM_SET_SREGS"))?;

    let regs = kvm_regs {
        rip: SYSTEM_GPA.0 + tables::CODE as u64,
        rdi: CONTROL_GPA.0 + (index * BLOCK) as u64,
        rflags: RFLAGS,
        ..Default::default()
    };
    vcpu.set_regs(&regs).map_err(StartError::kvm("KVM_SET_REGS"))
}

/// Where a vCPU stands, for an error's reader.
pub(crate) fn whereabouts(vcpu: &VcpuFd) -> String {
    match vcpu.get_regs() {
        Ok(regs) => {
            format!("at rip {:#x} (code + {:#x})", regs.rip, regs.rip.wrapping_sub(SYSTEM_GPA.0))
        }
        Err(error) => format!("registers unreadable: {error}"),
    }
}
