//! Whether the guest has a balloon: a device by which it gives memory back while it runs
//! (`qapi/machine.json`, query-balloon; hw/virtio/virtio-balloon.c, hw/hyperv/hv-balloon.c).

use crate::qom::{children, property};
use memtwin_qmp::{Qmp, QmpError};
use serde_json::Value;

/// Where devices are that a user has plugged in.
const PLUGGED: [&str; 2] = ["/machine/peripheral", "/machine/peripheral-anon"];

/// A guest's balloon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balloon {
    /// The guest hints at free pages while it is migrated: QEMU does not send these.
    pub hints: bool,
}

/// The guest's balloon, if it has one; QEMU takes no second one. Errors: as [`Qmp::execute`].
pub fn balloon(qmp: &mut Qmp) -> Result<Option<Balloon>, QmpError> {
    match qmp.execute::<Value>("query-balloon", ()) {
        Ok(_) => {}
        Err(QmpError::Refused { class, .. })
            if class == "DeviceNotActive" || class == "CommandNotFound" =>
        {
            return Ok(None);
        }
        // There is one, and this host can't have it inflated.
        Err(QmpError::Refused { class, .. }) if class == "KVMMissingCap" => {}
        Err(error) => return Err(error),
    }
    let mut hints = false;
    for folder in PLUGGED {
        for device in children(qmp, folder)?.iter().filter(|device| is_balloon(&device.kind)) {
            // Another kind of balloon has no such property.
            let set = property(qmp, &format!("{folder}/{}", device.name), "free-page-hint")?;
            hints |= set == Some(Value::Bool(true));
        }
    }
    Ok(Some(Balloon { hints }))
}

/// As `child<virtio-balloon-pci>`, `child<virtio-balloon-pci-non-transitional>`.
fn is_balloon(kind: &str) -> bool {
    kind.starts_with("child<") && kind.contains("balloon")
}
