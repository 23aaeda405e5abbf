//! An emulated ARMv8 board: a machine with EL2, on which Linux offers a real /dev/kvm. QEMU emulates
//! the CPU; stage-2 page tables and the dirty log in them are the work of the board's own kernel.
//!
//! A [`ConsoleBoard`] has no network and takes orders over its console. A [`Board`] has ssh, and is a
//! [`Host`](crate::host::Host) as any other machine: one of a lab that this process holds
//! ([`Lab`](crate::boards::Lab)), or of one that another process holds
//! ([`RunningLab`](crate::running_lab::RunningLab)).

mod console_board;
mod network_board;

pub use console_board::ConsoleBoard;
pub use network_board::Board;

use crate::image::Image;
use std::process::Command;

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

impl BoardSpec {
    /// The CPU as QEMU is told.
    fn cpu_words(&self) -> &str {
        // The default algorithm of pointer authentication takes most of an emulated kernel's time.
        if self.cpu == "max" { "max,pauth-impdef=on" } else { &self.cpu }
    }

    /// QEMU, told to be such a board, without a network and a disk. `accel`: more words for its emulator;
    /// `append`: for the kernel's command line.
    pub(crate) fn command(&self, image: &Image, accel: &str, append: &str) -> Command {
        let mut qemu = Command::new(QEMU);
        qemu.args(["-M", "virt,virtualization=on,gic-version=3", "-cpu", self.cpu_words()]);
        qemu.args(["-accel", &format!("tcg,thread=multi{accel}"), "-smp", &self.cpus.to_string()]);
        qemu.args(["-m", &self.memory.to_string(), "-no-reboot", "-nodefaults"]);
        qemu.args(["-display", "none", "-serial", "stdio"]);
        qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
        qemu.args(["-append", &format!("console=ttyAMA0 rdinit=/init panic=-1 quiet {append}")]);
        qemu
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
            let command = spec.command(&image, "", "");
            let words: Vec<_> = command.get_args().map(|word| word.display().to_string()).collect();
            words.join(" ")
        };
        assert!(said("max").contains("virtualization=on,gic-version=3 -cpu max,pauth-impdef=on "));
        assert!(said("cortex-a76").contains("-cpu cortex-a76 "));
    }
}
