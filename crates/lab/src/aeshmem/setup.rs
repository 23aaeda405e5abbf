//! Where the window is, and how QEMU is called.

use crate::Arch;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;
/// RAM above what the kernel is told to use: the window begins where that ends.
const SPARE: u64 = 8 * MIB;
/// CPUs of QEMU that have no FEAT_HAFDBS: the page-table walker writes nothing by itself.
const NO_HAFDBS: [&str; 4] = ["cortex-a72", "cortex-a57", "cortex-a53", "cortex-a35"];
/// The device's memory on PCI, and the name of its file's backend.
const DEVICE: &str = "aeshmem";
const RAM: &str = "ram";

/// What runs the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The CPU, by /dev/kvm.
    Kvm,
    /// QEMU's emulator.
    Tcg,
}

impl Accel {
    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Where the window lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// The last part of the guest's only RAM block, which its kernel leaves alone.
    Ram,
    /// The memory of an ivshmem-plain device, a block of its own.
    Ivshmem,
}

/// What is asked for; what is not, is chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The guest's architecture.
    pub arch: Arch,
    /// What runs its code.
    pub accel: Option<Accel>,
    /// Where its window lies.
    pub layout: Option<Where>,
    /// QEMU's name of its CPU.
    pub cpu: Option<String>,
    /// The window's size.
    pub bytes: u64,
}

/// Why a guest is not started.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// QEMU loses writes with several blocks.
    #[error(
        "layout ivshmem under TCG is refused: QEMU loses writes to any RAM block that is not the \
         first, or aborts (docs/findings.md, bug 1), so the run would show that and not the log. \
         Leave --layout out, for a window inside a single block, or use --accel kvm"
    )]
    SeveralBlocks,
    /// QEMU does not log what the walker writes.
    #[error(
        "cpu {cpu} under TCG is refused: with FEAT_HAFDBS the emulated page-table walker sets \
         access flags that QEMU does not log (docs/findings.md, bug 2), so pages would differ \
         for that reason. Use one without it: {}",
        NO_HAFDBS.join(", ")
    )]
    Walker {
        /// The CPU.
        cpu: String,
    },
    /// KVM runs code of the host's architecture alone.
    #[error("KVM of this {host} host runs no {arch} guest; use --accel tcg")]
    OtherArch {
        /// The guest's.
        arch: Arch,
        /// The host's.
        host: &'static str,
    },
    /// KVM runs the host's own CPU.
    #[error("cpu {cpu} under KVM is refused: it runs this host's own; leave --cpu out")]
    Cpu {
        /// The CPU.
        cpu: String,
    },
    /// There is no KVM.
    #[error("/dev/kvm: {0}; use --accel tcg, or get access to it (group kvm)")]
    NoKvm(io::Error),
    /// A window that does not fit, or is not made of whole pages.
    #[error("a window of {bytes} bytes: expected whole MiB, {most} at most")]
    Bytes {
        /// What was asked for.
        bytes: u64,
        /// In MiB.
        most: u64,
    },
    /// A PCI BAR has a power of two.
    #[error("a window of {bytes} bytes: expected a power of two, as it is a PCI device's memory")]
    NotAPower {
        /// What was asked for.
        bytes: u64,
    },
}

/// The window, as both sides see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the guest sees it; `None`: `tstaeshm` looks for the device.
    pub address: Option<u64>,
    /// Where it begins in the memory file, and so in the twin.
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
}

impl Window {
    /// What `tstaeshm` is told.
    pub fn words(&self) -> String {
        let place = self.address.map_or("auto".to_owned(), |address| format!("{address:#x}"));
        format!("{place} --size {}", self.bytes)
    }
}

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

/// A guest whose dirty log can be trusted to be what is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    arch: Arch,
    accel: Accel,
    layout: Where,
    cpu: String,
    bytes: u64,
}

impl Setup {
    /// Chooses what is not said, and refuses what can't be or would be unsound.
    ///
    /// KVM is what an aarch64 host with /dev/kvm uses for an aarch64 guest; elsewhere it must be
    /// asked for. Under TCG the window is in RAM, under KVM in a device.
    ///
    /// Errors: see [`SetupError`].
    pub fn choose(choice: &Choice) -> Result<Self, SetupError> {
        let kvm = || File::options().read(true).write(true).open("/dev/kvm");
        Self::choose_on(choice, std::env::consts::ARCH, kvm)
    }

    fn choose_on(
        choice: &Choice,
        host: &'static str,
        kvm: impl Fn() -> io::Result<File>,
    ) -> Result<Self, SetupError> {
        let Choice { arch, accel, layout, cpu, bytes } = choice.clone();
        let native = host == arch.name();
        let accel = accel.unwrap_or(match arch {
            Arch::Aarch64 if native && kvm().is_ok() => Accel::Kvm,
            _ => Accel::Tcg,
        });
        let (layout, cpu) = match accel {
            Accel::Kvm => {
                if !native {
                    return Err(SetupError::OtherArch { arch, host });
                }
                kvm().map_err(SetupError::NoKvm)?;
                let cpu = cpu.unwrap_or_else(|| "host".to_owned());
                if cpu != "host" {
                    return Err(SetupError::Cpu { cpu });
                }
                (layout.unwrap_or(Where::Ivshmem), cpu)
            }
            Accel::Tcg => {
                if layout == Some(Where::Ivshmem) {
                    return Err(SetupError::SeveralBlocks);
                }
                let usual = if arch == Arch::Aarch64 { NO_HAFDBS[0] } else { "max" };
                let cpu = cpu.unwrap_or_else(|| usual.to_owned());
                // Features may be appended: cortex-a72,pmu=off.
                let model = cpu.split(',').next().unwrap_or_default();
                if arch == Arch::Aarch64 && !NO_HAFDBS.contains(&model) {
                    return Err(SetupError::Walker { cpu });
                }
                (Where::Ram, cpu)
            }
        };
        // A PC's firmware keeps its tables at the end of RAM.
        let most = match (layout, arch) {
            (Where::Ivshmem, _) => 256 * MIB,
            (Where::Ram, Arch::Aarch64) => SPARE,
            (Where::Ram, Arch::X86_64) => SPARE / 2,
        };
        if bytes == 0 || !bytes.is_multiple_of(MIB) || bytes > most {
            return Err(SetupError::Bytes { bytes, most: most / MIB });
        }
        if layout == Where::Ivshmem && !bytes.is_power_of_two() {
            return Err(SetupError::NotAPower { bytes });
        }
        Ok(Self { arch, accel, layout, cpu, bytes })
    }

    /// The guest's architecture.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// What runs its code.
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// Where its window lies.
    pub fn layout(&self) -> Where {
        self.layout
    }

    /// How much RAM QEMU gives it.
    fn ram(&self) -> u64 {
        match (self.layout, self.arch) {
            // The window at 0x20000000, as in 2014: a PC's RAM begins at 0.
            (Where::Ram, Arch::X86_64) => 512 * MIB + SPARE,
            _ => 512 * MIB,
        }
    }

    /// How large the memory file must be.
    pub fn memory_bytes(&self) -> u64 {
        match self.layout {
            Where::Ram => self.ram(),
            Where::Ivshmem => self.bytes,
        }
    }

    /// The window.
    pub fn window(&self) -> Window {
        let Self { bytes, .. } = *self;
        match self.layout {
            Where::Ivshmem => Window { address: None, offset: 0, bytes },
            Where::Ram => {
                let begin = if self.arch == Arch::Aarch64 { 0x4000_0000 } else { 0 };
                let offset = self.ram() - SPARE;
                Window { address: Some(begin + offset), offset, bytes }
            }
        }
    }

    /// How the name of the memory file's RAMBlock ends.
    pub fn block(&self) -> &'static str {
        match self.layout {
            Where::Ram => RAM,
            Where::Ivshmem => DEVICE,
        }
    }

    /// What is special about it, for a person.
    pub fn lines(&self) -> Vec<String> {
        let Window { address, offset, bytes } = self.window();
        let guest = format!("{} guest, {}, cpu {}", self.arch, self.accel.name(), self.cpu);
        let Some(address) = address else {
            let line = format!("{bytes} bytes, ivshmem-plain, all of the memory file");
            return vec![guest, format!("window: {line}")];
        };
        vec![
            guest,
            format!(
                "window: {bytes} bytes at {address:#x}, inside the guest's one RAM block: under TCG \
                 QEMU's dirty log is sound for that alone (docs/findings.md)"
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
        if self.layout == Where::Ram {
            machine.push_str(&format!(",memory-backend={RAM}"));
            line.push_str(&format!(" mem={}M", self.window().offset / MIB));
        }
        if let Some(append) = append {
            line.push_str(&format!(" {append}"));
        }
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        qemu.args(["-serial", "stdio", "-machine", &machine, "-accel", self.accel.name()]);
        qemu.args(["-cpu", &self.cpu, "-smp", "2", "-m", &format!("{}M", self.ram() / MIB)]);
        let mut backend = OsString::from(format!(
            "memory-backend-file,id={},size={},share=on,mem-path=",
            self.block(),
            self.memory_bytes()
        ));
        backend.push(comma_doubled(files.memory));
        qemu.arg("-object").arg(backend);
        if self.layout == Where::Ivshmem {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(arch: Arch) -> Choice {
        Choice { arch, accel: None, layout: None, cpu: None, bytes: MIB }
    }

    fn on(host: &'static str, kvm: bool, choice: &Choice) -> Result<Setup, SetupError> {
        let device = if kvm { "/dev/null" } else { "/no/such/kvm" };
        Setup::choose_on(choice, host, || File::open(device))
    }

    fn line(setup: &Setup) -> String {
        let path = Path::new;
        let files = Files {
            memory: path("/m,em"),
            kernel: path("/k"),
            initrd: path("/i"),
            qmp: path("/q"),
        };
        let command = setup.command(&files, None);
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn under_tcg_there_is_one_block() {
        let arm = on("x86_64", true, &choice(Arch::Aarch64)).unwrap();
        assert_eq!((arm.accel(), arm.layout()), (Accel::Tcg, Where::Ram));
        let window = Window { address: Some(0x5f80_0000), offset: 504 * MIB, bytes: MIB };
        assert_eq!(arm.window(), window);
        assert_eq!(window.words(), "0x5f800000 --size 1048576");
        let words = line(&arm);
        assert!(words.contains("-cpu cortex-a72 "), "{words}");
        assert!(words.contains("mem=504M") && words.contains("-m 512M"), "{words}");
        assert!(words.contains("mem-path=/m,,em"), "{words}");
        assert_eq!(words.matches("-object").count(), 1, "{words}");

        // The address of 2014.
        let pc = on("x86_64", true, &choice(Arch::X86_64)).unwrap();
        assert_eq!(pc.accel(), Accel::Tcg);
        assert_eq!(pc.window().address, Some(0x2000_0000));
        assert!(line(&pc).contains("mem=512M"));
    }

    #[test]
    fn under_kvm_it_is_a_device() {
        let arm = on("aarch64", true, &choice(Arch::Aarch64)).unwrap();
        assert_eq!((arm.accel(), arm.layout()), (Accel::Kvm, Where::Ivshmem));
        assert_eq!(
            (arm.memory_bytes(), arm.window().words().as_str()),
            (MIB, "auto --size 1048576")
        );
        let words = line(&arm);
        assert!(words.contains("ivshmem-plain,memdev=aeshmem,master=on"), "{words}");
        assert!(!words.contains(" mem="), "{words}");
        assert_eq!(on("aarch64", false, &choice(Arch::Aarch64)).unwrap().accel(), Accel::Tcg);
    }

    #[test]
    fn what_is_unsound_is_refused() {
        let refused = |choice: &Choice| on("x86_64", true, choice).unwrap_err();
        let ivshmem = Choice { layout: Some(Where::Ivshmem), ..choice(Arch::Aarch64) };
        assert!(matches!(refused(&ivshmem), SetupError::SeveralBlocks));
        for cpu in ["max", "neoverse-n1", "cortex-a76"] {
            let other = Choice { cpu: Some(cpu.to_owned()), ..choice(Arch::Aarch64) };
            assert!(matches!(refused(&other), SetupError::Walker { .. }), "{cpu}");
        }
        let features = Choice { cpu: Some("cortex-a72,pmu=off".into()), ..choice(Arch::Aarch64) };
        assert!(on("x86_64", true, &features).is_ok());
        let kvm = Choice { accel: Some(Accel::Kvm), ..choice(Arch::Aarch64) };
        assert!(matches!(refused(&kvm), SetupError::OtherArch { .. }));
        assert!(matches!(on("aarch64", false, &kvm), Err(SetupError::NoKvm(_))));
        let cpu = Choice { cpu: Some("max".to_owned()), ..kvm };
        assert!(matches!(on("aarch64", true, &cpu), Err(SetupError::Cpu { .. })));
        for bytes in [0, 4096, 9 * MIB] {
            let window = Choice { bytes, ..choice(Arch::Aarch64) };
            assert!(matches!(refused(&window), SetupError::Bytes { .. }), "{bytes}");
        }
        let three = Choice { bytes: 3 * MIB, ..choice(Arch::Aarch64) };
        assert!(matches!(on("aarch64", true, &three), Err(SetupError::NotAPower { .. })));
    }
}
