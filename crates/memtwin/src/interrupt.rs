//! SIGINT, SIGTERM and SIGHUP ask everyone to stop; nobody is torn away from a paused guest. A SIGHUP that
//! was ignored when we began stays so: that is what nohup(1) asks for.

use memtwin_replicate::CancelToken;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::thread;

/// A stop that is set by the first signal. A second one is no quicker: the way out is bounded.
pub(crate) fn on_signals() -> io::Result<CancelToken> {
    let stop = CancelToken::default();
    let waker = stop.clone();
    let mut wanted = vec![SIGINT, SIGTERM];
    wanted.extend((!is_ignored(SIGHUP)).then_some(SIGHUP));
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            waker.set();
        }
    })?;
    Ok(stop)
}

/// Whether a signal is ignored by this process (SigIgn of proc_pid_status(5)): one that no one has asked
/// for since is as our parent left it.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, signal)
}

fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (1..=64).contains(&signal) && mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status =
            "SigBlk:\t0000000000000001\nSigIgn:\t0000000000000005\nSigCgt:\tffffffffffffffff\n";
        assert!(ignores(status, SIGHUP) && ignores(status, 3));
        assert!(!ignores(status, SIGINT) && !ignores(status, SIGTERM) && !ignores("", SIGHUP));
    }
}
