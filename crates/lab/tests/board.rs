//! `memtwin check` on KVM/arm64, on an emulated board: every mode, backing and writer that is named
//! here comes out identical, and what the controls withhold is found.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may end, and may talk"
)]

#[allow(dead_code, reason = "what another test needs")]
mod place;

use libtest_mimic::Arguments;
use memtwin_lab::board::{BoardSpec, ConsoleBoard};
use memtwin_lab::remote_runner::{RunOutput, check_image, check_on_console};
use memtwin_lab::{Arch, Flavour, Progress};
use place::Place;
use serde_json::Value;
use std::time::{Duration, Instant};

/// For a check on a busy machine.
const LONG: Duration = Duration::from_secs(900);

/// Shows what goes on.
struct Talk;

impl Progress for Talk {
    fn say(&mut self, line: &str) {
        println!("{line}");
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![place::trial("a_board_checks_its_dirty_log", &[Arch::Aarch64], checks)];
    libtest_mimic::run(&arguments, trials).exit();
}

/// One board, as its start is what takes longest.
fn checks() {
    let place = Place::new("board");
    let began = Instant::now();
    let image = check_image(Flavour::Standard, None, &mut Talk).unwrap();
    println!("image: {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let spec = BoardSpec::default();
    let mut board = ConsoleBoard::boot(&spec, &image, &place.console(), &mut Talk).unwrap();
    println!("{}: {:.1} s", board.about, began.elapsed().as_secs_f64());

    let mut check = |line: &str| -> RunOutput {
        let began = Instant::now();
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let outcome = check_on_console(&mut board, &arguments, LONG, &mut Talk).unwrap();
        outcome.said.iter().for_each(|line| println!("    {line}"));
        println!("check {line}: {:.1} s", began.elapsed().as_secs_f64());
        outcome
    };
    let stressors = "random,sequential,strided,atomic,zero,straddle,once,walker";
    let all = format!("--mode get,clear,ring --stressor {stressors} --rounds 10");
    // Each of the stressors, and one more with hugetlb.
    passed(&check(&all), 3 * 9, 3 * 2);
    let granules =
        "--mode get --stressor once,walker --granule 4k,16k,64k --va-bits 48 --rounds 20";
    passed(&check(granules), 3 * 4, 3 * 2);
    // What no CPU has is never a pass.
    let none = check("--mode get --stressor once --granule 4k --va-bits 47 --rounds 5");
    assert_eq!(none.rc, 4, "{none:?}");
    board.off(&mut Talk).unwrap();
    place.done();
}

/// Every case of a check ran and passed: this many that are identical, this many controls.
fn passed(outcome: &RunOutput, identical: usize, controls: usize) {
    let cases = outcome.record["cases"].as_array().unwrap();
    for case in cases {
        assert_eq!(case["passed"], Value::Bool(true), "{case}");
    }
    let of = |verdict: &str| cases.iter().filter(|case| case["verdict"] == verdict).count();
    assert_eq!((of("identical"), of("differs")), (identical, controls), "{:?}", outcome.said);
    let found = |case: &&Value| !case["control"].is_null();
    for control in cases.iter().filter(found) {
        let pages = control["control"]["injected"].as_array().unwrap();
        assert!(!pages.is_empty(), "{control}");
        assert_eq!(control["control"]["injected"], control["control"]["found"]);
    }
    assert_eq!(outcome.rc, 0, "{:?}", outcome.said);
}
