//! Writers beyond the CPU: a disk, a source of random numbers, a network card, and a reboot, each
//! seen to write while an audit goes on, and judged.

use crate::common::{Held, json, memtwin, text, until, verdicts};
use crate::flood::Flood;
use crate::guest::Guest;
use memtwin_lab::Arch;
use memtwin_qemu::{MigrationStatus, migration};
use memtwin_qmp::Qmp;
use std::io::Read;
use std::time::Duration;

/// How long an audit goes on. The guest is asked twice meanwhile, over a slow console.
const AUDIT: &str = "5s";

/// A device that writes the guest's RAM, as long as a program of the guest reads it.
struct Writer {
    name: &'static str,
    /// The program; none if it writes by itself.
    program: Option<&'static str>,
    /// Prints how much it has written.
    counter: &'static str,
}

const WRITERS: [Writer; 3] = [
    Writer {
        name: "blk",
        program: Some("dd if=/dev/vda of=/dev/null bs=1M iflag=direct"),
        // Sectors read.
        counter: "awk '{print $3}' /sys/block/vda/stat",
    },
    Writer {
        name: "rng",
        program: Some("dd if=/dev/hwrng of=/dev/null bs=512 count=64"),
        // The interrupts of its queue, all CPUs together.
        counter: "d=$(ls /sys/bus/virtio/drivers/virtio_rng | grep virtio); \
                  awk -v d=$d- 'index($0, d) {s = $2 + $3} END {print s}' /proc/interrupts",
    },
    // The flood comes from us.
    Writer { name: "net", program: None, counter: "awk '/eth0/ {print $3}' /proc/net/dev" },
];

/// An audit that goes on.
struct Audit {
    held: Held,
    monitor: Qmp,
    record: std::path::PathBuf,
}

impl Audit {
    fn begin(guest: &Guest, name: &str) -> Self {
        let record = guest.place.path(&format!("{name}.json"));
        let mut command = memtwin();
        command.arg("audit").arg(guest.qmp()).args(["--quiet", "--max-pause", "1m"]);
        command.args(["--seconds", AUDIT, "--json"]);
        let held = Held::spawn(command.arg(&record));
        let mut this = Self { held, monitor: guest.monitor(), record };
        until("the audit begins", || this.goes_on());
        this
    }

    /// Whether QEMU is in pre-copy for it: it is not over.
    fn goes_on(&mut self) -> bool {
        migration(&mut self.monitor).unwrap().status == MigrationStatus::Active
    }

    /// Its end: every block judged, none with a lost page, and the control found. `reset`: the machine
    /// was, so [`ACPI`] may differ, and what the control had withheld may be as it was before.
    fn end(mut self, name: &str, reset: bool) {
        let status = self.held.end();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        self.held.0.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        self.held.0.stderr.take().unwrap().read_to_end(&mut err).unwrap();
        println!("{name}: {}", text(&out));
        let said = format!("{name}: {}{}", text(&out), text(&err));
        let record = json(&self.record);
        let mut verdicts = verdicts(&record);
        let mut code = 0;
        let mut may = |so: bool, then| {
            code = if so && code != 1 { then } else { code };
            !so
        };
        if reset {
            verdicts.retain(|(case, verdict, _)| {
                let acpi = ACPI.contains(&case.trim_start_matches("audit/"));
                let control = case.ends_with("/control");
                may(acpi && verdict == "differs", 1)
                    && may(control && verdict == "inconclusive", 11)
            });
        }
        assert_eq!(status.code(), Some(code), "{said}");
        for (case, verdict, passed) in &verdicts {
            let expected = if case.ends_with("/control") { "differs" } else { "identical" };
            assert_eq!((verdict.as_str(), *passed), (expected, true), "{name}: {case}");
        }
        let controls = verdicts.iter().filter(|(case, ..)| case.ends_with("/control"));
        assert!(reset || controls.count() == 1, "{name}: {verdicts:?}");
    }
}

/// Audits a guest with each writer in turn, and then with a reboot in the middle.
pub(crate) fn audit(arch: Arch) {
    let mut guest = Guest::boot(arch);
    for Writer { name, program, counter } in WRITERS {
        let flood = match program {
            Some(program) => {
                let again = format!("while :; do {program} 2>/dev/null; done");
                guest.order(&format!("start {name} sh -c '{again}'"));
                None
            }
            None => Some(Flood::start(&guest.place.path("us"), &guest.place.path("net"))),
        };
        let mut audit = Audit::begin(&guest, name);
        let before = guest.number(counter);
        let mut after = before;
        until("it writes", || {
            after = guest.number(counter);
            after > before
        });
        // Both were read while QEMU logged, so what was written between was logged or lost.
        assert!(audit.goes_on(), "{name}: the audit was over too early to say");
        audit.end(name, false);
        println!("{name}: {before} -> {after} within the audit");
        drop(flood);
        if program.is_some() {
            guest.stop(name);
        }
    }
    reboot(&mut guest);
}

/// Which QEMU puts back at a reset, on the host pointer (`rom_reset()`, hw/core/loader.c): they differ if
/// the guest was stopped before its firmware asked for them.
const ACPI: [&str; 3] = ["/rom@etc/acpi/tables", "/rom@etc/table-loader", "/rom@etc/acpi/rsdp"];

/// The machine is reset while it is audited: its kernel and initramfs are loaded again, by QEMU.
fn reboot(guest: &mut Guest) {
    let mut audit = Audit::begin(guest, "reboot");
    audit.monitor.execute::<serde_json::Value>("system_reset", serde_json::json!({})).unwrap();
    let reset = audit.monitor.wait_event(Duration::from_secs(60), |event| event.name == "RESET");
    println!("{reset:?}");
    assert!(reset.unwrap().is_some(), "no reset");
    assert!(audit.goes_on(), "the audit was over before the reset");
    audit.end("reboot", true);
    guest.ready();
}
