use super::*;
use std::convert::Infallible;

fn blocks(ramblock: &str, mtree: &str) -> Vec<Block> {
    let never = &mut |gpa| -> Result<_, Infallible> { panic!("{gpa} needs no question") };
    joined(ramblock::parse(ramblock).unwrap(), &flatview::parse(mtree).unwrap(), never).unwrap()
}

fn windows<'a>(blocks: &'a [Block], name: &str) -> &'a [Window] {
    &blocks.iter().find(|block| block.name == name).unwrap().windows
}

fn window(gpa: u64, offset: u64, bytes: u64) -> Window {
    Window { gpa: Gpa(gpa), offset, bytes }
}

#[test]
fn a_pc_has_its_ram_on_both_sides_of_the_hole() {
    let blocks = blocks(
        include_str!("../../tests/fixtures/pc.ramblock"),
        include_str!("../../tests/fixtures/pc.mtree"),
    );
    let ram = [
        window(0, 0, 0xc0000),
        window(0x10_0000, 0x10_0000, 0xbff0_0000),
        window(4 << 30, 0xc000_0000, 3 << 30),
    ];
    assert_eq!(windows(&blocks, "pc.ram"), ram);
    assert_eq!(
        windows(&blocks, "pc.bios"),
        [window(0xe0000, 0x20000, 0x20000), window(0xfffc_0000, 0, 0x40000)]
    );
    assert_eq!(windows(&blocks, "/rom@etc/acpi/rsdp"), []);
    assert_eq!(blocks[0].gpa_of(0xc000_0001), Some(Gpa((4 << 30) + 1)));
    // Under the ROM the block goes on, where the guest does not see it.
    assert_eq!(blocks[0].gpa_of(0xc0000), None);
    assert_eq!(blocks[0].gpa_of(6 << 30), None);
}

#[test]
fn other_machines() {
    let q35 = blocks(
        include_str!("../../tests/fixtures/q35.ramblock"),
        include_str!("../../tests/fixtures/q35.mtree"),
    );
    assert_eq!(windows(&q35, "dimm"), [window(4 << 30, 0, 128 << 20)]);
    let nvdimm = blocks(
        include_str!("../../tests/fixtures/pcnv.ramblock"),
        include_str!("../../tests/fixtures/pcnv.mtree"),
    );
    assert_eq!(windows(&nvdimm, "nv"), [window(4 << 30, 0, 64 << 20)]);
    let virt = blocks(
        include_str!("../../tests/fixtures/virt.ramblock"),
        include_str!("../../tests/fixtures/virt.mtree"),
    );
    assert_eq!(windows(&virt, "mach-virt.ram"), [window(1 << 30, 0, 512 << 20)]);
    assert_eq!(windows(&virt, "virt.flash1"), [window(64 << 20, 0, 64 << 20)]);
}

const TWO: &str = "Block Name PSize Offset Used Total HVA RO
0000:00:01.0/vga.vram 4 KiB 0x0 0x1000000 0x1000000 0x0000700000000000 rw
0000:00:02.0/vga.vram 4 KiB 0x0 0x1000000 0x1000000 0x0000710000000000 rw
x@0 KVM 4 KiB 0x0 0x1000 0x1000 0x0000720000000000 rw
";

const SEEN: &str = " AS \"memory\", root: system
  00000000f0000000-00000000f0ffffff (prio 1, ram): vga.vram KVM
  00000000f1001000-00000000f1ffffff (prio 1, ram): vga.vram @0000000000001000 KVM
  00000000f2000000-00000000f2000fff (prio 1, ram): x@0 KVM
  00000000f3000000-00000000f300ffff (prio 1, ram): x@0 KVM
";

#[test]
fn two_of_a_name_are_told_apart_by_their_host_address() {
    let join = |hva: fn(Gpa) -> Option<u64>| {
        let (listed, ranges) = (ramblock::parse(TWO).unwrap(), flatview::parse(SEEN).unwrap());
        joined(listed, &ranges, &mut |gpa| Ok::<_, Infallible>(hva(gpa))).unwrap()
    };
    let blocks =
        join(|gpa| Some(if gpa.0 == 0xf000_0000 { 0x7100_0000_0000 } else { 0x7000_0000_1000 }));
    assert_eq!(blocks[0].windows, [window(0xf100_1000, 0x1000, 0xff_f000)]);
    assert_eq!(blocks[1].windows, [window(0xf000_0000, 0, 1 << 24)]);
    // A name that looks like an offset and an accelerator, and a range that is too large for it.
    assert_eq!(blocks[2].windows, [window(0xf200_0000, 0, 0x1000)]);
    // Where nothing tells them apart, nothing is said.
    for hva in [(|_| None) as fn(Gpa) -> Option<u64>, |_| Some(7)] {
        let blocks = join(hva);
        assert_eq!((blocks[0].windows.len(), blocks[1].windows.len()), (0, 0));
    }
}

/// What QEMU 5.2 took as ids over QMP, and how it prints and sends them.
#[test]
fn odd_names_of_a_real_machine_are_put_together() {
    let blocks = blocks(
        include_str!("../../tests/fixtures/odd-names52.ramblock"),
        include_str!("../../tests/fixtures/odd-names52.mtree"),
    );
    let sent: [(&[u8], &str); 4] = [
        (b" lead  two ", r"lead \x20two"),
        (b"esc\x1b[2J\nline", r"esc\u{1b}[2J\nline"),
        ("\u{e4}rm\u{202e}".as_bytes(), r"\u{e4}rm\u{202e}"),
        (b"x  4 KiB  0x0 0x1", r"x \x204 KiB \x200x0 0x1"),
    ];
    assert_eq!(blocks.len(), 10);
    for (place, (raw, printed)) in sent.into_iter().enumerate() {
        let found = crate::find_block(&blocks, &crate::block_name(raw)).unwrap();
        assert_eq!(found.name, printed.replace(r"\u{e4}", "\u{e4}"));
        assert_eq!(found.windows, [window((4 << 30) + ((place as u64) << 24), 0, 16 << 20)]);
    }
}
