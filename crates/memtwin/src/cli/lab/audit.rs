//! The words of `memtwin lab run audit`.

use super::remote::RemoteOptions;
use super::replicate::GuestAccel;
use crate::cli::OutputArgs;
use crate::helpers;
use crate::values::Time;
use clap::Args;
use memtwin_experiments::AuditExperimentConfig;
use memtwin_lab::Arch;
use std::path::PathBuf;

/// `memtwin lab run audit`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabAudit {
    /// How long the audit goes on at least; it goes on until each device was seen to write
    #[arg(long, default_value = "20s", value_name = "TIME")]
    seconds: Time,
    /// Where: local; emulated, a board that is booted for it; emulated:NAME, a board of `memtwin lab
    /// up`; ssh://USER@HOST:PORT. On another machine it runs under KVM, first with KVM's bitmap and
    /// then with its dirty ring (docs/lab.md)
    #[arg(long, default_value = "local", value_name = "HOST")]
    hosts: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    elsewhere: RemoteOptions,
    /// The guest's architecture
    #[arg(long, default_value = "aarch64", value_name = "aarch64|x86_64")]
    arch: Arch,
    /// What runs its code [default: kvm for an aarch64 guest on an aarch64 host with /dev/kvm, else
    /// tcg]
    #[arg(long, value_enum)]
    accel: Option<GuestAccel>,
    /// Let KVM log by a ring of N entries for each vCPU, and not by a bitmap
    #[arg(long, value_name = "N", value_parser = crate::cli::ring_entries)]
    dirty_ring: Option<u32>,
    /// A directory with the guest's `kernel` and `initrd`, made before; not for people
    #[arg(long, value_name = "DIR", hide = true)]
    image: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}

impl LabAudit {
    /// What is asked for.
    pub(crate) fn into_config(self) -> AuditExperimentConfig {
        AuditExperimentConfig {
            time: self.seconds.0,
            hosts: self.hosts,
            remote: self.elsewhere.into_config(),
            arch: self.arch,
            accel: self.accel.map(GuestAccel::into_lab),
            ring: self.dirty_ring,
            image: self.image,
            guardian: helpers::guardian_command(),
        }
    }
}
