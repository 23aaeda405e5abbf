//! What a process is at: its state in /proc/PID/stat (proc_pid_stat(5)).

use rustix::process::Pid;
use std::fs;

/// `T` is stopped by a signal, `D` waits for a disk, `S` sleeps, `R` runs. `None`: it is gone.
pub(super) fn state_of(pid: Pid) -> Option<char> {
    state_in(&fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?)
}

/// The state is behind the name, which is in brackets and may have brackets in it.
fn state_in(stat: &[u8]) -> Option<char> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(name_ends + 2).map(|byte| char::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_child::Spawn;
    use rustix::process::{Signal, kill_process};
    use std::process::{Child, Command};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn the_state_is_read_behind_any_name() {
        assert_eq!(state_in(b"7 (memtwin) T 1 7"), Some('T'));
        assert_eq!(state_in(b"7 (a) R (b)) D 1 7"), Some('D'));
        assert_eq!(state_in(b"7 (a) T (b)) S 1 7"), Some('S'));
        assert_eq!((state_in(b""), state_in(b"7 (x)")), (None, None));
    }

    struct KilledGuardian(Child);

    impl Drop for KilledGuardian {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_that_is_stopped_shows_it() {
        let child = KilledGuardian(Command::new("sleep").arg("1000").spawn_bound().unwrap());
        let pid = Pid::from_child(&child.0);
        kill_process(pid, Signal::STOP).unwrap();
        let began = Instant::now();
        while state_of(pid) != Some('T') {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(1));
        }
        drop(child);
        assert_eq!(state_of(pid), None);
    }
}
