//! An emulated ARMv8 board: a machine with EL2, on which Linux offers a real /dev/kvm. QEMU emulates
//! the CPU; stage-2 page tables and the dirty log in them are the work of the board's own kernel.

use crate::image::Image;
use crate::{Machine, MachineError, Progress};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a board may take to start on a busy machine.
const START: Duration = Duration::from_secs(240);

/// The program that is a board.
pub const QEMU: &str = "qemu-system-aarch64";

/// What a board is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardSpec {
    /// The CPU, by QEMU's name: `max`, `neoverse-n1`, `cortex-a76`, …
    pub cpu: String,
    /// How many CPUs.
    pub cpus: u16,
    /// Its memory in MiB.
    pub memory: u32,
    /// More for its kernel's command line.
    pub append: String,
}

impl Default for BoardSpec {
    /// What `check` wants: a CPU that has everything, two of them, and room for huge pages.
    fn default() -> Self {
        Self { cpu: "max".to_owned(), cpus: 2, memory: 1024, append: String::new() }
    }
}

/// A board that runs, and takes orders over its console. It is off when this is dropped.
#[derive(Debug)]
pub struct Board {
    /// Its orders.
    pub machine: Machine,
    /// What it says of itself: architecture, kernel, page size.
    pub about: String,
}

impl BoardSpec {
    /// The CPU as QEMU is told.
    pub(crate) fn cpu_words(&self) -> &str {
        // The default algorithm of pointer authentication takes most of an emulated kernel's time.
        if self.cpu == "max" { "max,pauth-impdef=on" } else { &self.cpu }
    }

    /// QEMU, told to be such a board. It has no network and no disk: all it needs is in the image.
    pub fn command(&self, image: &Image) -> Command {
        let Self { cpus, memory, append, .. } = self;
        let cpu = self.cpu_words();
        let mut qemu = Command::new(QEMU);
        qemu.args(["-M", "virt,virtualization=on,gic-version=3", "-cpu", cpu]);
        qemu.args(["-accel", "tcg,thread=multi", "-smp", &cpus.to_string()]);
        qemu.args(["-m", &memory.to_string(), "-no-reboot", "-nodefaults"]);
        qemu.args(["-display", "none", "-serial", "stdio"]);
        qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
        qemu.args(["-append", &format!("console=ttyAMA0 rdinit=/init panic=-1 quiet {append}")]);
        qemu
    }
}

impl Board {
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
        let mut machine = Machine::start(&mut spec.command(image), log)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_has_el2() {
        let image = Image { kernel: "/k".into(), initrd: "/i".into() };
        let said = |cpu: &str| {
            let spec = BoardSpec { cpu: cpu.to_owned(), ..BoardSpec::default() };
            let command = spec.command(&image);
            let words: Vec<_> = command.get_args().map(|word| word.display().to_string()).collect();
            words.join(" ")
        };
        assert!(said("max").contains("virtualization=on,gic-version=3 -cpu max,pauth-impdef=on "));
        assert!(said("cortex-a76").contains("-cpu cortex-a76 "));
    }
}
