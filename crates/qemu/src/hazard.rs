//! Guests that QEMU does not survive migrating.

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use serde_json::Value;

/// What QEMU clears the bits of an unplugged part in (`x-clear-bitmap-shift`, hw/core and migration/ram.c).
const CHUNK: u64 = 1 << 30;

#[derive(Deserialize)]
struct DeviceEntry {
    r#type: String,
    data: Value,
}

/// Why this QEMU must not be made to migrate its guest, if it must not: it would abort, and the guest
/// with it.
///
/// Under TCG QEMU 10.0 clears the dirty bits of memory that is unplugged (virtio-mem) in pieces that
/// may go past the end of their RAMBlock: `tlb_reset_dirty_range_all` asserts that they do not.
///
/// Errors: as [`Qmp::execute`].
pub fn migration_hazard(qmp: &mut Qmp) -> Result<Option<String>, QmpError> {
    if crate::kvm(qmp)?.enabled {
        return Ok(None);
    }
    let devices: Vec<DeviceEntry> = match qmp.execute("query-memory-devices", ()) {
        Err(error) if error.is_unknown_command() => return Ok(None),
        devices => devices?,
    };
    let ends_within = |device: &&DeviceEntry| {
        let size = device.data.get("max-size").and_then(Value::as_u64);
        device.r#type == "virtio-mem" && size.is_none_or(|size| size % CHUNK != 0)
    };
    Ok(devices.iter().find(ends_within).map(|device| {
        let name = device.data.get("id").and_then(Value::as_str).unwrap_or("without an id");
        format!(
            "QEMU may abort when it migrates a guest that has virtio-mem ({name}) under TCG; give that \
             memory a whole number of GiB, or use KVM"
        )
    }))
}
