//! A writer's block of the control page: where each 64-bit word lies, in bytes from the block's
//! beginning. Guest code, assembled for two architectures, reads the same numbers.

/// How far apart two writers' blocks are.
pub const BLOCK: usize = 256;

/// What the host wants: one of `HOLD`, `RUN`, `STOP`. Read by the writer before each write.
pub const COMMAND: usize = 0x00;
/// The writer may go on while [`WRITTEN`] is below this number.
pub const ALLOWED: usize = 0x08;
/// How many pages the writer has written. Only the writer changes it.
pub const WRITTEN: usize = 0x10;
/// Where the writer is: one of the `STATE_` numbers. Only the writer changes it.
pub const STATE: usize = 0x18;
/// The stressor's code.
pub const STRESSOR: usize = 0x20;
/// The window's address, as the writer sees it.
pub const BASE: usize = 0x28;
/// The window's size in pages.
pub const PAGES: usize = 0x30;
/// The binary logarithm of the page size.
pub const SHIFT: usize = 0x38;
/// Where the writer's random numbers begin; not 0.
pub const SEED: usize = 0x40;
/// For `strided`: how many pages from one write to the next.
pub const STRIDE: usize = 0x48;
/// The writer's number, from 0.
pub const WRITER: usize = 0x50;
/// How many writers share the window.
pub const WRITERS: usize = 0x58;
/// For `once`: the smallest power of two that is not below the number of pages, less one.
pub const MASK: usize = 0x60;
/// From here to the block's end, what one architecture alone needs.
pub const ARCH: usize = 0x80;

/// Wait for another command.
pub const HOLD: u64 = 0;
/// Write.
pub const RUN: u64 = 1;
/// Write no more, for good.
pub const STOP: u64 = 2;

/// Nothing heard from the writer yet.
pub const STATE_NEW: u64 = 0;
/// The writer runs, or waits for the command or for leave to write more.
pub const STATE_UP: u64 = 1;
/// The writer has written all it had to (`once`), and will write no more.
pub const STATE_FINISHED: u64 = 2;
/// The writer has seen `STOP`, and will write no more.
pub const STATE_STOPPED: u64 = 3;
/// The writer's CPU can't do what the stressor needs (a guest finds out by itself on some).
pub const STATE_UNABLE: u64 = 4;
