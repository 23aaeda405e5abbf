//! Machines of several kinds, and guests that do nothing.

use crate::common::expect;
use crate::machine::{ARM, BareMachine, PC, WRITTEN, all_identical, case, none_judged};
use memtwin_report::record::Verdict;

/// An idle guest puts no log to the test: that is no pass.
#[test]
fn a_guest_that_stands_still_is_inconclusive() {
    let arm = "-M virt -cpu cortex-a72 -m 32 -S";
    for (program, arguments) in [(ARM, arm), (PC, "-M q35 -accel kvm -m 32 -S")] {
        let Some(mut machine) = BareMachine::start(program, arguments) else { continue };
        let before = machine.setup();
        assert_eq!(before.guest, "prelaunch");
        expect(11, &mut machine.audit("--seconds 1"));
        machine.is_as(&before);
        let why = "the log named no page after pre-copy, so it was not put to the test: the guest was \
                   never started (QEMU's -S); cont on its monitor starts it";
        none_judged(&machine.record(), &[why]);
    }
}

/// What QEMU does not migrate is skipped, and all else is judged.
#[test]
fn memory_without_a_name_is_skipped() {
    let spare = "-m 32,slots=4,maxmem=1G -object memory-backend-ram,id=spare,size=16M \
        -object memory-backend-ram,id=pm,size=8M -device virtio-pmem-pci,memdev=pm";
    let Some(mut machine) = BareMachine::writing(spare) else { return };
    let before = machine.setup();
    expect(0, &mut machine.audit("--rounds 2"));
    machine.is_as(&before);
    let record = machine.record();
    let (unnamed, named): (Vec<_>, Vec<_>) =
        record.cases.iter().partition(|case| case.name().starts_with("audit/unnamed@0x"));
    assert_eq!(unnamed.len(), 2, "{record:?}");
    let is_skipped = |verdict| matches!(verdict, Verdict::Skipped);
    assert!(unnamed.iter().all(|case| is_skipped(case.verdict())), "{record:?}");
    assert!(!named.iter().any(|case| is_skipped(case.verdict())), "{record:?}");
    case(&record, "audit/pc.ram");
}

#[test]
fn q35_with_flash_and_a_shared_device() {
    let more = "-M q35 -accel kvm -m 32 -bios firmware \
        -object memory-backend-file,id=shm,size=1M,mem-path=shared,share=on \
        -device ivshmem-plain,memdev=shm,master=on \
        -object memory-backend-ram,id=more,size=16M -numa node,memdev=more \
        -object memory-backend-ram,id=less,size=16M -numa node,memdev=less";
    let Some(mut machine) = BareMachine::start(PC, more) else { return };
    let before = machine.setup();
    machine.writes_to("more");
    expect(0, &mut machine.audit("--rounds 3"));
    machine.is_as(&before);
    let record = machine.record();
    all_identical(&record);
    assert!(record.cases.iter().any(|case| case.name().ends_with("/shm")), "{record:?}");
    case(&record, "audit/less");
    let seen = case(&record, "audit/more").rounds();
    assert!(seen.iter().any(|round| round.n == 1 && round.dirty_pages > 0), "{seen:?}");
}

/// The firmware is the guest here too, in flash that QEMU migrates as RAM.
#[test]
fn a_pc_that_runs_from_flash() {
    let more = "-M pc -accel kvm -m 32 -drive if=pflash,format=raw,file=firmware";
    let Some(mut machine) = BareMachine::start(PC, more) else { return };
    machine.writes();
    let before = machine.setup();
    expect(0, &mut machine.audit("--rounds 2"));
    machine.is_as(&before);
    let record = machine.record();
    all_identical(&record);
    case(&record, "audit/system.flash0");
}

#[test]
fn an_arm_board_with_flash() {
    let more = "-M virt -cpu cortex-a72 -m 32 -S -drive if=pflash,format=raw,file=flash";
    let Some(mut machine) = BareMachine::start(ARM, more) else { return };
    let before = machine.setup();
    let (out, _) = expect(11, &mut machine.audit("--rounds 1"));
    machine.is_as(&before);
    let record = machine.record();
    let flash = case(&record, "audit/virt.flash0");
    assert_eq!(flash.regions()[0].bytes, 64 << 20, "{out}");
}

#[test]
fn a_guest_that_somebody_has_paused_stays_so() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    machine.qmp.execute::<serde_json::Value>("stop", ()).unwrap();
    let before = machine.setup();
    assert_eq!(before.guest, "paused");
    let word = machine.word("pc.ram", WRITTEN.start);
    let (out, _) = expect(11, &mut machine.audit("--seconds 1"));
    assert!(out.contains("the guest is paused; cont on QEMU's monitor lets it run"), "{out}");
    machine.is_as(&before);
    assert_eq!(machine.word("pc.ram", WRITTEN.start), word);
}

/// A board whose pages have 1 KiB: its stream does not say so, and QEMU does. The guest counts in the first
/// word of each page from 1 MiB to 1.25 MiB, for ever.
#[test]
fn an_arm_board_with_pages_of_one_kilobyte() {
    const CODE: [u32; 9] = [
        0xe3a0_0601, // mov r0, #0x100000
        0xe1a0_1000, // again: mov r1, r0
        0xe591_3000, // page: ldr r3, [r1]
        0xe283_3001, // add r3, r3, #1
        0xe581_3000, // str r3, [r1]
        0xe281_1b01, // add r1, r1, #0x400
        0xe351_0705, // cmp r1, #0x140000
        0x3aff_fff9, // bcc page
        0xeaff_fff7, // b again
    ];
    let image = tempfile::NamedTempFile::new().unwrap();
    let code: Vec<u8> = CODE.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(image.path(), code).unwrap();
    let arguments = format!(
        "-M versatilepb,audiodev=a -audiodev none,id=a -m 32 -kernel {}",
        image.path().display()
    );
    let Some(mut machine) = BareMachine::start(ARM, &arguments) else { return };
    let before = machine.setup();
    expect(0, &mut machine.audit("--rounds 3"));
    machine.is_as(&before);
    let record = machine.record();
    let ram = case(&record, "audit/versatile.ram");
    assert_eq!(ram.page_size(), 1024);
    assert!(ram.rounds().iter().any(|round| round.n > 0 && round.dirty_pages >= 256), "{ram:?}");
    let control = record.cases.iter().find(|case| case.control().is_some()).unwrap();
    assert!(control.passed(), "{control:?}");
}
