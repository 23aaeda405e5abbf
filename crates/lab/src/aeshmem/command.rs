//! How QEMU is called for a setup, and what is said of it.

use super::setup::{Accel, MIB, Setup, Window, WindowBacking};
use crate::Arch;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The names of the memory file's backend.
const DEVICE: &str = "aeshmem";
const RAM: &str = "ram";

/// The files of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Files<'f> {
    /// The memory file, of [`Setup::memory_bytes`].
    pub memory: &'f Path,
    /// The kernel.
    pub kernel: &'f Path,
    /// The initramfs.
    pub initrd: &'f Path,
    /// Where QEMU is to listen for QMP.
    pub qmp: &'f Path,
}

impl Setup {
    /// How the name of the memory file's RAMBlock ends.
    pub fn block(&self) -> &'static str {
        match self.layout {
            WindowBacking::Ram => RAM,
            WindowBacking::Ivshmem => DEVICE,
        }
    }

    /// What is special about it, for a person.
    pub fn lines(&self) -> Vec<String> {
        let Window { address, offset, bytes } = self.window();
        let log = self.ring.map(|entries| format!(", dirty ring of {entries} entries"));
        let (arch, accel, cpu) = (self.arch, self.accel.name(), &self.cpu);
        let guest = format!("{arch} guest, {accel}, cpu {cpu}{}", log.unwrap_or_default());
        let Some(address) = address else {
            let line = format!("{bytes} bytes, ivshmem-plain, all of the memory file");
            return vec![guest, format!("window: {line}")];
        };
        vec![
            guest,
            format!(
                "window: {bytes} bytes at {address:#x}, inside the guest's one RAM block{}",
                match self.accel {
                    Accel::Tcg => {
                        ": under TCG QEMU's dirty log is sound for that alone (docs/findings.md)"
                    }
                    Accel::Kvm => "",
                }
            ),
            format!(
                "the kernel leaves it alone (mem={}M); the memory file is all of RAM, the window \
                 begins at its byte {offset}",
                offset / MIB
            ),
        ]
    }

    /// How QEMU is called. `append`: more for the kernel's command line.
    pub fn command(&self, files: &Files<'_>, append: Option<&str>) -> Command {
        let mut qemu = Command::new(format!("qemu-system-{}", self.arch));
        let (machine, terminal) = match self.arch {
            Arch::Aarch64 => ("virt,gic-version=max", "ttyAMA0"),
            Arch::X86_64 => ("pc", "ttyS0"),
        };
        let (mut machine, mut line) =
            (machine.to_owned(), format!("console={terminal} rdinit=/init panic=-1 quiet"));
        if self.layout == WindowBacking::Ram {
            machine.push_str(&format!(",memory-backend={RAM}"));
            line.push_str(&format!(" mem={}M", self.window().offset / MIB));
        }
        if let Some(append) = append {
            line.push_str(&format!(" {append}"));
        }
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        let ring = self.ring.map(|entries| format!(",dirty-ring-size={entries}"));
        let accel = format!("{}{}", self.accel.name(), ring.unwrap_or_default());
        qemu.args(["-serial", "stdio", "-machine", &machine, "-accel", &accel]);
        qemu.args(["-cpu", &self.cpu, "-smp", "2", "-m", &format!("{}M", self.ram() / MIB)]);
        let mut backend = OsString::from(format!(
            "memory-backend-file,id={},size={},share=on,mem-path=",
            self.block(),
            self.memory_bytes()
        ));
        backend.push(comma_doubled(files.memory));
        qemu.arg("-object").arg(backend);
        if self.layout == WindowBacking::Ivshmem {
            // Migratable only as the master.
            qemu.args(["-device", &format!("ivshmem-plain,memdev={DEVICE},master=on")]);
        }
        qemu.arg("-kernel").arg(files.kernel).arg("-initrd").arg(files.initrd);
        qemu.args(["-append", &line]);
        let mut qmp = OsString::from("unix:");
        qmp.push(comma_doubled(files.qmp));
        qmp.push(",server=on,wait=off");
        qemu.arg("-qmp").arg(qmp);
        qemu
    }
}

/// A path inside one of QEMU's options, where a comma ends a value.
fn comma_doubled(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes();
    let parts: Vec<&[u8]> = bytes.split(|&byte| byte == b',').collect();
    OsString::from_vec(parts.join(&b",,"[..]))
}
