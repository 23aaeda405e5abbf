//! The embedded guest on this host's KVM: each stressor, mode and backing writes, is logged, and
//! comes out identical; a log that keeps a page back is found out.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may end, and may talk")]

use memtwin_kvm::Mode;
use memtwin_mapping::host_page_size;
use memtwin_pages::{Layout, RegionId};
use memtwin_replicate::{
    CancelToken, Collector, GuestState, NoWork, Replication, RoundError, RoundPlan, Sink,
    SinkError, Source, SourceError, StopReason, Until, WriteOutcome,
};
use memtwin_stressor::Stressor;
use memtwin_vmm::{Backing, Config, Granule, GuestStartError, KvmGuest, Translation};
use std::time::{Duration, Instant};

fn config() -> Config {
    Config {
        mode: Mode::Get,
        backing: Backing::Shm,
        file: None,
        bytes: 1 << 20,
        vcpus: 1,
        stressor: Stressor::Random,
        seed: 1,
        translation: None,
        ring_entries: 1024,
    }
}

/// A twin in plain memory.
#[derive(Default)]
struct Plain(Vec<u8>);

impl Sink for Plain {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        self.0 = vec![0; layout.bytes() as usize];
        Ok(())
    }

    fn write(
        &mut self,
        _region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        let at = first as usize * host_page_size();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(WriteOutcome { bytes: bytes.len() as u64, ..WriteOutcome::default() })
    }

    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A guest whose log keeps one page back.
struct Liar(KvmGuest, Option<u64>);

struct Without<'a>(&'a mut dyn Collector, Option<u64>);

impl Collector for Without<'_> {
    fn pages(&mut self, region: RegionId, bitmap: &[u64]) {
        let mut bitmap = bitmap.to_vec();
        if let Some(page) = self.1 {
            bitmap[(page / 64) as usize] &= !(1 << (page % 64));
        }
        self.0.pages(region, &bitmap);
    }

    fn page(&mut self, region: RegionId, page: u64) {
        if Some(page) != self.1 {
            self.0.page(region, page);
        }
    }
}

impl Source for Liar {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }
    fn start_logging(&mut self) -> Result<(), SourceError> {
        self.0.start_logging()
    }
    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        self.0.collect(&mut Without(into, self.1))
    }
    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        self.0.read(region, offset, into)
    }
    fn pause(&mut self) -> Result<(), SourceError> {
        self.0.pause()
    }
    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        self.0.confirm_paused()
    }
    fn resume(&mut self) -> Result<(), SourceError> {
        self.0.resume()
    }
    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.0.stop_logging()
    }
    fn guest(&mut self) -> Result<GuestState, SourceError> {
        self.0.guest()
    }
}

/// Starts the guest once the twin is whole, runs some rounds, and returns the pages that differ in
/// the end, how many dirty pages were collected, and how many writes the guest counted.
fn differing(guest: KvmGuest, kept_back: Option<u64>) -> (Vec<usize>, u64, u64) {
    let stop = CancelToken::default();
    let mut dirty = 0;
    let mut replication = Replication::start(Liar(guest, kept_back), Plain::default(), ()).unwrap();
    replication.round(&stop).unwrap();
    replication.source_mut().0.start();
    for round in 0.. {
        std::thread::sleep(Duration::from_millis(4));
        dirty += replication.round(&stop).unwrap().dirty_pages;
        replication.guest().unwrap();
        // On a busy machine a vCPU may not have had its turn yet; one that never gets it is stalled.
        if round >= 20 && dirty > 0 {
            break;
        }
    }
    let mut still = replication.pause_and_settle(&stop).unwrap();
    let mut memory = vec![0; still.sink().0.len()];
    still.source().read(RegionId(0), 0, &mut memory).unwrap();
    let pages = memory.chunks(host_page_size()).zip(still.sink().0.chunks(host_page_size()));
    let differing = pages.enumerate().filter(|(_, (a, b))| a != b).map(|(page, _)| page).collect();
    let written = still.source().0.written();
    still.release().unwrap();
    (differing, dirty, written)
}

fn identical(config: Config) {
    let name = format!("{}/{}/{}/{}", config.mode, config.backing, config.vcpus, config.stressor);
    match KvmGuest::new(config) {
        Ok(guest) => {
            let (differing, dirty, written) = differing(guest, None);
            println!("{name}: {dirty} dirty pages, {written} written");
            assert_eq!(differing, [], "{name}");
            assert!(dirty > 0 && written > 0, "{name}: {dirty} dirty, {written} written");
        }
        Err(error @ GuestStartError::NoBacking { .. }) => println!("{name}: skipped: {error}"),
        Err(error @ GuestStartError::NoStressor { stressor: Stressor::Walker, .. }) => {
            println!("{name}: skipped: {error}");
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn every_stressor_in_every_bitmap_mode() {
    for mode in [Mode::Get, Mode::Clear] {
        for stressor in Stressor::ALL {
            identical(Config { mode, stressor, vcpus: 2, ..config() });
        }
    }
}

#[test]
fn every_backing() {
    for backing in Backing::ALL {
        identical(Config { backing, bytes: (4 << 20).max(backing.unit()), ..config() });
    }
}

#[test]
fn a_page_that_the_log_keeps_back_differs() {
    for mode in [Mode::Get, Mode::Clear] {
        for stressor in [Stressor::Random, Stressor::Sequential, Stressor::Once, Stressor::Walker] {
            let guest = match KvmGuest::new(Config { mode, stressor, ..config() }) {
                Err(error) if stressor == Stressor::Walker && error.is_skip() => {
                    println!("skipped: {error}");
                    continue;
                }
                guest => guest.unwrap(),
            };
            assert_eq!(differing(guest, Some(77)).0, [77], "{mode} {stressor}");
        }
    }
}

/// The guest only reads and writes a page outside: whatever changes inside, the walker has changed
/// (or the guest has changed it back). Both bits do.
#[test]
fn the_walker_writes_by_itself() {
    let bytes = host_page_size() as u64;
    let mut guest = match KvmGuest::new(Config { stressor: Stressor::Walker, bytes, ..config() }) {
        Ok(guest) => guest,
        Err(error @ GuestStartError::NoStressor { .. }) => return println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let words = |guest: &mut KvmGuest| -> Vec<u64> {
        let mut memory = vec![0; host_page_size()];
        guest.read(RegionId(0), 0, &mut memory).unwrap();
        memory.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
    };
    let before = words(&mut guest);
    guest.start();
    let mut changed = 0;
    for _ in 0..2000 {
        std::thread::sleep(Duration::from_millis(2));
        guest.pause().unwrap();
        let after = words(&mut guest);
        changed |= before.iter().zip(&after).fold(0, |bits, (a, b)| bits | (a ^ b));
        guest.resume().unwrap();
        guest.guest().unwrap();
        if changed.count_ones() == 2 {
            break;
        }
    }
    // Accessed and dirty: bits 5 and 6 on x86-64; AF and AP[2], bits 10 and 7, on aarch64.
    let expected = if cfg!(target_arch = "aarch64") { 1 << 10 | 1 << 7 } else { 1 << 6 | 1 << 5 };
    assert_eq!(changed, expected, "{changed:#x}");
}

#[test]
fn translations_are_checked_or_refused() {
    for granule in Granule::ALL {
        for va_bits in [39, 42, 47, 48, 52] {
            for stressor in [Stressor::Random, Stressor::Walker] {
                let translation = Some(Translation { granule, va_bits });
                let config = Config { translation, stressor, ..config() };
                match KvmGuest::new(config) {
                    Ok(guest) => {
                        let (differing, dirty, written) = differing(guest, None);
                        println!(
                            "{granule} {va_bits} {stressor}: {dirty} dirty, {written} written"
                        );
                        assert_eq!(differing, [], "{granule} {va_bits} {stressor}");
                        assert!(dirty > 0 && written > 0, "{granule} {va_bits} {stressor}");
                    }
                    Err(error) => {
                        println!("skipped: {error}");
                        assert!(error.is_skip(), "{error}");
                    }
                }
            }
        }
    }
}

/// Waits until the guest has written more; one that was left paused never does.
fn writes_on(guest: &mut KvmGuest) {
    let (before, began) = (guest.written(), Instant::now());
    while guest.written() == before {
        assert!(began.elapsed() < Duration::from_secs(60), "it was left paused");
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(guest.guest().unwrap(), GuestState::Running);
    }
}

#[test]
fn a_stopped_guest_is_told_from_a_paused_one() {
    let mut guest = KvmGuest::new(config()).unwrap();
    guest.start();
    std::thread::sleep(Duration::from_millis(20));
    guest.pause().unwrap();
    let written = guest.written();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(guest.written(), written, "a paused guest wrote");
    assert_eq!(guest.guest().unwrap(), GuestState::Running);
    guest.resume().unwrap();
    writes_on(&mut guest);

    guest.stop();
    let plan = RoundPlan {
        interval: Duration::from_millis(5),
        until: Until::Told,
        rounds: None,
        time: Some(Duration::from_secs(60)),
        still_every: None,
    };
    let mut replication = Replication::start(guest, Plain::default(), ()).unwrap();
    let ended = replication.run(&plan, &CancelToken::default(), NoWork).unwrap();
    assert_eq!(ended, StopReason::GuestStopped);
}

#[test]
fn a_paced_guest_keeps_to_its_pace() {
    let mut guest = KvmGuest::new(config()).unwrap();
    let began = Instant::now();
    guest.pace(Some(1000));
    guest.start();
    std::thread::sleep(Duration::from_millis(200));
    writes_on(&mut guest);
    guest.pause().unwrap();
    // However busy the machine is: what the pacer has given leave for, and far from the tens of
    // thousands of an unpaced one.
    let (written, leave) = (guest.written(), began.elapsed().as_millis() as u64 + 1);
    assert!(written <= leave, "{written} in {leave} ms at 1000 a second");
}

#[test]
fn once_writes_each_page_once() {
    for vcpus in [1, 2, 3] {
        let config = Config { stressor: Stressor::Once, vcpus, bytes: 300 << 12, ..config() };
        let mut guest = KvmGuest::new(config).unwrap();
        let page = host_page_size();
        let memory = |guest: &mut KvmGuest| {
            let mut memory = vec![0; 300 << 12];
            guest.read(RegionId(0), 0, &mut memory).unwrap();
            memory
        };
        let before = memory(&mut guest);
        guest.start();
        while guest.guest().unwrap() == GuestState::Running {
            std::thread::sleep(Duration::from_millis(1));
        }
        let after = memory(&mut guest);
        assert_eq!(guest.written(), (before.len() / page) as u64, "{vcpus} vCPUs");
        for (n, (before, after)) in before.chunks(page).zip(after.chunks(page)).enumerate() {
            let words = before.chunks(8).zip(after.chunks(8)).filter(|(a, b)| a != b).count();
            assert_eq!(words, 1, "page {n}, {vcpus} vCPUs");
        }
    }
}

/// The ring of a KVM that emulates many instructions an entry overflows; elsewhere it works. In
/// neither case may it be a silent loss, or a hang.
#[test]
fn a_ring_is_exact_or_says_that_it_is_not() {
    if memtwin_vmm::probe().unwrap().has(Mode::Ring).is_err() {
        println!("skipped: this KVM has no dirty ring");
        return;
    }
    for stressor in [Stressor::Random, Stressor::Zero] {
        let guest = KvmGuest::new(Config { mode: Mode::Ring, stressor, ..config() }).unwrap();
        let stop = CancelToken::default();
        let mut replication = Replication::start(guest, Plain::default(), ()).unwrap();
        replication.round(&stop).unwrap();
        replication.source_mut().start();
        let rounds = (0..50).try_for_each(|_| {
            std::thread::sleep(Duration::from_millis(20));
            replication.guest()?;
            replication.round(&stop).map(|_| ())
        });
        let outcome = rounds.and_then(|()| {
            let mut still = replication.pause_and_settle(&stop)?;
            let mut memory = vec![0; still.sink().0.len()];
            still.source().read(RegionId(0), 0, &mut memory)?;
            assert!(memory == still.sink().0, "a silent loss with {stressor}");
            Ok(())
        });
        match outcome {
            Ok(()) => println!("ring/{stressor}: identical"),
            Err(error) => {
                println!("ring/{stressor}: {error}");
                assert!(error.to_string().contains("overflow"), "{error}");
            }
        }
    }
}

#[test]
fn what_can_not_be_is_refused() {
    let page = host_page_size() as u64;
    let refused = |config: Config| KvmGuest::new(config).map(|_| ()).unwrap_err();
    assert!(matches!(refused(Config { bytes: 0, ..config() }), GuestStartError::Region(_)));
    assert!(matches!(refused(Config { bytes: page + 1, ..config() }), GuestStartError::Region(_)));
    let one = Config { bytes: page, stressor: Stressor::Straddle, ..config() };
    assert!(refused(one).is_skip());
    let many = refused(Config { vcpus: 1_000_000, ..config() });
    assert!(many.to_string().contains("1000000 vCPUs: this KVM has at most"), "{many}");
}

#[test]
fn an_interrupted_round_leaves_the_guest_running() {
    let mut guest = KvmGuest::new(config()).unwrap();
    guest.start();
    let stop = CancelToken::default();
    let mut replication = Replication::start(guest, Plain::default(), ()).unwrap();
    replication.round(&stop).unwrap();
    stop.set();
    assert!(matches!(replication.pause_and_settle(&stop), Err(RoundError::Interrupted)));
    writes_on(replication.source_mut());
}
