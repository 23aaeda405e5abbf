use super::*;
use memtwin_pages::{Gpa, Layout, PageSize, Region};
use memtwin_report::CaseBuilder;
use memtwin_report::record::{Detail, PageAt};
use std::collections::BTreeMap;

const PAGE: u64 = 4096;
const BASE: u64 = 0x4000_0000;

fn layout(name: &str) -> Layout {
    let size = PageSize::new(PAGE).unwrap();
    Layout::new(vec![Region::new(name, Gpa(BASE), 64 * PAGE, size).unwrap()])
}

fn page(name: &str, n: u64, bits: Option<u64>) -> LostPage {
    let detail = bits.map(|bits| Detail {
        offset: n * PAGE,
        ranges: vec![(0, 8)],
        twin: format!("{:016x}", 0),
        memory: format!("{:016x}", bits.swap_bytes()),
    });
    let gpa = Gpa(BASE + n * PAGE);
    let region = name.to_owned();
    LostPage { region, gpa, last_round: 1, first_byte: 0, bytes: 8, hint: None, detail }
}

fn block(name: &str, lost: &[u64]) -> Case {
    let lost = lost.iter().map(|&n| page(name, n, None)).collect();
    CaseBuilder::new(format!("audit/{name}"), "qemu:q", &layout(name)).judged(lost, BTreeMap::new())
}

fn control(found: bool) -> Case {
    let injected = PageAt { region: "ram".into(), gpa: Gpa(BASE) };
    let lost = if found { vec![page("ram", 0, None)] } else { Vec::new() };
    let trial = CaseBuilder::new("audit/ram/control", "qemu:q", &layout("ram")).control([injected]);
    trial.judged(lost, BTreeMap::new())
}

fn verdict(cases: Vec<Case>, expected: &Expected) -> String {
    let found = judge(&RunRecord::new("audit", cases), expected, false, true);
    if found.as_expected() { "ok".to_owned() } else { found.to_string() }
}

fn loss(all: bool) -> Expected {
    let (block, within, bits) = ("ram", vec![2 * PAGE..3 * PAGE, 3 * PAGE..4 * PAGE], 1 << 10);
    let also = vec![("ram", 9 * PAGE..10 * PAGE), ("rom", 0..PAGE)];
    Expected::Lost(Loss { block, within, all, bits, by_chance: false, also })
}

#[test]
fn a_sound_layout_loses_nothing_and_finds_its_control() {
    let sound = &Expected::Identical;
    assert_eq!(verdict(vec![block("ram", &[]), control(true)], sound), "ok");
    let lost = verdict(vec![block("ram", &[7]), control(true)], sound);
    assert_eq!(lost, "lost: 1 of ram; audit/ram: 1 lost page 0x40007000");
    let blind = verdict(vec![block("ram", &[]), control(false)], sound);
    assert!(blind.contains("control was not found"), "{blind}");
    let alone = verdict(vec![block("ram", &[])], sound);
    assert!(alone.contains("control was not found"), "{alone}");
    assert!(verdict(vec![], sound).contains("judged nothing"));
}

#[test]
fn what_a_reset_fills_anew_may_differ_and_nothing_else() {
    let reset = &Expected::AtMoments { blocks: &["rom"], when: StopMoment::AfterReset };
    assert_eq!(verdict(vec![block("ram", &[]), block("rom", &[]), control(true)], reset), "ok");
    assert_eq!(verdict(vec![block("ram", &[]), block("rom", &[0]), control(true)], reset), "ok");
    let lost = verdict(vec![block("ram", &[1]), block("rom", &[0]), control(true)], reset);
    assert!(lost.contains("audit/ram: 1 lost page"), "{lost}");
    let blind = verdict(vec![block("ram", &[]), control(false)], reset);
    assert!(blind.contains("control was not found"), "{blind}");
}

#[test]
fn a_bug_loses_its_own_pages_and_no_other() {
    assert_eq!(verdict(vec![block("ram", &[2, 3]), block("rom", &[])], &loss(true)), "ok");
    assert_eq!(verdict(vec![block("ram", &[3])], &loss(false)), "ok");
    assert_eq!(verdict(vec![block("ram", &[2, 3, 9]), block("rom", &[0])], &loss(true)), "ok");
    assert_ne!(verdict(vec![block("ram", &[9])], &loss(false)), "ok", "the other bug alone");
    let fewer = verdict(vec![block("ram", &[3])], &loss(true));
    assert!(fewer.contains("expected lost: all of 2 pages of ram"), "{fewer}");
    for other in [vec![block("ram", &[2, 3, 4])], vec![block("ram", &[])]] {
        assert_ne!(verdict(other, &loss(true)), "ok");
    }
    let elsewhere = verdict(vec![block("ram", &[2, 3]), block("rom", &[2])], &loss(true));
    assert!(elsewhere.contains("audit/rom: 1 lost page"), "{elsewhere}");
    let missing = verdict(vec![block("rom", &[])], &loss(true));
    assert!(missing.contains("no RAMBlock ram was audited"), "{missing}");
}

#[test]
fn a_bug_changes_its_own_bits_and_no_other() {
    let of = |bits| {
        let lost = vec![page("ram", 2, Some(1 << 10)), page("ram", 3, Some(bits))];
        let trial = CaseBuilder::new("audit/ram", "qemu:q", &layout("ram"));
        verdict(vec![trial.judged(lost, BTreeMap::new())], &loss(true))
    };
    assert_eq!(of(1 << 10), "ok");
    let other = of(1 << 10 | 1 << 7);
    assert!(other.contains("0x40003000 differs in other bits than 0x400"), "{other}");
}

#[test]
fn no_verdict_is_not_what_was_expected() {
    let trial = CaseBuilder::new("audit/ram", "qemu:q", &layout("ram"));
    let cases = vec![trial.inconclusive("the log named no page", Vec::new())];
    let record = RunRecord::new("audit", cases);
    let idle = judge(&record, &Expected::Identical, true, true);
    assert!(idle.as_expected(), "a guest that does nothing: {idle}");
    let busy = judge(&record, &Expected::Identical, false, true).to_string();
    assert!(busy.contains("audit/ram is inconclusive: the log named no page"), "{busy}");
    let aborts = Expected::Aborts { assertion: "a: b" };
    assert!(judge(&record, &aborts, false, true).to_string().contains("QEMU lives"));
}

#[test]
fn only_what_no_guest_writes_may_be_left_unjudged_and_only_by_an_old_qemu() {
    let found = |skipped: &str, gives_addresses| {
        let skipped = Case::skipped(format!("audit/{skipped}"), "qemu:q", "it is not seen");
        let cases = vec![block("ram", &[]), control(true), skipped];
        let record = RunRecord::new("audit", cases);
        judge(&record, &Expected::Identical, false, gives_addresses)
    };
    assert!(found("/rom@etc/acpi/tables", false).as_expected());
    assert!(found("0000:00:02.0/vga.rom", false).as_expected());
    assert!(found("0000:00:01.0/first", false).as_expected());
    for (name, gives_addresses) in [("/rom@etc/acpi/tables", true), ("system.flash1", false)] {
        let found = found(name, gives_addresses);
        assert!(!found.as_expected() && found.no_verdict.is_some(), "{found}");
        assert!(found.to_string().starts_with("no verdict; audit/"), "{found}");
    }
}
