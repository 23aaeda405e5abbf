// Bare-metal guest for QEMU's `virt` on aarch64: an Image (Linux, Documentation/arch/arm64/booting.rst),
// which -kernel takes and enters at EL1 with the MMU off.
//
// Assembled: aarch64-linux-gnu-as aarch64.s -o a.o && aarch64-linux-gnu-objcopy -O binary -j .text a.o aarch64.bin
// A test assembles this and compares it with aarch64.bin.
//
// Before the first store that is judged the MMU is on and RAM is Normal, Write-Back, Inner Shareable
// (Arm ARM D8.6), so that the same image is right on hardware with caches.
//
// The words from `job` on are set in the image by dev/bare/src/image.rs. The guest's report lies in
// a page of its own: a store to a page with code in it is a slow one under TCG.

        .set    TEXT_OFFSET, 0x80000
        .set    REPORT, 0x8000                  // from start
        .set    L1, 0x10000                     // from start; one page
        .set    L2, 0x11000                     // from start; one page
        .set    TARGET, 0x12000                 // from start: the page that all walked pages map to
        .set    L3, 0x42000000                  // 512 pages
        .set    WALKED, 0x80000000              // virtual: 512 * 512 pages

        // The report, from REPORT; all are 64 bits wide.
        .set    TICKS, 0                        // pages written or touched so far
        .set    PASSES, 8                       // whole passes over the range
        .set    BOOTS, 16                       // how often it began
        .set    STATE, 24                       // 1 at work, 2 all pages touched, 0xdead0000: fault,
                                                // 0xdead0005: the flash does not hold what was programmed
        .set    WHERE, 32                       // first byte of the range
        .set    HARDWARE, 40                    // ID_AA64MMFR1_EL1.HAFDBS: 0 none, 1 access flag, 2 dirty
        .set    FAULTS, 48                      // descriptors that software had to update
        .set    ESR, 56                         // of the last fault that we know nothing of
        .set    FAR, 64

        .text
start:  b       entry
        .long   0
        .quad   TEXT_OFFSET
        .quad   0x20000                         // image_size: covers the report and the tables
        .quad   0xa                             // flags: little endian, 4K pages, anywhere
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .long   0

        .org    0x40
job:    .long   0                               // 0 idle, 1 write, 2 touch fresh pages, 3 write to fresh
                                                // pages, 4 program a flash
base:   .long   0                               // first byte of the range that is written
pages:  .long   0                               // its length in pages
pace:   .long   0                               // microseconds between two passes (1) or pages (2, 3)

        .org    0x80
entry:  msr     daifset, #0xf
        msr     spsel, #1
        adr     x28, start
        add     x27, x28, #REPORT
        adr     x0, vectors
        msr     vbar_el1, x0

        // Tables first, with the MMU off: they are not judged before they are read.
        add     x0, x28, #L1
        add     x1, x28, #L2
        mov     x2, #0x405                      // block, AF, AttrIndx 1: Device-nGnRE
        str     x2, [x0]                        // 0..1 GiB: devices
        mov     x2, #0x40000000
        movk    x2, #0x701                      // block, AF, Inner Shareable, AttrIndx 0: Normal
        str     x2, [x0, #8]                    // 1..2 GiB: RAM
        orr     x2, x1, #3                      // table
        str     x2, [x0, #16]                   // 2..3 GiB: the walked pages
        mov     x3, #L3
        mov     x4, #512
1:      orr     x2, x3, #3                      // table
        str     x2, [x1], #8
        add     x3, x3, #4096
        subs    x4, x4, #1
        b.ne    1b
        // Each walked page maps to the one target. AF = 0; for job 3 read-only (AP[2]) with DBM set,
        // which says: writable, but not yet written.
        add     x2, x28, #TARGET
        mov     x3, #0x303                      // page, Inner Shareable, AttrIndx 0
        orr     x2, x2, x3
        ldr     w4, job
        cmp     w4, #3
        b.ne    1f
        mov     x3, #0x80                       // AP[2]
        movk    x3, #0x8, lsl #48               // DBM
        orr     x2, x2, x3
1:      mov     x3, #L3
        mov     x4, #512 * 512
2:      str     x2, [x3], #8
        subs    x4, x4, #1
        b.ne    2b
        dsb     sy

        // MAIR: 0 Normal Write-Back, 1 Device-nGnRE. TCR: T0SZ 25, walks Write-Back and Inner
        // Shareable, 4K granule, no TTBR1, 40 bits of physical address; HA and HD (bits 39, 40) where
        // the CPU has them.
        mov     x0, #0x04ff
        msr     mair_el1, x0
        mrs     x5, id_aa64mmfr1_el1
        and     x5, x5, #0xf
        ldr     x0, =0x200803519
        cbz     x5, 1f
        orr     x0, x0, #1 << 39
        cmp     x5, #1
        b.eq    1f
        orr     x0, x0, #1 << 40
1:      msr     tcr_el1, x0
        add     x0, x28, #L1
        msr     ttbr0_el1, x0
        isb
        tlbi    vmalle1
        dsb     sy
        isb
        mrs     x0, sctlr_el1
        mov     x1, #0x1005                     // I, C, M
        orr     x0, x0, x1
        msr     sctlr_el1, x0
        isb

        // GICv2: the virtual timer's interrupt (27) is to wake a WFI; it stays masked in the CPU.
        mov     x0, #0x08000000
        mov     w1, #1
        str     w1, [x0]                        // GICD_CTLR
        mov     w2, #1 << 27
        str     w2, [x0, #0x100]                // GICD_ISENABLER0
        mov     x0, #0x08010000
        mov     w2, #0xff
        str     w2, [x0, #4]                    // GICC_PMR
        str     w1, [x0]                        // GICC_CTLR

        str     x5, [x27, #HARDWARE]
        ldr     w20, base
        ldr     w21, pages
        str     x20, [x27, #WHERE]
        ldr     x0, [x27, #BOOTS]
        add     x0, x0, #1
        str     x0, [x27, #BOOTS]
        mov     x0, #1
        str     x0, [x27, #STATE]
        // Ticks of the counter for each pause.
        ldr     w23, pace
        mrs     x0, cntfrq_el0
        mul     x23, x23, x0
        ldr     x0, =1000000
        udiv    x23, x23, x0
        mrs     x24, cntvct_el0                 // when the next is due
        ldr     w0, job
        cmp     w0, #1
        b.eq    write
        cmp     w0, #2
        b.eq    walk
        cmp     w0, #3
        b.eq    walk
        cmp     w0, #4
        b.eq    flash
idle:   wfi
        b       idle

// ---- 1: one word in each page of the range, over and over ----
write:  mov     x1, x20
        mov     x2, x21
1:      ldr     w3, [x1, #8]
        add     w3, w3, #1
        str     w3, [x1, #8]
        add     x1, x1, #4096
        subs    x2, x2, #1
        b.ne    1b
        ldp     x0, x1, [x27, #TICKS]           // and PASSES
        add     x0, x0, x21
        add     x1, x1, #1
        stp     x0, x1, [x27, #TICKS]
        bl      rest
        b       write

// ---- 4: a word in each page of a parallel flash, over and over, by its commands (Intel command set, as
// `pflash_cfi01` has it): program, the word, the status until it is ready, back to the array. ----
flash:  mov     w3, #0
1:      add     w3, w3, #1                      // the word: how many passes there were, and this one
        mov     x1, x20
        mov     x2, x21
2:      mov     w4, #0x40
        str     w4, [x1, #8]
        str     w3, [x1, #8]
3:      ldr     w4, [x1, #8]
        tbz     w4, #7, 3b
        mov     w4, #0xff
        str     w4, [x1, #8]
        ldr     w4, [x1, #8]
        cmp     w4, w3
        b.ne    4f
        ldr     x0, [x27, #TICKS]
        add     x0, x0, #1
        str     x0, [x27, #TICKS]
        add     x1, x1, #4096
        subs    x2, x2, #1
        b.ne    2b
        ldr     x0, [x27, #PASSES]
        add     x0, x0, #1
        str     x0, [x27, #PASSES]
        b       1b
4:      ldr     x0, =0xdead0005
        str     x0, [x27, #STATE]
        b       idle

// ---- 2 and 3: one fresh page after another, the next always in the next table, so that each table
// has a descriptor updated in every 512. Nobody stores to a table after this begins but the walker, or,
// on a CPU whose walker does not, the fault handler below. ----
walk:   mov     x19, #0                         // page within its table
        ldr     w22, job
2:      mov     x18, #0                         // table
3:      ldr     x1, =WALKED
        add     x1, x1, x18, lsl #21
        add     x1, x1, x19, lsl #12
        cmp     w22, #3
        b.eq    4f
        ldr     w2, [x1]
        b       5f
4:      str     w19, [x1]
5:      ldr     x0, [x27, #TICKS]
        add     x0, x0, #1
        str     x0, [x27, #TICKS]
        bl      rest
        add     x18, x18, #1
        cmp     x18, #512
        b.ne    3b
        ldr     x0, [x27, #PASSES]
        add     x0, x0, #1
        str     x0, [x27, #PASSES]
        add     x19, x19, #1
        cmp     x19, #512
        b.ne    2b
        mov     x0, #2
        str     x0, [x27, #STATE]
        b       idle

// Waits until the next is due; changes x0.
rest:   cbz     x23, 2f
        add     x24, x24, x23
        msr     cntv_cval_el0, x24
        mov     x0, #1
        msr     cntv_ctl_el0, x0
1:      mrs     x0, cntvct_el0
        cmp     x0, x24
        b.hs    2f
        wfi
        b       1b
2:      ret

// A walker without HAFDBS faults where a descriptor lacks the access flag, or is read-only: we update
// it by an ordinary store. Changes x9 to x15.
fault:  mrs     x9, esr_el1
        mrs     x10, far_el1
        ldr     x11, =WALKED
        subs    x11, x10, x11
        b.lo    bad
        lsr     x12, x9, #26
        cmp     x12, #0x25                      // data abort, same level
        b.ne    bad
        lsr     x11, x11, #12
        mov     x12, #L3
        add     x12, x12, x11, lsl #3
        ldr     x13, [x12]
        and     x14, x9, #0x3f
        cmp     x14, #0x0b                      // access flag fault, level 3
        b.eq    1f
        cmp     x14, #0x0f                      // permission fault, level 3
        b.ne    bad
        bic     x13, x13, #0x80                 // AP[2]: writable
1:      orr     x13, x13, #0x400                // AF
        str     x13, [x12]
        dsb     ish
        lsr     x14, x10, #12
        tlbi    vaae1, x14
        dsb     ish
        isb
        ldr     x14, [x27, #FAULTS]
        add     x14, x14, #1
        str     x14, [x27, #FAULTS]
        eret
bad:    str     x9, [x27, #ESR]
        str     x10, [x27, #FAR]
        mov     x9, #0xdead0000
        str     x9, [x27, #STATE]
        b       idle

        .ltorg
        .balign 2048
vectors:
        .org    vectors + 0x200
        b       fault                           // synchronous, current level with SP_ELx
        .org    vectors + 0x280
        b       bad
