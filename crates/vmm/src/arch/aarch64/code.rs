//! The guest's program: one loop that obeys the control block, and a routine per stressor; before
//! it, the exception vectors (Arm ARM D1.4.1), which all end the machine: the guest takes none.
//!
//! Position-independent, without a stack and without memory of its own. What it tells the host it
//! stores with release, after the write that it tells of.
//!
//! | register | what it holds |
//! |---|---|
//! | x0, x19 | the control block, the count of written pages in it |
//! | x1, x2 | the window's address, its number of pages |
//! | x3, x4 | the page shift; a mask for the offset of a word in a page |
//! | x5, x6 | the random state (a 64-bit LCG, so no value comes twice), its multiplier |
//! | x7, x8 | pages written so far, the stressor's routine |
//! | x9, x10, x11, x20 to x23 | the stressor's own |
//! | x12 to x15 | scratch |

#![allow(unsafe_code, reason = "the program's bytes are found by two symbols")]

use memtwin_stressor::control;
use std::arch::global_asm;

/// Where a vCPU begins, in bytes from the program's beginning: behind the vectors.
pub(super) const ENTRY: u64 = 0x800;

/// PSCI SYSTEM_OFF (Arm DEN 0022): the whole machine ends, which the host sees at once.
const SYSTEM_OFF: u32 = 0x8400_0008;

/// AF and AP[2] of a descriptor (Arm ARM D8.3.1).
const AF: u64 = 1 << 10;
const READ_ONLY: u64 = 1 << 7;

global_asm!(
    ".pushsection .rodata.memtwin_guest, \"a\"",
    // The assembler is asked for it; whether the CPU has it, the program asks.
    ".arch_extension lse",
    // Global, because an optimized build refers to them from another object file.
    ".globl memtwin_guest_begin",
    ".globl memtwin_guest_end",
    ".hidden memtwin_guest_begin",
    ".hidden memtwin_guest_end",
    ".balign 2048",
    "memtwin_guest_begin:",
    ".rept 16",
    "   b    .Lexception",
    "   .balign 128",
    ".endr",

    // entry
    "   adr  x12, memtwin_guest_begin",
    "   msr  vbar_el1, x12",
    "   isb",
    "   ldr  x1, [x0, {base}]",
    "   ldr  x2, [x0, {pages}]",
    "   ldr  x3, [x0, {shift}]",
    "   ldr  x5, [x0, {seed}]",
    "   ldr  x6, .Lmultiplier",
    "   mov  x4, 1",
    "   lsl  x4, x4, x3",
    "   sub  x4, x4, 8", // page size - 8: all offsets of words
    "   ldr  x9, [x0, {writer}]",
    "   mov  x10, x9",
    "   mov  x11, 0",
    "   mov  x7, 0",
    "   add  x19, x0, {written_at}",
    "   adr  x12, .Lroutines",
    "   ldr  x13, [x0, {stressor}]",
    "   ldr  x8, [x12, x13, lsl 3]",
    "   add  x8, x8, x12",
    "   mov  x12, {up}",
    "   add  x13, x0, {state}",
    "   stlr x12, [x13]",

    ".Lturn:",
    "   ldr  x12, [x0, {command}]",
    "   cmp  x12, {run}",
    "   b.ne .Lnot_running",
    "   ldr  x12, [x0, {allowed}]",
    "   cmp  x7, x12",
    "   b.hs .Lrelax",
    "   mul  x5, x5, x6",
    "   add  x5, x5, 1",
    "   br   x8",
    ".Lwritten:",
    "   add  x7, x7, 1",
    "   stlr x7, [x19]",
    "   b    .Lturn",
    ".Lnot_running:",
    "   cmp  x12, {stop}",
    "   b.eq .Lstopped",
    ".Lrelax:",
    "   yield",
    "   b    .Lturn",
    ".Lunable:",
    "   mov  x12, {state_unable}",
    "   b    .Lrest",
    ".Lfinished:",
    "   mov  x12, {state_finished}",
    "   b    .Lrest",
    ".Lstopped:",
    "   mov  x12, {state_stopped}",
    ".Lrest:",
    "   add  x13, x0, {state}",
    "   stlr x12, [x13]",
    // KVM lets the vCPU sleep until the host takes it out; no interrupt ever comes.
    "1: wfi",
    "   b    1b",

    ".Lexception:",
    "   ldr  w0, .Lsystem_off",
    "   hvc  0",
    "   b    .Lexception",

    // random: a word that never had this value before, anywhere in any page
    ".Lrandom:",
    "   umulh x12, x5, x2",
    ".Lstore_in_page:", // a changing word in page x12
    "   lsl  x12, x12, x3",
    "   add  x12, x12, x1",
    "   and  x13, x4, x5, lsr 13",
    "   str  x5, [x12, x13]",
    "   b    .Lwritten",

    // sequential: x10 is the page
    ".Lsequential:",
    "   cmp  x10, x2",
    "   csel x10, x10, xzr, lo",
    "   mov  x12, x10",
    "   add  x10, x10, 1",
    "   b    .Lstore_in_page",

    // strided: x10 is the page, x11 where this walk began
    ".Lstrided:",
    "   ldr  x13, [x0, {stride}]",
    "   cmp  x10, x2",
    "   b.lo 1f",
    "   add  x11, x11, 1",
    "   cmp  x11, x13",
    "   csel x11, x11, xzr, lo",
    "   mov  x10, x11",
    "1: mov  x12, x10",
    "   add  x10, x10, x13",
    "   b    .Lstore_in_page",

    // atomic: the addition of an odd number, which always changes the word, by one LSE instruction
    // or, on a CPU that has none, by exclusives
    ".Latomic_begin:",
    "   mrs  x12, id_aa64isar0_el1",
    "   ubfx x12, x12, 20, 4",
    "   adr  x8, .Latomic_exclusive",
    "   cbz  x12, .Latomic_exclusive",
    "   adr  x8, .Latomic",
    ".Latomic:",
    "   umulh x12, x5, x2",
    "   lsl  x12, x12, x3",
    "   add  x12, x12, x1",
    "   and  x13, x4, x5, lsr 13",
    "   add  x12, x12, x13",
    "   orr  x14, x5, 1",
    "   stadd x14, [x12]",
    "   b    .Lwritten",
    ".Latomic_exclusive:",
    "   umulh x12, x5, x2",
    "   lsl  x12, x12, x3",
    "   add  x12, x12, x1",
    "   and  x13, x4, x5, lsr 13",
    "   add  x12, x12, x13",
    "   orr  x14, x5, 1",
    "1: ldxr x13, [x12]",
    "   add  x13, x13, x14",
    "   stxr w15, x13, [x12]",
    "   cbnz w15, 1b",
    "   b    .Lwritten",

    // zero: a page whose first word is not zero is cleared by DC ZVA, x9 bytes at a time; one whose
    // first word is zero gets a word
    ".Lzero_begin:",
    "   mrs  x12, dczid_el0",
    "   tbnz x12, 4, .Lunable", // prohibited
    "   and  x12, x12, 15",
    "   mov  x9, 4",
    "   lsl  x9, x9, x12",
    "   adr  x8, .Lzero",
    ".Lzero:",
    "   umulh x12, x5, x2",
    "   lsl  x12, x12, x3",
    "   add  x12, x12, x1",
    "   ldr  x13, [x12]",
    "   cbnz x13, 1f",
    "   orr  x13, x5, 1",
    "   str  x13, [x12]",
    "   b    .Lwritten",
    "1: add  x13, x12, x4",
    "2: dc   zva, x12",
    "   add  x12, x12, x9",
    "   cmp  x12, x13",
    "   b.lo 2b",
    "   b    .Lwritten",

    // straddle: one store, four bytes on each side of a page's end
    ".Lstraddle:",
    "   sub  x12, x2, 1",
    "   umulh x12, x5, x12",
    "   add  x12, x12, 1",
    "   lsl  x12, x12, x3",
    "   add  x12, x12, x1",
    "   stur x5, [x12, -4]",
    "   add  x7, x7, 1", // two pages
    "   b    .Lwritten",

    // once: x10 runs through all numbers up to the mask in a mixed order (a full-period LCG), x11
    // counts them; a writer takes each {writers}-th, x9 counts down to it
    ".Lonce_begin:", // all writers walk the same order, from the same beginning
    "   mov  x10, 0",
    "   ldr  x20, .Lonce_multiplier",
    "   ldr  x21, .Lonce_increment",
    "   adr  x8, .Lonce",
    ".Lonce:",
    "   ldr  x12, [x0, {mask}]",
    "   cmp  x11, x12",
    "   b.hi .Lfinished",
    "   add  x11, x11, 1",
    "   madd x10, x10, x20, x21",
    "   and  x10, x10, x12",
    "   subs x9, x9, 1",
    "   b.hs .Lturn", // another writer's
    "   ldr  x9, [x0, {writers}]",
    "   sub  x9, x9, 1",
    "   mov  x12, x10",
    "   cmp  x12, x2",
    "   b.hs .Lturn", // past the window's end
    "   b    .Lstore_in_page",

    // walker: entry x10 of table x9 of x2; x11 says what is done to all entries in this pass.
    // x1 is the address that the first entry maps, x3 the granule's shift, x4 that of what a table
    // maps, x20 how many entries a table has, x21 where the tables lie, x22 whether there is a pass 1
    ".Lwalker_begin:",
    "   mov  x21, x1",
    "   ldr  x1, [x0, {arch}]",
    "   ldr  x2, [x0, {arch} + 8]",
    "   ldr  x3, [x0, {arch} + 16]",
    "   ldr  x22, [x0, {arch} + 24]",
    "   mov  x20, 1",
    "   sub  x12, x3, 3",
    "   lsl  x20, x20, x12",
    "   add  x4, x3, x12",
    "   mov  x9, 0",
    "   adr  x8, .Lwalker",
    ".Lwalker:",
    "   cmp  x9, x2",
    "   b.lo 1f",
    "   mov  x9, 0",
    "   ldr  x12, [x0, {writers}]",
    "   add  x10, x10, x12",
    "   cmp  x10, x20",
    "   b.lo 1f",
    "   ldr  x10, [x0, {writer}]",
    "   add  x11, x11, 1",
    "   cmp  x11, 1",
    "   b.hi 4f",
    "   add  x11, x11, 1",
    "   sub  x11, x11, x22", // on to pass 1, or to pass 2
    "4: cmp  x11, 3",
    "   csel x11, x11, xzr, lo",
    "1: lsl  x12, x9, x4",
    "   lsl  x13, x10, x3",
    "   add  x12, x12, x13",
    "   add  x12, x12, x1", // the address that the entry maps
    "   cmp  x11, 1",
    "   b.lo 2f",
    "   b.eq 3f",
    "   lsl  x13, x9, x3", // pass 2: take both bits back, by a plain store
    "   add  x13, x13, x21",
    "   ldr  x14, [x13, x10, lsl 3]",
    "   and  x14, x14, ~{af}",
    "   cbz  x22, 5f",
    "   orr  x14, x14, {read_only}",
    "5: str  x14, [x13, x10, lsl 3]",
    "   dsb  ishst",
    "   lsr  x12, x12, 12",
    "   tlbi vae1is, x12",
    "   dsb  ish",
    "   isb",
    "   add  x9, x9, 1",
    "   b    .Lwritten",
    "2: ldrb w13, [x12]", // pass 0: the walker sets the access flag
    "   add  x9, x9, 1",
    "   b    .Lwritten",
    "3: strb wzr, [x12]", // pass 1: the walker makes the entry writable, which is its dirty state
    "   add  x9, x9, 1",
    "   b    .Lwritten",

    ".balign 8",
    ".Lmultiplier: .quad 6364136223846793005", // Knuth's for 2^64
    ".Lonce_multiplier: .quad 1664525",
    ".Lonce_increment: .quad 1013904223",
    ".Lroutines:",
    "   .quad .Lrandom - .Lroutines",
    "   .quad .Lsequential - .Lroutines",
    "   .quad .Lstrided - .Lroutines",
    "   .quad .Latomic_begin - .Lroutines",
    "   .quad .Lzero_begin - .Lroutines",
    "   .quad .Lstraddle - .Lroutines",
    "   .quad .Lonce_begin - .Lroutines",
    "   .quad .Lwalker_begin - .Lroutines",
    ".Lsystem_off: .word {system_off}",
    ".balign 8",
    "memtwin_guest_end:",
    ".popsection",
    base = const control::BASE,
    pages = const control::PAGES,
    shift = const control::SHIFT,
    seed = const control::SEED,
    writer = const control::WRITER,
    writers = const control::WRITERS,
    stressor = const control::STRESSOR,
    stride = const control::STRIDE,
    mask = const control::MASK,
    arch = const control::ARCH,
    command = const control::COMMAND,
    allowed = const control::ALLOWED,
    written_at = const control::WRITTEN,
    state = const control::STATE,
    run = const control::RUN,
    stop = const control::STOP,
    up = const control::STATE_UP,
    state_finished = const control::STATE_FINISHED,
    state_stopped = const control::STATE_STOPPED,
    state_unable = const control::STATE_UNABLE,
    system_off = const SYSTEM_OFF,
    af = const AF,
    read_only = const READ_ONLY,
);

unsafe extern "C" {
    #[link_name = "memtwin_guest_begin"]
    static BEGIN: u8;
    #[link_name = "memtwin_guest_end"]
    static END: u8;
}

/// The program, to be copied to where the vCPUs begin.
pub(super) fn bytes() -> &'static [u8] {
    let (begin, end) = (&raw const BEGIN, &raw const END);
    // SAFETY: the two symbols are the ends of one run of read-only bytes, assembled above.
    unsafe { std::slice::from_raw_parts(begin, end.addr() - begin.addr()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_fits_its_page() {
        assert!((2048..4096).contains(&bytes().len()), "{} bytes", bytes().len());
    }
}
