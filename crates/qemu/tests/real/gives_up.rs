//! Guests that can give memory back, and those that QEMU does not survive migrating.

use crate::{PC, machine};
use memtwin_qemu::{Balloon, balloon, migration_hazard};

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
        let hazard = migration_hazard(&mut qmp).unwrap();
        assert_eq!(hazard.is_some(), is_one, "{size}: {hazard:?}");
        assert!(hazard.is_none_or(|reason| reason.contains("(vm)")));
    }
}
