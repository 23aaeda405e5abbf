//! The guests' machine code, written by hand from each architecture's manual: no assembler for any of these
//! targets is needed to build or test Memtwin.
//!
//! Each does the same: it counts, and stores the count to the first word of each page of a range, again and
//! again. The comments are the assembly; `objdump -D -b binary -m …` of a binutils for many targets
//! (Debian's binutils-multiarch) reads it back.

/// Words of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MachineCode {
    Bytes(&'static [u8]),
    Little16(&'static [u16]),
    Big16(&'static [u16]),
    Little32(&'static [u32]),
    Big32(&'static [u32]),
}

impl MachineCode {
    /// As it lies in memory.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Little16(words) => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            Self::Big16(words) => words.iter().flat_map(|word| word.to_be_bytes()).collect(),
            Self::Little32(words) => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            Self::Big32(words) => words.iter().flat_map(|word| word.to_be_bytes()).collect(),
        }
    }
}

/// Nothing: of a board that is refused before its guest matters.
pub(crate) const NONE: MachineCode = MachineCode::Bytes(&[0; 64]);

/// From 0x1000 pages of 4 KiB up to 0x90000, by a ROM in real mode.
pub(crate) const X86: MachineCode = MachineCode::Bytes(&[
    0xfa, // cli
    0xb8, 0x00, 0x10, // next: mov ax, 0x1000
    0x8e, 0xc0, // segment: mov es, ax
    0x31, 0xff, // xor di, di
    0xb9, 0x10, 0x00, // mov cx, 16
    0x26, 0xff, 0x05, // page: inc word [es:di]
    0x81, 0xc7, 0x00, 0x10, // add di, 0x1000
    0xe2, 0xf7, // loop page
    0x05, 0x00, 0x10, // add ax, 0x1000
    0x3d, 0x00, 0x90, // cmp ax, 0x9000
    0x72, 0xe8, // jb segment
    0xeb, 0xe3, // jmp next
]);

/// Where an x86 begins, 16 bytes before the end of its ROM: a jump to the ROM's first byte.
pub(crate) const X86_RESET: [u8; 3] = [0xe9, 0x0d, 0x00];

/// Pages of 256 bytes from 0x300 to 0x2100: the data memory of an ATmega2560 begins at 0x200.
pub(crate) const AVR: MachineCode = MachineCode::Little16(&[
    0x9503, // again: inc r16
    0xe0e0, // ldi r30, 0
    0xe0f3, // ldi r31, 3
    0x8300, // page: st Z, r16
    0x95f3, // inc r31
    0x32f1, // cpi r31, 0x21
    0xf7e1, // brne page
    0xcff8, // rjmp again
]);

/// Pages of 1 KiB from 1 MiB to 1.25 MiB.
pub(crate) const ARM_1K: MachineCode = MachineCode::Little32(&[
    0xe3a0_0601, // mov r0, #0x100000
    0xe1a0_1000, // again: mov r1, r0
    0xe591_3000, // page: ldr r3, [r1]
    0xe283_3001, // add r3, r3, #1
    0xe581_3000, // str r3, [r1]
    0xe281_1b01, // add r1, r1, #0x400
    0xe351_0705, // cmp r1, #0x140000
    0x3aff_fff9, // bcc page
    0xeaff_fff7, // b again
]);

/// Pages of 4 KiB, 1 MiB into RAM at 1 GiB.
pub(crate) const ARM_4K: MachineCode = MachineCode::Little32(&[
    0xe3a0_0101, // mov r0, #0x40000000
    0xe280_0601, // add r0, r0, #0x100000
    0xe280_2702, // add r2, r0, #0x80000
    0xe1a0_1000, // again: mov r1, r0
    0xe591_3000, // page: ldr r3, [r1]
    0xe283_3001, // add r3, r3, #1
    0xe581_3000, // str r3, [r1]
    0xe281_1a01, // add r1, r1, #0x1000
    0xe151_0002, // cmp r1, r2
    0x3aff_fff9, // bcc page
    0xeaff_fff7, // b again
]);

/// The same.
pub(crate) const AARCH64: MachineCode = MachineCode::Little32(&[
    0x1100_0463, // again: add w3, w3, #1
    0xd2a8_0204, // mov x4, #0x40100000
    0xd2a8_0305, // mov x5, #0x40180000
    0xb900_0083, // page: str w3, [x4]
    0x9140_0484, // add x4, x4, #1, lsl #12
    0xeb05_009f, // cmp x4, x5
    0x54ff_ffa3, // b.lo page
    0x17ff_fff9, // b again
]);

/// Pages of 8 KiB from 1 MiB to 1.5 MiB; a branch takes the instruction behind it along.
pub(crate) const OR1K: MachineCode = MachineCode::Big32(&[
    0x9c63_0001, // again: l.addi r3, r3, 1
    0x1880_0010, // l.movhi r4, 0x10
    0x18a0_0018, // l.movhi r5, 0x18
    0xd404_1800, // page: l.sw 0(r4), r3
    0x9c84_2000, // l.addi r4, r4, 0x2000
    0xe484_2800, // l.sfltu r4, r5
    0x13ff_fffd, // l.bf page
    0x1500_0000, // l.nop
    0x03ff_fff8, // l.j again
    0x1500_0000, // l.nop
]);

/// Pages of 4 KiB from 1 MiB to 1.5 MiB.
pub(crate) const SPARC: MachineCode = MachineCode::Big32(&sparc(0, 4));
/// The same, in RAM at 1 GiB.
pub(crate) const SPARC_1G: MachineCode = MachineCode::Big32(&sparc(0x4000_0000 >> 10, 4));
/// Pages of 8 KiB from 1 MiB to 1.5 MiB.
pub(crate) const SPARC_8K: MachineCode = MachineCode::Big32(&sparc(0, 8));

/// The base of RAM and the page, each in KiB as `sethi` takes it.
const fn sparc(base: u32, page: u32) -> [u32; 11] {
    [
        0x8600_e001,                // again: add %g3, 1, %g3
        0x0900_0000 | base | 0x400, // sethi %hi(base + 0x100000), %g4
        0x0b00_0000 | base | 0x600, // sethi %hi(base + 0x180000), %g5
        0x0d00_0000 | page,         // sethi %hi(page), %g6
        0xc621_2000,                // page: st %g3, [%g4]
        0x8801_0006,                // add %g4, %g6, %g4
        0x80a1_0005,                // cmp %g4, %g5
        0x0abf_fffd,                // bcs page
        0x0100_0000,                // nop
        0x10bf_fff7,                // ba again
        0x0100_0000,                // nop
    ]
}

/// Pages of 8 KiB, 1 MiB into the kernel's own segment.
pub(crate) const ALPHA: MachineCode = MachineCode::Little32(&[
    0x203f_ffff, // lda $1, -1
    0x4825_5721, // sll $1, 42, $1
    0x2461_0018, // ldah $3, 0x18($1)
    0x4080_3404, // again: addq $4, 1, $4
    0x2441_0010, // ldah $2, 0x10($1)
    0xb482_0000, // page: stq $4, 0($2)
    0x2042_2000, // lda $2, 0x2000($2)
    0x4043_03a5, // cmpult $2, $3, $5
    0xf4bf_fffc, // bne $5, page
    0xc3ff_fff9, // br again
]);

/// 63 pages of 16 KiB, 1 MiB into the memory at 2 GiB.
pub(crate) const TRICORE: MachineCode = MachineCode::Little32(&[
    0x3000_131b, // again: addi %d3, %d3, 1
    0x2801_0091, // movh.a %a2, 0x8010
    0x4000_0091, // movh.a %a4, 0
    0x003f_44d9, // lea %a4, [%a4] 63
    0x0900_2389, // page: st.w [%a2] 0, %d3
    0x0400_22d9, // lea %a2, [%a2] 0x4000
    0x7ffc_40fd, // loop %a4, page
    0xfff2_ff1d, // j again
]);

/// Pages of 4 KiB, 1 MiB into RAM at 1 GiB.
pub(crate) const M68K: MachineCode = MachineCode::Big16(&[
    0x5280, // again: addq.l #1, %d0
    0x207c, 0x4010, 0x0000, // movea.l #0x40100000, %a0
    0x2080, // page: move.l %d0, (%a0)
    0xd1fc, 0x0000, 0x1000, // adda.l #0x1000, %a0
    0xb1fc, 0x4018, 0x0000, // cmpa.l #0x40180000, %a0
    0x65f0, // bcs page
    0x60e6, // bra again
]);

/// Pages of 4 KiB from 1 MiB to 1.5 MiB. A Malta board writes its number into the word at 0x10.
pub(crate) const MIPS: MachineCode = MachineCode::Big32(&MIPS_WORDS);
/// The same for a board that does not swap the words of its ROM.
pub(crate) const MIPS_LITTLE: MachineCode = MachineCode::Little32(&MIPS_WORDS);

const MIPS_WORDS: [u32; 18] = [
    0x1000_0007, // b again
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0x2508_0001, // again: addiu $t0, $t0, 1
    0x3c09_a010, // lui $t1, 0xa010
    0x3c0a_a018, // lui $t2, 0xa018
    0xad28_0000, // page: sw $t0, 0($t1)
    0x2529_1000, // addiu $t1, $t1, 0x1000
    0x012a_582b, // sltu $t3, $t1, $t2
    0x1560_fffc, // bnez $t3, page
    0,
    0x1000_fff7, // b again
    0,
];

/// Pages of 4 KiB from 1 MiB to 1.5 MiB.
pub(crate) const PPC: MachineCode = MachineCode::Big32(&[
    0x3863_0001, // again: addi 3, 3, 1
    0x3c80_0010, // lis 4, 0x10
    0x3ca0_0018, // lis 5, 0x18
    0x9064_0000, // page: stw 3, 0(4)
    0x3884_1000, // addi 4, 4, 0x1000
    0x7c04_2840, // cmplw 4, 5
    0x4180_fff4, // blt page
    0x4bff_ffe4, // b again
]);

/// The same.
pub(crate) const HPPA: MachineCode = MachineCode::Big32(&[
    0x3463_0002, // again: ldo 1(%r3), %r3
    0x2080_0002, // ldil L%0x100000, %r4
    0x20a0_8002, // ldil L%0x180000, %r5
    0x6883_0000, // page: stw %r3, 0(%r4)
    0x3484_2000, // ldo 0x1000(%r4), %r4
    0x80a4_9fe5, // cmpb,<< %r4, %r5, page
    0x0800_0240, // nop
    0xe81f_1fbd, // b again
    0x0800_0240, // nop
]);

/// The same.
pub(crate) const LOONGARCH: MachineCode = MachineCode::Little32(&[
    0x0280_058c, // again: addi.w $t0, $t0, 1
    0x1400_200d, // lu12i.w $t1, 0x100
    0x1400_300e, // lu12i.w $t2, 0x180
    0x1400_002f, // lu12i.w $t3, 1
    0x2980_01ac, // page: st.w $t0, $t1, 0
    0x0010_3dad, // add.w $t1, $t1, $t3
    0x6bff_f9ae, // bltu $t1, $t2, page
    0x53ff_e7ff, // b again
]);

/// Pages of 4 KiB from 1 MiB behind the code on.
pub(crate) const RISCV: MachineCode = MachineCode::Little32(&[
    0x0012_8293, // again: addi t0, t0, 1
    0x0010_0317, // auipc t1, 0x100
    0x0018_0397, // auipc t2, 0x180
    0x0000_1e37, // lui t3, 1
    0x0053_2023, // page: sw t0, 0(t1)
    0x01c3_0333, // add t1, t1, t3
    0xfe73_6ce3, // bltu t1, t2, page
    0xfe5f_f06f, // j again
]);

/// Pages of 4 KiB, 1 MiB into the memory at 16 MiB.
pub(crate) const RX: MachineCode = MachineCode::Bytes(&[
    0x62, 0x13, // again: add #1, r3
    0xfb, 0x12, 0x00, 0x00, 0x10, 0x01, // mov.l #0x1100000, r1
    0xe3, 0x13, // page: mov.l r3, [r1]
    0x72, 0x11, 0x00, 0x10, // add #0x1000, r1
    0x74, 0x01, 0x00, 0x00, 0x18, 0x01, // cmp #0x1180000, r1
    0x23, 0xf4, // bltu page
    0x2e, 0xea, // bra again
]);

/// Pages of 4 KiB, 1 MiB into the memory at 0xc000000, through the segment that is not translated.
pub(crate) const SH4: MachineCode = MachineCode::Little16(&[
    0x7301, // again: add #1, r3
    0xd104, // mov.l begin, r1
    0xd204, // mov.l end, r2
    0xd405, // mov.l page_bytes, r4
    0x2132, // page: mov.l r3, @r1
    0x314c, // add r4, r1
    0x3122, // cmp/hs r2, r1
    0x8bfb, // bf page
    0xaff6, // bra again
    0x0009, // nop
    0x0000, 0x8c10, // begin
    0x0000, 0x8c18, // end
    0x1000, 0x0000, // page_bytes
]);

/// The same: its words are the other way round.
pub(crate) const SH4_BIG: MachineCode = MachineCode::Big16(&[
    0x7301, 0xd104, 0xd204, 0xd405, 0x2132, 0x314c, 0x3122, 0x8bfb, 0xaff6, 0x0009, 0x8c10, 0x0000,
    0x8c18, 0x0000, 0x0000, 0x1000,
]);

/// 128 pages of 4 KiB, 1 MiB into the segment at 0xd0000000.
pub(crate) const XTENSA: MachineCode = MachineCode::Bytes(&[
    0x32, 0xc3, 0x01, // again: addi a3, a3, 1
    0x42, 0xad, 0x01, // movi a4, -0x2ff
    0xc0, 0x44, 0x01, // slli a4, a4, 20
    0x62, 0xa0, 0x01, // movi a6, 1
    0x40, 0x66, 0x11, // slli a6, a6, 12
    0x52, 0xa0, 0x80, // movi a5, 128
    0x32, 0x64, 0x00, // page: s32i a3, a4, 0
    0x60, 0x44, 0x80, // add a4, a4, a6
    0x52, 0xc5, 0xff, // addi a5, a5, -1
    0x56, 0x35, 0xff, // bnez a5, page
    0x86, 0xf7, 0xff, // j again
]);

/// The same: its fields are the other way round.
pub(crate) const XTENSA_BIG: MachineCode = MachineCode::Bytes(&[
    0x23, 0x3c, 0x01, 0x24, 0xda, 0x01, 0x0c, 0x44, 0x10, 0x26, 0x0a, 0x01, 0x04, 0x66, 0x11, 0x25,
    0x0a, 0x80, 0x23, 0x46, 0x00, 0x06, 0x44, 0x08, 0x25, 0x5c, 0xff, 0x65, 0x5f, 0xf3, 0x63, 0xff,
    0xde,
]);

/// Pages of 4 KiB from 1 MiB to 1.5 MiB, behind the short PSW that says where it begins.
pub(crate) const S390X: MachineCode = MachineCode::Big16(&[
    0x0008, 0x0000, 0x8000, 0x0008, // the PSW
    0xa73a, 0x0001, // again: ahi %r3, 1
    0xa54e, 0x0010, // llilh %r4, 0x10
    0xa55e, 0x0018, // llilh %r5, 0x18
    0x5030, 0x4000, // page: st %r3, 0(%r4)
    0xa74a, 0x1000, // ahi %r4, 0x1000
    0x1545, // clr %r4, %r5
    0xa744, 0xfffb, // jl page
    0xa7f4, 0xfff3, // j again
]);
