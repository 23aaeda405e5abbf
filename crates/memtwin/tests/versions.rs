//! Audits on QEMUs of several releases, from the lab's cache: on each a sound layout and one that loses
//! pages, x86-64 and aarch64, in the oldest and in the newest machine type that it has. A release that is
//! not in the cache is fetched.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]
#![allow(clippy::print_stderr, reason = "what is not tested has to be said")]

mod common;

use common::Place;
use common::scenario::TestCaller;
use memtwin_bare::{BareImage, BareMachine, ReleaseVersion, Scenario};
use memtwin_lab::qemu_release::{QemuRelease, ReleasedQemu, build};
use memtwin_lab::{Arch, Cache, Silent};
use memtwin_repro::{QemuFacts, ReproRun, ScenarioGuest, ScenarioOutcome};
use memtwin_testbed::{Need, lacks};
use std::path::Path;
use std::time::Duration;

#[test]
fn qemu_5_2_is_audited() {
    audited(QemuRelease::V5_2);
}

#[test]
fn qemu_7_2_is_audited() {
    audited(QemuRelease::V7_2);
}

#[test]
fn qemu_10_0_is_audited() {
    audited(QemuRelease::V10_0);
}

#[test]
fn qemu_11_1_is_audited() {
    audited(QemuRelease::V11_1);
}

/// The machine type of a scenario.
enum MachineAge {
    Newest,
    Oldest,
}

/// Each program says by QMP that it is of the release; then the layouts that are sound and those that are
/// not, whose very pages have to be lost.
fn audited(release: QemuRelease) {
    let Some(qemu) = fetched(release) else { return };
    let facts = |arch| QemuFacts::of(&qemu.program(arch)).unwrap();
    let facts = [facts(Arch::X86_64), facts(Arch::Aarch64)];
    for QemuFacts { version, .. } in &facts {
        assert_eq!(format!("{}.{}", version.major, version.minor), release.name());
    }
    if !lacks(&[Need::Kvm]) {
        // By its own firmware: the only guest that is quick to boot on any KVM.
        let program = qemu.program(Arch::X86_64);
        let machine = BareMachine { program, ..Scenario::PflashKvm.machine() };
        let guest = ScenarioGuest::start(machine, &[], &mut TestCaller).unwrap();
        guest.wait(&TestCaller).unwrap();
    }
    use MachineAge::{Newest, Oldest};
    // Before 9.0 nothing that works is sound under TCG (docs/findings.md, bug 4): aarch64 has a layout that
    // loses pages only.
    let sound = match release {
        QemuRelease::V5_2 | QemuRelease::V7_2 => vec![(Scenario::OnePageKvm, Newest)],
        QemuRelease::V10_0 | QemuRelease::V11_1 => {
            vec![(Scenario::WalkerX86, Newest), (Scenario::WalkerSoftware, Oldest)]
        }
    };
    let lossy = [(Scenario::FrameBuffer, Oldest), (Scenario::Offset, Newest)];
    for (scenario, age) in sound.into_iter().chain(lossy) {
        if scenario == Scenario::OnePageKvm && lacks(&[Need::Kvm]) {
            continue;
        }
        let plain = scenario.machine();
        let (arch, facts) = match plain.image {
            BareImage::Aarch64 => (Arch::Aarch64, &facts[1]),
            _ => (Arch::X86_64, &facts[0]),
        };
        let program = qemu.program(arch);
        let types = facts.machine_types(&plain.machine);
        let machine = match age {
            Newest => types.first().unwrap().clone(),
            Oldest => types.last().unwrap().clone(),
        };
        let (major, minor) = (facts.version.major, facts.version.minor);
        let expected = scenario.expected(ReleaseVersion { major, minor }, &machine).unwrap();
        let place = Place::new();
        let run = ReproRun {
            machine: BareMachine { program, machine: machine.clone().into(), ..plain },
            expected,
            memtwin: Path::new(env!("CARGO_BIN_EXE_memtwin")),
            time: Duration::from_secs(1),
            arguments: &[],
            audit: &[],
            record: &place.path("record.json"),
        };
        let what = format!("{scenario} on {} {machine}", facts.version);
        match ScenarioOutcome::of(run.run(&mut TestCaller)) {
            Ok(ScenarioOutcome::Seen(seen)) => {
                assert!(seen.found.as_expected(), "{what}: {}; {:?}", seen.found, seen.told);
            }
            Ok(other) => panic!("{what}: {other:?}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// The release, fetched if need be. `None`, with the reason printed, if it can't be had here; in CI that
/// is a failure.
fn fetched(release: QemuRelease) -> Option<ReleasedQemu> {
    let place = Cache::place().unwrap();
    let built = Cache::open(&place, &mut Silent)
        .map_err(Into::into)
        .and_then(|cache| build(&cache, release, &mut Silent));
    match built {
        Ok(qemu) => Some(qemu),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}
