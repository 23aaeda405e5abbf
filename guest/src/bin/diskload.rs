//! Keeps writing a file, and says what is durable.

#![forbid(unsafe_code)]

use memtwin_guest::chain::Chain;
use memtwin_guest::clock::monotonic;
use memtwin_guest::stop::StopFlag;
use memtwin_guest::usage::{Arguments, UsageFault, run};
use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Usage: diskload FILE [--interval MS] [--batch N]

Makes FILE anew; every MS milliseconds (100) appends N records (4) and syncs. A record has 512 bytes: a
number, bytes of its own, and a sum that runs on from the one before. Each second, and at its end
(SIGTERM, SIGINT), says how many records are durable, the sum of the last, and the longest time that a
batch took to be:

  diskload durable 40 sum 0123456789abcdef stall 12.3 ms

What is said to be durable must be in the file, whatever happens to the machine.";

/// How often it is said.
const LINE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    run("diskload", USAGE, diskload)
}

fn diskload() -> Result<(), UsageFault> {
    let arguments = Arguments::parse(std::env::args().skip(1), &[], &["interval", "batch"])?;
    let [path] = arguments.words(["FILE"])?;
    let interval = Duration::from_millis(arguments.number("interval")?.unwrap_or(100));
    let batch = arguments.number("batch")?.unwrap_or(4).max(1);
    let stop = StopFlag::listen().map_err(UsageFault::failed)?;

    let failed = |error: std::io::Error| UsageFault::Failed(format!("{path}: {error}"));
    let mut file = File::create(path).map_err(failed)?;
    // The name must be durable too.
    file.sync_all().map_err(failed)?;
    sync_folder(path).map_err(failed)?;
    let mut chain = Chain::default();
    let (mut due, mut said, mut stall) = (Instant::now(), Duration::ZERO, Duration::ZERO);
    loop {
        let began = monotonic();
        let records: Vec<u8> = (0..batch).flat_map(|_| chain.record()).collect();
        file.write_all(&records).and_then(|()| file.sync_data()).map_err(failed)?;
        let now = monotonic();
        stall = stall.max(now.saturating_sub(began));
        if now.saturating_sub(said) >= LINE || stop.is_set() {
            say(&chain, std::mem::take(&mut stall))?;
            said = now;
        }
        if stop.is_set() {
            return Ok(());
        }
        due = (due + interval).max(Instant::now());
        stop.sleep_until(due);
    }
}

fn sync_folder(path: &str) -> std::io::Result<()> {
    let folder =
        std::path::Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(std::path::Path::new(".")))?.sync_all()
}

fn say(chain: &Chain, stall: Duration) -> Result<(), UsageFault> {
    let (records, sum, stall) = (chain.next(), chain.sum(), stall.as_secs_f64() * 1e3);
    writeln!(std::io::stdout(), "diskload durable {records} sum {sum:016x} stall {stall:.1} ms")
        .map_err(|error| UsageFault::Failed(format!("standard output: {error}")))
}
