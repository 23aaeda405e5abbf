//! Linux guests under QEMU's emulator: devices that write their RAM while it is audited, and
//! `memtwin lab run replicate` and `check`, `memtwin migrate`. One boot serves several audits.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may end, and may talk"
)]

mod boards;
#[path = "../common/mod.rs"]
mod common;
mod flood;
mod gives_up;
mod guest;
mod hosts;
mod lab;
mod matrix;
mod moves;
mod site;
mod writers;

use libtest_mimic::{Arguments, Failed, Trial};
use memtwin_lab::{Arch, cross};
use std::process::Command;

fn main() {
    let (arm, pc) = (Arch::Aarch64, Arch::X86_64);
    let trials = vec![
        trial("devices_write_an_aarch64_guest", arm, false, || writers::audit(Arch::Aarch64)),
        trial("devices_write_an_x86_64_guest", pc, false, || writers::audit(Arch::X86_64)),
        trial("memory_that_a_guest_hints_at_inflates_and_unplugs", pc, false, gives_up::private),
        trial("memory_that_a_guest_reports_and_uses_again", pc, false, gives_up::shared),
        trial("lab_run_replicate_sums_three_sides", arm, true, lab::three_sides),
        trial("lab_run_replicate_names_a_guest_that_panics", arm, true, lab::panics),
        trial("lab_run_replicate_leaves_nothing_when_interrupted", arm, true, lab::interrupted),
        trial("lab_run_check_keeps_what_other_boards_said", arm, true, matrix::one_board_dies),
        trial("lab_run_check_keeps_what_a_board_said_before_it_died", arm, true, matrix::dies_amid),
        Trial::test("lab_run_check_refuses_what_no_check_takes", || {
            matrix::refused();
            Ok(())
        }),
        trial(
            "migrate_moves_a_loaded_guest_intact_after_one_that_was_killed",
            arm,
            true,
            moves::intact,
        ),
        trial("migrate_gives_up_what_does_not_converge", arm, true, moves::given_up),
        trial("migrate_converges_as_it_was_advised", arm, true, moves::advised),
        trial("migrate_tells_what_the_destination_refuses", arm, true, moves::refused),
        trial("migrate_leaves_nothing_when_it_is_interrupted", arm, true, moves::interrupted),
        trial("migrate_sweeps_loads_and_links", arm, true, moves::swept),
        trial("migrate_moves_between_machines_by_ssh", arm, true, moves::over_ssh),
        trial("lab_run_migrate_is_the_experiment_of_2014", arm, true, moves::seed),
        host_trial("lab_run_check_on_a_machine_by_ssh", hosts::checks),
        host_trial("lab_run_check_keeps_what_came_before_the_connection_died", hosts::cut),
        host_trial("lab_run_refuses_a_machine_that_runs_no_such_guest", hosts::refused),
        trial("lab_run_check_on_a_board_that_is_up", arm, true, boards::check_there),
        trial("migrate_leaves_three_machines_as_they_were", arm, true, site::three_machines),
        trial("lab_boards_go_up_and_down", arm, false, boards::up_and_down),
        trial("lab_run_replicate_on_a_board", arm, true, boards::replicate),
        trial("lab_run_audit_on_a_board", arm, true, boards::audit),
        trial("lab_run_audit_here", arm, false, boards::audit_here),
        Trial::test("lab_run_replicate_refuses_what_is_unsound", || {
            lab::refused();
            Ok(())
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A test of this machine as another one.
fn host_trial(name: &'static str, test: fn()) -> Trial {
    trial(name, Arch::host(), false, test)
}

/// A test that needs a QEMU, Debian's packages and, with `programs`, a toolchain for the guest's. It
/// is skipped, with the reason, where they are missing; in CI that is a failure.
fn trial(name: &'static str, arch: Arch, programs: bool, test: fn()) -> Trial {
    let missing = missing(arch, programs);
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let skipped = missing.is_some() && !ci;
    if let (Some(missing), true) = (&missing, skipped) {
        eprintln!("{name}: skipped: {missing}");
    }
    let run = move || match &missing {
        Some(missing) => Err(Failed::from(format!("CI must have this: {missing}"))),
        None => {
            test();
            Ok(())
        }
    };
    Trial::test(name, run).with_ignored_flag(skipped)
}

fn missing(arch: Arch, programs: bool) -> Option<String> {
    let qemu = format!("qemu-system-{arch}");
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let program = [qemu.as_str(), "apt-get", "dpkg-deb"].into_iter().find(|name| !there(name));
    let toolchain = || match cross::Toolchain::find(arch) {
        Err(error) if programs => Some(error.to_string()),
        _ => None,
    };
    program.map(|program| format!("{program} is not there")).or_else(toolchain)
}
