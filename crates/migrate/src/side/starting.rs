//! A QEMU that is being started.

use memtwin_lab::Progress;
use memtwin_wait::wait_for;
use std::process::Child;
use std::time::Duration;

/// What passes between the last word of a QEMU and its end, or the end of what carries it.
const MOMENT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A child that is ended unless it is taken out.
pub(super) struct Reaped(pub(super) Option<Child>);

impl Reaped {
    fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.as_mut()?.try_wait().ok()?
    }

    /// How it ended, if it does so within a moment.
    pub(super) fn ends(&mut self) -> Option<std::process::ExitStatus> {
        wait_for(MOMENT, POLL_INTERVAL, || self.ended())
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // What it has started ends with its standard input.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// A wait that is over when a process is.
pub(super) struct WhileAlive<'w> {
    pub(super) child: &'w mut Reaped,
    pub(super) progress: &'w mut dyn Progress,
}

impl Progress for WhileAlive<'_> {
    fn say(&mut self, line: &str) {
        self.progress.say(line);
    }

    fn is_cancelled(&self) -> bool {
        // Asked without being changed: /proc tells of a zombie as well.
        let pid = self.child.0.as_ref().map(Child::id).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let dead = stat.is_empty() || stat.contains(") Z ");
        dead || self.progress.is_cancelled()
    }
}
