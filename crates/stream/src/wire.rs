//! The numbers of the stream, by the names that they have in QEMU's migration/savevm.c, savevm.h
//! and ram.c.

/// QEMU_VM_FILE_MAGIC, "QEVM".
pub(crate) const MAGIC: u32 = 0x5145_564d;
/// QEMU_VM_FILE_VERSION.
pub(crate) const VERSION: u32 = 3;

/// What begins at the top of the stream: QEMU_VM_*.
pub(crate) mod vm {
    pub(crate) const EOF: u8 = 0x00;
    pub(crate) const SECTION_START: u8 = 0x01;
    pub(crate) const SECTION_PART: u8 = 0x02;
    pub(crate) const SECTION_END: u8 = 0x03;
    pub(crate) const SECTION_FULL: u8 = 0x04;
    pub(crate) const SUBSECTION: u8 = 0x05;
    pub(crate) const VMDESCRIPTION: u8 = 0x06;
    pub(crate) const CONFIGURATION: u8 = 0x07;
    pub(crate) const COMMAND: u8 = 0x08;
    pub(crate) const SECTION_FOOTER: u8 = 0x7e;
}

/// MIG_CMD_*, and how many bytes each has after it.
pub(crate) mod command {
    pub(crate) const OPEN_RETURN_PATH: u16 = 1;
    pub(crate) const PING: u16 = 2;
    pub(crate) const POSTCOPY_ADVISE: u16 = 3;
    pub(crate) const SWITCHOVER_START: u16 = 11;

    /// The name of a command that is refused.
    pub(crate) fn name(command: u16) -> &'static str {
        match command {
            4 => "POSTCOPY_LISTEN",
            5 => "POSTCOPY_RUN",
            6 => "POSTCOPY_RAM_DISCARD",
            7 => "PACKAGED",
            8 => "ENABLE_COLO",
            9 => "POSTCOPY_RESUME",
            10 => "RECV_BITMAP",
            _ => "unknown",
        }
    }
}

/// The section that holds RAM, and its version since 2009.
pub(crate) const RAM: &[u8] = b"ram";
/// Version 4 of the RAM section.
pub(crate) const RAM_VERSION: u32 = 4;

/// The section that holds the block layer's dirty bitmaps.
pub(crate) const DIRTY_BITMAP: &[u8] = b"dirty-bitmap";

/// DIRTY_BITMAP_MIG_FLAG_*, in the first byte of a chunk of that section.
pub(crate) mod bitmap {
    /// The version of the section.
    pub(crate) const VERSION: u32 = 1;
    pub(crate) const EOS: u8 = 0x01;
    pub(crate) const BITMAP_NAME: u8 = 0x04;
    pub(crate) const NODE_NAME: u8 = 0x08;
    pub(crate) const START: u8 = 0x10;
    pub(crate) const COMPLETE: u8 = 0x20;
    pub(crate) const BITS: u8 = 0x40;
    /// BITS with ZEROES: no bit is set, and none follows.
    pub(crate) const ZERO_BITS: u8 = 0x42;
    /// Which bits of a bitmap's own flags mean nothing.
    pub(crate) const START_RESERVED: u8 = 0xf8;
}

/// RAM_SAVE_FLAG_*, in the low bits of a page record's offset.
pub(crate) mod flag {
    pub(crate) const FILL: u64 = 0x02;
    pub(crate) const MEM_SIZE: u64 = 0x04;
    pub(crate) const PAGE: u64 = 0x08;
    pub(crate) const EOS: u64 = 0x10;
    pub(crate) const CONTINUE: u64 = 0x20;
    pub(crate) const XBZRLE: u64 = 0x40;
    pub(crate) const HOOK: u64 = 0x80;
    pub(crate) const COMPRESS_PAGE: u64 = 0x100;
    pub(crate) const MULTIFD_FLUSH: u64 = 0x200;
}

/// The page sizes that a target of QEMU with these flags can have, as powers of two: the flags
/// need 10 bits.
pub(crate) const PAGE_BITS: std::ops::RangeInclusive<u32> = 10..=16;
