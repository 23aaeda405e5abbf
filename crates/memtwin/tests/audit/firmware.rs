//! What the guests of these tests run: a few instructions that write memory for ever.

/// Counts in the first word of 128 pages, one after the other.
const COUNT: &[u8] = &[
    0xb8, 0x00, 0x10, // mov ax, 0x1000
    0x8e, 0xc0, // segment: mov es, ax
    0x31, 0xff, // xor di, di
    0xb9, 0x10, 0x00, // mov cx, 16
    0x26, 0xff, 0x05, // page: inc word [es:di]
    0x81, 0xc7, 0x00, 0x10, // add di, 0x1000
    0xe2, 0xf7, // loop page
    0x05, 0x00, 0x10, // add ax, 0x1000
    0x3d, 0x00, 0x90, // cmp ax, 0x9000
    0x72, 0xe8, // jb segment
];

/// Acknowledges that memory is to be unplugged, as a guest's ACPI would (docs/specs/acpi_mem_hotplug.rst of
/// QEMU): of slots 0 and 1.
const UNPLUG: &[u8] = &[
    0x66, 0x31, 0xdb, // xor ebx, ebx
    0xba, 0x00, 0x0a, // slot: mov dx, 0xa00
    0x66, 0x89, 0xd8, // mov eax, ebx
    0x66, 0xef, // out dx, eax
    0xb2, 0x14, // mov dl, 0x14
    0xec, // in al, dx
    0xa8, 0x04, // test al, 4
    0x74, 0x06, // jz none
    0xb0, 0x04, // mov al, 4: it is known
    0xee, // out dx, al
    0xb0, 0x08, // mov al, 8: it may go
    0xee, // out dx, al
    0x66, 0x43, // none: inc ebx
    0x80, 0xfb, 0x02, // cmp bl, 2
    0x72, 0xe4, // jb slot
];

/// A ROM of 64 KiB that counts for ever.
pub(crate) fn firmware() -> Vec<u8> {
    rom(COUNT)
}

/// The same, which also acknowledges before each pass that memory is to be unplugged.
pub(super) fn unplugging() -> Vec<u8> {
    rom(&[UNPLUG, COUNT].concat())
}

/// The same for an aarch64 `virt`, whose memory begins at 0x40000000.
pub(super) fn arm() -> Vec<u8> {
    const CODE: [u32; 10] = [
        0xd2a8_0020, // next: mov x0, #0x40010000
        0x5288_0124, // mov w4, #0x4009
        0x7940_0002, // page: ldrh w2, [x0]
        0x1100_0442, // add w2, w2, #1
        0x7900_0002, // strh w2, [x0]
        0x9140_0400, // add x0, x0, #0x1000
        0xd350_fc03, // lsr x3, x0, #16
        0x6b04_007f, // cmp w3, w4
        0x54ff_ff43, // b.lo page
        0x17ff_fff7, // b next
    ];
    CODE.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A ROM that does this again and again.
fn rom(pass: &[u8]) -> Vec<u8> {
    const CLI: u8 = 0xfa;
    const JUMP_SHORT: u8 = 0xeb;
    // From behind the jump back to the pass.
    let back = u8::try_from(pass.len() + 2).unwrap().wrapping_neg();
    let code = [&[CLI], pass, &[JUMP_SHORT, back]].concat();
    let mut rom = vec![0; 64 << 10];
    rom[..code.len()].copy_from_slice(&code);
    // Where a CPU begins: jmp to the ROM's first byte.
    rom[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
    rom
}
