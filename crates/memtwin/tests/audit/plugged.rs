//! Memory that is plugged and unplugged while a guest is audited with several stops. QEMU takes either
//! between two of them only.

use crate::common::{Held, until};
use crate::machine::{BareMachine, PC, case};
use memtwin_qemu::{MigrationStatus, RamCounters, blocks, migration};
use memtwin_qmp::QmpError;
use memtwin_report::record::Verdict;
use serde_json::{Value, json};

const ARGUMENTS: &str = "-M pc -accel kvm -m 16M,slots=2,maxmem=1G -bios unplugging";

impl BareMachine {
    /// Plugs a DIMM, as soon as QEMU takes it.
    fn plug(&mut self, bytes: u64) {
        let backend = json!({"qom-type": "memory-backend-ram", "id": "mem", "size": bytes});
        self.qmp.execute::<Value>("object-add", backend).unwrap();
        let dimm = json!({"driver": "pc-dimm", "id": "dimm", "memdev": "mem"});
        until("a DIMM is plugged", || {
            self.qmp.execute::<Value>("device_add", dimm.clone()).is_ok()
        });
    }

    /// Unplugs it, as soon as QEMU takes that, and waits until the guest has let it go.
    fn unplug(&mut self) {
        let id = |id: &str| json!({ "id": id });
        until("it may be unplugged", || {
            match self.qmp.execute::<Value>("device_del", id("dimm")) {
                // The guest may be quicker than QEMU's answer.
                Err(QmpError::Refused { class, .. }) => class == "DeviceNotFound",
                answer => answer.is_ok(),
            }
        });
        until("it is gone", || self.qmp.execute::<Value>("object-del", id("mem")).is_ok());
    }

    /// Waits until an audit follows the guest with the memory that it has now: QEMU has sent all of it once,
    /// so the blocks were not found to be others.
    fn is_followed(&mut self) {
        let blocks = blocks(&mut self.qmp).unwrap();
        let bytes = blocks.iter().filter(|block| block.is_named).map(|block| block.used).sum();
        until("it is audited", || {
            let now = migration(&mut self.qmp).unwrap();
            let sent = |ram: RamCounters| (ram.normal + ram.duplicate) * ram.page_size;
            now.status == MigrationStatus::Active
                && now.ram.is_some_and(|ram| ram.total == bytes && sent(ram) >= bytes)
        });
    }
}

fn ended(audit: &mut Held) -> Option<i32> {
    audit.end().code()
}

#[test]
fn what_was_judged_stays_judged_when_memory_comes_and_goes() {
    let Some(mut machine) = BareMachine::start(PC, ARGUMENTS) else { return };
    machine.writes();
    let before = machine.setup();
    let mut audit = machine.auditing("--pause-every 1 --rounds 20 --rounds-per-second 5");
    machine.is_followed();
    machine.plug(16 << 20);
    machine.is_followed();
    machine.unplug();
    machine.is_followed();
    machine.plug(32 << 20);
    machine.is_followed();
    machine.unplug();
    assert!(!blocks(&mut machine.qmp).unwrap().iter().any(|block| block.name == "mem"));
    assert_eq!(ended(&mut audit), Some(0));
    machine.is_as(&before);

    let record = machine.record();
    for (name, bytes) in
        [("audit/pc.ram", 16 << 20), ("audit/mem", 16 << 20), ("audit/mem#2", 32 << 20)]
    {
        let case = case(&record, name);
        assert_eq!(
            (case.verdict(), case.regions()[0].bytes),
            (Verdict::Identical, bytes),
            "{case:?}"
        );
    }
    let some_of_them = |bytes: u64| {
        let begins = format!("RAMBlock mem of {bytes} bytes was there at ");
        record
            .notes
            .iter()
            .any(|note| note.starts_with(&begins) && note.contains(" stops, and is judged"))
    };
    assert!(some_of_them(16 << 20) && some_of_them(32 << 20), "{:?}", record.notes);
    assert!(
        !record.notes.iter().any(|note| note.starts_with("RAMBlock pc.ram")),
        "{:?}",
        record.notes
    );
    let control = record.cases.iter().find(|case| case.control().is_some()).unwrap();
    assert!(control.passed(), "{control:?}");
}
