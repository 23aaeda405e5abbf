//! A Linux guest whose devices write its RAM while it runs: a disk that is read, a source of random
//! numbers, a network card that is flooded. All are PCI devices with message-signalled interrupts, which
//! on aarch64 go through the GIC's ITS, whose tables lie in the guest's RAM too.

mod flood;

use crate::aeshmem::Accel;
use crate::boards::comma_doubled;
use crate::machine::{Machine, MachineError};
use crate::{Arch, Progress};
use flood::Flood;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For a boot, emulated, on a busy machine.
const BOOT: Duration = Duration::from_secs(300);
/// For an order.
const ORDER: Duration = Duration::from_secs(120);
/// The disk: more than a guest's page cache would hide, as reads go past it.
const DISK: u64 = 16 << 20;

/// The kernel modules that the guest needs: what is built in is no error.
pub const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio-rng", "virtio_net"];

/// What writes: its name, the program that makes it write (none: we do), what counts its writes.
const WRITERS: [(&str, Option<&str>, &str); 3] = [
    (
        "virtio-blk",
        Some("dd if=/dev/vda of=/dev/null bs=1M iflag=direct"),
        // Sectors read.
        "$(awk '{print $3}' /sys/block/vda/stat)",
    ),
    (
        "virtio-rng",
        Some("dd if=/dev/hwrng of=/dev/null bs=512 count=16"),
        // The interrupts of its queue, all CPUs together.
        "$(awk -v d=$(ls /sys/bus/virtio/drivers/virtio_rng | grep virtio)- \
         'index($0, d) {s = $2 + $3} END {print s + 0}' /proc/interrupts)",
    ),
    ("virtio-net", None, "$(awk '/eth0/ {print $3}' /proc/net/dev)"),
];

/// The interrupts that came by messages, through the ITS where there is one.
const MESSAGES: &str = "$(awk '/MSI/ {s += $2 + $3} END {print s + 0}' /proc/interrupts)";

/// How many CPUs the guest has.
const CPUS: &str = "2";

/// A guest with traffic.
#[derive(Clone, Debug)]
pub struct TrafficSpec<'t> {
    /// Its architecture.
    pub arch: Arch,
    /// What runs its code.
    pub accel: Accel,
    /// How many entries each vCPU's dirty ring has, if KVM is to log by rings.
    pub ring: Option<u32>,
    /// The kernel.
    pub kernel: &'t Path,
    /// The initramfs.
    pub initrd: &'t Path,
    /// A folder for its disk and its sockets.
    pub folder: &'t Path,
}

/// A running guest. Killed when this is dropped.
#[derive(Debug)]
pub struct TrafficGuest {
    machine: Machine,
    folder: PathBuf,
    flood: Option<Flood>,
}

/// How much each writer has written so far, and how many interrupts came by messages.
pub type Counts = Vec<(&'static str, u64)>;

impl TrafficSpec<'_> {
    /// Where QEMU listens for QMP, twice: for the audit, and for who watches it.
    pub fn monitors(&self) -> [PathBuf; 2] {
        ["qmp", "qmp-too"].map(|name| self.folder.join(name))
    }

    /// How QEMU is called.
    pub fn command(&self) -> Command {
        let mut qemu = Command::new(format!("qemu-system-{}", self.arch));
        let kvm = self.accel == Accel::Kvm;
        // Under TCG, a CPU whose page-table walker writes nothing, and one RAM block that is written:
        // QEMU's own log is sound for that alone (docs/findings.md).
        let (board, terminal): (&[&str], _) = match (self.arch, kvm) {
            (Arch::Aarch64, true) => (&["-M", "virt,gic-version=max", "-cpu", "host"], "ttyAMA0"),
            (Arch::Aarch64, false) => {
                (&["-M", "virt,gic-version=3", "-cpu", "cortex-a72"], "ttyAMA0")
            }
            (Arch::X86_64, true) => (&["-M", "pc", "-cpu", "host", "-vga", "none"], "ttyS0"),
            (Arch::X86_64, false) => (&["-M", "pc", "-cpu", "max", "-vga", "none"], "ttyS0"),
        };
        let ring = self.ring.map(|entries| format!(",dirty-ring-size={entries}"));
        let accel = format!("{}{}", self.accel.name(), ring.unwrap_or_default());
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        qemu.args(["-serial", "stdio"]).args(board).args(["-accel", &accel]);
        qemu.args(["-smp", CPUS, "-m", "256"]);
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initrd);
        qemu.args(["-append", &format!("console={terminal} rdinit=/init panic=-1 quiet")]);
        let with = |prefix: &str, file: &Path, suffix: &str| {
            let mut word = OsString::from(prefix);
            word.push(comma_doubled(file));
            word.push(suffix);
            word
        };
        let path = |name: &str| self.folder.join(name);
        let disk = with("if=none,id=disk,format=raw,read-only=on,file=", &path("disk"), "");
        qemu.arg("-drive").arg(disk).args(["-device", "virtio-blk-pci,drive=disk"]);
        qemu.args(["-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng"]);
        let mut net = with("dgram,id=net,local.type=unix,local.path=", &path("net"), "");
        net.push(with(",remote.type=unix,remote.path=", &path("us"), ""));
        // Its boot ROM would be a RAM block more.
        qemu.arg("-netdev").arg(net).args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        for socket in self.monitors() {
            qemu.arg("-qmp").arg(with("unix:", &socket, ",server=on,wait=off"));
        }
        qemu
    }

    /// Boots it, and lets the traffic begin. It is killed when the thread that calls this ends.
    ///
    /// Returns it with what it says of itself. Errors: it does not boot, or does not obey.
    pub fn boot(
        &self,
        progress: &mut dyn Progress,
    ) -> Result<(TrafficGuest, String), MachineError> {
        let log = |path: &Path, error| MachineError::Log { path: path.to_owned(), error };
        let disk = self.folder.join("disk");
        random(&disk).map_err(|error| log(&disk, error))?;
        let mut machine = Machine::start(&mut self.command(), &self.folder.join("console"))?;
        let about = machine.ready(BOOT, progress)?;
        machine.succeed("run ip link set eth0 up", ORDER, progress)?;
        for (name, program, _) in WRITERS {
            let Some(program) = program else { continue };
            let again = format!("start {name} sh -c 'while :; do {program} 2>/dev/null; done'");
            machine.succeed(&again, ORDER, progress)?;
        }
        let us = self.folder.join("us");
        let flood = Flood::start(&us, &self.folder.join("net")).map_err(|error| log(&us, error))?;
        let folder = self.folder.to_owned();
        Ok((TrafficGuest { machine, folder, flood: Some(flood) }, about))
    }
}

impl TrafficGuest {
    /// What each writer has written.
    ///
    /// Errors: the guest does not say it.
    pub fn counts(&mut self, progress: &mut dyn Progress) -> Result<Counts, MachineError> {
        let counters = WRITERS.map(|(_, _, counter)| counter).join(" ");
        let order = format!("run echo {counters} {MESSAGES}");
        let said = self.machine.succeed(&order, ORDER, progress)?;
        let names = WRITERS.iter().map(|(name, ..)| *name).chain(["messages"]);
        let numbers = said.last().map(String::as_str).unwrap_or_default().split_whitespace();
        let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
        if numbers.len() != WRITERS.len() + 1 {
            return Err(MachineError::Refused { order, rc: 0, output: said });
        }
        Ok(names.zip(numbers).collect())
    }
}

impl Drop for TrafficGuest {
    fn drop(&mut self) {
        drop(self.flood.take());
        let _ = fs::remove_file(self.folder.join("us"));
    }
}

/// A disk of bytes that are all different, so that what is read changes RAM.
fn random(path: &Path) -> io::Result<()> {
    let mut random = File::open("/dev/urandom")?.take(DISK);
    io::copy(&mut random, &mut File::create(path)?).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_block_of_ram_under_tcg_and_a_ring_under_kvm() {
        let path = Path::new;
        let spec = TrafficSpec {
            arch: Arch::Aarch64,
            accel: Accel::Tcg,
            ring: None,
            kernel: path("/k"),
            initrd: path("/i"),
            folder: path("/f,older"),
        };
        let said = |spec: &TrafficSpec<'_>| {
            let command = spec.command();
            let words: Vec<_> = command.get_args().map(|word| word.display().to_string()).collect();
            words.join(" ")
        };
        let tcg = said(&spec);
        assert!(tcg.contains("gic-version=3 -cpu cortex-a72 "), "{tcg}");
        assert!(tcg.contains("virtio-net-pci,netdev=net,romfile="), "{tcg}");
        assert!(tcg.contains("file=/f,,older/disk"), "{tcg}");
        let kvm = said(&TrafficSpec { accel: Accel::Kvm, ring: Some(4096), ..spec });
        assert!(kvm.contains("-accel kvm,dirty-ring-size=4096 "), "{kvm}");
    }
}
