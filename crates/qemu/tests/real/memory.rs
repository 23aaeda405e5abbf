//! The guest's real memory, compared with what QEMU itself saves of it.

use crate::{ARM, PC, block, machine, process, wait_for};
use memtwin_pages::Image;
use memtwin_qemu::{Block, BlockMemory, MemoryError, Process, blocks};
use memtwin_qmp::Qmp;
use memtwin_testbed::Qemu;
use serde_json::{Value, json};
use std::fs;

const MIB: u64 = 1 << 20;

/// Everything that the guest sees of a block, up to some MiB of each window's ends.
fn compare(qemu: &Qemu, qmp: &mut Qmp, block: &Block, memory: &BlockMemory) -> u64 {
    let mut compared = 0;
    for window in &block.windows {
        let bytes = window.bytes.min(block.used - window.offset);
        let part = bytes.min(8 * MIB);
        for from in [0, bytes - part] {
            let file = qemu.dir().join("saved");
            let arguments = json!({"val": window.gpa.0 + from, "size": part, "filename": file});
            qmp.execute::<Value>("pmemsave", arguments).unwrap();
            let saved = fs::read(&file).unwrap();
            let mut read = vec![0; saved.len()];
            memory.read_at(window.offset + from, &mut read).unwrap();
            assert!(read == saved, "{} at {from:#x} of {window:?}", block.name);
            compared += read.iter().filter(|byte| **byte != 0).count() as u64;
        }
    }
    compared
}

/// Lets the firmware write, stops, and compares all blocks.
fn firmware_written(machine: Option<(Qemu, Qmp)>, ram: &str, scratch: u64) {
    let Some((qemu, mut qmp)) = machine else { return };
    let at_start = blocks(&mut qmp).unwrap();
    let process = process(&mut qmp, &at_start);
    assert_eq!(process.pid(), qemu.pid());
    let memory = BlockMemory::new(process.clone(), block(&at_start, ram)).unwrap();
    let mut page = vec![0; 4096];
    let mut is_written = |memory: &BlockMemory| {
        memory.read_at(scratch, &mut page).unwrap();
        page.iter().any(|byte| *byte != 0)
    };
    assert!(!is_written(&memory));
    qmp.execute::<Value>("cont", ()).unwrap();
    // A running guest's memory, seen to change.
    wait_for("a write of the firmware", || is_written(&memory));
    qmp.execute::<Value>("stop", ()).unwrap();
    let mut nonzero = 0;
    for block in &blocks(&mut qmp).unwrap() {
        let memory = match BlockMemory::new(process.clone(), block) {
            Err(MemoryError::NoAddress { .. }) if block.windows.is_empty() => continue,
            memory => memory.unwrap(),
        };
        assert_eq!(memory.len().unwrap(), block.used);
        nonzero += compare(&qemu, &mut qmp, block, &memory);
        // Blocks that the guest does not see can be read as well.
        memory.read_at(block.used - 1, &mut [0]).unwrap();
    }
    assert!(nonzero > 10_000, "{nonzero} bytes that are not 0");
    // And it can fail: one byte further is not the same.
    let mut shifted = vec![0; 4096];
    memory.read_at(scratch + 1, &mut shifted).unwrap();
    assert!(is_written(&memory) && shifted != page);
}

#[test]
fn a_pc_under_kvm() {
    let pc = "-M pc -accel kvm -m 5G -S -device VGA";
    firmware_written(machine(PC, pc), "pc.ram", 0);
}

#[test]
fn a_q35_with_a_shared_file_a_dimm_and_an_nvdimm() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, vec![0x5a; 16 << 20]).unwrap();
        path.display().to_string()
    };
    let arguments = format!(
        "-M q35,nvdimm=on -accel kvm -m 128,slots=4,maxmem=4G -S \
         -object memory-backend-file,id=shm,share=on,mem-path={},size=16M \
         -device ivshmem-plain,memdev=shm,master=on \
         -object memory-backend-file,id=nv,share=on,mem-path={},size=16M -device nvdimm,memdev=nv \
         -object memory-backend-memfd,id=dimm,size=128M,share=on -device pc-dimm,memdev=dimm",
        file("shm"),
        file("nv")
    );
    firmware_written(machine(PC, &arguments), "pc.ram", 0);
}

#[test]
fn an_arm_board_under_tcg() {
    // Its RAM begins with the device tree, which is there from the start: nothing of the
    // firmware's, as there is none; the flash is compared with the RAM.
    let Some((qemu, mut qmp)) = machine(ARM, "-M virt -cpu cortex-a72 -m 256 -S") else { return };
    let blocks = blocks(&mut qmp).unwrap();
    let process = process(&mut qmp, &blocks);
    let mut nonzero = 0;
    for block in &blocks {
        let memory = BlockMemory::new(process.clone(), block).unwrap();
        nonzero += compare(&qemu, &mut qmp, block, &memory);
    }
    assert!(nonzero > 1000, "{nonzero}");
}

#[test]
fn a_killed_qemu_is_never_read() {
    let Some((mut qemu, mut qmp)) = machine(PC, "-M pc -accel kvm -m 64 -S") else { return };
    let blocks = blocks(&mut qmp).unwrap();
    let process = process(&mut qmp, &blocks);
    let memory: Vec<_> =
        blocks.iter().filter_map(|block| BlockMemory::new(process.clone(), block).ok()).collect();
    assert!(!memory.is_empty());
    qemu.kill();
    for memory in &memory {
        let error = memory.read(0, &mut [0; 16]).unwrap_err();
        assert!(matches!(error, MemoryError::Gone { .. }), "{error}");
        assert!(memory.read_at(0, &mut [0; 16]).unwrap_err().to_string().contains("has ended"));
    }
    let error = Process::of_pid(qemu.pid(), &blocks).unwrap_err();
    assert!(matches!(error, MemoryError::Gone { .. }), "{error}");
}
