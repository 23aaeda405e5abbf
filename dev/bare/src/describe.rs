//! What the scenarios are called and what they are, in words.

use crate::scenario::Scenario;
use std::fmt;
use std::str::FromStr;

impl Scenario {
    /// The name of the scenario.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offset => "offset",
            Self::OffsetX86 => "offset-x86",
            Self::OffsetRiscv => "offset-riscv",
            Self::SmallFirst => "small-first",
            Self::FrameBuffer => "frame-buffer",
            Self::OnePage => "one-page",
            Self::Pflash => "pflash",
            Self::PflashX86 => "pflash-x86",
            Self::PflashKvm => "pflash-kvm",
            Self::PflashRing => "pflash-ring",
            Self::Walker => "walker",
            Self::WalkerDirty => "walker-dirty",
            Self::WalkerRiscv => "walker-riscv",
            Self::WalkerRiscvDirty => "walker-riscv-dirty",
            Self::Writer => "writer",
            Self::WriterX86 => "writer-x86",
            Self::WriterRiscv => "writer-riscv",
            Self::WalkerSoftware => "walker-software",
            Self::WalkerSoftwareDirty => "walker-software-dirty",
            Self::WalkerRiscvSoftware => "walker-riscv-software",
            Self::WalkerX86 => "walker-x86",
            Self::WalkerX86Dirty => "walker-x86-dirty",
            Self::DiskTcg => "disk-tcg",
            Self::ResetTcg => "reset-tcg",
            Self::WriterKvm => "writer-kvm",
            Self::WriterKvmQ35 => "writer-kvm-q35",
            Self::OffsetKvm => "offset-kvm",
            Self::FrameBufferKvm => "frame-buffer-kvm",
            Self::OnePageKvm => "one-page-kvm",
            Self::DiskKvm => "disk-kvm",
            Self::ResetKvm => "reset-kvm",
            Self::IdleKvm => "idle-kvm",
        }
    }

    /// What it is, in a line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Offset => {
                "aarch64 TCG, main RAM behind another RAMBlock of its size: 32 hot pages"
            }
            Self::OffsetX86 => "the same on x86-64",
            Self::OffsetRiscv => "the same on riscv64",
            Self::SmallFirst => "aarch64 TCG, main RAM behind a smaller RAMBlock",
            Self::FrameBuffer => "x86-64 TCG, stores to the standard VGA's frame buffer",
            Self::OnePage => "x86-64 TCG, one RAMBlock, of which one page is written",
            Self::Pflash => "aarch64 TCG, words programmed into a parallel flash (pflash)",
            Self::PflashX86 => "x86-64 TCG, the same on q35",
            Self::PflashKvm => "x86-64 KVM, the same on q35",
            Self::PflashRing => "x86-64 KVM with a dirty ring, the same on q35",
            Self::Walker => "aarch64 TCG, the page-table walker sets access flags (FEAT_HAFDBS)",
            Self::WalkerDirty => "aarch64 TCG, it makes written pages writable as well (DBM)",
            Self::WalkerRiscv => "riscv64 TCG, the page-table walker sets A (Svadu)",
            Self::WalkerRiscvDirty => "riscv64 TCG, it sets A and D",
            Self::Writer => "aarch64 TCG, one RAMBlock: 32 hot pages",
            Self::WriterX86 => "the same on x86-64",
            Self::WriterRiscv => "the same on riscv64",
            Self::WalkerSoftware => {
                "'walker' on a CPU without FEAT_HAFDBS: a fault handler does it"
            }
            Self::WalkerSoftwareDirty => "'walker-dirty' on a CPU without FEAT_HAFDBS",
            Self::WalkerRiscvSoftware => {
                "'walker-riscv-dirty' on a CPU with Svade: a fault handler does it"
            }
            Self::WalkerX86 => "x86-64 TCG, the page-table walker sets A",
            Self::WalkerX86Dirty => "x86-64 TCG, it sets A and D",
            Self::DiskTcg => "x86-64 TCG, a bus master IDE disk reads into RAM",
            Self::ResetTcg => "x86-64 TCG, a writer that resets the machine every second",
            Self::WriterKvm => "x86-64 KVM, 'writer' over 16 MiB",
            Self::WriterKvmQ35 => "the same on q35",
            Self::OffsetKvm => "'offset-x86' under KVM",
            Self::FrameBufferKvm => "'frame-buffer' under KVM",
            Self::OnePageKvm => "'one-page' under KVM",
            Self::DiskKvm => "'disk-tcg' under KVM",
            Self::ResetKvm => "'reset-tcg' under KVM",
            Self::IdleKvm => "x86-64 KVM, a guest that does nothing",
        }
    }

    /// Where in QEMU's source the reason lies, for a reproducer; `None` for what is sound.
    pub fn reference(self) -> Option<&'static str> {
        match self {
            Self::Offset
            | Self::OffsetX86
            | Self::OffsetRiscv
            | Self::SmallFirst
            | Self::FrameBuffer => Some(
                "cpu_physical_memory_sync_dirty_bitmap(), include/exec/ram_addr.h (10.0), migration/ram.c (10.2): resets the TLB by the block's own start, without rb->offset",
            ),
            Self::OnePage => Some(
                "cpu_physical_memory_sync_dirty_bitmap(), include/exec/ram_addr.h (10.0): resets the TLB only if num_dirty, which does not count a page that is still to be sent",
            ),
            Self::Pflash | Self::PflashX86 | Self::PflashKvm | Self::PflashRing => Some(
                "pflash_data_write(), hw/block/pflash_cfi01.c: stores to pfl->storage, and nothing marks it dirty (memory_region_flush_rom_device() would)",
            ),
            Self::Walker | Self::WalkerDirty => Some(
                "arm_casq_ptw(), target/arm/ptw.c: compare-and-swap on the host pointer, nothing marks it dirty",
            ),
            Self::WalkerRiscv | Self::WalkerRiscvDirty => Some(
                "get_physical_address(), target/riscv/cpu_helper.c: compare-and-swap on qemu_map_ram_ptr(), nothing marks it dirty",
            ),
            Self::ResetTcg | Self::ResetKvm => Some(
                "rom_reset(), hw/core/loader.c: copies into rom->mr on the host pointer, nothing marks it dirty",
            ),
            _ => None,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
            .ok_or_else(|| format!("no scenario '{name}'; without a name all are listed"))
    }
}
