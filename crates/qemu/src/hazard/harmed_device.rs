//! Devices that a migration harms, however it ends: at the latest when QEMU saves their state.

use super::PERIPHERAL;
use crate::qom::{QomChild, children, property};
use memtwin_qmp::{Qmp, QmpError};

/// A type of device, and what becomes of it.
struct HarmedDevice {
    /// QEMU's name of the type.
    kind: &'static str,
    /// What QEMU does.
    harm: &'static str,
    /// What the guest's owner can do.
    way_out: &'static str,
}

const HARMED: [HarmedDevice; 4] = [
    // Cards with fewer serial ports than their state has room for (hw/char/serial-pci-multi.c, hw/char/diva-gsp.c):
    // `timer_pending()` reads what was never made, at the end of every migration.
    HarmedDevice {
        kind: "pci-serial-2x",
        harm: "QEMU dies of a segmentation fault when it migrates a guest with the device",
        way_out: "do without that device",
    },
    HarmedDevice {
        kind: "diva-gsp",
        harm: "QEMU dies of a segmentation fault when it migrates a guest with the device",
        way_out: "do without that device",
    },
    // hw/rtc/xlnx-zynqmp-rtc.c: what is saved is the clock with the time of day added, and it stays so in the source.
    HarmedDevice {
        kind: "xlnx-zynmp.rtc",
        harm: "QEMU puts the guest's clock ahead by the years since 1970 whenever it saves the state of the device",
        way_out: "have the guest set its clock again afterwards",
    },
    // hw/rtc/ls7a_rtc.c: the timers are deleted, and only a destination makes them again.
    HarmedDevice {
        kind: "ls7a_rtc",
        harm: "QEMU forgets the alarms that the guest has set when it saves the state of the device",
        way_out: "have the guest set its alarms again afterwards",
    },
];

/// Where devices are: those of the user, those of the machine, and those of its chips (Zynq MPSoC, Versal).
const FOLDERS: [&str; 5] = [
    PERIPHERAL,
    "/machine/peripheral-anon",
    "/machine/unattached",
    "/machine/soc",
    "/machine/xlnx-versal",
];

/// Why QEMU harms a guest with one of its devices, if it does.
pub(super) fn harmed_device(qmp: &mut Qmp) -> Result<Option<String>, QmpError> {
    for folder in FOLDERS {
        // Most machines have no such chips.
        if property(qmp, folder, "type")?.is_none() {
            continue;
        }
        for device in children(qmp, folder)? {
            if let Some(harmed) = HARMED.iter().find(|harmed| is_of_kind(&device, harmed.kind)) {
                let HarmedDevice { kind, harm, way_out } = harmed;
                let name = device.name;
                return Ok(Some(format!("{harm} {kind} ({folder}/{name}); {way_out}")));
            }
        }
    }
    Ok(None)
}

fn is_of_kind(device: &QomChild, kind: &str) -> bool {
    device.kind.strip_prefix("child<").and_then(|rest| rest.strip_suffix('>')) == Some(kind)
}
