//! The whole way through the engine: guest, log, rounds, a twin in plain memory, the comparison.

use crate::{config, guest, wait_for};
use memtwin_mapping::host_page_size;
use memtwin_pages::{Layout, RegionId};
use memtwin_process::{Config, ProcessGuest};
use memtwin_replicate::{
    CancelToken, Collector, GuestState, Replication, Sink, SinkError, Source, SourceError,
    WriteOutcome,
};
use memtwin_stressor::Stressor;
use std::time::Duration;

/// A twin in plain memory.
#[derive(Default)]
pub(crate) struct Plain(Vec<u8>);

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

/// A guest whose log keeps one page back, if told to.
struct Liar(ProcessGuest, Option<u64>);

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

/// What a run came to.
struct Outcome {
    differing: Vec<u64>,
    dirty: u64,
    written: u64,
}

/// Starts the guest once the twin is whole, runs some rounds while it writes, and compares.
fn run(guest: ProcessGuest, kept_back: Option<u64>) -> Outcome {
    let stop = CancelToken::default();
    let mut dirty = 0;
    let mut replication = Replication::start(Liar(guest, kept_back), Plain::default(), ()).unwrap();
    replication.round(&stop).unwrap();
    assert_eq!(replication.round(&stop).unwrap().dirty_pages, 0, "nobody has written yet");
    replication.source_mut().0.start();
    wait_for("the first write", || replication.source().0.written() > 0);
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(3));
        dirty += replication.round(&stop).unwrap().dirty_pages;
        replication.guest().unwrap();
    }
    if kept_back.is_some() {
        wait_for("the end", || replication.guest().unwrap() == GuestState::Stopped);
    }
    let mut still = replication.pause_and_settle(&stop).unwrap();
    let mut memory = vec![0; still.sink().0.len()];
    still.source().read(RegionId(0), 0, &mut memory).unwrap();
    let pages = memory.chunks(host_page_size()).zip(still.sink().0.chunks(host_page_size()));
    let differing = (0..).zip(pages).filter(|(_, (a, b))| a != b).map(|(page, _)| page).collect();
    let written = still.source().0.written();
    still.release().unwrap();
    replication.finish().unwrap();
    Outcome { differing, dirty, written }
}

fn identical(config: Config) {
    let name = format!("{} x {}", config.stressor, config.threads);
    let outcome = run(guest(config), None);
    assert_eq!(outcome.differing, [], "{name}");
    let (dirty, written) = (outcome.dirty, outcome.written);
    assert!(dirty > 0 && written > 0, "{name}: {dirty} dirty, {written} written");
}

pub(crate) fn every_stressor_comes_out_identical() {
    for stressor in Stressor::ALL.into_iter().filter(|&stressor| stressor != Stressor::Walker) {
        for threads in [1, 3] {
            identical(Config { stressor, threads, ..config() });
        }
    }
}

pub(crate) fn a_named_file_and_an_odd_size() {
    let named = tempfile::Builder::new().prefix("memtwin-").tempfile_in("/dev/shm").unwrap();
    let bytes = 333 * host_page_size() as u64;
    named.as_file().set_len(bytes + 5000).unwrap();
    let file = Some(named.reopen().unwrap());
    identical(Config { file, bytes, ..config() });
}

/// A pool of one huge page is asked for where there is none, and given back.
pub(crate) fn hugetlb_memory() {
    use rustix::fs::MemfdFlags;
    const POOL: &str = "/proc/sys/vm/nr_hugepages";
    struct GiveBack(String);
    impl Drop for GiveBack {
        fn drop(&mut self) {
            let _ = std::fs::write(POOL, &self.0);
        }
    }
    let skip = |reason: &str| eprintln!("hugetlb_memory: skipped: {reason}");
    let Ok(before) = std::fs::read_to_string(POOL) else { return skip("no hugetlb pool") };
    let had: u64 = before.trim().parse().unwrap();
    let _give_back = GiveBack(before);
    if std::fs::write(POOL, (had + 1).to_string()).is_err() {
        return skip("the pool can't be changed without root");
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
    let file = std::fs::File::from(rustix::fs::memfd_create("memtwin-test", flags).unwrap());
    let bytes = rustix::fs::fstat(&file).unwrap().st_blksize as u64;
    file.set_len(bytes).unwrap();
    match ProcessGuest::spawn(crate::child(), Config { file: Some(file), bytes, ..config() }) {
        Ok(guest) => {
            let outcome = run(guest, None);
            assert_eq!(outcome.differing, []);
            // One huge page: the log knows no smaller part of it.
            assert!(outcome.dirty >= bytes / host_page_size() as u64, "{}", outcome.dirty);
        }
        Err(error) => skip(&error.to_string()),
    }
}

/// The control of the tests above: each page is written once, and one is withheld to the end.
pub(crate) fn a_page_kept_back_is_the_one_that_differs() {
    for page in [0, 77, 255] {
        let once = Config { stressor: Stressor::Once, ..config() };
        assert_eq!(run(guest(once), Some(page)).differing, [page]);
    }
}

pub(crate) fn a_second_logging_begins_clean() {
    struct Count(u64);
    impl Collector for Count {
        fn pages(&mut self, _region: RegionId, bitmap: &[u64]) {
            self.0 += bitmap.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        }
        fn page(&mut self, _region: RegionId, _page: u64) {
            self.0 += 1;
        }
    }
    let mut guest = guest(Config { stressor: Stressor::Once, ..config() });
    guest.start_logging().unwrap();
    guest.start();
    wait_for("the end", || guest.guest().unwrap() == GuestState::Stopped);
    // Off with all of it uncollected, and on again.
    guest.stop_logging().unwrap();
    guest.stop_logging().unwrap();
    guest.start_logging().unwrap();
    let mut count = Count(0);
    guest.collect(&mut count).unwrap();
    assert_eq!(count.0, 0);
}
