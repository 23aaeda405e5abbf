//! The findings of docs/findings.md, on the installed QEMU: each bug loses exactly its pages, and the
//! layouts that are sound lose none. The audits run one after the other: they are short, and each of
//! their guests keeps a CPU busy.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]
#![allow(clippy::print_stderr, reason = "what is not tested has to be said")]

mod common;

use common::Place;
use common::scenario::TestCaller;
use memtwin_bare::{Accelerator, BareImage, BareMachine, Scenario};
use memtwin_repro::ReproRun;
use memtwin_testbed::{Need, lacks, program};
use std::path::Path;
use std::time::Duration;

#[test]
fn each_bug_of_tcg_loses_its_pages() {
    // Not OnePage: its loss is a matter of chance, so it is one for `cargo xtask repro`.
    use Scenario::{FrameBuffer, Offset, OffsetRiscv, SmallFirst};
    use Scenario::{Walker, WalkerDirty, WalkerRiscv};
    for scenario in [Offset, SmallFirst, FrameBuffer, Walker, WalkerDirty, OffsetRiscv, WalkerRiscv]
    {
        audited(scenario);
    }
}

#[test]
fn what_is_sound_under_tcg_loses_nothing() {
    use Scenario::{DiskTcg, WalkerRiscvSoftware, WalkerSoftware, Writer};
    for scenario in [Writer, WalkerSoftware, DiskTcg, WalkerRiscvSoftware] {
        audited(scenario);
    }
}

#[test]
fn what_is_sound_under_kvm_loses_nothing() {
    use Scenario::{DiskKvm, OffsetKvm, ResetKvm, WriterKvm};
    for scenario in [WriterKvm, OffsetKvm, DiskKvm, ResetKvm] {
        audited(scenario);
    }
}

/// The same while the guest runs: what is lost for good is found, a disk that writes by DMA is no loss.
#[test]
fn what_is_lost_is_found_while_the_guest_runs_and_nothing_else() {
    use Scenario::{DiskKvm, DiskTcg, FrameBuffer, Offset, Walker, Writer, WriterKvm};
    for scenario in [Walker, Offset, FrameBuffer, Writer, DiskTcg, WriterKvm, DiskKvm] {
        audited_by(scenario, &["--judge", "running"]);
    }
}

/// Audits a scenario and requires of it what is known of the installed QEMU.
fn audited(scenario: Scenario) {
    audited_by(scenario, &[]);
}

/// The same with these options.
fn audited_by(scenario: Scenario, audit: &[&str]) {
    let machine = scenario.machine();
    let Some(name) = machine.program.to_str().and_then(named) else { panic!("{machine:?}") };
    let machine = BareMachine { program: program(name).into(), ..machine.clone() };
    if machine.image == BareImage::Riscv64 {
        // CI need not have it: nothing else of Memtwin does.
        if let Err(error) = machine.version() {
            return eprintln!("{scenario} skipped: {error}");
        }
    }
    let kvm = machine.accelerator != Accelerator::Tcg;
    let needs: &[Need] = if kvm { &[Need::Kvm] } else { &[] };
    if lacks(&[&[Need::Program(name)], needs].concat()) {
        return;
    }
    let version = machine.version().unwrap();
    let Some(expected) = scenario.expected(version, &machine.machine) else {
        return eprintln!("{scenario} skipped: nobody has run it on QEMU {version} yet");
    };
    let place = Place::new();
    let run = ReproRun {
        machine,
        expected,
        memtwin: Path::new(env!("CARGO_BIN_EXE_memtwin")),
        time: Duration::from_secs(2),
        arguments: &[],
        audit,
        record: &place.path("record.json"),
    };
    let seen = run.run(&mut TestCaller).unwrap_or_else(|error| panic!("{scenario}: {error}"));
    assert!(seen.found.as_expected(), "{scenario}: {}; {:?}", seen.found, seen.told);
}

/// The program's name, as what lives as long as a need does.
fn named(program: &str) -> Option<&'static str> {
    ["qemu-system-x86_64", "qemu-system-aarch64", "qemu-system-riscv64"]
        .into_iter()
        .find(|name| *name == program)
}
