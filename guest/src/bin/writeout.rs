//! A heartbeat: a line each second, which notices its own gaps.

#![forbid(unsafe_code)]

use memtwin_guest::clock::{monotonic, wall};
use memtwin_guest::heartbeat::{Gaps, Largest, line};
use memtwin_guest::stop::StopFlag;
use memtwin_guest::usage::{Arguments, UsageFault, run};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Usage: writeout [--interval MS] [--fine]

Prints a line every second, or every MS milliseconds, until SIGTERM or SIGINT:

  heartbeat 12 monotonic 34.567890 wall 1412899200.123456

and `gap N ms` before one that comes more than half an interval late.

  --fine   looks at the clock every millisecond; each line ends with the largest time between two
           looks: `largest 1.234 ms`";

/// How often the fine mode looks at the clock.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    run("writeout", USAGE, writeout)
}

fn writeout() -> Result<(), UsageFault> {
    let arguments = Arguments::parse(std::env::args().skip(1), &["fine"], &["interval"])?;
    let [] = arguments.words([])?;
    let interval = Duration::from_millis(arguments.number("interval")?.unwrap_or(1000));
    if interval.is_zero() {
        return Err(UsageFault::Usage("--interval 0: expected at least 1".to_owned()));
    }
    let fine = arguments.has("fine");
    let stop = StopFlag::listen().map_err(UsageFault::failed)?;

    let (mut gaps, mut largest) = (Gaps::new(interval), Largest::default());
    let mut due = Instant::now();
    for n in 1u64.. {
        let now = monotonic();
        largest.look(now);
        let beat = line(n, now, wall(), fine.then(|| largest.take()));
        let gap = gaps.beat(now).map(|gap| format!("gap {} ms\n", gap.as_millis()));
        let text = format!("{}{beat}\n", gap.unwrap_or_default());
        let written = std::io::stdout().write_all(text.as_bytes());
        written.map_err(|error| UsageFault::Failed(format!("standard output: {error}")))?;

        // After a gap it goes on from now; nobody catches up on beats.
        due = (due + interval).max(Instant::now());
        while fine && !stop.is_set() && Instant::now() + POLL_INTERVAL < due {
            std::thread::sleep(POLL_INTERVAL);
            largest.look(monotonic());
        }
        stop.sleep_until(due);
        if stop.is_set() {
            break;
        }
    }
    Ok(())
}
