//! Why a guest must not be made to migrate: QEMU would not survive it, or would send memory in a way that
//! is not decoded. Found out by asking, before anything is changed.

use crate::BlocksError;
use crate::hazard::hazard;
use crate::qom::property;
use memtwin_qmp::{Qmp, QmpError};
use serde_json::Value;

/// What to do about a guest that QEMU is known to die with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HazardPolicy {
    /// It is not migrated.
    #[default]
    Refuse,
    /// It is migrated all the same: whose guest it is has said so.
    Accept,
}

/// Why a guest must not be made to migrate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrationObstacle {
    /// Nothing helps: its memory comes in a way that is not decoded.
    #[error("{0}")]
    NotDecoded(String),
    /// QEMU may die, and the guest with it, or harm what it has in memory and on its disks.
    #[error("{0}; with --force it is done all the same, and the guest may be lost")]
    Hazard(String),
}

/// Why this QEMU must not be made to migrate its guest, if it must not.
///
/// Errors: it can't be asked, or its monitor prints something new.
pub fn migration_obstacle(
    qmp: &mut Qmp,
    policy: HazardPolicy,
) -> Result<Option<MigrationObstacle>, BlocksError> {
    let arch = crate::target(qmp)?;
    if let Some(reason) = not_decoded(qmp, &arch)? {
        return Ok(Some(MigrationObstacle::NotDecoded(reason)));
    }
    match policy {
        HazardPolicy::Accept => Ok(None),
        HazardPolicy::Refuse => Ok(hazard(qmp, &arch)?.map(MigrationObstacle::Hazard)),
    }
}

/// Targets that send more of their memory than RAM's pages, while the guest runs.
fn not_decoded(qmp: &mut Qmp, arch: &str) -> Result<Option<String>, QmpError> {
    match arch {
        // `spapr_machine_init()` in hw/ppc/spapr.c registers spapr/htab, whatever the guest uses.
        "ppc" | "ppc64" => {
            let machine = property(qmp, "/machine", "type")?;
            let machine = machine.as_ref().and_then(Value::as_str).unwrap_or_default();
            Ok(machine.starts_with("pseries").then(|| {
                format!(
                    "a {} sends the guest's page table among the pages (section spapr/htab), which is not \
                     decoded: no pseries machine can be audited or replicated; other machine types of {arch} can",
                    machine.trim_end_matches("-machine")
                )
            }))
        }
        // hw/s390x/s390-stattrib.c; sent while this is on, and it is unless QEMU's user says otherwise.
        "s390x" => {
            let sent = property(qmp, "/machine/s390-storage_attributes", "migration-enabled")?;
            Ok((sent == Some(Value::Bool(true))).then(|| {
                "an s390x guest's storage attributes are sent among the pages (section \
                 s390-storage_attributes), which is not decoded; a QEMU that is started with -global \
                 s390-storage_attributes.migration-enabled=off leaves them out of every migration"
                    .to_owned()
            }))
        }
        _ => Ok(None),
    }
}
