//! A Linux guest with a disk, a source of random numbers and a network card; one RAM block that is
//! written, as QEMU's log under TCG is sound for the first alone (docs/findings.md).

use crate::common::Place;
use memtwin_lab::image::{ImageSpec, SUITE};
use memtwin_lab::{Arch, Cache, Flavour, Machine, Progress};
use memtwin_qmp::Qmp;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// For anything that an emulated guest does on a busy machine.
const LONG: Duration = Duration::from_secs(240);
/// The disk: more than the guest's page cache could hide, as reads go past it.
const DISK: usize = 16 << 20;

pub(crate) struct Talk;

impl Progress for Talk {
    fn say(&mut self, line: &str) {
        println!("{line}");
    }
}

pub(crate) struct Guest {
    machine: Machine,
    pub(crate) place: Place,
}

impl Guest {
    /// Boots it.
    pub(crate) fn boot(arch: Arch) -> Self {
        let place = Place::new();
        let image = {
            let cache = Cache::open(&Cache::place().unwrap(), &mut Talk).unwrap();
            // Some are built in, on one architecture or the other.
            let modules = &["virtio_pci", "virtio_blk", "virtio-rng", "virtio_net"];
            let (suite, kernel) = (SUITE, Flavour::Standard);
            let spec = ImageSpec { arch, suite, kernel, modules, programs: &[], files: &[] };
            spec.build(&cache, &mut Talk).unwrap()
        };
        let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(DISK).collect();
        fs::write(place.path("disk"), random).unwrap();
        let path = |name: &str| place.path(name).display().to_string();
        let mut qemu = Command::new(format!("qemu-system-{arch}"));
        let (board, terminal): (&[&str], _) = match arch {
            Arch::Aarch64 => (&["-M", "virt", "-cpu", "cortex-a72"], "ttyAMA0"),
            Arch::X86_64 => (&["-M", "pc", "-cpu", "max", "-vga", "none"], "ttyS0"),
        };
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]);
        qemu.args(board).args(["-accel", "tcg", "-smp", "2", "-m", "256"]);
        qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
        qemu.args(["-append", &format!("console={terminal} rdinit=/init panic=-1 quiet")]);
        let disk = format!("if=none,id=disk,format=raw,read-only=on,file={}", path("disk"));
        qemu.args(["-drive", &disk, "-device", "virtio-blk-pci,drive=disk"]);
        qemu.args(["-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng"]);
        let ends = format!(
            "local.type=unix,local.path={},remote.type=unix,remote.path={}",
            path("net"),
            path("us")
        );
        qemu.args(["-netdev", &format!("dgram,id=net,{ends}")]);
        // Its boot ROM would be a RAM block more.
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        for socket in ["qmp", "qmp-too"] {
            qemu.args(["-qmp", &format!("unix:{},server=on,wait=off", path(socket))]);
        }
        let machine = Machine::start(&mut qemu, &place.path("console")).unwrap();
        let mut this = Self { machine, place };
        this.ready();
        this
    }

    /// Waits for it, after its start or a reboot.
    pub(crate) fn ready(&mut self) {
        println!("ready: {}", self.machine.ready(LONG, &mut Talk).unwrap());
        self.run("ip link set eth0 up");
    }

    /// The socket for audits.
    pub(crate) fn qmp(&self) -> PathBuf {
        self.place.path("qmp")
    }

    /// A second monitor.
    pub(crate) fn monitor(&self) -> Qmp {
        Qmp::connect(&self.place.path("qmp-too"), LONG).unwrap()
    }

    /// A shell line that must succeed.
    pub(crate) fn run(&mut self, line: &str) -> Vec<String> {
        self.order(&format!("run {line}"))
    }

    /// An order that must succeed.
    pub(crate) fn order(&mut self, order: &str) -> Vec<String> {
        self.machine.succeed(order, LONG, &mut Talk).unwrap()
    }

    /// A program that is stopped: what it returns is the signal's.
    pub(crate) fn stop(&mut self, name: &str) {
        self.machine.order(&format!("stop {name}"), LONG, &mut Talk).unwrap();
    }

    /// The number that a shell line prints.
    pub(crate) fn number(&mut self, line: &str) -> u64 {
        let said = self.run(line);
        said.last().and_then(|line| line.trim().parse().ok()).unwrap_or_else(|| panic!("{said:?}"))
    }
}
