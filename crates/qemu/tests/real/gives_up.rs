//! Guests that can give memory back, and those that QEMU does not survive migrating.

use crate::{ARM, PC, machine, wait_for};
use memtwin_qemu::{
    Balloon, HazardPolicy, MigrationObstacle, MigrationStatus, balloon, migration,
    migration_obstacle,
};
use memtwin_qmp::Qmp;
use serde_json::{Value, json};

#[test]
fn a_balloon_is_known_with_what_it_hints_at() {
    for (arguments, expected) in [
        ("-S", None),
        ("-S -device virtio-balloon-pci", Some(Balloon { hints: false })),
        (
            "-S -device virtio-balloon-pci,id=b,free-page-reporting=on",
            Some(Balloon { hints: false }),
        ),
        (
            "-S -object iothread,id=t -device virtio-balloon-pci,free-page-hint=on,iothread=t",
            Some(Balloon { hints: true }),
        ),
        (
            "-S -object iothread,id=t \
             -device virtio-balloon-pci-non-transitional,id=b,free-page-hint=on,iothread=t",
            Some(Balloon { hints: true }),
        ),
    ] {
        let Some((_qemu, mut qmp)) = machine(PC, &format!("-M pc {arguments}")) else { return };
        assert_eq!(balloon(&mut qmp).unwrap(), expected, "{arguments}");
    }
}

#[test]
fn virtio_mem_under_tcg_is_a_hazard_unless_it_is_whole_gibs() {
    for (size, is_one) in [("", false), ("128M", true), ("1G", false), ("1536M", true)] {
        let plugged = match size {
            "" => String::new(),
            size => format!(
                "-object memory-backend-ram,id=m,size={size},reserve=off \
                 -device virtio-mem-pci,id=vm,memdev=m"
            ),
        };
        let arguments = format!("-S -M pc -accel tcg -m 32M,maxmem=4G {plugged}");
        let Some((_qemu, mut qmp)) = machine(PC, &arguments) else { return };
        let obstacle = migration_obstacle(&mut qmp, HazardPolicy::Refuse).unwrap();
        assert_eq!(obstacle.is_some(), is_one, "{size}: {obstacle:?}");
        assert!(obstacle.is_none_or(|reason| reason.to_string().contains("(vm)")));
        assert_eq!(migration_obstacle(&mut qmp, HazardPolicy::Accept).unwrap(), None);
    }
}

/// The order in which QEMU makes its RAMBlocks decides, and flash that is larger does no harm.
#[test]
fn a_first_block_that_is_smaller_is_a_hazard_under_tcg() {
    let objects = |first: &str, second: &str| {
        format!(
            "-S -M pc,memory-backend=ram -m 32M -object memory-backend-ram,{first} \
             -object memory-backend-ram,{second} -device ivshmem-plain,memdev=shm,master=on"
        )
    };
    let (ram, shm) = ("id=ram,size=32M", "id=shm,size=8M");
    for (program, arguments, is_one) in [
        (PC, format!("-accel tcg {}", objects(shm, ram)), true),
        (PC, format!("-accel tcg {}", objects(ram, shm)), false),
        (PC, format!("-accel kvm {}", objects(shm, ram)), false),
        (ARM, "-S -M virt -cpu cortex-a72 -m 32".to_owned(), false),
    ] {
        let Some((_qemu, mut qmp)) = machine(program, &arguments) else { return };
        let obstacle = migration_obstacle(&mut qmp, HazardPolicy::Refuse).unwrap();
        assert_eq!(obstacle.is_some(), is_one, "{arguments}: {obstacle:?}");
        if let Some(obstacle) = obstacle {
            assert!(matches!(obstacle, MigrationObstacle::Hazard(_)), "{obstacle}");
            assert!(obstacle.to_string().contains("RAMBlock ram has 33554432 bytes"), "{obstacle}");
        }
    }
}

/// A card with two serial ports of four: QEMU's state of the others was never made.
#[test]
fn a_device_that_qemu_dies_with_is_a_hazard_under_any_accelerator() {
    for (accelerator, device, is_one) in [
        ("kvm", "pci-serial-2x", true),
        ("tcg", "pci-serial-2x,id=two", true),
        ("tcg", "pci-serial-4x", false),
        ("kvm", "pci-serial", false),
    ] {
        let arguments = format!("-S -M pc -accel {accelerator} -m 32M -device {device}");
        let Some((_qemu, mut qmp)) = machine(PC, &arguments) else { return };
        let obstacle = migration_obstacle(&mut qmp, HazardPolicy::Refuse).unwrap();
        assert_eq!(obstacle.is_some(), is_one, "{arguments}: {obstacle:?}");
        if let Some(obstacle) = obstacle {
            assert!(
                obstacle.to_string().contains("the device pci-serial-2x (/machine/peripheral"),
                "{obstacle}"
            );
        }
    }
}

/// The clock of a Zynq MPSoC: what is refused comes true with QEMU alone.
#[test]
fn a_clock_that_a_migration_puts_ahead_is_a_hazard() {
    let Some((_qemu, mut qmp)) = machine(ARM, "-S -M xlnx-zcu102 -m 128M -audio none") else {
        return;
    };
    let obstacle = migration_obstacle(&mut qmp, HazardPolicy::Refuse).unwrap().unwrap();
    let named = "the device xlnx-zynmp.rtc (/machine/soc/rtc)";
    assert!(obstacle.to_string().contains(named), "{obstacle}");
    // Its register CURRENT_TIME, in seconds.
    let clock = |qmp: &mut Qmp| {
        let said = qmp.hmp("xp /1wx 0xffa60010").unwrap();
        let word = said.rsplit("0x").next().unwrap().trim().to_owned();
        u32::from_str_radix(&word, 16).unwrap()
    };
    let before = clock(&mut qmp);
    let _: Value = qmp.execute("migrate", json!({ "uri": "exec:cat>/dev/null" })).unwrap();
    wait_for("that its state is saved", || {
        migration(&mut qmp).unwrap().status == MigrationStatus::Completed
    });
    let years = clock(&mut qmp).wrapping_sub(before) / (365 * 24 * 3600);
    assert!(years > 50, "{years}");
}

/// QEMU does a request of such a drive twice, or dies: whatever type it is of, and only where it has a medium.
#[test]
fn a_medium_behind_a_bus_master_is_a_hazard_under_any_accelerator() {
    let disk = "-drive format=raw,file=null-co://,read-only=on";
    for (arguments, kind) in [
        (format!("-M pc -accel kvm {disk},if=ide,media=cdrom"), Some("piix3-ide (/machine/")),
        (format!("-M pc -accel tcg {disk},if=ide,media=cdrom"), Some("piix3-ide (/machine/")),
        (
            format!("-M pc {disk},if=none,id=d -device ide-cd,id=cd,drive=d"),
            Some("piix3-ide (/machine/peripheral/cd)"),
        ),
        (
            format!(
                "-M q35 -device piix4-ide,id=c {disk},if=none,id=d -device ide-cd,bus=c.0,drive=d"
            ),
            Some("piix4-ide (/machine/peripheral-anon/"),
        ),
        // The controls: no medium, SATA, virtio.
        ("-M pc -device ide-cd".to_owned(), None),
        (format!("-M q35 {disk},if=ide,media=cdrom"), None),
        (format!("-M pc {disk},if=virtio"), None),
    ] {
        let Some((_qemu, mut qmp)) = machine(PC, &format!("-S -m 32M {arguments}")) else { return };
        let obstacle = migration_obstacle(&mut qmp, HazardPolicy::Refuse).unwrap();
        assert_eq!(obstacle.is_some(), kind.is_some(), "{arguments}: {obstacle:?}");
        if let (Some(obstacle), Some(kind)) = (obstacle, kind) {
            assert!(obstacle.to_string().contains(kind), "{obstacle}");
            assert_eq!(migration_obstacle(&mut qmp, HazardPolicy::Accept).unwrap(), None);
        }
    }
}
