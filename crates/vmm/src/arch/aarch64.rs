//! The embedded guest on aarch64, at EL1: its MMU is on from its first instruction, and all its
//! memory is Normal, Write-Back, Inner Shareable, so that its stores go through the same caches as
//! the host's loads.
//!
//! Reference: the kernel's `Documentation/virt/kvm/api.rst`, sections 4.68 (KVM_SET_ONE_REG), 4.82
//! (KVM_ARM_VCPU_INIT) and 4.83 (KVM_ARM_PREFERRED_TARGET).

mod code;
mod registers;
mod shape;
mod tables;

use crate::machine::{CONTROL_GPA, KvmMachine, Memslots, SYSTEM_GPA};
use crate::{Granule, GuestStartError, Translation};
use kvm_bindings::{KVM_ARM_VCPU_PSCI_0_2, kvm_vcpu_init};
use kvm_ioctls::VcpuFd;
use memtwin_stressor::control::BLOCK;
use memtwin_stressor::{Controls, Stressor};
use registers::{get, set};
use shape::{TranslationShape, Walker};
use tables::PageTables;

/// Why /dev/kvm may be missing.
pub(crate) const NO_DEVICE: &str = "no such device; the kernel must have been started at EL2 (on \
    an emulated board: -M virt,virtualization=on), or use `process`";

/// PSTATE: EL1 with its own stack pointer, all interrupts masked.
const EL1: u64 = 0b0101 | 0b1111 << 6;
/// SCTLR_EL1: MMU and caches on; alignment is not checked, and writable memory may be run.
const SCTLR_ON: u64 = 1 << 0 | 1 << 2 | 1 << 12;
const SCTLR_OFF: u64 = 1 << 1 | 1 << 19;
/// MAIR_EL1: attribute 0, the only one, is Normal, Write-Back, allocating.
const MAIR: u64 = 0xff;
/// The translation unless another is asked for: what most guests have.
const USUAL: Translation = Translation { granule: Granule::K4, va_bits: 48 };

/// What the guest runs.
#[derive(Debug)]
pub(crate) struct GuestProgram {
    stressor: Stressor,
    translation: Translation,
    shape: TranslationShape,
    tcr: u64,
}

impl GuestProgram {
    /// The program of a stressor. Errors if there is no such translation.
    pub(crate) fn new(
        stressor: Stressor,
        translation: Option<Translation>,
    ) -> Result<Self, GuestStartError> {
        let translation = translation.unwrap_or(USUAL);
        let shape = TranslationShape::of(translation)
            .map_err(|reason| GuestStartError::NoTranslation { translation, reason })?;
        Ok(Self { stressor, translation, shape, tcr: 0 })
    }

    /// How large the system slot must be for a window of `window` bytes.
    pub(crate) fn system_bytes(&self, window: u64) -> usize {
        tables::bytes(window, self.shape)
    }

    /// Makes a vCPU that can be asked what it is.
    pub(crate) fn init(&self, machine: &KvmMachine, vcpu: &VcpuFd) -> Result<(), GuestStartError> {
        let mut target = kvm_vcpu_init::default();
        machine
            .vm()
            .get_preferred_target(&mut target)
            .map_err(GuestStartError::kvm("KVM_ARM_PREFERRED_TARGET"))?;
        target.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
        vcpu.vcpu_init(&target).map_err(GuestStartError::kvm("KVM_ARM_VCPU_INIT"))
    }

    /// Writes the code and the page tables, and for [`Stressor::Walker`] the window's own tables.
    ///
    /// Errors with the reason if the vCPUs, of which each is as the first, can't do it.
    pub(crate) fn load(
        &mut self,
        slots: &Memslots,
        controls: &Controls,
        vcpus: &[VcpuFd],
    ) -> Result<(), GuestStartError> {
        let Some(vcpu) = vcpus.first() else { return Ok(()) };
        let refuse = |reason| GuestStartError::NoStressor { stressor: self.stressor, reason };
        let mmfr0 = get(vcpu, registers::MMFR0)?;
        let translation = self.translation;
        self.shape
            .offered(mmfr0, get(vcpu, registers::MMFR2)?)
            .map_err(|reason| GuestStartError::NoTranslation { translation, reason })?;

        slots.system.write(tables::CODE, code::bytes());
        let mut tables = PageTables::new(&slots.system, self.shape);
        let window = slots.window.len() as u64;
        tables.map_identity(window).map_err(refuse)?;
        let mut walker = Walker::Nothing;
        if self.stressor == Stressor::Walker {
            walker = Walker::of(get(vcpu, registers::MMFR1)?);
            let count = tables::walk_tables(window, self.shape);
            if walker == Walker::Nothing {
                let reason = "the walker of this CPU keeps no access flags (FEAT_HAFDBS)";
                return Err(refuse(reason.to_owned()));
            }
            if count == 0 {
                let granule = translation.granule;
                return Err(refuse(format!(
                    "a window of {window} bytes has no table of {granule}"
                )));
            }
            let dirty = walker == Walker::AccessedAndDirty;
            tables.map_walk(&slots.window, dirty);
            for writer in 0..controls.writers() {
                controls.set_arch(writer, 0, tables::WALK_BASE);
                controls.set_arch(writer, 1, count);
                controls.set_arch(writer, 2, u64::from(self.shape.shift()));
                controls.set_arch(writer, 3, u64::from(dirty));
            }
        }
        self.tcr = self.shape.tcr(mmfr0, walker);
        Ok(())
    }

    /// Puts a vCPU at the code's first instruction, with its control block in X0.
    pub(crate) fn set_up(&self, vcpu: &VcpuFd, index: usize) -> Result<(), GuestStartError> {
        set(vcpu, registers::MAIR, MAIR)?;
        set(vcpu, registers::TCR, self.tcr)?;
        set(vcpu, registers::TTBR0, PageTables::top())?;
        let sctlr = get(vcpu, registers::SCTLR)?;
        set(vcpu, registers::SCTLR, (sctlr | SCTLR_ON) & !SCTLR_OFF)?;
        set(vcpu, registers::STATE, EL1)?;
        set(vcpu, registers::PC, SYSTEM_GPA.0 + tables::CODE as u64 + code::ENTRY)?;
        set(vcpu, registers::X0, CONTROL_GPA.0 + (index * BLOCK) as u64)
    }
}

/// Where a vCPU stands, for an error's reader.
pub(crate) fn whereabouts(vcpu: &VcpuFd) -> String {
    let register = |register| get(vcpu, register);
    let all = || {
        Ok::<_, GuestStartError>((
            register(registers::PC)?,
            register(registers::ELR)?,
            register(registers::ESR)?,
            register(registers::FAR)?,
        ))
    };
    match all() {
        Ok((pc, elr, esr, far)) => {
            format!("at pc {pc:#x}; last exception: elr {elr:#x}, esr {esr:#x}, far {far:#x}")
        }
        Err(error) => format!("registers unreadable: {error}"),
    }
}
