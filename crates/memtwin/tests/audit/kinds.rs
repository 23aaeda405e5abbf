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

/// A machine without any RAM.
#[test]
fn a_machine_without_memory_has_nothing_to_judge() {
    let Some(mut machine) = BareMachine::start(PC, "-M none") else { return };
    let before = machine.setup();
    for more in ["--rounds 1", "--dry-run"] {
        let (_, why) = expect(3, &mut machine.audit(more));
        assert!(why.contains("no memory that it would migrate"), "{why}");
    }
    machine.is_as(&before);
}
