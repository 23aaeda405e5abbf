//! The embedded guest on x86-64: long mode from its first instruction, everything identity-mapped.

mod code;
mod tables;

use crate::machine::{CONTROL_GPA, KvmMachine, Memslots, SYSTEM_GPA};
use crate::{GuestStartError, Translation};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment};
use kvm_ioctls::{Kvm, VcpuFd};
use memtwin_stressor::control::BLOCK;
use memtwin_stressor::{Controls, Stressor};

/// Why /dev/kvm may be missing.
pub(crate) const NO_DEVICE: &str = "no such device; load the module kvm-intel or kvm-amd, switch \
    virtualisation on in the firmware, or use `process`";

/// Protected mode, x87 as it is today, write protection, paging.
const CR0: u64 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
/// Physical address extension.
const CR4: u64 = 1 << 5;
/// Long mode, enabled and active.
const EFER: u64 = 1 << 8 | 1 << 10;
/// The bit of RFLAGS that is always set; interrupts stay off.
const RFLAGS: u64 = 1 << 1;

/// What the guest runs.
#[derive(Debug)]
pub(crate) struct GuestProgram {
    stressor: Stressor,
}

impl GuestProgram {
    /// The program of a stressor. Errors if a translation is asked for: here there is one.
    pub(crate) fn new(
        stressor: Stressor,
        translation: Option<Translation>,
    ) -> Result<Self, GuestStartError> {
        match translation {
            None => Ok(Self { stressor }),
            Some(translation) => Err(GuestStartError::NoTranslation {
                translation,
                reason: "only aarch64 has a choice of granules".to_owned(),
            }),
        }
    }

    /// How large the system slot must be for a window of `window` bytes.
    pub(crate) fn system_bytes(&self, window: u64) -> usize {
        tables::bytes(window)
    }

    /// Gives a vCPU all that KVM can give it.
    pub(crate) fn init(&self, _machine: &KvmMachine, vcpu: &VcpuFd) -> Result<(), GuestStartError> {
        let cpuid = Kvm::new()
            .map_err(GuestStartError::kvm("opening /dev/kvm"))?
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(GuestStartError::kvm("KVM_GET_SUPPORTED_CPUID"))?;
        vcpu.set_cpuid2(&cpuid).map_err(GuestStartError::kvm("KVM_SET_CPUID2"))
    }

    /// Writes the code and the page tables, and for [`Stressor::Walker`] the window's own tables.
    ///
    /// Errors with the reason if this architecture can't do it.
    pub(crate) fn load(
        &mut self,
        slots: &Memslots,
        controls: &Controls,
        _vcpus: &[VcpuFd],
    ) -> Result<(), GuestStartError> {
        let refuse = |reason| GuestStartError::NoStressor { stressor: self.stressor, reason };
        let window = slots.window.len() as u64;
        slots.system.write(tables::CODE, code::bytes());
        tables::write_identity(&slots.system, window).map_err(refuse)?;
        if self.stressor == Stressor::Walker {
            let walk = tables::write_walk(&slots.system, &slots.window);
            for writer in 0..controls.writers() {
                controls.set_arch(writer, 0, tables::WALK_BASE);
                controls.set_arch(writer, 1, walk);
            }
        }
        Ok(())
    }

    /// Puts a vCPU at the code's first instruction, with its control block in RDI.
    pub(crate) fn set_up(&self, vcpu: &VcpuFd, index: usize) -> Result<(), GuestStartError> {
        let mut sregs = vcpu.get_sregs().map_err(GuestStartError::kvm("KVM_GET_SREGS"))?;
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
        vcpu.set_sregs(&sregs).map_err(GuestStartError::kvm("KVM_SET_SREGS"))?;

        let regs = kvm_regs {
            rip: SYSTEM_GPA.0 + tables::CODE as u64,
            rdi: CONTROL_GPA.0 + (index * BLOCK) as u64,
            rflags: RFLAGS,
            ..Default::default()
        };
        vcpu.set_regs(&regs).map_err(GuestStartError::kvm("KVM_SET_REGS"))
    }
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
