//! The scenarios: a guest in a machine, and what an audit of it has to find. First the reproducers,
//! then the layouts that are sound, each beside the reproducer that it is the control of.

use crate::expected::{Expected, Loss, StopMoment};
use crate::image::BareImage;
use crate::job::GuestJob;
use crate::machine::{AARCH64_FLASH, Accelerator, BareMachine, PrepareError, X86_FLASH};
use crate::report::Report;
use crate::version::ReleaseVersion;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A guest in a machine, and what an audit of it has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each has its line in `summary`")]
pub enum Scenario {
    Offset,
    OffsetX86,
    OffsetRiscv,
    SmallFirst,
    FrameBuffer,
    OnePage,
    Pflash,
    PflashX86,
    PflashKvm,
    PflashRing,
    Walker,
    WalkerDirty,
    WalkerRiscv,
    WalkerRiscvDirty,
    Writer,
    WriterX86,
    WriterRiscv,
    WalkerSoftware,
    WalkerSoftwareDirty,
    WalkerRiscvSoftware,
    WalkerX86,
    WalkerX86Dirty,
    DiskTcg,
    ResetTcg,
    WriterKvm,
    WriterKvmQ35,
    OffsetKvm,
    FrameBufferKvm,
    OnePageKvm,
    DiskKvm,
    ResetKvm,
    IdleKvm,
}

/// The pages that a writer's range has, 16 MiB into main RAM. Few enough for every one to stay in
/// TCG's TLB, so that no store after the first leaves the fast path.
const HOT: u32 = 32;
const RANGE: u64 = 16 << 20;
/// The pages of a flash that are programmed, in that flash.
const FLASHED: Range<u64> = 32 << 10..(32 << 10) + HOT as u64 * BareImage::PAGE;
/// The stack of an x86 guest.
const STACK: Range<u64> = 0x10_3000..0x10_4000;
/// Where a walker's tables lie in main RAM, by the images' own layout.
const TABLES: Range<u64> = 32 << 20..(32 << 20) + 512 * BareImage::PAGE;
/// The time between two fresh pages: each of the 512 tables gets one in half a second.
const PACE: Duration = Duration::from_millis(1);
/// Access flag, or A.
const ARM_ACCESSED: u64 = 1 << 10;
/// Access flag and AP[2].
const ARM_DIRTY: u64 = 1 << 10 | 1 << 7;
const RISCV_ACCESSED: u64 = 1 << 6;
const RISCV_DIRTY: u64 = 1 << 7 | 1 << 6;

/// What QEMU builds for the firmware, and puts back as it was at its start when the machine is reset.
const ACPI: [&str; 3] = ["/rom@etc/acpi/tables", "/rom@etc/table-loader", "/rom@etc/acpi/rsdp"];

/// The versions that scenarios have been run on.
const MEASURED: [ReleaseVersion; 4] = [
    ReleaseVersion { major: 5, minor: 2 },
    ReleaseVersion { major: 7, minor: 2 },
    NEW,
    ReleaseVersion { major: 11, minor: 1 },
];
/// The one on which all of them have been.
const NEW: ReleaseVersion = ReleaseVersion { major: 10, minor: 0 };
/// The first in which a sync resets TCG's TLB.
const MENDED: ReleaseVersion = ReleaseVersion { major: 9, minor: 0 };
/// The first in which TCG's aarch64 has FEAT_HAFDBS.
const HAFDBS: ReleaseVersion = ReleaseVersion { major: 7, minor: 2 };

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Offset,
        Self::OffsetX86,
        Self::OffsetRiscv,
        Self::SmallFirst,
        Self::FrameBuffer,
        Self::OnePage,
        Self::Pflash,
        Self::PflashX86,
        Self::PflashKvm,
        Self::PflashRing,
        Self::Walker,
        Self::WalkerDirty,
        Self::WalkerRiscv,
        Self::WalkerRiscvDirty,
        Self::Writer,
        Self::WriterX86,
        Self::WriterRiscv,
        Self::WalkerSoftware,
        Self::WalkerSoftwareDirty,
        Self::WalkerRiscvSoftware,
        Self::WalkerX86,
        Self::WalkerX86Dirty,
        Self::DiskTcg,
        Self::ResetTcg,
        Self::WriterKvm,
        Self::WriterKvmQ35,
        Self::OffsetKvm,
        Self::FrameBufferKvm,
        Self::OnePageKvm,
        Self::DiskKvm,
        Self::ResetKvm,
        Self::IdleKvm,
    ];

    /// The machine and its guest.
    pub fn machine(self) -> BareMachine {
        let hot = GuestJob::Write { base: (RANGE + self.image().ram()) as u32, pages: HOT };
        let plain = |job| BareMachine::new(self.image(), job);
        let kvm = |machine| BareMachine { accelerator: Accelerator::Kvm, ..machine };
        let behind = |before| BareMachine { before: Some(before), ..plain(hot) };
        let touch = GuestJob::Touch { pace: PACE };
        let write = GuestJob::TouchByWriting { pace: PACE };
        let cpu = |cpu, job| BareMachine { cpu: Some(cpu), ..plain(job) };
        let frame = || {
            let arguments = vec!["-vga", "std"];
            BareMachine { arguments, ..plain(GuestJob::FrameBuffer { pages: HOT }) }
        };
        let wide = GuestJob::Write { base: RANGE as u32, pages: 4096 };
        // 7 MiB of disk into 1 MiB of RAM: each pass brings other bytes.
        let disk = GuestJob::ReadDisk { base: RANGE as u32, pages: 256, sectors: 14336 };
        // A word in the report's own page: nothing else is ever written.
        let one = GuestJob::Write { base: BareImage::X86.report() as u32 + 2048, pages: 1 };
        let q35 = |machine| BareMachine { machine: "q35".into(), ..machine };
        // Not from its first page on: what is lost is to be where the guest wrote.
        let flash = |base: u64| GuestJob::Flash { base: (base + FLASHED.start) as u32, pages: HOT };
        let reset = GuestJob::Reset { base: RANGE as u32, pages: 1024, seconds: 1 };
        match self {
            Self::Offset | Self::OffsetX86 | Self::OffsetRiscv => behind(64),
            Self::OffsetKvm => kvm(behind(64)),
            Self::SmallFirst => behind(8),
            Self::FrameBuffer => frame(),
            Self::FrameBufferKvm => kvm(frame()),
            Self::OnePage => plain(one),
            Self::OnePageKvm => kvm(plain(one)),
            Self::Walker => cpu("max", touch),
            Self::WalkerDirty => cpu("max", write),
            Self::WalkerSoftware => cpu("cortex-a72", touch),
            Self::WalkerSoftwareDirty => cpu("cortex-a72", write),
            Self::WalkerRiscv => plain(touch),
            Self::WalkerRiscvDirty => plain(write),
            Self::WalkerRiscvSoftware => cpu("rv64,svade=on,svadu=off", write),
            Self::Writer | Self::WriterX86 | Self::WriterRiscv => plain(hot),
            Self::WriterKvm => kvm(plain(wide)),
            Self::WriterKvmQ35 => q35(kvm(plain(wide))),
            Self::Pflash => plain(flash(AARCH64_FLASH)),
            Self::PflashX86 => q35(plain(flash(X86_FLASH.start))),
            Self::PflashKvm => q35(kvm(plain(flash(X86_FLASH.start)))),
            Self::PflashRing => BareMachine {
                accelerator: Accelerator::KvmRing,
                ..q35(plain(flash(X86_FLASH.start)))
            },
            Self::WalkerX86 => plain(touch),
            Self::WalkerX86Dirty => plain(write),
            Self::DiskTcg => plain(disk),
            Self::DiskKvm => kvm(plain(disk)),
            Self::ResetTcg => plain(reset),
            Self::ResetKvm => kvm(plain(reset)),
            Self::IdleKvm => kvm(plain(GuestJob::Idle)),
        }
    }

    /// What an audit has to find in this version of QEMU and in this machine type; `None` where nobody has
    /// run it yet, or where there can be no verdict (docs/findings.md says what has been seen).
    pub fn expected(self, version: ReleaseVersion, machine: &str) -> Option<Expected> {
        let can_be = match self {
            _ if self.image() == BareImage::Riscv64 => version == NEW,
            Self::Walker | Self::WalkerDirty => version >= HAFDBS,
            Self::ResetTcg => version >= MENDED,
            // As an audit holds it there, it did not show in 12 audits; in older types it does in one.
            Self::OnePage => !machine.ends_with("-11.1"),
            // An older QEMU says where its flash lies at some moments only.
            Self::Pflash | Self::PflashX86 | Self::PflashKvm | Self::PflashRing => {
                version.gives_addresses()
            }
            _ => true,
        };
        let is_old = version < MENDED;
        // Its pages are of 1 KiB: what is hot here is in TCG's TLB at some times, and lost at those.
        let is_small = machine == "virt-2.6" && is_old;
        let is_measured = can_be && !is_small && MEASURED.contains(&version);
        is_measured.then(|| self.in_version(is_old))
    }

    /// Before 9.0 no sync resets TCG's TLB at all, so that any block loses what goes through its fast
    /// path, the first one too.
    fn in_version(self, old: bool) -> Expected {
        let report = Report::offset(self.image());
        let report = report..report + BareImage::PAGE;
        let hot = RANGE..RANGE + u64::from(HOT) * BareImage::PAGE;
        let main = self.machine().main_block();
        // A guest whose only hot page in main RAM is its report's, or this and the page that all
        // walked ones map to, is one for `one-page` too.
        let target = report.start - 0x8000 + 0x12000;
        let also = match self {
            Self::FrameBuffer
            | Self::Walker
            | Self::WalkerRiscv
            | Self::Pflash
            | Self::PflashX86 => vec![(main, report.clone())],
            Self::WalkerDirty | Self::WalkerRiscvDirty => {
                vec![(main, report.clone()), (main, target..target + BareImage::PAGE)]
            }
            _ => Vec::new(),
        };
        let by_chance = self == Self::OnePage;
        let lost = |block, within, all, bits| {
            Expected::Lost(Loss { block, within, all, bits, by_chance, also })
        };
        match self {
            Self::SmallFirst if !old => Expected::Aborts {
                assertion: "tlb_reset_dirty_range_all: block == qemu_get_ram_block(end - 1)",
            },
            Self::Offset | Self::OffsetX86 | Self::OffsetRiscv => {
                lost(main, vec![report, hot], true, u64::MAX)
            }
            Self::SmallFirst => lost(main, vec![report, hot], true, u64::MAX),
            Self::FrameBuffer => {
                let frame = 0..u64::from(HOT) * BareImage::PAGE;
                lost("0000:00:02.0/vga.vram", vec![frame], true, u64::MAX)
            }
            Self::OnePage => lost(main, vec![report], true, u64::MAX),
            Self::Pflash => lost("virt.flash1", vec![FLASHED], true, u64::MAX),
            Self::PflashX86 | Self::PflashRing => {
                lost("system.flash1", vec![FLASHED], true, u64::MAX)
            }
            Self::Walker => lost(main, vec![TABLES], true, ARM_ACCESSED),
            Self::WalkerDirty => lost(main, vec![TABLES], true, ARM_DIRTY),
            Self::WalkerRiscv => lost(main, vec![TABLES], true, RISCV_ACCESSED),
            Self::WalkerRiscvDirty => lost(main, vec![TABLES], true, RISCV_DIRTY),
            Self::Writer | Self::WriterX86 | Self::WriterRiscv if old => {
                lost(main, vec![report, hot], false, u64::MAX)
            }
            // What TCG's TLB has as dirty: the report, the page that all walked ones map to, and the
            // tables, which these guests or their walkers store to.
            Self::WalkerSoftware | Self::WalkerSoftwareDirty if old => {
                let target = target..target + BareImage::PAGE;
                lost(main, vec![report, target, TABLES], false, u64::MAX)
            }
            Self::WalkerX86 | Self::WalkerX86Dirty if old => {
                // The report, the directory, the target.
                let own = report.start..report.start + 3 * BareImage::PAGE;
                lost(main, vec![own, TABLES], false, u64::MAX)
            }
            // The stack and the report: what the disk reads is logged.
            Self::DiskTcg if old => lost(main, vec![STACK, report], false, u64::MAX),
            Self::ResetTcg | Self::ResetKvm => {
                Expected::AtMoments { blocks: &ACPI, when: StopMoment::AfterReset }
            }
            Self::PflashKvm => {
                let blocks = &["system.flash1"];
                Expected::AtMoments { blocks, when: StopMoment::FlashCommand }
            }
            _ => Expected::Identical,
        }
    }

    fn image(self) -> BareImage {
        match self {
            Self::Offset
            | Self::SmallFirst
            | Self::Pflash
            | Self::Walker
            | Self::WalkerDirty
            | Self::Writer
            | Self::WalkerSoftware
            | Self::WalkerSoftwareDirty => BareImage::Aarch64,
            Self::OffsetRiscv
            | Self::WalkerRiscv
            | Self::WalkerRiscvDirty
            | Self::WriterRiscv
            | Self::WalkerRiscvSoftware => BareImage::Riscv64,
            _ => BareImage::X86,
        }
    }
}

/// The command that starts a scenario's guest; see [`BareMachine::command`].
pub fn command(
    scenario: Scenario,
    qmp_socket: &Path,
    folder: &Path,
) -> Result<Command, PrepareError> {
    scenario.machine().command(qmp_socket, folder)
}

#[cfg(test)]
mod tests;
