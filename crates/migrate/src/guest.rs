//! The guest of the specification: virtio-blk root on an image, virtio-net on tap0, one console. How QEMU
//! is called for it on either side, which must be the same but for `-incoming`.

pub mod console;
pub mod heartbeat;

use crate::side::SideSpec;
use memtwin_lab::host::quoted;
use std::path::Path;

/// What the guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestSpec {
    /// The program: `qemu-system-aarch64`.
    pub qemu: String,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// QEMU's name of the machine.
    pub machine: String,
    /// QEMU's name of the CPU.
    pub cpu: String,
    /// How many CPUs.
    pub cpus: u16,
    /// Its memory in MiB.
    pub memory: u64,
    /// The console's name in its kernel.
    pub console: String,
    /// The kernel, the initramfs and the disk, as the host has them.
    pub kernel: String,
    /// The initramfs.
    pub initrd: String,
    /// The disk image.
    pub disk: String,
    /// Its file system.
    pub fstype: String,
    /// The tap device and the MAC address, where there is a network.
    pub network: Option<(String, String)>,
}

impl GuestSpec {
    /// The guest of one side. `folder` is for the sockets on the host, `logs` for what is said, here.
    /// `incoming`: it waits for a guest; `still`: it does not run its guest by itself.
    pub fn side(
        &self,
        name: &str,
        folder: &str,
        memtwin: &str,
        logs: &Path,
        incoming: bool,
        still: bool,
    ) -> SideSpec {
        let socket = |what: &str| format!("{folder}/{name}.{what}");
        let (qmp, qmp_digest) = (socket("qmp"), socket("digest"));
        let (qmp_urgent, console) = (socket("urgent"), socket("console"));
        let mut words = vec![self.qemu.clone()];
        let mut word = |words_: &[&str]| words.extend(words_.iter().map(|word| (*word).to_owned()));
        word(&["-nodefaults", "-no-user-config", "-display", "none", "-name", "memtwin"]);
        word(&["-machine", &self.machine, "-accel", &self.accel, "-cpu", &self.cpu]);
        word(&["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory)]);
        word(&["-kernel", &self.kernel, "-initrd", &self.initrd]);
        let append = format!(
            "console={} rdinit=/init panic=-1 quiet memtwin.root=/dev/vda memtwin.fstype={}",
            self.console, self.fstype
        );
        word(&["-append", &append]);
        let drive = format!("if=none,id=disk,file={},format=raw,cache=none", self.disk);
        word(&["-drive", &drive, "-device", "virtio-blk-device,drive=disk"]);
        if let Some((tap, mac)) = &self.network {
            let netdev = format!("tap,id=net,ifname={tap},script=no,downscript=no");
            let device = format!("virtio-net-device,netdev=net,mac={mac}");
            word(&["-netdev", &netdev, "-device", &device]);
        }
        let unix = |path: &str| format!("path={path},server=on,wait=off");
        word(&[
            "-chardev",
            &format!("socket,id=console,{}", unix(&console)),
            "-serial",
            "chardev:console",
        ]);
        for monitor in [&qmp, &qmp_digest, &qmp_urgent] {
            word(&["-qmp", &format!("unix:{monitor},server=on,wait=off")]);
        }
        if incoming {
            word(&["-incoming", "defer"]);
        }
        if still {
            word(&["-S"]);
        }
        let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        SideSpec {
            name: name.to_owned(),
            memtwin: memtwin.to_owned(),
            line: line.join(" "),
            qmp,
            qmp_digest,
            qmp_urgent,
            console,
            logs: logs.to_owned(),
        }
    }
}

/// The kernel modules that its initramfs needs for the disk. ext4 asks for the algorithm crc32c without
/// naming the module; without it a mount ends with ENOENT.
pub const DISK_MODULES: [&str; 4] = ["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"];
/// And for the network.
pub const NETWORK_MODULES: [&str; 1] = ["virtio_net"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_called_alike_but_for_incoming() {
        let text = |text: &str| text.to_owned();
        let guest = GuestSpec {
            qemu: text("qemu-system-aarch64"),
            accel: text("tcg"),
            machine: text("virt,gic-version=3"),
            cpu: text("cortex-a72"),
            cpus: 1,
            memory: 256,
            console: text("ttyAMA0"),
            kernel: text("/k"),
            initrd: text("/i"),
            disk: text("/d"),
            fstype: text("ext3"),
            network: Some((text("tap0"), text("52:54:00:00:00:64"))),
        };
        let side = |name, incoming, still| {
            guest.side(name, "/run", "memtwin", Path::new("/tmp"), incoming, still).line
        };
        let (source, destination) = (side("x", false, false), side("x", true, true));
        assert_eq!(destination, format!("{source} -incoming defer -S"));
        assert!(source.contains("ifname=tap0"), "{source}");
    }
}
