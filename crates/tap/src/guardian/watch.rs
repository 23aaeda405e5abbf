//! Whether a process is stopped by a signal: state `T` in /proc/PID/stat (proc_pid_stat(5)).

use rustix::process::Pid;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A process, and since when it is seen to be stopped.
///
/// One that a debugger has stopped (`t`) does not count: tracers stop it often, and for moments.
#[derive(Debug)]
pub(super) struct Watch {
    stat: PathBuf,
    since: Option<Instant>,
}

impl Watch {
    pub(super) fn of(pid: Pid) -> Self {
        Self { stat: format!("/proc/{}/stat", pid.as_raw_pid()).into(), since: None }
    }

    /// Looks at it. For how long it has been stopped, each time that it was looked at.
    pub(super) fn stopped(&mut self) -> Duration {
        let stat = fs::read(&self.stat).unwrap_or_default();
        self.since =
            if is_stopped(&stat) { self.since.or_else(|| Some(Instant::now())) } else { None };
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// The state is behind the name, which is in brackets and may have brackets in it.
fn is_stopped(stat: &[u8]) -> bool {
    let name_ends = stat.iter().rposition(|byte| *byte == b')');
    name_ends.and_then(|at| stat.get(at + 2)) == Some(&b'T')
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_child::Spawn;
    use rustix::process::{Signal, kill_process};
    use std::process::{Child, Command};
    use std::thread;

    #[test]
    fn the_state_is_read_behind_any_name() {
        assert!(is_stopped(b"7 (memtwin) T 1 7"));
        assert!(is_stopped(b"7 (a) R (b)) T 1 7"));
        assert!(!is_stopped(b"7 (a) T (b)) S 1 7"));
        assert!(!is_stopped(b"7 (memtwin) t 1 7"), "traced");
        assert!(!is_stopped(b"") && !is_stopped(b"7 (x)"));
    }

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_is_stopped_from_its_stop_to_its_continuation() {
        let child = Killed(Command::new("sleep").arg("1000").spawn_bound().unwrap());
        let pid = Pid::from_child(&child.0);
        let mut watch = Watch::of(pid);
        let until = |watch: &mut Watch, stopped: bool| {
            let began = Instant::now();
            while watch.stopped().is_zero() == stopped {
                assert!(began.elapsed() < Duration::from_secs(60));
                thread::sleep(Duration::from_millis(1));
            }
        };
        assert_eq!(watch.stopped(), Duration::ZERO);
        kill_process(pid, Signal::STOP).unwrap();
        until(&mut watch, true);
        let before = watch.stopped();
        assert!(watch.stopped() > before, "it goes on");
        kill_process(pid, Signal::CONT).unwrap();
        until(&mut watch, false);
        drop(child);
        assert_eq!(watch.stopped(), Duration::ZERO, "one that is gone is not stopped");
    }
}
