//! The blocks of machines of several kinds, as this QEMU prints them.

use crate::{ARM, PC, block, machine};
use memtwin_pages::{Gpa, Window};
use memtwin_qemu::blocks;

fn window(gpa: u64, offset: u64, bytes: u64) -> Window {
    Window { gpa: Gpa(gpa), offset, bytes }
}

#[test]
fn ram_above_4_gib_and_a_dimm() {
    let dimm = "-M q35 -accel kvm -m 5G,slots=2,maxmem=16G -S -object memory-backend-ram,id=m.0-1,size=1G -device pc-dimm,memdev=m.0-1";
    let Some((_qemu, mut qmp)) = machine(PC, dimm) else { return };
    let blocks = blocks(&mut qmp).unwrap();
    let ram = block(&blocks, "pc.ram");
    assert_eq!((ram.used, ram.host_page), (5 << 30, rustix::param::page_size() as u64));
    // q35 has 2 GiB below the hole.
    assert_eq!(ram.windows.last(), Some(&window(4 << 30, 2 << 30, 3 << 30)));
    assert_eq!(block(&blocks, "m.0-1").windows.len(), 1);
    assert!(blocks.iter().all(|block| block.hva.is_some()
        || !block.windows.is_empty()
        || block.name.starts_with("/rom@")));
}

#[test]
fn an_arm_board_with_flash_and_secure_memory() {
    let board = "-M virt,secure=on -cpu cortex-a72 -m 256 -S -device virtio-gpu-pci -device ramfb";
    let Some((_qemu, mut qmp)) = machine(ARM, board) else { return };
    let blocks = blocks(&mut qmp).unwrap();
    assert_eq!(block(&blocks, "mach-virt.ram").windows, [window(1 << 30, 0, 256 << 20)]);
    assert_eq!(block(&blocks, "virt.flash1").windows, [window(64 << 20, 0, 64 << 20)]);
    // The secure world alone sees it, so it has no address in the system's.
    assert_eq!(block(&blocks, "virt.secure-ram").windows, []);
}

#[test]
fn a_machine_without_memory_has_no_blocks() {
    let Some((_qemu, mut qmp)) = machine(PC, "-M none") else { return };
    assert_eq!(blocks(&mut qmp).unwrap(), []);
}

/// Two devices whose memory has the same name, both mapped by the firmware.
#[test]
fn memory_of_two_devices_of_a_kind() {
    let two = "-M q35 -accel kvm -m 64 -device VGA -device secondary-vga -device VGA,vgamem_mb=32";
    let Some((_qemu, mut qmp)) = machine(PC, two) else { return };
    if blocks(&mut qmp).unwrap().iter().all(|block| block.read_only.is_none()) {
        eprintln!("skipped: this QEMU does not say where blocks lie: nothing tells these apart");
        return;
    }
    let vram = |qmp: &mut memtwin_qmp::Qmp| -> Vec<_> {
        let blocks = blocks(qmp).unwrap();
        blocks.into_iter().filter(|block| block.name.ends_with("/vga.vram")).collect()
    };
    crate::wait_for("the firmware maps all three", || {
        vram(&mut qmp).iter().all(|block| block.windows.len() == 1)
    });
    let vram = vram(&mut qmp);
    assert_eq!(vram.len(), 3);
    for block in &vram {
        let Window { gpa, offset, bytes } = block.windows[0];
        assert_eq!((offset, bytes), (0, block.used), "{block:?}");
        let said = qmp.hmp(&format!("gpa2hva {gpa}")).unwrap();
        let hva = block.hva.unwrap();
        assert!(said.contains(&format!("is {hva:#x}")), "{said} {hva:#x}");
    }
}

/// Memory that QEMU does not migrate has no name: a backend that no device uses, virtio-pmem's.
#[test]
fn memory_that_has_no_name_is_in_nobodys_way() {
    let spare = "-M pc -accel kvm -m 64,slots=4,maxmem=1G -S -object memory-backend-ram,id=spare,size=16M -object memory-backend-ram,id=pm,size=8M -device virtio-pmem-pci,memdev=pm";
    let Some((qemu, mut qmp)) = machine(PC, spare) else { return };
    let listed = blocks(&mut qmp).unwrap();
    let mut unnamed: Vec<_> = listed.iter().filter(|block| !block.is_named).collect();
    unnamed.sort_by_key(|block| block.used);
    assert_eq!(unnamed.iter().map(|block| block.used).collect::<Vec<_>>(), [8 << 20, 16 << 20]);
    assert!(unnamed.iter().all(|block| block.name.starts_with("unnamed@0x")), "{unnamed:?}");
    assert_ne!(unnamed[0].name, unnamed[1].name);
    assert_eq!(block(&listed, "pc.ram").windows[0].gpa, Gpa(0));
    assert_eq!(crate::process(&mut qmp, &listed).pid(), qemu.pid());
}
