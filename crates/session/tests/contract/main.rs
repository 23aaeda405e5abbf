//! The contract of a session: the same expectations for every source that needs no special hardware, and
//! every sink. A new source or sink is added here in one place, and has to meet all of them.
//!
//! Without the usual harness, as the same program is the process source's child too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may end at what it did not expect, and says why it was skipped"
)]

mod expectations;
#[path = "../../../replicate/tests/recorded/mod.rs"]
mod recorded;
mod rigged;
mod runs;
mod scripted;
mod twins;

use expectations::expectations;
use libtest_mimic::{Arguments, Trial};
use memtwin_kvm::Mode;
use memtwin_mapping::host_page_size;
use memtwin_pages::PageSize;
use memtwin_process::ProcessGuest;
use memtwin_stressor::Stressor;
use memtwin_vmm::{Backing, KvmGuest};
use recorded::RecordedGuest;
use rigged::RiggedGuest;
use runs::TestedGuest;
use scripted::ScriptedGuest;
use std::process::{Command, ExitCode};
use twins::TwinKind;

const CHILD: &str = "process-writer";
/// How many pages the guests' windows have.
const PAGES: u64 = 64;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        return match memtwin_process::writer_main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let kvm = memtwin_vmm::probe().err().map(|error| error.to_string());
    let process = memtwin_process::probe().err().map(|error| error.to_string());
    let mut trials = trials("scripted", ScriptedGuest::default, None);
    trials.extend(self::trials("recorded", recorded_guest, None));
    trials.extend(self::trials("kvm", || RiggedGuest::new(kvm_guest()), kvm));
    trials.extend(self::trials("process", || RiggedGuest::new(process_guest()), process));
    trials.extend(TwinKind::ALL.into_iter().flat_map(scripted::trials));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Every expectation of this source on every sink. `lack`: why it is not available here.
fn trials<G: TestedGuest + 'static>(
    source: &'static str,
    make: fn() -> G,
    lack: Option<String>,
) -> Vec<Trial> {
    let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    if let Some(lack) = &lack {
        eprintln!("{source}: skipped: {lack}");
    }
    let mut trials = Vec::new();
    for twin in TwinKind::ALL {
        for (name, check) in expectations::<G>() {
            let lack = lack.clone();
            let is_skipped = lack.is_some() && !in_ci;
            let trial = Trial::test(format!("{source}::{twin:?}::{name}"), move || match lack {
                Some(lack) => Err(format!("nothing may lack in CI: {lack}").into()),
                None => {
                    check(make, twin);
                    Ok(())
                }
            });
            trials.push(trial.with_ignored_flag(is_skipped));
        }
    }
    trials
}

/// One of twelve rounds, each with pages of its own.
fn recorded_guest() -> RecordedGuest {
    let named: Vec<Vec<u64>> =
        (0..12).map(|round| (5 * round..5 * (round + 1)).collect()).collect();
    RecordedGuest::new(PageSize::new(host_page_size() as u64).unwrap(), PAGES, &named, &[])
}

fn kvm_guest() -> KvmGuest {
    KvmGuest::new(memtwin_vmm::Config {
        mode: Mode::Get,
        backing: Backing::Shm,
        file: None,
        bytes: PAGES * host_page_size() as u64,
        vcpus: 1,
        stressor: Stressor::Random,
        seed: 1,
        translation: None,
        ring_entries: 1024,
    })
    .unwrap()
}

fn process_guest() -> ProcessGuest {
    let mut command = Command::new("/proc/self/exe");
    command.arg(CHILD);
    let config = memtwin_process::Config {
        file: None,
        bytes: PAGES * host_page_size() as u64,
        threads: 1,
        stressor: Stressor::Random,
        seed: 1,
    };
    ProcessGuest::spawn(command, config).unwrap()
}
