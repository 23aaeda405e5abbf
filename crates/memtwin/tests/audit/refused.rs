//! What stands in the way: each is said in one line with a way out, exit 3, and nothing changed.

use crate::common::{Place, expect, memtwin, until};
use crate::machine::{BareMachine, PC, all_identical};
use memtwin_qemu::MigrationStatus;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

fn refused(command: &mut Command, parts: &[&str]) {
    let (out, err) = expect(3, command);
    assert_eq!(out, "");
    assert_eq!(err.trim_end().lines().count(), 1, "{err}");
    for part in parts {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn no_qmp_there() {
    let place = Place::new();
    let at = |name: &str| {
        let mut command = memtwin();
        command.arg("audit").arg(place.path(name)).arg("--quiet");
        command
    };
    refused(&mut at("missing"), &["no such socket", "-qmp unix:"]);
    fs::write(place.path("file"), "x").unwrap();
    refused(&mut at("file"), &["no stream socket"]);
    refused(&mut at("."), &["no stream socket"]);
    drop(UnixListener::bind(place.path("left")).unwrap());
    refused(&mut at("left"), &["nobody listens"]);
    let other = UnixListener::bind(place.path("other")).unwrap();
    let server = std::thread::spawn(move || {
        other.accept().unwrap().0.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    });
    refused(&mut at("other"), &["no QMP server", "SSH-2.0"]);
    server.join().unwrap();
}

#[test]
fn a_guest_that_qemu_does_not_survive_migrating() {
    let plugged = "-object memory-backend-ram,id=m,size=128M,reserve=off \
                   -device virtio-mem-pci,id=vm,memdev=m";
    let arguments = format!("-M pc -accel tcg -m 32M,maxmem=4G -bios firmware {plugged}");
    let Some(mut machine) = BareMachine::start(PC, &arguments) else { return };
    let before = machine.setup();
    for more in ["", "--dry-run"] {
        refused(&mut machine.audit(more), &["virtio-mem (vm) under TCG", "use KVM", "--force"]);
    }
    assert_eq!(machine.setup(), before);
}

/// The second block is larger than the first, and nobody writes it: whoever knows that may go on.
#[test]
fn a_hazard_is_refused_until_it_is_forced() {
    let arguments = "-M pc,memory-backend=ram -accel tcg -m 32M -bios firmware \
        -object memory-backend-ram,id=ram,size=32M -object memory-backend-ram,id=shm,size=64M \
        -device ivshmem-plain,memdev=shm,master=on";
    let Some(mut machine) = BareMachine::start(PC, arguments) else { return };
    machine.writes_to("ram");
    let before = machine.setup();
    let why = ["RAMBlock 0000:00:02.0/shm has 67108864 bytes", "\"ram\", has 33554432", "--force"];
    for more in ["", "--dry-run"] {
        refused(&mut machine.audit(more), &why);
    }
    let mut replicate = memtwin();
    replicate.arg("replicate").arg(format!("qemu:{}", machine.qemu.qmp().display()));
    replicate.args(["discard", "--rounds", "1", "--quiet"]);
    refused(&mut replicate, &why);
    assert_eq!(machine.setup(), before);
    expect(0, &mut machine.audit("--force --dry-run"));
    expect(0, &mut machine.audit("--force --rounds 2"));
    machine.is_as(&before);
    all_identical(&machine.record());
    expect(4, replicate.arg("--force"));
    machine.is_as(&before);
    let kvm = memtwin().args(["replicate", "kvm", "discard", "--force"]).output().unwrap();
    assert_eq!(kvm.status.code(), Some(2), "it is for a QEMU");
}

/// A CD in an IDE drive: taken out, as the reason says, the guest is audited.
#[test]
fn a_medium_behind_a_bus_master_is_refused_until_it_is_taken_out() {
    let arguments = "-M pc -accel kvm -m 32M -bios firmware \
        -drive if=ide,media=cdrom,format=raw,file=null-co://,read-only=on,id=disc";
    let Some(mut machine) = BareMachine::start(PC, arguments) else { return };
    machine.writes_to("pc.ram");
    let before = machine.setup();
    for more in ["", "--dry-run"] {
        refused(&mut machine.audit(more), &["a drive of piix3-ide", "take a CD out", "--force"]);
    }
    machine.is_as(&before);
    let _: Value =
        machine.qmp.execute("eject", json!({ "device": "disc", "force": true })).unwrap();
    let before = machine.setup();
    expect(0, &mut machine.audit("--rounds 2"));
    machine.is_as(&before);
    all_identical(&machine.record());
}

/// The second block is larger than the first, and the guest writes it: what was said comes true.
#[test]
fn a_hazard_that_is_forced_is_one() {
    let arguments = "-M pc,memory-backend=ram -accel tcg -m 32M -bios firmware \
        -object memory-backend-ram,id=shm,size=16M -object memory-backend-ram,id=ram,size=32M \
        -device ivshmem-plain,memdev=shm,master=on";
    let Some(mut machine) = BareMachine::start(PC, arguments) else { return };
    machine.writes_to("ram");
    let before = machine.setup();
    refused(
        &mut machine.audit(""),
        &["RAMBlock ram has 33554432 bytes", "has 16777216", "--force"],
    );
    assert_eq!(machine.setup(), before);
    expect(11, &mut machine.audit("--force --rounds 2"));
    until("QEMU has ended", || machine.qemu.ended().unwrap().is_some());
    let said = fs::read_to_string(machine.qemu.dir().join("stderr")).unwrap();
    assert!(said.contains("tlb_reset_dirty_range_all"), "{said}");
}

/// The same order, of memory of which nothing is plugged: it is not written, and QEMU survives.
#[test]
fn memory_that_is_not_plugged_is_no_hazard() {
    let arguments = "-M pc,memory-backend=ram -accel tcg -m 32M,maxmem=4G -bios firmware \
        -object memory-backend-ram,id=ram,size=32M \
        -object memory-backend-ram,id=more,size=1G,reserve=off \
        -device virtio-mem-pci,id=plugged,memdev=more,requested-size=64M";
    let Some(mut machine) = BareMachine::start(PC, arguments) else { return };
    machine.writes_to("ram");
    // The control: the guest may have it plugged at any time.
    refused(&mut machine.audit("--dry-run"), &["more has 1073741824 bytes", "--force"]);
    let none = json!({ "path": "plugged", "property": "requested-size", "value": 0 });
    let _: Value = machine.qmp.execute("qom-set", none).unwrap();
    let before = machine.setup();
    expect(0, &mut machine.audit("--rounds 2"));
    machine.is_as(&before);
    all_identical(&machine.record());
}

/// A target that sends more of its memory than pages.
#[test]
fn what_is_not_decoded_is_refused_before_anything_is_changed() {
    for (program, arguments, why) in [
        ("qemu-system-ppc64", "-M pseries -m 256 -S -bios firmware", "spapr/htab"),
        ("qemu-system-s390x", "-M s390-ccw-virtio -m 64 -S", "s390-storage_attributes"),
    ] {
        let Some(mut machine) = BareMachine::start(program, arguments) else { continue };
        let before = machine.setup();
        for more in ["", "--dry-run", "--force"] {
            refused(&mut machine.audit(more), &[why, "not decoded"]);
        }
        machine.is_as(&before);
    }
}

#[test]
fn somebody_else_migrates() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let path = machine.qemu.dir().join("slow");
    let _nobody_reads = UnixListener::bind(&path).unwrap();
    let uri = serde_json::json!({ "uri": format!("unix:{}", path.display()) });
    machine.qmp.execute::<serde_json::Value>("migrate", uri).unwrap();
    let mut fds = 0;
    crate::common::until("it migrates", || {
        fds = fs::read_dir(format!("/proc/{}/fd", machine.qemu.pid())).unwrap().count();
        memtwin_qemu::migration(&mut machine.qmp).unwrap().status == MigrationStatus::Active
    });
    let before = machine.setup();
    refused(&mut machine.audit(""), &["is under way ('active')", "migrate_cancel"]);
    assert_eq!(machine.setup(), before);
    let status = memtwin_qemu::migration(&mut machine.qmp).unwrap().status;
    assert_eq!(status, MigrationStatus::Active, "theirs goes on");
}

#[test]
fn a_blocker_is_quoted() {
    let nvme = "-drive if=none,id=d,file=null-co://,format=raw -device nvme,drive=d,serial=1";
    let peer = "-object memory-backend-file,id=m,size=1M,mem-path=shared,share=on \
        -device ivshmem-plain,memdev=m,master=off";
    for (device, words) in [(nvme, "nvme"), (peer, "peer mode")] {
        let Some(mut machine) = BareMachine::writing(device) else { return };
        let before = machine.setup();
        refused(&mut machine.audit(""), &["QEMU can't migrate this guest", words]);
        machine.is_as(&before);
    }
}

#[test]
fn the_wrong_process() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let ours = std::process::id();
    refused(&mut machine.audit(&format!("--pid {ours}")), &["is not this QEMU", "--pid"]);
    refused(&mut machine.audit("--pid 4194304"), &["has ended"]);
    let Some(other) = BareMachine::start(PC, "-M pc -accel kvm -m 16 -S") else { return };
    let wrong = format!("--pid {}", other.qemu.pid());
    refused(&mut machine.audit(&wrong), &["is not this QEMU"]);
    machine.is_as(&before);
    expect(0, &mut machine.audit(&format!("--rounds 1 --pid {}", machine.qemu.pid())));
}

#[test]
fn an_ordinary_user_may_not_read_root_s_memory() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(machine.qemu.dir(), 0o777);
    let program = machine.qemu.dir().join("memtwin");
    fs::copy(env!("CARGO_BIN_EXE_memtwin"), &program).unwrap();
    open(&program, 0o755);
    let mut audit = Command::new("setpriv");
    audit.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    audit.arg("audit").arg(machine.qemu.qmp()).stdin(std::process::Stdio::null());
    refused(&mut audit, &["permission denied", "as root"]);
    open(&machine.qemu.qmp(), 0o777);
    refused(&mut audit, &["not allowed to read the memory", "run Memtwin as root"]);
    machine.is_as(&before);
}

#[test]
fn no_room_for_the_twin() {
    let Some(mut machine) = BareMachine::writing("-m 256") else { return };
    let before = machine.setup();
    let mut audit = Command::new("prlimit");
    audit.arg("--as=200000000").arg(env!("CARGO_BIN_EXE_memtwin")).arg("audit");
    audit.arg(machine.qemu.qmp()).arg("--quiet").stdin(std::process::Stdio::null());
    refused(&mut audit, &["no room for the audit's twin", "RLIMIT_AS"]);
    machine.is_as(&before);
    machine.writes();
}

#[test]
fn a_record_that_can_t_be_saved_is_told_before_anything_is_changed() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut audit = memtwin();
    audit.arg("audit").arg(machine.qemu.qmp()).args(["--json", "/no/such/directory/x"]);
    refused(&mut audit, &["/no/such/directory/x"]);
    machine.is_as(&before);
}

/// A monitor's other forms, and QEMU's other sockets: each is understood, or named as what it is.
#[test]
fn what_is_a_monitor_of_another_form_and_what_is_none() {
    let sockets = "-qmp-pretty unix:pretty,server=on,wait=off \
        -serial unix:serial,server=on,wait=off -device virtio-serial \
        -monitor unix:human,server=on,wait=off \
        -chardev socket,path=agent,server=on,wait=off,id=qga0 \
        -device virtserialport,chardev=qga0,name=org.qemu.guest_agent.0";
    let Some(mut machine) = BareMachine::writing(sockets) else { return };
    let before = machine.setup();
    let at = |name: &str| {
        let mut audit = memtwin();
        audit.arg("audit").arg(machine.qemu.dir().join(name)).args([
            "--quiet",
            "--rounds",
            "1",
            "--max-pause",
            "1m",
        ]);
        audit
    };
    expect(0, &mut at("pretty"));
    refused(&mut at("serial"), &["serial: no greeting", "it is a serial line of the guest"]);
    refused(&mut at("agent"), &["agent: no greeting", "it is a guest agent's channel"]);
    refused(&mut at("human"), &["no QMP server", "QEMU's human monitor"]);
    // The test's own connection is the one client of this monitor.
    refused(&mut at("second"), &["another one seems to be connected", "ss -xp"]);
    machine.is_as(&before);
    // Nobody has this port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tcp = format!("tcp:127.0.0.1:{port}");
    refused(memtwin().args(["audit", &tcp, "--dry-run"]), &[&tcp, "nobody listens there"]);
}

/// What names no monitor at all is a mistake on the command line: what was expected is said.
#[test]
fn what_names_no_monitor() {
    let wrong = [
        ("tcp:host", "expected tcp:HOST:PORT"),
        ("telnet:127.0.0.1:1", "without telnet"),
        ("fd:x", "the number of a connected socket"),
        ("libvirt:", "expected libvirt:DOMAIN"),
        ("@", "expected @NAME"),
    ];
    for (target, part) in wrong {
        let (_, err) = expect(2, memtwin().args(["audit", target]));
        assert!(err.contains(part), "{target}: {err}");
        let source = format!("qemu:{target}");
        let (_, err) = expect(2, memtwin().args(["replicate", &source, "discard"]));
        assert!(err.contains(part), "{target}: {err}");
    }
    expect(2, memtwin().args(["audit"]));
    expect(2, memtwin().args(["audit", "--all", "q"]));
    let mut closed = memtwin();
    refused(closed.args(["audit", "fd:77"]), &["fd:77 is not open", "connected stream socket"]);
    // Elsewhere: its memory is there.
    let far = "libvirt:g@qemu+ssh://far.invalid/system";
    refused(memtwin().args(["audit", far, "--quiet"]), &["on far.invalid", "run Memtwin there"]);
}
