//! The hypervisor that ran a case's guest.

use serde::{Deserialize, Serialize};

/// What is known of the hypervisor that ran a case's guest. What is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HypervisorFacts {
    /// Its name: `QEMU`, or `Memtwin's own VMM`.
    pub name: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The machine type, as the hypervisor names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What ran the guest's code: `KVM`, or `not KVM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// What held it in pre-copy: the migration capability `switchover-ack` or `dirty-bitmaps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
}
