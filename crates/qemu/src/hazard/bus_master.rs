//! Drives of a bus master IDE controller.

use super::PERIPHERAL;
use crate::qom::{property, subtypes};
use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// What every such controller is to QEMU (hw/ide/pci.c): piix3-ide, piix4-ide, via-ide, cmd646-ide, sii3112.
const CONTROLLER: &str = "pci-ide";

/// A drive, as `query-block` tells of it.
#[derive(Deserialize)]
struct DriveEntry {
    /// The device that has it: its id, or its path among the objects.
    qdev: Option<String>,
    /// Its medium.
    inserted: Option<IgnoredAny>,
}

/// Why QEMU may harm a guest of which such a drive has a medium.
///
/// When QEMU saves the controller's state it notes a request of which the guest has written the command, and not yet
/// the controller's start bit, as one to be done again (`ide_bmdma_pre_save()`). If this guest then goes on, the main
/// loop does it (`ide_restart_bh()`), and so does the start bit, in whatever order they come: a request that is done
/// twice, or a segmentation fault. Whoever migrates into a file and goes on meets it, and so does an audit, which ends
/// a migration that has sent everything.
pub(super) fn drive_with_medium(qmp: &mut Qmp) -> Result<Option<String>, QmpError> {
    let drives: Vec<DriveEntry> = qmp.execute("query-block", ())?;
    let used = drives.into_iter().filter(|drive| drive.inserted.is_some());
    let used: Vec<String> = used.filter_map(|drive| drive.qdev).collect();
    if used.is_empty() {
        return Ok(None);
    }
    let controllers = subtypes(qmp, CONTROLLER)?;
    for device in used {
        let drive = if device.starts_with('/') { device } else { format!("{PERIPHERAL}/{device}") };
        let Some(Value::String(bus)) = property(qmp, &drive, "parent_bus")? else { continue };
        let Some((parent, _)) = bus.rsplit_once('/') else { continue };
        let Some(Value::String(kind)) = property(qmp, parent, "type")? else { continue };
        if controllers.contains(&kind) {
            return Ok(Some(format!(
                "QEMU may do a disk request twice, or die of a segmentation fault, when a guest with a medium in a \
                 drive of {kind} ({drive}) goes on after a migration (docs/qemu.md); have the disk on virtio, SCSI \
                 or SATA (ich9-ahci), or take a CD out"
            )));
        }
    }
    Ok(None)
}
