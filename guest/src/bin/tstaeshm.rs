//! The test of the device memory: updates random pages of it until it is stopped.

#![forbid(unsafe_code)]

use memtwin_guest::clock::{monotonic, wall};
use memtwin_guest::stop::StopFlag;
use memtwin_guest::usage::{Arguments, UsageFault, run};
use memtwin_guest::window::{self, Updates, WindowPlace};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Usage: tstaeshm dirty|fill|sum ADDRESS|auto [--size 1M] [--seconds N] [--per-second N] [--seed N]

dirty  updates random pages of the device memory until SIGTERM, SIGINT or --seconds, and counts
fill   fills it with a pattern that --seed determines
sum    prints its BSD checksum and its size in KiB, as sum -r does

ADDRESS is physical. If it lies in an ivshmem device's memory, it is reached through that device; else
through /dev/mem. auto is the only ivshmem device. --per-second limits the updates.";

fn main() -> ExitCode {
    run("tstaeshm", USAGE, tstaeshm)
}

fn tstaeshm() -> Result<(), UsageFault> {
    let valued = ["size", "seconds", "per-second", "seed"];
    let arguments = Arguments::parse(std::env::args().skip(1), &[], &valued)?;
    let [what, place] = arguments.words(["dirty|fill|sum", "ADDRESS|auto"])?;
    let place = WindowPlace::parse(place)?;
    let size = arguments.number("size")?;
    let seed = arguments.number("seed")?;
    if !["dirty", "fill", "sum"].contains(&what) {
        return Err(UsageFault::Usage(format!("'{what}': expected dirty, fill or sum")));
    }
    let (seconds, rate) = (arguments.number("seconds")?, arguments.number("per-second")?);
    if rate == Some(0) {
        return Err(UsageFault::Usage("--per-second 0: expected at least 1".to_owned()));
    }
    let stop = StopFlag::listen().map_err(UsageFault::failed)?;
    let (device, name) = window::open(place, size).map_err(UsageFault::failed)?;

    match what {
        "fill" => {
            window::fill(&device, seed.unwrap_or(0));
            say(&format!("tstaeshm filled {name}"))
        }
        "sum" => say(&window::sum(&device).to_string()),
        _ => {
            say(&format!("tstaeshm updates {name}"))?;
            let seed = seed.unwrap_or_else(|| wall().as_nanos() as u64);
            let mut updates = Updates::new(seed, rustix::param::page_size());
            let began = monotonic();
            let end = seconds.and_then(|seconds| began.checked_add(Duration::from_secs(seconds)));
            update(&mut updates, &device, &stop, end, rate);
            let took = (monotonic() - began).as_secs_f64();
            say(&format!("tstaeshm made {} updates in {took:.1} s", updates.made))
        }
    }
}

fn update(
    updates: &mut Updates,
    device: &memtwin_guest::device::MappedDevice,
    stop: &StopFlag,
    end: Option<Duration>,
    rate: Option<u64>,
) {
    /// Updates between two looks at the clock, and waits in a second.
    const BATCH: u64 = 64;
    const WAITS: u64 = 50;
    let batch = rate.map_or(BATCH, |rate| rate.div_ceil(WAITS));
    let began = Instant::now();
    while !stop.is_set() && end.is_none_or(|end| monotonic() < end) {
        (0..batch).for_each(|_| updates.make(device));
        if let Some(rate) = rate {
            stop.sleep_until(began + Duration::from_secs_f64(updates.made as f64 / rate as f64));
        }
    }
}

fn say(line: &str) -> Result<(), UsageFault> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|error| UsageFault::Failed(format!("standard output: {error}")))
}
