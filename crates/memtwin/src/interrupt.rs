//! SIGINT and SIGTERM ask everyone to stop; nobody is torn away from a paused guest.

use memtwin_replicate::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::thread;

/// A stop that is set by the first signal. A second one is no quicker: the way out is bounded.
pub(crate) fn on_signals() -> io::Result<Stop> {
    let stop = Stop::default();
    let waker = stop.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            waker.set();
        }
    })?;
    Ok(stop)
}
