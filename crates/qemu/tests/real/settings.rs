//! Migration settings are changed, and put back.

use crate::{PC, machine};
use memtwin_qemu::{QemuSettings, SettingsError, capabilities, migration, parameters};
use serde_json::{Value, json};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

#[test]
fn they_are_put_back_as_they_were() {
    let Some((_qemu, mut qmp)) = machine(PC, "-M pc -accel kvm -m 64 -S") else { return };
    // Somebody has settings of their own.
    let theirs =
        QemuSettings::new().capability("auto-converge", true).parameter("max-bandwidth", 7 << 20);
    theirs.apply(&mut qmp).unwrap();
    let before = (capabilities(&mut qmp).unwrap(), parameters(&mut qmp).unwrap());

    let ours = QemuSettings::new()
        .capability("return-path", true)
        .capability("auto-converge", false)
        .capability("xbzrle", false)
        .parameter("max-bandwidth", 100 << 20)
        .parameter("downtime-limit", 1);
    let saved = ours.before(&mut qmp).unwrap();
    ours.apply(&mut qmp).unwrap();
    ours.apply(&mut qmp).unwrap();
    assert!(capabilities(&mut qmp).unwrap()["return-path"]);
    assert_eq!(parameters(&mut qmp).unwrap()["downtime-limit"], 1);

    // What a guardian would get.
    let saved: QemuSettings =
        serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
    assert_eq!(saved.capabilities.len() + saved.parameters.len(), 5);
    saved.apply(&mut qmp).unwrap();
    assert_eq!((capabilities(&mut qmp).unwrap(), parameters(&mut qmp).unwrap()), before);
}

#[test]
fn what_qemu_does_not_know_or_refuses_changes_nothing() {
    let Some((_qemu, mut qmp)) = machine(PC, "-M pc -accel kvm -m 64 -S") else { return };
    let before = (capabilities(&mut qmp).unwrap(), parameters(&mut qmp).unwrap());
    let unknown = QemuSettings::new().capability("of-tomorrow", true).capability("xbzrle", true);
    let error = unknown.before(&mut qmp).unwrap_err();
    assert!(matches!(error, SettingsError::Unknown { kind: "capability", .. }), "{error}");
    assert!(unknown.apply(&mut qmp).is_err());
    // Postcopy and background snapshots exclude each other.
    let refused = QemuSettings::new()
        .capability("background-snapshot", true)
        .capability("postcopy-ram", true);
    let error = refused.apply(&mut qmp).unwrap_err();
    assert!(matches!(error, SettingsError::Qmp(_)), "{error}");
    assert_eq!((capabilities(&mut qmp).unwrap(), parameters(&mut qmp).unwrap()), before);
}

/// Capabilities have to wait for the end, parameters are put back at once.
#[test]
fn while_a_migration_is_under_way_parameters_are_put_back_all_the_same() {
    let Some((_qemu, mut qmp)) = machine(PC, "-M pc -accel kvm -m 64 -S") else { return };
    let ours = QemuSettings::new().capability("return-path", true).parameter("downtime-limit", 1);
    let saved = ours.before(&mut qmp).unwrap();
    ours.apply(&mut qmp).unwrap();
    let (mut here, there) = UnixStream::pair().unwrap();
    qmp.send_fd("memtwin", there.as_fd()).unwrap();
    drop(there);
    qmp.execute::<Value>("migrate", json!({"uri": "fd:memtwin"})).unwrap();
    here.read_exact(&mut [0; 8]).unwrap();
    let error = saved.apply(&mut qmp).unwrap_err().to_string();
    assert!(error.contains("migrate-set-capabilities"), "{error}");
    assert_eq!(parameters(&mut qmp).unwrap()["downtime-limit"], saved.parameters["downtime-limit"]);
    qmp.execute::<Value>("migrate_cancel", ()).unwrap();
    drop(here);
    crate::wait_for("the end", || !migration(&mut qmp).unwrap().status.is_under_way());
    saved.apply(&mut qmp).unwrap();
    assert!(!capabilities(&mut qmp).unwrap()["return-path"]);
}
