//! The guest of a plan, as both sides are given it.

use crate::config::MigrationConfig;
use crate::guest::GuestSpec;
use crate::plan::MigrationPlan;

/// Where a guest's files are on a host.
#[derive(Clone, Debug)]
pub(crate) struct GuestFiles {
    pub(crate) kernel: String,
    pub(crate) initrd: String,
    pub(crate) disk: String,
}

/// The guest of a plan.
pub(crate) fn guest(
    plan: &MigrationPlan,
    files: GuestFiles,
    kvm: bool,
    network: bool,
) -> GuestSpec {
    // Under TCG the log is sound for a CPU without FEAT_HAFDBS (docs/findings.md).
    let (accel, cpu) = if kvm { ("kvm", "host") } else { ("tcg", "cortex-a72") };
    GuestSpec {
        qemu: "qemu-system-aarch64".to_owned(),
        accel: accel.to_owned(),
        machine: "virt,gic-version=3".to_owned(),
        cpu: cpu.to_owned(),
        cpus: plan.guest.cpus,
        memory: plan.guest.memory,
        console: "ttyAMA0".to_owned(),
        kernel: files.kernel,
        initrd: files.initrd,
        disk: files.disk,
        fstype: plan.guest.fstype.clone(),
        network: network.then(|| (plan.boards.tap.clone(), plan.guest.mac.clone())),
    }
}

impl MigrationConfig {
    /// The same guest as the destination is told to expect it.
    pub(crate) fn there(&self, guest: &GuestSpec) -> GuestSpec {
        GuestSpec {
            cpu: self.destination_cpu.clone().unwrap_or_else(|| guest.cpu.clone()),
            machine: self.destination_machine.clone().unwrap_or_else(|| guest.machine.clone()),
            ..guest.clone()
        }
    }
}
