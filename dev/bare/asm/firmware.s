# The last 256 bytes of an x86 firmware flash that has the guest of x86.s in it, from its first byte on:
# copies the guest to where its loader would put it, and enters it as that would. No other firmware is
# needed, so the flash behind this one is the guest's alone.
#
# Assembled: as --32 firmware.s -o f.o && objcopy -O binary -j .text f.o firmware.bin
# A test assembles this and compares it with firmware.bin.
#
# A processor begins at 0xfffffff0, in real mode, with the base of CS at 0xffff0000 (Intel SDM, volume 3,
# "First Instruction Executed").

        .set    FLASH, 0xffff0000               # 64 KiB, up to 4 GiB
        .set    HERE, 0xffffff00                # where this lies
        .set    ORG, 0x100000                   # x86.s: where the guest lies, and where it begins
        .set    ENTRY, ORG + 0x40

        .text
        .code16
start:  cli
        lgdtl   %cs:(HERE - FLASH + (gdtr - start))
        movl    %cr0, %eax
        andl    $~0x60000000, %eax              # caches on
        orl     $1, %eax                        # protected mode
        movl    %eax, %cr0
        ljmpl   $8, $HERE + (1f - start)
        .code32
1:      movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $FLASH, %esi
        movl    $ORG, %edi
        movl    $(HERE - FLASH) / 4, %ecx
        cld
        rep movsl
        movl    $ENTRY, %eax
        jmp     *%eax

        .balign 8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff       # accessed: nobody can note it here
gdtr:   .word   3 * 8 - 1
        .long   HERE + (gdt - start)

        .org    0xf0
        .code16
        jmp     start
        .org    0x100
