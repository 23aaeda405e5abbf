//! A process that can't be mistaken for another one that has its number later: by the moment at which
//! it was started (proc_pid_stat(5), field 22), and the boot that this moment counts from.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

/// Where the fields after the name begin to be counted: with the third, the state.
const FIRST_AFTER_NAME: usize = 3;
const START_TIME: usize = 22;

/// A process of this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot.
    pub started: u64,
    /// The boot (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
}

impl ProcessId {
    /// The process that has this number now.
    ///
    /// Errors: there is none, it has ended, or /proc is not there.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let started = start_time(&stat).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended"))
        })?;
        Ok(Self { pid, started, boot })
    }

    /// Whether this very process still exists. One that has ended does not, also before its parent has
    /// waited for it.
    pub fn exists(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }
}

/// `None` of one that has ended (state Z or X). The name is in brackets and may have brackets in it.
fn start_time(stat: &[u8]) -> Option<u64> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(START_TIME - FIRST_AFTER_NAME - 1)?;
    if matches!(state, "Z" | "X") { None } else { started.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_other_of_its_number() {
        let us = ProcessId::of(std::process::id()).unwrap();
        assert!(us.exists());
        assert!(!ProcessId { started: us.started + 1, ..us.clone() }.exists());
        assert!(!ProcessId { boot: "another".to_owned(), ..us }.exists());
        assert!(ProcessId::of(u32::MAX).is_err());
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(start_time(format!("7 (a) b (c)) {fields}").as_bytes()), Some(777));
        assert_eq!(start_time(format!("7 (a) {fields}").replace('S', "Z").as_bytes()), None);
        assert_eq!(start_time(b"7 (a) S 1 2"), None);
        assert_eq!(start_time(b""), None);
    }
}
