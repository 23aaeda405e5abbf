//! What the record says of this host and of the VMM of our own.

use memtwin_kvm::{LogCapabilities, Mode};
use memtwin_report::record::{HostFacts, HypervisorFacts, KvmFacts};

/// This machine, with what its KVM offers for a dirty log.
pub fn host_facts() -> HostFacts {
    HostFacts { kvm: memtwin_vmm::probe().ok().map(kvm_facts), ..HostFacts::this_machine() }
}

fn kvm_facts(offered: LogCapabilities) -> KvmFacts {
    let modes = Mode::ALL.into_iter().filter(|&mode| offered.has(mode).is_ok());
    KvmFacts {
        dirty_log: modes.map(|mode| mode.name().to_owned()).collect(),
        ring_entries_max: offered.ring_entries_max(),
        ring_bitmap: offered.ring_bitmap(),
        manual_protect: offered.manual_protect(),
    }
}

/// The VMM of our own, which runs the embedded guest.
pub(crate) fn own_vmm() -> HypervisorFacts {
    HypervisorFacts {
        name: "Memtwin's own VMM".to_owned(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        machine: None,
        accelerator: Some("KVM".to_owned()),
        hold: None,
    }
}
