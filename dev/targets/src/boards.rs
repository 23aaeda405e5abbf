//! The table of boards: at least one for each of QEMU's targets.

use crate::board::{BoardExpectation, TargetBoard};
use crate::code;
use crate::elf::ElfKind;
use crate::image::{GuestImage, elf, raw, raw_at};
use BoardExpectation::{Refused, Sound};

/// Numbers of `e_machine`.
const EM_PARISC: u16 = 15;
const EM_TRICORE: u16 = 44;
const EM_XTENSA: u16 = 94;
const EM_ALPHA: u16 = 0x9026;

/// The first RAMBlock is smaller than RAM: QEMU would abort (crates/qemu, `migration_obstacle()`).
const FIRST_IS_SMALLER: BoardExpectation = Refused("QEMU may abort");

/// QEMU's CPU of that target has no state that it could send.
const NO_MIGRATION: BoardExpectation = Refused("non-migratable device: cpu");

/// A sound one that `cargo xtask targets` runs.
const BOARD: TargetBoard = TargetBoard {
    target: "",
    machine: "",
    arguments: "-m 64 -bios IMAGE",
    image: raw(code::NONE),
    page_bytes: 4 << 10,
    expected: Sound,
    is_forced: false,
    in_tests: false,
};

/// Memory is 64 MiB or less where the board allows it.
pub const BOARDS: &[TargetBoard] = &[
    TargetBoard {
        target: "aarch64",
        machine: "virt",
        arguments: "-cpu cortex-a72 -m 64 -kernel IMAGE",
        image: raw(code::AARCH64),
        ..BOARD
    },
    TargetBoard {
        target: "alpha",
        machine: "clipper",
        image: GuestImage::Elf {
            code: code::ALPHA,
            kind: ElfKind { machine: EM_ALPHA, is_64: true, is_big: false },
            address: 0xffff_fc00_0000_0000,
        },
        page_bytes: 8 << 10,
        ..BOARD
    },
    TargetBoard {
        target: "arm",
        machine: "versatilepb,audiodev=none",
        arguments: "-audiodev none,id=none -m 32 -kernel IMAGE",
        image: raw(code::ARM_1K),
        page_bytes: 1 << 10,
        in_tests: true,
        ..BOARD
    },
    TargetBoard {
        target: "arm",
        machine: "virt",
        arguments: "-m 64 -kernel IMAGE",
        image: raw(code::ARM_4K),
        ..BOARD
    },
    TargetBoard {
        target: "avr",
        machine: "mega2560",
        arguments: "-bios IMAGE",
        image: raw(code::AVR),
        page_bytes: 256,
        in_tests: true,
        ..BOARD
    },
    TargetBoard {
        target: "hppa",
        machine: "B160L",
        image: elf(code::HPPA, EM_PARISC, true, 0xf000_0000),
        expected: Refused("device diva-gsp"),
        ..BOARD
    },
    TargetBoard { target: "i386", machine: "isapc", image: GuestImage::X86Rom, ..BOARD },
    TargetBoard {
        target: "loongarch64",
        machine: "virt",
        arguments: "-m 1G -bios IMAGE",
        image: raw(code::LOONGARCH),
        expected: Refused("device ls7a_rtc"),
        ..BOARD
    },
    // This guest has set no alarm.
    TargetBoard {
        target: "loongarch64",
        machine: "virt",
        arguments: "-m 1G -bios IMAGE",
        image: raw(code::LOONGARCH),
        is_forced: true,
        ..BOARD
    },
    TargetBoard {
        target: "m68k",
        machine: "mcf5208evb",
        arguments: "-m 64 -kernel IMAGE",
        image: raw(code::M68K),
        ..BOARD
    },
    TargetBoard {
        target: "microblaze",
        machine: "petalogix-s3adsp1800",
        arguments: "-kernel IMAGE",
        expected: FIRST_IS_SMALLER,
        ..BOARD
    },
    TargetBoard {
        target: "microblazeel",
        machine: "petalogix-ml605",
        arguments: "-m 64 -kernel IMAGE",
        expected: FIRST_IS_SMALLER,
        ..BOARD
    },
    TargetBoard { target: "mips", machine: "malta", image: raw(code::MIPS), ..BOARD },
    TargetBoard { target: "mips64", machine: "malta", image: raw(code::MIPS), ..BOARD },
    TargetBoard { target: "mips64el", machine: "malta", image: raw(code::MIPS), ..BOARD },
    TargetBoard {
        target: "mips64el",
        machine: "fuloong2e",
        arguments: "-m 256 -audio none -bios IMAGE",
        image: raw(code::MIPS_LITTLE),
        ..BOARD
    },
    TargetBoard { target: "mipsel", machine: "malta", image: raw(code::MIPS), ..BOARD },
    TargetBoard {
        target: "or1k",
        machine: "or1k-sim",
        arguments: "-m 16 -kernel IMAGE",
        image: raw(code::OR1K),
        page_bytes: 8 << 10,
        in_tests: true,
        ..BOARD
    },
    TargetBoard {
        target: "ppc",
        machine: "g3beige",
        image: raw_at(code::PPC, 0x30_0100, 4 << 20),
        ..BOARD
    },
    TargetBoard {
        target: "ppc64",
        machine: "mac99",
        image: raw_at(code::PPC, 0x100, 1 << 20),
        ..BOARD
    },
    TargetBoard {
        target: "ppc64",
        machine: "powernv9",
        arguments: "-m 1G -bios IMAGE",
        image: raw_at(code::PPC, 0x10, 0),
        ..BOARD
    },
    TargetBoard {
        target: "ppc64",
        machine: "pseries",
        arguments: "-m 256 -bios IMAGE",
        image: raw_at(code::PPC, 0x100, 0),
        expected: Refused("spapr/htab"),
        in_tests: true,
        ..BOARD
    },
    TargetBoard { target: "riscv32", machine: "virt", image: raw(code::RISCV), ..BOARD },
    TargetBoard { target: "riscv64", machine: "virt", image: raw(code::RISCV), ..BOARD },
    TargetBoard {
        target: "rx",
        machine: "gdbsim-r5f562n8",
        arguments: "-m 16 -kernel IMAGE",
        image: raw(code::RX),
        ..BOARD
    },
    TargetBoard {
        target: "s390x",
        machine: "s390-ccw-virtio",
        arguments: "-m 64 -kernel IMAGE",
        image: raw(code::S390X),
        expected: Refused("s390-storage_attributes"),
        in_tests: true,
        ..BOARD
    },
    TargetBoard {
        target: "s390x",
        machine: "s390-ccw-virtio",
        arguments: "-m 64 -global s390-storage_attributes.migration-enabled=off -kernel IMAGE",
        image: raw(code::S390X),
        in_tests: true,
        ..BOARD
    },
    TargetBoard {
        target: "sh4",
        machine: "r2d",
        arguments: "-kernel IMAGE",
        image: raw(code::SH4),
        expected: NO_MIGRATION,
        ..BOARD
    },
    TargetBoard {
        target: "sh4eb",
        machine: "r2d",
        arguments: "-kernel IMAGE",
        image: raw(code::SH4_BIG),
        expected: NO_MIGRATION,
        ..BOARD
    },
    TargetBoard {
        target: "sparc",
        machine: "SS-5",
        arguments: "-m 64 -vga none -bios IMAGE",
        image: raw(code::SPARC),
        ..BOARD
    },
    TargetBoard { target: "sparc", machine: "leon3_generic", image: raw(code::SPARC_1G), ..BOARD },
    TargetBoard {
        target: "sparc64",
        machine: "sun4u",
        image: raw_at(code::SPARC_8K, 0x20, 0),
        page_bytes: 8 << 10,
        ..BOARD
    },
    TargetBoard {
        target: "tricore",
        machine: "tricore_testboard",
        arguments: "-kernel IMAGE",
        image: elf(code::TRICORE, EM_TRICORE, false, 0x8000_0000),
        page_bytes: 16 << 10,
        expected: FIRST_IS_SMALLER,
        in_tests: true,
        ..BOARD
    },
    // This guest writes to the first block alone, so QEMU survives it.
    TargetBoard {
        target: "tricore",
        machine: "tricore_testboard",
        arguments: "-kernel IMAGE",
        image: elf(code::TRICORE, EM_TRICORE, false, 0x8000_0000),
        page_bytes: 16 << 10,
        is_forced: true,
        in_tests: true,
        ..BOARD
    },
    TargetBoard {
        target: "x86_64",
        machine: "pc",
        image: GuestImage::X86Rom,
        in_tests: true,
        ..BOARD
    },
    TargetBoard { target: "x86_64", machine: "q35", image: GuestImage::X86Rom, ..BOARD },
    TargetBoard {
        target: "x86_64-microvm",
        machine: "microvm",
        image: GuestImage::X86Rom,
        ..BOARD
    },
    TargetBoard {
        target: "xtensa",
        machine: "lx60",
        arguments: "-m 64 -kernel IMAGE",
        image: elf(code::XTENSA, EM_XTENSA, false, 0xd000_0400),
        expected: NO_MIGRATION,
        ..BOARD
    },
    TargetBoard {
        target: "xtensaeb",
        machine: "lx60",
        arguments: "-m 64 -kernel IMAGE",
        image: elf(code::XTENSA_BIG, EM_XTENSA, true, 0xd000_0400),
        expected: NO_MIGRATION,
        ..BOARD
    },
];
