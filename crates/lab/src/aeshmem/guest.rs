//! The guest with the window, and the program in it.

use crate::machine::{Machine, MachineError};
use crate::{Progress, aeshmem::Window};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// For a boot, emulated, on a busy machine.
const BOOT: Duration = Duration::from_secs(300);
/// For an order.
const ORDER: Duration = Duration::from_secs(120);
/// The name of the program's run.
const NAME: &str = "tstaeshm";

/// A running guest. Killed when this is dropped.
#[derive(Debug)]
pub struct WindowGuest {
    machine: Machine,
    window: Window,
}

impl WindowGuest {
    /// Boots it, by [`Setup::command`](super::Setup::command), its console kept in `log`. It is
    /// killed when we are.
    ///
    /// Returns it with what it says of itself. Errors: it does not boot.
    pub fn boot(
        command: &mut Command,
        window: Window,
        log: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(Self, String), MachineError> {
        let mut machine = Machine::start(command, log)?;
        let about = machine.ready(BOOT, progress)?;
        Ok((Self { machine, window }, about))
    }

    /// Starts `tstaeshm dirty`.
    ///
    /// Errors: the guest does not do it.
    pub fn dirty(&mut self, progress: &mut dyn Progress) -> Result<(), MachineError> {
        let order = format!("start {NAME} tstaeshm dirty {}", self.window.words());
        self.machine.succeed(&order, ORDER, progress).map(drop)
    }

    /// Stops it: nothing writes the window any more when this returns. Returns what it said; the
    /// last line has the number of updates.
    ///
    /// Errors: it had failed; or the guest does not do it.
    pub fn stop(&mut self, progress: &mut dyn Progress) -> Result<Vec<String>, MachineError> {
        self.machine.succeed(&format!("stop {NAME}"), ORDER, progress)
    }

    /// What `sum -r` says of the window as the guest sees it.
    ///
    /// Errors: the guest does not do it.
    pub fn sum(&mut self, progress: &mut dyn Progress) -> Result<String, MachineError> {
        let order = format!("run tstaeshm sum {}", self.window.words());
        let said = self.machine.succeed(&order, ORDER, progress)?;
        Ok(said.last().cloned().unwrap_or_default())
    }
}

/// How many updates `tstaeshm` says it has made.
pub fn updates(said: &[String]) -> Option<u64> {
    let counted = said.last()?.strip_prefix("tstaeshm made ")?;
    counted.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_read() {
        let said = |line: &str| [String::from("first"), line.to_owned()];
        assert_eq!(updates(&said("tstaeshm made 1234 updates in 2 s")), Some(1234));
        assert_eq!(updates(&said("tstaeshm: killed")), None);
        assert_eq!(updates(&[]), None);
    }
}
