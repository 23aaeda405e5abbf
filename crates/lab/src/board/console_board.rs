//! A board that has no network: all it needs is in its image, and it takes orders over its console.

use super::BoardSpec;
use crate::image::Image;
use crate::{Machine, MachineError, Progress};
use std::path::Path;
use std::time::Duration;

/// How long a board may take to start on a busy machine.
const START: Duration = Duration::from_secs(240);

/// A board that runs, and takes orders over its console. It is off when this is dropped.
#[derive(Debug)]
pub struct ConsoleBoard {
    /// Its orders.
    pub machine: Machine,
    /// What it says of itself: architecture, kernel, page size.
    pub about: String,
}

impl ConsoleBoard {
    /// Starts a board and waits until it takes orders; it has a pool of four huge pages then. Its
    /// console goes into the file `log` as well.
    ///
    /// Errors: QEMU can't be started, or the board does not come up.
    pub fn boot(
        spec: &BoardSpec,
        image: &Image,
        log: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Self, MachineError> {
        let mut machine = Machine::start(&mut spec.command(image, "", &spec.append), log)?;
        let about = machine.ready(START, progress)?;
        // Memory is still in one piece now. Fewer pages than asked for are no error: whoever needs
        // them says so.
        machine.order("run echo 4 >/proc/sys/vm/nr_hugepages", START, progress)?;
        Ok(Self { machine, about })
    }

    /// Switches the board off and waits until it is.
    ///
    /// Errors: it does not obey in time; it is off all the same.
    pub fn off(mut self, progress: &mut dyn Progress) -> Result<(), MachineError> {
        self.machine.order("poweroff", START, progress)?;
        self.machine.ended(START, progress).map(|_| ())
    }
}
