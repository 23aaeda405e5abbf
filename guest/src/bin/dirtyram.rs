//! Dirties pages of memory at a given pace, and says what it really achieved.

#![forbid(unsafe_code)]

use memtwin_guest::clock::monotonic;
use memtwin_guest::load::PageLoad;
use memtwin_guest::memory::LoadPages;
use memtwin_guest::pace::{AchievedLoad, LoadPace};
use memtwin_guest::quantity;
use memtwin_guest::stop::StopFlag;
use memtwin_guest::usage::{Arguments, UsageFault, run};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Usage: dirtyram PAGES DIRTY INTERVAL_MS [--random]

Allocates PAGES pages and writes to each. Then, every INTERVAL_MS, dirties DIRTY of them, PAGES/DIRTY
apart; each batch begins one page further on, so that every page gets its turn. One word of a page
changes. Prints what it achieved each second, and in all when it ends (SIGTERM, SIGINT):

  dirtyram 20.0 batches/s 40960 pages/s missed 0 stall 1.7 ms

missed: intervals that went by without a batch. stall: the longest time from when a batch was due
until it was done. INTERVAL_MS 0: as fast as it goes.

  --random   fill the pages with bytes that can't be compressed";

fn main() -> ExitCode {
    run("dirtyram", USAGE, dirtyram)
}

fn dirtyram() -> Result<(), UsageFault> {
    let arguments = Arguments::parse(std::env::args().skip(1), &["random"], &[])?;
    let [pages, dirty, interval] = arguments.words(["PAGES", "DIRTY", "INTERVAL_MS"])?;
    let load = PageLoad::new(quantity::parse(pages)?, quantity::parse(dirty)?);
    let load = load.map_err(|error| UsageFault::Usage(error.to_string()))?;
    let interval = Duration::from_millis(quantity::parse(interval)?);
    let stop = StopFlag::listen().map_err(UsageFault::failed)?;

    let memory =
        LoadPages::allocate(load.pages(), arguments.has("random")).map_err(UsageFault::failed)?;
    say(&format!("dirtyram has {} pages, dirties {}", load.pages(), load.dirty()))?;
    dirty_until(&stop, load, interval, &memory)
}

fn dirty_until(
    stop: &StopFlag,
    load: PageLoad,
    interval: Duration,
    memory: &LoadPages,
) -> Result<(), UsageFault> {
    const LINE: Duration = Duration::from_secs(1);
    let (began, base) = (Instant::now(), monotonic());
    let (mut pace, mut second, mut all) =
        (LoadPace::new(interval), AchievedLoad::default(), AchievedLoad::default());
    let mut printed = Duration::ZERO;
    for n in 0u64.. {
        stop.sleep_until(began + pace.due());
        if stop.is_set() {
            break;
        }
        // Never the value that is there already: pages begin with 1.
        load.batch(n).for_each(|page| memory.dirty(page, n + 2));
        let (due, done) = (pace.due(), monotonic().saturating_sub(base));
        let missed = pace.done(done);
        second.add(load.dirty(), due, done, missed);
        if done - printed >= LINE {
            say(&format!("dirtyram {}", second.line(done - printed)))?;
            all.merge(&std::mem::take(&mut second));
            printed = done;
        }
    }
    all.merge(&second);
    let took = monotonic().saturating_sub(base);
    say(&format!(
        "dirtyram total {} batches in {:.1} s: {}",
        all.batches,
        took.as_secs_f64(),
        all.line(took)
    ))
}

fn say(line: &str) -> Result<(), UsageFault> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|error| UsageFault::Failed(format!("standard output: {error}")))
}
