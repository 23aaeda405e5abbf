//! A vCPU's registers by their numbers (`Documentation/virt/kvm/api.rst`, section 4.68).

use crate::GuestStartError;
use kvm_bindings::{
    KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_ARM64_SYSREG, KVM_REG_SIZE_U64, kvm_regs, user_pt_regs,
};
use kvm_ioctls::VcpuFd;
use std::mem::offset_of;

/// X0.
pub(super) const X0: u64 = core(offset_of!(user_pt_regs, regs));
/// The program counter.
pub(super) const PC: u64 = core(offset_of!(user_pt_regs, pc));
/// PSTATE.
pub(super) const STATE: u64 = core(offset_of!(user_pt_regs, pstate));

/// ELR_EL1: where the last exception was taken from. KVM has it among the core registers.
pub(super) const ELR: u64 = core(offset_of!(kvm_regs, elr_el1));

/// SCTLR_EL1, TTBR0_EL1, TCR_EL1, MAIR_EL1.
pub(super) const SCTLR: u64 = system(3, 0, 1, 0, 0);
pub(super) const TTBR0: u64 = system(3, 0, 2, 0, 0);
pub(super) const TCR: u64 = system(3, 0, 2, 0, 2);
pub(super) const MAIR: u64 = system(3, 0, 10, 2, 0);
/// ESR_EL1, FAR_EL1: of the last exception.
pub(super) const ESR: u64 = system(3, 0, 5, 2, 0);
pub(super) const FAR: u64 = system(3, 0, 6, 0, 0);
/// ID_AA64MMFR0_EL1 to ID_AA64MMFR2_EL1.
pub(super) const MMFR0: u64 = system(3, 0, 0, 7, 0);
pub(super) const MMFR1: u64 = system(3, 0, 0, 7, 1);
pub(super) const MMFR2: u64 = system(3, 0, 0, 7, 2);

/// A register of `struct kvm_regs`, which begins with `struct user_pt_regs`; counted in words of 32
/// bits.
const fn core(offset: usize) -> u64 {
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE as u64 | (offset as u64 / 4)
}

/// A system register by its encoding.
const fn system(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    let encoding = op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG as u64 | encoding
}

/// Reads a register.
pub(super) fn get(vcpu: &VcpuFd, register: u64) -> Result<u64, GuestStartError> {
    let mut bytes = [0; 8];
    vcpu.get_one_reg(register, &mut bytes).map_err(GuestStartError::kvm("KVM_GET_ONE_REG"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Writes a register.
pub(super) fn set(vcpu: &VcpuFd, register: u64, value: u64) -> Result<(), GuestStartError> {
    vcpu.set_one_reg(register, &value.to_ne_bytes())
        .map(|_| ())
        .map_err(GuestStartError::kvm("KVM_SET_ONE_REG"))
}
