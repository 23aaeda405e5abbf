# Bare-metal guest for QEMU's `virt` on riscv64: firmware, which -bios takes, enters in M-mode at
# 0x80000000, and which does its work in S-mode with Sv39 paging on.
#
# Assembled: riscv64-linux-gnu-as -march=rv64imac_zicsr riscv64.s -o r.o,
# linked (its branches are relocations): riscv64-linux-gnu-ld --no-relax -Ttext=0x80000000 r.o -o r.elf,
# riscv64-linux-gnu-objcopy -O binary -j .text r.elf riscv64.bin
# A test does the same and compares it with riscv64.bin.
#
# The words from `job` on are set in the image by dev/bare/src/image.rs. The guest's report lies in
# a page of its own: a store to a page with code in it is a slow one under TCG.

        .set    REPORT, 0x80008000
        .set    ROOT, 0x80010000                # one page: 512 GiB of Sv39
        .set    MIDDLE, 0x80011000              # one page: 1 GiB of it
        .set    TARGET, 0x80012000              # the page that all walked pages map to
        .set    LEAVES, 0x82000000              # 512 pages
        .set    ADUE, 61                        # menvcfg: the walker updates A and D (Svadu)
        .set    STCE, 63                        # menvcfg: S-mode has stimecmp (Sstc)

        # The report, from REPORT; all are 64 bits wide.
        .set    TICKS, 0                        # pages written or touched so far
        .set    PASSES, 8                       # whole passes over the range
        .set    BOOTS, 16                       # how often it began
        .set    STATE, 24                       # 1 at work, 2 all pages touched, 0xdead0000: trap
        .set    WHERE, 32                       # first byte of the range
        .set    HARDWARE, 40                    # 2: menvcfg.ADUE can be set
        .set    FAULTS, 48                      # descriptors that software had to update
        .set    MCAUSE, 56                      # of the last trap that we know nothing of
        .set    MTVAL, 64

        .option norelax
        .option norvc
        .text
start:  j       entry

        .org    0x40
job:    .word   0                               # 0 idle, 1 write, 2 touch fresh pages, 3 write to fresh
                                                # pages
base:   .word   0                               # first byte of the range that is written
pages:  .word   0                               # its length in pages
pace:   .word   0                               # microseconds between two passes (1) or pages (2, 3)

        .org    0x80
entry:  csrw    mie, zero
        csrr    t0, mhartid
        bnez    t0, park
        lla     t0, trap
        csrw    mtvec, t0
        # S-mode may reach all memory, read the time, and wake from WFI by its timer.
        li      t0, -1
        csrw    pmpaddr0, t0
        li      t0, 0x1f                        # NAPOT, RWX
        csrw    pmpcfg0, t0
        li      t0, -1
        csrw    mcounteren, t0
        li      t0, 1 << STCE | 1 << ADUE
        csrs    0x30a, t0                       # menvcfg
        csrr    t1, 0x30a
        srli    t1, t1, ADUE
        andi    t1, t1, 1
        slli    t1, t1, 1
        li      t0, 1 << 5                      # the S-mode timer: pends there, is never taken
        csrw    mideleg, t0
        csrw    mie, t0

        # Tables: 1 GiB leaves with A and D set for devices and RAM, and the walked pages from 4 GiB.
        li      t2, ROOT
        li      t0, 0xcf                        # D A X W R V
        sd      t0, 0(t2)                       # 0..1 GiB
        li      t0, 0x80000000 >> 2 | 0xcf
        sd      t0, 16(t2)                      # 2..3 GiB: RAM
        li      t0, MIDDLE >> 2 | 1
        sd      t0, 32(t2)                      # 4..5 GiB
        li      t2, MIDDLE
        li      t3, LEAVES
        li      t4, 512
        li      t5, 4096
1:      srli    t0, t3, 2
        ori     t0, t0, 1
        sd      t0, 0(t2)
        addi    t2, t2, 8
        add     t3, t3, t5
        addi    t4, t4, -1
        bnez    t4, 1b
        li      t0, TARGET >> 2 | 0x07          # W R V, A and D clear
        li      t3, LEAVES
        li      t4, 512 * 512
2:      sd      t0, 0(t3)
        addi    t3, t3, 8
        addi    t4, t4, -1
        bnez    t4, 2b
        li      t0, 8 << 60 | ROOT >> 12        # Sv39
        csrw    satp, t0
        sfence.vma

        li      s0, REPORT
        sd      t1, HARDWARE(s0)
        lwu     s2, base
        lwu     s3, pages
        sd      s2, WHERE(s0)
        ld      t0, BOOTS(s0)
        addi    t0, t0, 1
        sd      t0, BOOTS(s0)
        li      t0, 1
        sd      t0, STATE(s0)
        lwu     s4, pace
        li      t0, 10                          # the time base is 10 MHz
        mul     s4, s4, t0
        rdtime  s5                              # when the next is due
        lwu     s1, job
        # On to S-mode.
        li      t0, 3 << 11
        csrc    mstatus, t0
        li      t0, 1 << 11
        csrs    mstatus, t0
        lla     t0, work
        csrw    mepc, t0
        mret

park:   wfi
        j       park

work:   li      t0, 1
        beq     s1, t0, write
        bgtu    s1, t0, walk
idle:   wfi
        j       idle

# ---- 1: one word in each page of the range, over and over ----
write:  mv      t0, s2
        mv      t1, s3
        li      t3, 4096
1:      lw      t2, 8(t0)
        addi    t2, t2, 1
        sw      t2, 8(t0)
        add     t0, t0, t3
        addi    t1, t1, -1
        bnez    t1, 1b
        ld      t0, TICKS(s0)
        add     t0, t0, s3
        sd      t0, TICKS(s0)
        ld      t0, PASSES(s0)
        addi    t0, t0, 1
        sd      t0, PASSES(s0)
        jal     rest
        j       write

# ---- 2 and 3: one fresh page after another, the next always in the next table. Nobody stores to a
# table after this begins but the walker, or, where it does not, the trap handler below. ----
walk:   li      s6, 0                           # page within its table
2:      li      s7, 0                           # table
3:      li      t0, 0x100000000
        slli    t1, s7, 21
        add     t0, t0, t1
        slli    t1, s6, 12
        add     t0, t0, t1
        li      t1, 3
        beq     s1, t1, 4f
        ld      t2, 0(t0)
        j       5f
4:      sd      s6, 0(t0)
5:      ld      t0, TICKS(s0)
        addi    t0, t0, 1
        sd      t0, TICKS(s0)
        jal     rest
        addi    s7, s7, 1
        li      t0, 512
        bne     s7, t0, 3b
        ld      t1, PASSES(s0)
        addi    t1, t1, 1
        sd      t1, PASSES(s0)
        addi    s6, s6, 1
        bne     s6, t0, 2b
        li      t0, 2
        sd      t0, STATE(s0)
        j       idle

# Waits until the next is due; changes t0.
rest:   beqz    s4, 2f
        add     s5, s5, s4
        csrw    0x14d, s5                       # stimecmp
1:      rdtime  t0
        bgeu    t0, s5, 2f
        wfi
        j       1b
2:      ret

# A walker without Svadu faults where A is clear, or D is at a store: we set them by an ordinary store.
# Runs in M-mode, unpaged. Changes t3 to t6.
        .balign 4
trap:   csrr    t3, mcause
        csrr    t4, mtval
        li      t5, 0x100000000
        bltu    t4, t5, bad
        sub     t4, t4, t5
        li      t5, 0x40                        # A
        li      t6, 13                          # load page fault
        beq     t3, t6, 1f
        li      t5, 0xc0                        # D A
        li      t6, 15                          # store page fault
        bne     t3, t6, bad
1:      srli    t4, t4, 12
        slli    t4, t4, 3
        li      t3, LEAVES
        add     t4, t4, t3
        ld      t3, 0(t4)
        or      t3, t3, t5
        sd      t3, 0(t4)
        sfence.vma
        ld      t3, FAULTS(s0)
        addi    t3, t3, 1
        sd      t3, FAULTS(s0)
        mret
bad:    csrr    t4, mtval
        sd      t3, MCAUSE(s0)
        sd      t4, MTVAL(s0)
        li      t3, 0xdead0000
        sd      t3, STATE(s0)
        j       park
