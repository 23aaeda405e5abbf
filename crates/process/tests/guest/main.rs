//! The process guest end to end: each stressor's writes are logged and come out identical; a log
//! that keeps a page back is found out; holding holds; a dead child is never a pass.
//!
//! Without the usual harness, as the same program is the child too: it is started again with one
//! argument.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may end at what it did not expect, and the child may say why it ended"
)]

mod died;
mod held;
mod twin;

use libtest_mimic::{Arguments, Trial};
use memtwin_process::{Config, ProcessGuest, WriterStartError};
use memtwin_stressor::Stressor;
use std::process::{Command, ExitCode};
use std::time::Duration;

const CHILD: &str = "process-writer";

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
    let lack = memtwin_process::probe().err();
    if let Some(lack) = &lack {
        eprintln!("skipped: {lack}");
    }
    let tests: [(&str, fn()); 13] = [
        ("every_stressor_comes_out_identical", twin::every_stressor_comes_out_identical),
        ("a_named_file_and_an_odd_size", twin::a_named_file_and_an_odd_size),
        ("hugetlb_memory", twin::hugetlb_memory),
        (
            "a_page_kept_back_is_the_one_that_differs",
            twin::a_page_kept_back_is_the_one_that_differs,
        ),
        ("a_second_logging_begins_clean", twin::a_second_logging_begins_clean),
        ("nothing_writes_while_held", held::nothing_writes_while_held),
        ("resume_makes_it_write_again", held::resume_makes_it_write_again),
        ("stop_ends_it", held::stop_ends_it),
        ("a_killed_child_is_told_by_every_call", died::a_killed_child_is_told_by_every_call),
        ("a_killed_child_never_leaves_a_clean_log", died::a_killed_child_never_leaves_a_clean_log),
        ("a_dropped_guest_leaves_nothing_behind", died::a_dropped_guest_leaves_nothing_behind),
        ("a_child_dies_with_its_parent", died::a_child_dies_with_its_parent),
        ("what_can_not_be_is_refused", what_can_not_be_is_refused),
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let trial = Trial::test(name, move || {
                test();
                Ok(())
            });
            trial.with_ignored_flag(lack.is_some())
        })
        .chain([died::orphan_maker()])
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn config() -> Config {
    Config { file: None, bytes: 1 << 20, threads: 2, stressor: Stressor::Random, seed: 1 }
}

fn child() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(CHILD);
    command
}

fn guest(config: Config) -> ProcessGuest {
    ProcessGuest::spawn(child(), config).unwrap()
}

/// Waits until something is so; a machine may be busy, but not for ever.
fn wait_for(what: &str, so: impl FnMut() -> bool) {
    let (limit, interval) = (Duration::from_secs(60), Duration::from_millis(1));
    assert!(memtwin_wait::wait_until(limit, interval, so), "waited for {what}");
}

fn what_can_not_be_is_refused() {
    let spawn = |config| ProcessGuest::spawn(child(), config).unwrap_err();
    let walker = spawn(Config { stressor: Stressor::Walker, ..config() });
    assert!(walker.is_skip(), "{walker}");
    let bytes = memtwin_mapping::host_page_size() as u64;
    let one_page = spawn(Config { bytes, stressor: Stressor::Straddle, ..config() });
    assert!(one_page.is_skip(), "{one_page}");
    assert!(matches!(spawn(Config { threads: 0, ..config() }), WriterStartError::NoThreads));
    assert!(matches!(spawn(Config { bytes: 1000, ..config() }), WriterStartError::Region(_)));
    let file = Some(tempfile::tempfile().unwrap());
    assert!(matches!(
        spawn(Config { file, ..config() }),
        WriterStartError::ShortFile { found: 0, .. }
    ));

    let wrong = |command| ProcessGuest::spawn(command, config()).unwrap_err();
    assert!(matches!(wrong(Command::new("/nonexistent")), WriterStartError::Spawn { .. }));
    let ended = wrong(Command::new("false")).to_string();
    assert!(ended.contains("exit status: 1"), "{ended}");
}
