//! The control of the whole: a log that lies. Guest memory is written behind QEMU's back, in a
//! page that the guest leaves alone, after pre-copy has passed it: no log ever names it.

use crate::common::Held;
use crate::machine::{BareMachine, case};
use crate::moment::Moment;
use memtwin_pages::Gpa;
use memtwin_report::record::{LostPage, Verdict};

const PAGE: u64 = 0x0123_4000;
const BYTES: [u8; 5] = [1, 2, 3, 4, 5];

/// Audits while the page is changed; returns what was said.
fn lied_to(machine: &mut BareMachine, arguments: &str) -> String {
    let before = machine.setup();
    let mut audit: Held = machine.auditing(arguments);
    assert!(Moment::Hold.wait(machine, &mut audit));
    machine.poke("pc.ram", PAGE + 0x321, &BYTES);
    assert_eq!(audit.end().code(), Some(1));
    machine.is_as(&before);
    machine.writes();
    std::io::read_to_string(audit.0.stdout.take().unwrap()).unwrap()
}

/// Exactly that page is lost, and what else there is was found identical.
fn exactly_that_page(machine: &BareMachine) -> LostPage {
    let record = machine.record();
    let ram = case(&record, "audit/pc.ram");
    assert_eq!(ram.verdict(), Verdict::Differs);
    for case in record.cases.iter().filter(|case| case.name() != "audit/pc.ram") {
        assert!(case.passed(), "{case:?}");
    }
    let [lost] = ram.lost() else { panic!("{ram:?}") };
    lost.clone()
}

#[test]
fn a_page_that_the_log_never_named_is_named() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let out = lied_to(&mut machine, "--seconds 3");
    assert!(out.contains("0x1234000"), "{out}");
    let lost = exactly_that_page(&machine);
    assert_eq!((lost.gpa, lost.last_round), (Gpa(PAGE), 0));
    assert_eq!((lost.first_byte, lost.bytes), (0x321, 5));
    let detail = lost.detail.unwrap();
    assert_eq!((detail.offset, detail.ranges), (PAGE, vec![(0x321, 0x326)]));
    assert!(detail.memory.contains("0102030405"), "{}", detail.memory);
    assert!(detail.twin.starts_with("0000000000"), "{}", detail.twin);
}

/// The second stop's pre-copy brings the page into the twin; that makes nothing undone.
#[test]
fn a_loss_once_seen_stays() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let out = lied_to(&mut machine, "--rounds 12 --pause-every 6");
    assert_eq!(out.matches("the guest stood still for").count(), 2, "{out}");
    let lost = exactly_that_page(&machine);
    assert_eq!((lost.gpa, lost.last_round, lost.bytes), (Gpa(PAGE), 0, 5));
}

/// Where the guest has a balloon, a page that is zero now may have been given up, in a moment when nobody
/// looked: no loss, and no pass. What it holds otherwise is a loss.
#[test]
fn a_page_that_is_cleared_is_a_loss_unless_it_may_have_been_given_up() {
    let cleared = |device: &str, code: i32, to: &[u8; 5]| -> Option<(Verdict, String)> {
        let mut machine = BareMachine::writing(device)?;
        machine.poke("pc.ram", PAGE + 0x321, &BYTES);
        let mut audit: Held = machine.auditing("--seconds 3");
        assert!(Moment::Hold.wait(&mut machine, &mut audit));
        machine.poke("pc.ram", PAGE + 0x321, to);
        assert_eq!(audit.end().code(), Some(code));
        let record = machine.record();
        let ram = case(&record, "audit/pc.ram");
        Some((ram.verdict(), ram.reason().unwrap_or_default().to_owned()))
    };
    let Some((verdict, _)) = cleared("", 1, &[0; 5]) else { return };
    assert_eq!(verdict, Verdict::Differs);
    let balloon = "-device virtio-balloon-pci";
    let (verdict, reason) = cleared(balloon, 11, &[0; 5]).unwrap();
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("1 pages differ that read as zero now"), "{reason}");
    assert_eq!(cleared(balloon, 1, b"lost!").unwrap().0, Verdict::Differs);
}

/// The other way round: a page that the log does name is no loss, whoever writes it besides.
#[test]
fn a_page_that_the_guest_writes_too_is_not_named() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let mut audit = machine.auditing("--seconds 3");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    machine.poke("pc.ram", 0x20000 + 0x321, &BYTES);
    assert_eq!(audit.end().code(), Some(0));
}
