# Bare-metal guest for x86: a multiboot image (Multiboot Specification 0.6.96), which QEMU's -kernel
# takes on pc and q35, under KVM and TCG alike, and enters in 32-bit protected mode, flat, interrupts
# off and paging off.
#
# Assembled: as --32 x86.s -o x86.o && objcopy -O binary -j .text x86.o x86.bin
# A test assembles this and compares it with x86.bin.
#
# The words from `job` to `stride` are set in the image by dev/bare/src/image.rs. The guest's report
# lies in a page of its own: a store to a page with code in it is a slow one under TCG. Neither the
# loader (which puts the multiboot information in the page after the image) nor a reset touches it, so
# `BOOTS` counts the resets too.

        .set    ORG, 0x100000
        .set    MAGIC, 0x1badb002
        .set    FLAGS, 0x00010000               # the addresses below are valid
        .set    STACK, ORG + 0x4000
        .set    PRD, 0x11800                     # the DMA's descriptor table, from ORG

        # The report, from ORG; all are 64 bits wide.
        .set    TICKS, 0x11000                   # pages written, DMA transfers or batches
        .set    PASSES, 0x11008                  # whole passes over the range
        .set    BOOTS, 0x11010                   # how often it began
        .set    STATE, 0x11018                   # 1 at work, 0xdead0000 + n: can't do the job, and why
        .set    WHERE, 0x11020                   # first byte of the range

        .set    CLOCK, 0x11808                  # timer ticks so far, from ORG
        .set    SEEN, 0x1180c                   # the pace that the timer was set for, from ORG
        .set    IDT, 0x11a00                    # from ORG: job 7's interrupt descriptor table
        .set    TIMER, 0x20                     # the vector of IRQ 0

        .set    ROOT, 0x12000                   # from ORG: the page directory
        .set    TARGET, 0x13000                 # from ORG: the page that all walked pages map to
        .set    TABLES, 0x2000000               # 512 page tables
        .set    WALKED, 0x80000000              # virtual: 512 * 1024 pages

        .text
        .code32
start:  .long   MAGIC, FLAGS, -(MAGIC + FLAGS)
        .long   ORG                             # header_addr
        .long   ORG                             # load_addr
        .long   0, 0                            # load_end_addr, bss_end_addr: all of the file
        .long   ORG + (entry - start)           # entry_addr

        .org    0x20
job:    .long   0                               # 0 idle, 1 write, 2 read a disk, 3 write, then reset,
                                                # 4 write the frame buffer, 5 touch fresh pages,
                                                # 6 write to fresh pages, 7 write in batches,
                                                # 8 program a flash
base:   .long   0                               # first byte of the range that is written
pages:  .long   0                               # its length in pages
pace:   .long   0                               # jobs 5 and 6: TSC ticks between two pages; job 7: the
                                                # PIT's divisor, and timer ticks for each batch << 16,
                                                # to be changed from outside at any time
sectors:.long   0                               # job 2: the disk's length in sectors
limit:  .long   0                               # job 3: seconds from boot to reset
stride: .long   0                               # job 7: bytes from one page of a batch to the next

        .org    0x40
entry:  movl    $STACK, %esp
        movl    $ORG, %ebp                      # all data is reached through EBP
        movl    base - start(%ebp), %eax
        movl    %eax, WHERE(%ebp)
        xorl    %eax, %eax
        movl    %eax, TICKS(%ebp)
        movl    %eax, TICKS + 4(%ebp)
        movl    %eax, PASSES(%ebp)
        incl    BOOTS(%ebp)
        movl    $1, STATE(%ebp)
        movl    job - start(%ebp), %eax
        cmpl    $1, %eax
        je      write
        cmpl    $2, %eax
        je      disk
        cmpl    $3, %eax
        je      write
        cmpl    $4, %eax
        je      frame
        jb      halt
        cmpl    $7, %eax
        je      batch
        jb      walk
        cmpl    $8, %eax
        je      flash
halt:   cli
        hlt
        jmp     halt

# ---- 1 and 3: one word in each page of the range, over and over ----
write:  call    second
        movl    %eax, %edx                      # the RTC's second, last seen
pass:   movl    WHERE(%ebp), %edi
        movl    pages - start(%ebp), %ecx
page:   incl    8(%edi)
        addl    $4096, %edi
        decl    %ecx
        jnz     page
        movl    pages - start(%ebp), %eax
        addl    %eax, TICKS(%ebp)
        adcl    $0, TICKS + 4(%ebp)
        incl    PASSES(%ebp)
        cmpl    $3, job - start(%ebp)
        jne     pass
        call    second
        cmpl    %edx, %eax
        je      pass
        movl    %eax, %edx
        decl    limit - start(%ebp)
        jg      pass
        movw    $0xcf9, %dx                     # reset control register: PIIX3, ICH9
        movb    $0x06, %al
        outb    %al, %dx
        jmp     halt

# The RTC's seconds, as they stand in CMOS.
second: movb    $0x00, %al
        outb    %al, $0x70
        inb     $0x71, %al
        movzbl  %al, %eax
        ret

# ---- 4: the range is the display adapter's frame buffer (BAR 0) ----
frame:  movl    $0x80000008, %ebx               # bus 0, class register
1:      movl    %ebx, %eax
        call    config
        shrl    $24, %eax
        cmpl    $3, %eax                        # display
        je      2f
        addl    $0x800, %ebx                    # next device
        cmpl    $0x80010008, %ebx
        jb      1b
        movl    $0xdead0004, %eax
        jmp     fault
2:      leal    8(%ebx), %eax                   # BAR 0
        call    config
        andl    $~0xf, %eax
        movl    %eax, WHERE(%ebp)
        leal    -4(%ebx), %eax                  # command register: decode memory
        call    config
        orl     $2, %eax
        outl    %eax, %dx
        jmp     write

# Reads the configuration register EAX names; leaves DX at the data port.
config: movw    $0xcf8, %dx
        outl    %eax, %dx
        movw    $0xcfc, %dx
        inl     %dx, %eax
        ret

# ---- 2: PIIX3 bus master IDE, primary master, READ DMA of 16 sectors at a time ----
# Programming Interface for Bus Master IDE Controller 1.0; ATA-4, READ DMA (0xc8), LBA.
        .set    BURST, 16                       # sectors: two pages
disk:   movl    $0x80000908, %eax               # bus 0, device 1, function 1: class
        call    config
        shrl    $16, %eax
        cmpl    $0x0101, %eax                   # IDE
        movl    $0xdead0001, %eax
        jne     fault
        movl    $0x80000904, %eax               # command register: I/O and bus master
        call    config
        orl     $5, %eax
        outl    %eax, %dx
        movl    $0x80000920, %eax               # BAR 4: the bus master's ports
        call    config
        andl    $~0xf, %eax
        movl    %eax, %esi
        movw    $0x3f6, %dx                     # let the drive interrupt: the bus master notes it for
        xorl    %eax, %eax                      # us to poll, the CPU never takes it
        outb    %al, %dx
        xorl    %ebx, %ebx                      # the sector to read next

sweep:  movl    WHERE(%ebp), %edi
        movl    pages - start(%ebp), %ecx
        shrl    $1, %ecx
burst:  pushl   %ecx
        # The one physical region descriptor: EDI, BURST sectors, end of table.
        movl    %edi, PRD(%ebp)
        movl    $0x80000000 + BURST * 512, PRD + 4(%ebp)
        movl    %esi, %edx
        movb    $0x08, %al                      # stop; direction: to memory
        outb    %al, %dx
        leal    2(%esi), %edx
        movb    $0x06, %al                      # clear interrupt and error
        outb    %al, %dx
        leal    4(%esi), %edx
        movl    $ORG + PRD, %eax
        outl    %eax, %dx
        movw    $0x1f6, %dx                     # drive 0, LBA 27..24
        movl    %ebx, %eax
        shrl    $24, %eax
        orb     $0xe0, %al
        outb    %al, %dx
        movw    $0x1f2, %dx
        movb    $BURST, %al
        outb    %al, %dx
        incw    %dx                             # 0x1f3: LBA 7..0
        movl    %ebx, %eax
        outb    %al, %dx
        incw    %dx
        shrl    $8, %eax
        outb    %al, %dx
        incw    %dx
        shrl    $8, %eax
        outb    %al, %dx
        # Start, then the command: the other way round, which drivers take, QEMU may die when the guest goes on
        # after a migration that ended between the two (docs/qemu.md).
        movl    %esi, %edx
        movb    $0x09, %al                      # start
        outb    %al, %dx
        movw    $0x1f7, %dx
        movb    $0xc8, %al                      # READ DMA
        outb    %al, %dx
        leal    2(%esi), %edx
3:      inb     %dx, %al                        # until the drive interrupts, or the transfer fails
        testb   $0x06, %al
        jz      3b
        testb   $0x02, %al
        movl    $0xdead0002, %eax
        jnz     fault
        movw    $0x1f7, %dx
4:      inb     %dx, %al
        testb   $0x80, %al                      # busy
        jnz     4b
        testb   $0x21, %al                      # error, device fault
        movl    $0xdead0003, %eax
        jnz     fault
        incl    TICKS(%ebp)
        addl    $BURST * 512, %edi
        addl    $BURST, %ebx
        cmpl    sectors - start(%ebp), %ebx
        jb      5f
        xorl    %ebx, %ebx
5:      popl    %ecx
        decl    %ecx
        jnz     burst
        incl    PASSES(%ebp)
        jmp     sweep
fault:  movl    %eax, STATE(%ebp)
        jmp     halt

# ---- 8: a word in each page of a parallel flash, over and over, by its commands (Intel command set, as
# `pflash_cfi01` has it): program, the word, the status until it is ready, back to the array. ----
flash:  xorl    %edx, %edx
1:      incl    %edx                            # the word: how many passes there were, and this one
        movl    WHERE(%ebp), %edi
        movl    pages - start(%ebp), %ecx
2:      movb    $0x40, 8(%edi)
        movl    %edx, 8(%edi)
3:      testb   $0x80, 8(%edi)
        jz      3b
        movb    $0xff, 8(%edi)
        movl    $0xdead0005, %eax
        cmpl    %edx, 8(%edi)
        jne     fault
        incl    TICKS(%ebp)
        addl    $4096, %edi
        decl    %ecx
        jnz     2b
        incl    PASSES(%ebp)
        jmp     1b

# ---- 5 and 6: one fresh page after another, the next always in the next table. Nobody stores to a
# table after paging begins but the walker, which sets A (bit 5) and D (bit 6). ----
walk:   movl    $TABLES, %edi
        movl    $512 * 1024, %ecx
        movl    $ORG + TARGET + 3, %eax         # present, writable
        rep stosl
        leal    ROOT(%ebp), %edi
        movl    $0x83, %eax                     # 4 MiB, writable, present: as without paging
        movl    $512, %ecx
1:      stosl
        addl    $0x400000, %eax
        loop    1b
        movl    $TABLES + 3, %eax
        movl    $512, %ecx
2:      stosl
        addl    $4096, %eax
        loop    2b
        movl    %cr4, %eax
        orl     $0x10, %eax                     # PSE
        movl    %eax, %cr4
        movl    $ORG + ROOT, %eax
        movl    %eax, %cr3
        movl    %cr0, %eax
        orl     $0x80010000, %eax               # PG, WP
        movl    %eax, %cr0
        jmp     3f
3:      rdtsc
        movl    %eax, %esi                      # when the last was due
        xorl    %ecx, %ecx                      # page within its table
4:      xorl    %ebx, %ebx                      # table
5:      movl    %ebx, %edi
        shll    $10, %edi
        addl    %ecx, %edi
        shll    $12, %edi
        addl    $WALKED, %edi
        cmpl    $5, job - start(%ebp)
        jne     6f
        movl    (%edi), %eax
        jmp     7f
6:      incl    (%edi)
7:      incl    TICKS(%ebp)
8:      rdtsc
        subl    %esi, %eax
        cmpl    pace - start(%ebp), %eax
        jb      8b
        addl    pace - start(%ebp), %esi
        incl    %ebx
        cmpl    $512, %ebx
        jne     5b
        incl    PASSES(%ebp)
        incl    %ecx
        cmpl    $1024, %ecx
        jne     4b
        movl    $2, STATE(%ebp)
        jmp     halt

# ---- 7: one word in every page of a batch, a batch for so many ticks of the timer. A batch is every
# page at `stride` from the range's first one; the next batch the pages behind those; and so on until
# each page had its turn. Late batches are made up for. Between two the CPU halts, so that it leaves
# the host's CPU to who copies the pages. `pages` is a multiple of 8 * stride / 4096. ----
batch:  lgdt    gdtr - start(%ebp)              # the loader's table may be gone
        ljmp    $8, $ORG + (1f - start)
1:      movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        leal    tick - start(%ebp), %eax        # an interrupt gate
        movzwl  %ax, %edx
        orl     $0x80000, %edx                  # selector 8
        movl    %edx, IDT + TIMER * 8(%ebp)
        movw    $0x8e00, %ax
        movl    %eax, IDT + TIMER * 8 + 4(%ebp)
        lidt    idtr - start(%ebp)
        movb    $0x11, %al                      # 8259A: ICW1 to ICW4 of both, all masked but IRQ 0
        outb    %al, $0x20
        outb    %al, $0xa0
        movb    $TIMER, %al
        outb    %al, $0x21
        movb    $TIMER + 8, %al
        outb    %al, $0xa1
        movb    $4, %al
        outb    %al, $0x21
        movb    $2, %al
        outb    %al, $0xa1
        movb    $1, %al
        outb    %al, $0x21
        outb    %al, $0xa1
        movb    $0xfe, %al
        outb    %al, $0x21
        movb    $0xff, %al
        outb    %al, $0xa1
        xorl    %eax, %eax
        movl    %eax, CLOCK(%ebp)
        movl    %eax, SEEN(%ebp)
        movl    stride - start(%ebp), %ebx
2:      movl    WHERE(%ebp), %edx               # the batch's first page
3:      movl    pace - start(%ebp), %eax
        cmpl    %eax, SEEN(%ebp)
        je      4f
        movl    %eax, SEEN(%ebp)                # another pace, from now on
        movl    CLOCK(%ebp), %esi               # the tick at which the next batch is due
        movl    %eax, %ecx
        movb    $0x34, %al                      # 8254: counter 0, both bytes, mode 2
        outb    %al, $0x43
        movb    %cl, %al
        outb    %al, $0x40
        movb    %ch, %al
        outb    %al, $0x40
4:      movzwl  pace + 2 - start(%ebp), %eax
        addl    %eax, %esi
wait:   movl    CLOCK(%ebp), %eax
        subl    %esi, %eax
        jns     5f
        sti                                     # takes effect behind the next instruction
        hlt
        cli
        jmp     wait
5:      movl    pages - start(%ebp), %eax       # how many pages a batch has, by eights
        shll    $12 - 3, %eax
        movl    %edx, %edi
        xorl    %edx, %edx
        divl    %ebx
        movl    %edi, %edx
        movl    %eax, %ecx
        movl    TICKS(%ebp), %eax               # a word that none of these pages ever had
        incl    %eax
6:      .rept   8
        movl    %eax, 8(%edi)
        addl    %ebx, %edi
        .endr
        decl    %ecx
        jnz     6b
        incl    TICKS(%ebp)
        addl    $4096, %edx
        movl    %edx, %eax
        subl    WHERE(%ebp), %eax
        cmpl    %ebx, %eax
        jb      3b
        incl    PASSES(%ebp)
        jmp     2b

# Interrupts come in no other place than `wait`, so their frame is dropped: a KVM that emulates what the
# guest's kernel does has no IRET for protected mode.
tick:   incl    ORG + CLOCK
        movb    $0x20, %al                      # end of interrupt
        outb    %al, $0x20
        addl    $12, %esp
        jmp     wait

        .balign 8
gdt:    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:   .word   3 * 8 - 1
        .long   ORG + (gdt - start)
idtr:   .word   (TIMER + 1) * 8 - 1
        .long   ORG + IDT
