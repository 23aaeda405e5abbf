//! Each guest boots in a real QEMU and does what it says, seen from outside: by what it tells of
//! itself, and by its memory.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may end, and may talk")]

mod qemu;

use memtwin_bare::{Accelerator, BareImage, BareMachine, GuestJob, JobState, Report, Scenario};
use qemu::Qemu;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const PAGE: usize = BareImage::PAGE as usize;

/// Where the walkers' 512 tables lie, from the beginning of RAM.
const TABLES: u64 = 32 << 20;

#[test]
fn a_writer_stores_to_every_page_of_its_range_and_to_no_other() {
    use Scenario::{Offset, Writer, WriterKvm, WriterKvmQ35, WriterRiscv, WriterX86};
    for scenario in [Writer, WriterX86, WriterRiscv, Offset, WriterKvm, WriterKvmQ35] {
        let machine = scenario.machine();
        let GuestJob::Write { base, pages } = machine.job else {
            panic!("{scenario} is no writer")
        };
        let Some(mut qemu) = Qemu::start(&machine) else { continue };
        let before = qemu.wait("two passes", |report| report.passes >= 2);
        assert_eq!(before.state, JobState::Working, "{scenario}");
        assert_eq!((before.base, before.boots), (u64::from(base), 1), "{scenario}");
        qemu.execute("stop", json!({}));
        let (base, len) = (u64::from(base), u64::from(pages) * BareImage::PAGE);
        let around =
            |qemu: &mut Qemu| qemu.memory(base - BareImage::PAGE, len + 2 * BareImage::PAGE);
        let old = around(&mut qemu);
        let stopped = qemu.report();
        qemu.execute("cont", json!({}));
        qemu.wait("two more passes", |report| report.passes >= stopped.passes + 2);
        qemu.execute("stop", json!({}));
        let changed = changed(&old, &around(&mut qemu));
        assert_eq!(changed, (1..=pages as usize).collect(), "{scenario}");
        let report = qemu.report();
        assert_eq!(report.ticks, report.passes * u64::from(pages), "{scenario}");
    }
}

#[test]
fn a_batch_is_other_pages_than_the_one_before() {
    const PAGES: u32 = 256;
    const BATCH: u32 = 16;
    const STRIDE: u64 = (PAGES / BATCH) as u64;
    let (base, interval) = (32 << 20, Duration::from_millis(60));
    for accelerator in [Accelerator::Tcg, Accelerator::Kvm] {
        let job = GuestJob::Batches { base, pages: PAGES, batch: BATCH, interval };
        let machine = BareMachine { accelerator, ..BareMachine::new(BareImage::X86, job) };
        let Some(mut qemu) = Qemu::start(&machine) else { continue };
        qemu.wait("two passes", |report| report.ticks >= 2 * STRIDE);
        let around = |qemu: &mut Qemu| {
            let page = BareImage::PAGE;
            qemu.memory(u64::from(base) - page, (u64::from(PAGES) + 2) * page)
        };
        // Stopped in the middle of a batch, that one's pages may be there before it counts.
        let mut halted = |from: u64| {
            qemu.execute("cont", json!({}));
            qemu.wait("batches", |report| report.ticks >= from);
            qemu.execute("stop", json!({}));
            (around(&mut qemu), qemu.report())
        };
        let (old, before) = halted(0);
        let (new, after) = halted(before.ticks + 3);
        let changed = changed(&old, &new);
        for batch in before.ticks + 1..after.ticks {
            let of_batch = |page: &usize| (*page as u64 - 1) % STRIDE == batch % STRIDE;
            let count = changed.iter().filter(|page| of_batch(page)).count();
            assert_eq!(count, BATCH as usize, "{accelerator:?}: {changed:?}");
        }
        let batches = after.ticks - before.ticks + 1;
        assert!(changed.len() as u64 <= batches * u64::from(BATCH), "{accelerator:?}: {changed:?}");
        assert!(!changed.contains(&0) && !changed.contains(&(PAGES as usize + 1)));
    }
}

#[test]
fn a_frame_buffer_s_writer_finds_it() {
    for scenario in [Scenario::FrameBuffer, Scenario::FrameBufferKvm] {
        let Some(mut qemu) = Qemu::start(&scenario.machine()) else { continue };
        let report = qemu.wait("a pass", |report| report.passes >= 2);
        // QEMU knows where the firmware put it.
        let devices = qemu.execute("query-pci", json!({}));
        let device = devices[0]["devices"]
            .as_array()
            .unwrap()
            .iter()
            .find(|device| device["class_info"]["class"].as_u64() == Some(0x300));
        let bar = device.unwrap()["regions"][0]["address"].as_u64();
        assert_eq!(Some(report.base), bar, "{scenario}");
        assert_ne!(qemu.memory(report.base + 8, 4), [0; 4], "{scenario}");
    }
    // Without a display adapter it says so.
    let machine = BareMachine { arguments: Vec::new(), ..Scenario::FrameBuffer.machine() };
    let Some(mut qemu) = Qemu::start(&machine) else { return };
    let report = qemu.wait("a failure", |report| matches!(report.state, JobState::Failed(_)));
    assert_eq!((report.state, report.passes), (JobState::Failed(0xdead_0004), 0));
}

#[test]
fn a_flash_has_what_was_programmed_and_so_has_its_file() {
    use Scenario::{Pflash, PflashKvm, PflashRing, PflashX86};
    for scenario in [Pflash, PflashX86, PflashKvm, PflashRing] {
        let machine = scenario.machine();
        let GuestJob::Flash { pages, .. } = machine.job else { panic!("no flash") };
        let Some(mut qemu) = Qemu::start(&machine) else { continue };
        let mut last = 0;
        for _ in 0..2 {
            let report = qemu.wait("two passes", |report| report.passes >= last + 2);
            assert_eq!(report.state, JobState::Working, "{scenario}");
            qemu.execute("stop", json!({}));
            let (report, flash) = (qemu.report(), qemu.flash());
            let programmed = flash.chunks(PAGE).enumerate().filter(|(_, page)| *page != [0; PAGE]);
            let words: Vec<(usize, u32)> = programmed
                .flat_map(|(n, page)| (n * PAGE / 4..).zip(page.chunks(4)))
                .map(|(at, word)| (at, u32::from_le_bytes(word.try_into().unwrap())))
                .filter(|(_, word)| *word != 0)
                .collect();
            // A word in each page of the range, and no other: this pass's, or the last one's.
            assert_eq!(words.len(), pages as usize, "{scenario}");
            let first = words[0].0;
            for (page, (at, word)) in words.into_iter().enumerate() {
                assert_eq!(at, first + page * PAGE / 4, "{scenario}");
                let (done, word) = (report.passes, u64::from(word));
                assert!(word == done || word == done + 1, "{scenario}: {word} in pass {done}");
            }
            last = report.passes;
            qemu.execute("cont", json!({}));
        }
    }
}

/// What each walker updates, and whether hardware or the guest's fault handler does.
#[test]
fn a_walker_s_descriptors_are_updated_by_whom_it_says() {
    let arm = 0b1 << 10;
    let arm_dirty = 0b1 << 10 | 1 << 7;
    let riscv_dirty = 0b11 << 6;
    let cases = [
        (Scenario::Walker, arm, true),
        (Scenario::WalkerDirty, arm_dirty, true),
        (Scenario::WalkerSoftware, arm, false),
        (Scenario::WalkerSoftwareDirty, arm_dirty, false),
        (Scenario::WalkerRiscv, 1 << 6, true),
        (Scenario::WalkerRiscvDirty, riscv_dirty, true),
        (Scenario::WalkerRiscvSoftware, riscv_dirty, false),
        (Scenario::WalkerX86, 1 << 5, true),
        (Scenario::WalkerX86Dirty, 0b11 << 5, true),
    ];
    for (scenario, bits, hardware) in cases {
        let machine = scenario.machine();
        let Some(mut qemu) = Qemu::start(&machine) else { continue };
        let tables = |qemu: &mut Qemu| {
            let bytes = qemu.memory(machine.image.ram() + TABLES, 512 * BareImage::PAGE);
            let len = if machine.image == BareImage::X86 { 4 } else { 8 };
            let words = bytes.chunks_exact(len);
            words
                .map(|word| word.iter().rev().fold(0u64, |all, &byte| all << 8 | u64::from(byte)))
                .collect::<Vec<_>>()
        };
        let begun = |report: &Report| report.ticks >= 10;
        assert_eq!(qemu.wait("pages", begun).state, JobState::Working, "{scenario}");
        qemu.execute("stop", json!({}));
        let (old, before) = (tables(&mut qemu), qemu.report());
        qemu.execute("cont", json!({}));
        qemu.wait("50 more pages", |report| report.ticks >= before.ticks + 50);
        qemu.execute("stop", json!({}));
        let (new, after) = (tables(&mut qemu), qemu.report());

        let differences: Vec<_> =
            old.iter().zip(&new).map(|(a, b)| a ^ b).filter(|&bits| bits != 0).collect();
        assert!(differences.iter().all(|&found| found == bits), "{scenario}: {differences:x?}");
        // One descriptor for each page, save one that QEMU stopped between the walk and the count.
        let touched = (after.ticks - before.ticks) as i64;
        assert!((differences.len() as i64 - touched).abs() <= 1, "{scenario}: {touched} pages");
        assert_eq!(after.faults == 0, hardware, "{scenario}: {after:?}");
        assert_eq!(after.state, JobState::Working, "{scenario}");
    }
}

#[test]
fn a_disk_s_dma_lands_in_memory() {
    for scenario in [Scenario::DiskTcg, Scenario::DiskKvm] {
        let machine = scenario.machine();
        let GuestJob::ReadDisk { base, pages, .. } = machine.job else { panic!("no disk") };
        let Some(mut qemu) = Qemu::start(&machine) else { continue };
        let disk = qemu.disk();
        let mut last = 0;
        for _ in 0..3 {
            let report = qemu.wait("another pass", |report| report.passes > last);
            assert_eq!(report.state, JobState::Working, "{scenario}");
            qemu.execute("stop", json!({}));
            let memory = qemu.memory(base.into(), u64::from(pages) * BareImage::PAGE);
            let counted = qemu.report();
            last = counted.passes;
            let wrong = wrong_bursts(&memory, &disk, counted.ticks);
            assert!(wrong.is_empty(), "{scenario}: after {counted:?} not the disk's: {wrong:?}");
            // One burst off is seen: this comparison can fail.
            let shifted = [&memory[BURST..], &memory[..BURST]].concat();
            assert_eq!(
                wrong_bursts(&shifted, &disk, counted.ticks).len(),
                memory.len() / BURST - 1
            );
            // QEMU counts the bytes that the disk gave.
            let given = qemu.execute("query-blockstats", json!({}));
            let given = given[0]["stats"]["rd_bytes"].as_u64().unwrap();
            let counted = counted.ticks * BURST as u64;
            assert!(given >= counted, "{scenario}: {given} bytes read, {counted} counted");
            qemu.execute("cont", json!({}));
        }
    }
}

/// What the disk's guest transfers at a time: 16 sectors.
const BURST: usize = 2 * PAGE;

/// The bursts in `memory` that do not hold what the disk's guest has read there, once it has
/// counted `ticks` of them. The one that comes next may be there already, whole or not: it is left
/// out. The guest reads the disk, and fills the memory, from the beginning to the end and again.
fn wrong_bursts(memory: &[u8], disk: &[u8], ticks: u64) -> Vec<usize> {
    let (places, bursts) = (memory.len() / BURST, disk.len() / BURST);
    let ticks = usize::try_from(ticks).unwrap();
    assert!(ticks >= places, "the first pass has not ended");
    let newest = (ticks - places + 1..ticks).map(|burst| (burst % places, burst % bursts));
    let at = |bytes: &[u8], burst: usize| bytes[burst * BURST..][..BURST].to_vec();
    newest
        .filter(|&(place, burst)| at(memory, place) != at(disk, burst))
        .map(|(place, _)| place)
        .collect()
}

#[test]
fn a_reset_is_one() {
    for scenario in [Scenario::ResetTcg, Scenario::ResetKvm] {
        let Some(mut qemu) = Qemu::start(&scenario.machine()) else { continue };
        let report = qemu.wait("two resets", |report| report.boots >= 3 && report.passes >= 1);
        assert_eq!(report.state, JobState::Working, "{scenario}");
        let resets = qemu.events.iter().filter(|event| *event == "RESET").count();
        // SeaBIOS may reset the machine once more by itself.
        assert!(resets >= 2, "{scenario}: {:?}", qemu.events);
    }
}

#[test]
fn an_idle_guest_writes_nothing() {
    let Some(mut qemu) = Qemu::start(&Scenario::IdleKvm.machine()) else { return };
    let report = qemu.wait("its start", |report| report.state == JobState::Working);
    assert_eq!((report.ticks, report.passes), (0, 0));
    // From here on it halts: what the next half second shows is all that it will ever do.
    let old = qemu.memory(0, 64 << 20);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(changed(&old, &qemu.memory(0, 64 << 20)), BTreeSet::new());
}

/// The pages that differ.
fn changed(old: &[u8], new: &[u8]) -> BTreeSet<usize> {
    assert_eq!(old.len(), new.len());
    let pages = old.chunks(PAGE).zip(new.chunks(PAGE)).enumerate();
    pages.filter(|(_, (old, new))| old != new).map(|(page, _)| page).collect()
}
