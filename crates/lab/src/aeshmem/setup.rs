//! What the guest is and where its window lies: chosen, or refused where QEMU's own log is known to lie.

use crate::Arch;
use std::fs::File;
use std::io;

pub(super) const MIB: u64 = 1 << 20;
/// RAM above what the kernel is told to use: the window begins where that ends.
const SPARE: u64 = 8 * MIB;
/// CPUs of QEMU that have no FEAT_HAFDBS: the page-table walker writes nothing by itself.
const NO_HAFDBS: [&str; 4] = ["cortex-a72", "cortex-a57", "cortex-a53", "cortex-a35"];

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
pub enum WindowBacking {
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
    pub layout: Option<WindowBacking>,
    /// QEMU's name of its CPU.
    pub cpu: Option<String>,
    /// The window's size.
    pub bytes: u64,
    /// How many entries each vCPU's dirty ring has, if KVM is to log by rings and not by bitmaps.
    pub ring: Option<u32>,
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
    /// Only KVM has rings.
    #[error("a dirty ring under TCG: only KVM has one; use --accel kvm, or leave --dirty-ring out")]
    Ring,
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

/// A guest whose dirty log can be trusted to be what is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub(super) arch: Arch,
    pub(super) accel: Accel,
    pub(super) layout: WindowBacking,
    pub(super) cpu: String,
    pub(super) ring: Option<u32>,
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

    pub(super) fn choose_on(
        choice: &Choice,
        host: &'static str,
        kvm: impl Fn() -> io::Result<File>,
    ) -> Result<Self, SetupError> {
        let Choice { arch, accel, layout, cpu, bytes, ring } = choice.clone();
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
                (layout.unwrap_or(WindowBacking::Ivshmem), cpu)
            }
            Accel::Tcg => {
                if layout == Some(WindowBacking::Ivshmem) {
                    return Err(SetupError::SeveralBlocks);
                }
                let usual = if arch == Arch::Aarch64 { NO_HAFDBS[0] } else { "max" };
                let cpu = cpu.unwrap_or_else(|| usual.to_owned());
                // Features may be appended: cortex-a72,pmu=off.
                let model = cpu.split(',').next().unwrap_or_default();
                if arch == Arch::Aarch64 && !NO_HAFDBS.contains(&model) {
                    return Err(SetupError::Walker { cpu });
                }
                (WindowBacking::Ram, cpu)
            }
        };
        if accel == Accel::Tcg && ring.is_some() {
            return Err(SetupError::Ring);
        }
        // A PC's firmware keeps its tables at the end of RAM.
        let most = match (layout, arch) {
            (WindowBacking::Ivshmem, _) => 256 * MIB,
            (WindowBacking::Ram, Arch::Aarch64) => SPARE,
            (WindowBacking::Ram, Arch::X86_64) => SPARE / 2,
        };
        if bytes == 0 || !bytes.is_multiple_of(MIB) || bytes > most {
            return Err(SetupError::Bytes { bytes, most: most / MIB });
        }
        if layout == WindowBacking::Ivshmem && !bytes.is_power_of_two() {
            return Err(SetupError::NotAPower { bytes });
        }
        Ok(Self { arch, accel, layout, cpu, ring, bytes })
    }

    /// The guest's architecture.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// What runs its code.
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// Whether KVM logs by rings.
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Where its window lies.
    pub fn layout(&self) -> WindowBacking {
        self.layout
    }

    /// How much RAM QEMU gives it.
    pub(super) fn ram(&self) -> u64 {
        match (self.layout, self.arch) {
            // The window at 0x20000000, as in the reference setup: a PC's RAM begins at 0.
            (WindowBacking::Ram, Arch::X86_64) => 512 * MIB + SPARE,
            _ => 512 * MIB,
        }
    }

    /// How large the memory file must be.
    pub fn memory_bytes(&self) -> u64 {
        match self.layout {
            WindowBacking::Ram => self.ram(),
            WindowBacking::Ivshmem => self.bytes,
        }
    }

    /// The window.
    pub fn window(&self) -> Window {
        let Self { bytes, .. } = *self;
        match self.layout {
            WindowBacking::Ivshmem => Window { address: None, offset: 0, bytes },
            WindowBacking::Ram => {
                let begin = if self.arch == Arch::Aarch64 { 0x4000_0000 } else { 0 };
                let offset = self.ram() - SPARE;
                Window { address: Some(begin + offset), offset, bytes }
            }
        }
    }
}
