//! The guest's program: one loop that obeys the control block, and a routine per stressor.
//!
//! Position-independent, without a stack and without memory of its own; KVM may have to emulate
//! every instruction, so it keeps to plain ones.
//!
//! | register | what it holds |
//! |---|---|
//! | rdi | the control block |
//! | r8, r9 | the window's address, its number of pages |
//! | rcx, r11 | the page shift; a mask for the offset of a word in a page |
//! | rbx, rbp | the random state (a 64-bit LCG, so no value comes twice), its multiplier |
//! | r14, r15 | pages written so far, the stressor's routine |
//! | r10, r12, r13 | the stressor's own |

#![allow(unsafe_code, reason = "the program's bytes are found by two symbols")]

use memtwin_stressor::control;
use std::arch::global_asm;

global_asm!(
    ".pushsection .rodata.memtwin_guest, \"a\"",
    // Global, because an optimized build refers to them from another object file.
    ".globl memtwin_guest_begin",
    ".globl memtwin_guest_end",
    ".hidden memtwin_guest_begin",
    ".hidden memtwin_guest_end",
    ".balign 16",
    "memtwin_guest_begin:",
    "   mov  r8, [rdi + {base}]",
    "   mov  r9, [rdi + {pages}]",
    "   mov  rcx, [rdi + {shift}]",
    "   mov  rbx, [rdi + {seed}]",
    "   mov  rbp, [rip + .Lmultiplier]",
    "   mov  r11d, 1",
    "   shl  r11, cl",
    "   sub  r11, 8", // page size - 8: all offsets of words
    "   mov  r10, [rdi + {writer}]",
    "   mov  r12, r10",
    "   xor  r13d, r13d",
    "   xor  r14d, r14d",
    "   lea  rax, [rip + .Lroutines]",
    "   mov  rdx, [rdi + {stressor}]",
    "   mov  r15, [rax + rdx * 8]",
    "   add  r15, rax",
    "   mov  qword ptr [rdi + {state}], {up}",

    ".Lturn:",
    "   mov  rax, [rdi + {command}]",
    "   cmp  rax, {run}",
    "   jne  .Lnot_running",
    "   cmp  r14, [rdi + {allowed}]",
    "   jae  .Lrelax",
    "   imul rbx, rbp",
    "   inc  rbx",
    "   jmp  r15",
    ".Lwritten:",
    "   inc  r14",
    "   mov  [rdi + {written_at}], r14",
    "   jmp  .Lturn",
    ".Lnot_running:",
    "   cmp  rax, {stop}",
    "   je   .Lstopped",
    ".Lrelax:",
    "   pause",
    "   jmp  .Lturn",
    ".Lfinished:",
    "   mov  qword ptr [rdi + {state}], {state_finished}",
    "   jmp  .Lrest",
    ".Lstopped:",
    "   mov  qword ptr [rdi + {state}], {state_stopped}",
    ".Lrest:",
    "   hlt",
    "   jmp  .Lrest",

    // random: a word that never had this value before, anywhere in any page
    ".Lrandom:",
    "   mov  rax, rbx",
    "   mul  r9",
    "   shl  rdx, cl",
    "   add  rdx, r8",
    "   mov  rax, rbx",
    "   shr  rax, 13",
    "   and  rax, r11",
    "   mov  [rdx + rax], rbx",
    "   jmp  .Lwritten",

    // sequential: r12 is the page
    ".Lsequential:",
    "   cmp  r12, r9",
    "   jb   1f",
    "   xor  r12d, r12d",
    "1: mov  rdx, r12",
    "   inc  r12",
    ".Lstore_in_page:", // a changing word in page rdx
    "   shl  rdx, cl",
    "   add  rdx, r8",
    "   mov  rax, rbx",
    "   shr  rax, 13",
    "   and  rax, r11",
    "   mov  [rdx + rax], rbx",
    "   jmp  .Lwritten",

    // strided: r12 is the page, r13 where this walk began
    ".Lstrided:",
    "   cmp  r12, r9",
    "   jb   1f",
    "   inc  r13",
    "   cmp  r13, [rdi + {stride}]",
    "   jb   2f",
    "   xor  r13d, r13d",
    "2: mov  r12, r13",
    "1: mov  rdx, r12",
    "   add  r12, [rdi + {stride}]",
    "   jmp  .Lstore_in_page",

    // atomic: a locked addition of an odd number, which always changes the word
    ".Latomic:",
    "   mov  rax, rbx",
    "   mul  r9",
    "   shl  rdx, cl",
    "   add  rdx, r8",
    "   mov  rax, rbx",
    "   shr  rax, 13",
    "   and  rax, r11",
    "   mov  rsi, rbx",
    "   or   rsi, 1",
    "   lock add [rdx + rax], rsi",
    "   jmp  .Lwritten",

    // zero: a page whose first word is not zero is cleared by one rep stos; one that is gets a word
    ".Lzero:",
    "   mov  rax, rbx",
    "   mul  r9",
    "   shl  rdx, cl",
    "   add  rdx, r8",
    "   cmp  qword ptr [rdx], 0",
    "   jne  1f",
    "   mov  rsi, rbx",
    "   or   rsi, 1",
    "   mov  [rdx], rsi",
    "   jmp  .Lwritten",
    "1: mov  rsi, rdi",
    "   mov  rdi, rdx",
    "   mov  rcx, r11",
    "   add  rcx, 8",
    "   shr  rcx, 3",
    "   xor  eax, eax",
    "   rep  stosq",
    "   mov  rdi, rsi",
    "   mov  rcx, [rdi + {shift}]",
    "   jmp  .Lwritten",

    // straddle: one store, four bytes on each side of a page's end
    ".Lstraddle:",
    "   mov  rax, rbx",
    "   lea  rsi, [r9 - 1]",
    "   mul  rsi",
    "   inc  rdx",
    "   shl  rdx, cl",
    "   add  rdx, r8",
    "   mov  [rdx - 4], rbx",
    "   inc  r14", // two pages
    "   jmp  .Lwritten",

    // once: r12 runs through all numbers up to the mask in a mixed order (a full-period LCG),
    // r13 counts them; a writer takes each {writers}-th, r10 counts down to it
    ".Lonce_begin:", // all writers walk the same order, from the same beginning
    "   xor  r12d, r12d",
    "   lea  r15, [rip + .Lonce]",
    ".Lonce:",
    "   mov  rsi, [rdi + {mask}]",
    "   cmp  r13, rsi",
    "   ja   .Lfinished",
    "   inc  r13",
    "   imul rdx, r12, 1664525",
    "   add  rdx, 1013904223",
    "   and  rdx, rsi",
    "   mov  r12, rdx",
    "   sub  r10, 1",
    "   jnc  .Lturn", // another writer's
    "   mov  r10, [rdi + {writers}]",
    "   sub  r10, 1",
    "   cmp  rdx, r9",
    "   jae  .Lturn", // past the window's end
    "   jmp  .Lstore_in_page",

    // walker: entry r12 of table r10 of r9; r13 says what is done to all entries in this pass
    ".Lwalker_begin:",
    "   mov  r9, [rdi + {arch} + 8]",
    "   mov  r8, [rdi + {arch}]",
    "   xor  r10d, r10d",
    "   lea  r15, [rip + .Lwalker]",
    ".Lwalker:",
    "   cmp  r10, r9",
    "   jb   1f",
    "   xor  r10d, r10d",
    "   add  r12, [rdi + {writers}]",
    "   cmp  r12, 512",
    "   jb   1f",
    "   mov  r12, [rdi + {writer}]",
    "   inc  r13",
    "   cmp  r13, 3",
    "   jb   1f",
    "   xor  r13d, r13d",
    "1: mov  rdx, r10",
    "   shl  rdx, 21",
    "   mov  rax, r12",
    "   shl  rax, 12",
    "   add  rdx, rax",
    "   add  rdx, r8", // the address that the entry maps
    "   cmp  r13, 1",
    "   jb   2f",
    "   je   3f",
    "   mov  rsi, r10", // pass 2: take both bits back, by a plain store
    "   shl  rsi, 12",
    "   add  rsi, [rdi + {base}]",
    "   and  qword ptr [rsi + r12 * 8], -97",
    "   invlpg [rdx]",
    "   inc  r10",
    "   jmp  .Lwritten",
    "2: mov  al, [rdx]", // pass 0: the walker sets the accessed bit
    "   inc  r10",
    "   jmp  .Lwritten",
    "3: mov  [rdx], al", // pass 1: the walker sets the dirty bit
    "   inc  r10",
    "   jmp  .Lwritten",

    ".balign 8",
    ".Lmultiplier: .quad 6364136223846793005", // Knuth's for 2^64
    ".Lroutines:",
    "   .quad .Lrandom - .Lroutines",
    "   .quad .Lsequential - .Lroutines",
    "   .quad .Lstrided - .Lroutines",
    "   .quad .Latomic - .Lroutines",
    "   .quad .Lzero - .Lroutines",
    "   .quad .Lstraddle - .Lroutines",
    "   .quad .Lonce_begin - .Lroutines",
    "   .quad .Lwalker_begin - .Lroutines",
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
        assert!((64..4096).contains(&bytes().len()), "{} bytes", bytes().len());
    }
}
