//! A guest whose writes are scripted, and both ends in one process.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_pages::{Gpa, Image as _, Layout, PageSet, PageSize, Region, RegionId};
use memtwin_remote::{
    Listener, ReceiveEnd, ReceiverConfig, RemoteError, RemoteTarget, RemoteTwin, Security,
    SenderConfig, TwinReceiver,
};
use memtwin_replicate::{CancelToken, Collector, GuestState, Replication, Source, SourceError};
use memtwin_wire::TwinVerdict;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// Region sizes: pages, bytes a page. The last has pages larger than a block.
pub(crate) const REGIONS: [(u64, u64); 3] = [(300, 4096), (17, 512), (2, 1 << 17)];

/// A guest without a hypervisor: its log names what it writes.
pub(crate) struct Toy {
    layout: Layout,
    pub(crate) memory: Vec<Vec<u8>>,
    log: Vec<PageSet>,
    rng: fastrand::Rng,
    paused: bool,
    /// Writes while it is read, too: as a running guest.
    pub(crate) wild: bool,
    /// Pages that the log withholds: the control's fault.
    pub(crate) hides: Vec<(usize, u64)>,
}

impl Toy {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, &REGIONS)
    }

    pub(crate) fn with(seed: u64, regions: &[(u64, u64)]) -> Self {
        let region = |(i, &(pages, size)): (usize, &(u64, u64))| {
            let page = PageSize::new(size).unwrap();
            Region::new(format!("r{i}"), Gpa(i as u64 * 0x1000_0000), pages * size, page).unwrap()
        };
        let layout = Layout::new(regions.iter().enumerate().map(region).collect());
        let mut rng = fastrand::Rng::with_seed(seed);
        let memory = layout
            .iter()
            .map(|(_, region)| {
                // Noise, but for a zero page now and then.
                let mut bytes = vec![0; region.bytes() as usize];
                for page in bytes.chunks_mut(region.page_size().as_usize()) {
                    if rng.u8(..) > 60 {
                        page.iter_mut().step_by(7).for_each(|byte| *byte = rng.u8(..));
                    }
                }
                bytes
            })
            .collect();
        let log = layout.iter().map(|(_, region)| PageSet::new(region.pages())).collect();
        Self { layout, memory, log, rng, paused: false, wild: true, hides: Vec::new() }
    }

    /// Writes in a few pages: words, whole pages, zeros, and the same again.
    pub(crate) fn write(&mut self, times: usize) {
        for _ in 0..times {
            let region = self.rng.usize(..self.memory.len());
            let page = self.rng.u64(..self.layout.region(RegionId(region)).pages());
            let kind = self.rng.u8(..10);
            self.write_to(region, page, kind);
        }
    }

    pub(crate) fn write_to(&mut self, region: usize, page: u64, kind: u8) {
        let size = self.layout.region(RegionId(region)).page_size().as_usize();
        let bytes = &mut self.memory[region][page as usize * size..][..size];
        match kind {
            0 => bytes.fill(0),
            1 => {
                let rng = &mut self.rng;
                bytes.iter_mut().for_each(|byte| *byte = rng.u8(..));
            }
            2 => {}
            _ => {
                let at = self.rng.usize(..size / 8) * 8;
                bytes[at..at + 8].copy_from_slice(&self.rng.u64(..).to_le_bytes());
            }
        }
        if !self.hides.contains(&(region, page)) {
            self.log[region].insert(page);
        }
    }

    fn is_wild(&mut self) -> bool {
        self.wild && !self.paused
    }
}

impl Source for Toy {
    fn layout(&self) -> &Layout {
        &self.layout
    }
    fn start_logging(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        if self.is_wild() {
            self.write(20);
        }
        for (i, log) in self.log.iter_mut().enumerate() {
            into.pages(RegionId(i), log.words());
            log.clear();
        }
        Ok(())
    }
    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let from = offset as usize;
        into.copy_from_slice(&self.memory[region.0][from..from + into.len()]);
        if self.is_wild() {
            self.write(1);
        }
        Ok(())
    }
    fn pause(&mut self) -> Result<(), SourceError> {
        self.paused = true;
        Ok(())
    }
    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
    fn resume(&mut self) -> Result<(), SourceError> {
        self.paused = false;
        Ok(())
    }
    fn stop_logging(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
    fn guest(&mut self) -> Result<GuestState, SourceError> {
        Ok(GuestState::Running)
    }
}

/// Quick to give up, for tests.
pub(crate) fn receiver_config() -> ReceiverConfig {
    ReceiverConfig {
        wait: Duration::from_secs(60),
        patience: Duration::from_secs(5),
        journal_bytes: 1 << 20,
        ..ReceiverConfig::default()
    }
}

/// A receiver in a thread.
pub(crate) struct Receiving {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancelToken,
    thread: JoinHandle<Result<ReceiveEnd, RemoteError>>,
}

impl Receiving {
    pub(crate) fn at(path: &Path, config: ReceiverConfig) -> Self {
        let door = Listener::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
        Self::through(door, path, config)
    }

    pub(crate) fn through(mut door: Listener, path: &Path, config: ReceiverConfig) -> Self {
        let address = door.address().unwrap();
        let mut receiver = TwinReceiver::new(path, config).unwrap();
        let stop = CancelToken::default();
        let stops = stop.clone();
        let thread = std::thread::spawn(move || receiver.run(&mut door, &stops));
        Self { address, stop, thread }
    }

    pub(crate) fn end(self) -> Result<ReceiveEnd, RemoteError> {
        self.thread.join().unwrap()
    }
}

pub(crate) fn sender_config(address: SocketAddr) -> SenderConfig {
    let target = RemoteTarget::Tcp { host: address.ip().to_string(), port: address.port() };
    SenderConfig {
        patience: Duration::from_secs(5),
        retry: Duration::from_secs(30),
        ..SenderConfig::new(target, Security::Plain)
    }
}

/// What a replication came to.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The memory at the end, regions one after another.
    pub(crate) memory: Vec<u8>,
    /// What the judge read as the twin over the wire.
    pub(crate) twin: Vec<u8>,
    pub(crate) figures: memtwin_remote::Figures,
    pub(crate) kept: Result<(), String>,
}

/// Sends a guest's memory for this many rounds, judges it over the wire and says so.
pub(crate) fn replicate(
    guest: Toy,
    config: SenderConfig,
    rounds: u32,
    writes: usize,
) -> Result<Sent, Box<dyn std::error::Error + Send + Sync>> {
    let stop = CancelToken::default();
    let mut twin = RemoteTwin::connect(config, stop.clone())?;
    let mut replication = Replication::start(guest, &mut twin, ())?;
    for _ in 0..=rounds {
        replication.source_mut().write(writes);
        replication.round(&stop)?;
    }
    let mut still = replication.pause_and_settle(&stop)?;
    let regions = still.source().memory.clone();
    let mut judged = Vec::new();
    for (i, memory) in regions.iter().enumerate() {
        let guess = |offset: u64, into: &mut [u8]| {
            into.copy_from_slice(&memory[offset as usize..][..into.len()]);
            Ok(())
        };
        let region = still.sink().region(RegionId(i), Box::new(guess))?;
        let mut bytes = vec![0; memory.len()];
        // In pieces that have nothing to do with chunks.
        for (n, piece) in bytes.chunks_mut(100_000).enumerate() {
            region.read_at(n as u64 * 100_000, piece)?;
        }
        judged.extend(bytes);
    }
    still.release()?;
    replication.finish()?;
    let digests: Vec<[u8; 32]> =
        regions.iter().map(|memory| *blake3::hash(memory).as_bytes()).collect();
    let memory = regions.concat();
    let outcome = if memory == judged { TwinVerdict::Identical } else { TwinVerdict::Differs };
    let kept = twin.finish(outcome, "", &digests)?;
    Ok(Sent { memory, twin: judged, figures: twin.figures(), kept })
}
