//! A source whose hypervisor hands its pages over, as one that can be read: for a sink that may
//! need a page again.

use crate::{
    CancelToken, Collector, GuestState, PageReceiver, RoundError, RoundKind, SinkError, Source,
    SourceError,
};
use memtwin_pages::{Layout, PageSet, RegionId};

/// Keeps what a [`PushSource`](crate::PushSource) has handed over, and lends it to the engine.
///
/// It costs the guest's memory once. What the engine reads is what the hypervisor last sent.
#[derive(Debug)]
pub struct BufferedSource<S> {
    source: S,
    stop: CancelToken,
    paused: bool,
    kept: BufferedPages,
}

#[derive(Debug)]
struct BufferedPages {
    page_shifts: Vec<u32>,
    memory: Vec<Vec<u8>>,
    /// What came since the last collection.
    named: Vec<PageSet>,
    never_sent: Vec<PageSet>,
}

impl<S: Source> BufferedSource<S> {
    /// Allots the memory. `stop` ends a delivery as it ends a round.
    pub fn new(source: S, stop: CancelToken) -> Self {
        let regions = || source.layout().iter().map(|(_, region)| region);
        let all = |pages| {
            let mut set = PageSet::new(pages);
            set.fill();
            set
        };
        let kept = BufferedPages {
            page_shifts: regions().map(|region| region.page_size().shift()).collect(),
            memory: regions().map(|region| vec![0; region.bytes() as usize]).collect(),
            named: regions().map(|region| PageSet::new(region.pages())).collect(),
            never_sent: regions().map(|region| all(region.pages())).collect(),
        };
        Self { source, stop, paused: false, kept }
    }

    /// The source itself.
    pub fn inner_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// What has come of a region: its memory as the log has told it, in bytes from its beginning.
    pub fn memory(&self, region: RegionId) -> &[u8] {
        &self.kept.memory[region.0]
    }

    /// The pages of a region that never came.
    pub fn never_sent(&self, region: RegionId) -> &PageSet {
        &self.kept.never_sent[region.0]
    }

    fn deliver(&mut self, kind: RoundKind) -> Result<(), SourceError> {
        let Some(push_source) = self.source.push_source() else {
            return Err(SourceError::Log("this source hands no pages over".into()));
        };
        push_source.deliver(kind, &mut self.kept, &self.stop).map_err(|error| match error {
            RoundError::Source(error) => error,
            other => SourceError::Log(Box::new(other)),
        })
    }
}

impl BufferedPages {
    fn note(&mut self, region: RegionId, page: u64) {
        self.named[region.0].insert(page);
        self.never_sent[region.0].remove(page);
    }
}

impl PageReceiver for BufferedPages {
    fn pages(&mut self, region: RegionId, first: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let shift = self.page_shifts[region.0];
        let at = (first << shift) as usize;
        self.memory[region.0][at..at + bytes.len()].copy_from_slice(bytes);
        for page in first..first + (bytes.len() as u64 >> shift) {
            self.note(region, page);
        }
        Ok(())
    }

    fn filled(&mut self, region: RegionId, page: u64, byte: u8) -> Result<(), SinkError> {
        let shift = self.page_shifts[region.0];
        let at = (page << shift) as usize;
        // Memory that was never written costs nothing, and reads as zero already.
        if byte != 0 || !self.never_sent[region.0].contains(page) {
            self.memory[region.0][at..at + (1 << shift)].fill(byte);
        }
        self.note(region, page);
        Ok(())
    }
}

impl<S: Source> Source for BufferedSource<S> {
    fn layout(&self) -> &Layout {
        self.source.layout()
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        self.source.start_logging()?;
        self.deliver(RoundKind::PreCopy)?;
        self.kept.named.iter_mut().for_each(PageSet::clear);
        Ok(())
    }

    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        let kind = if self.paused { RoundKind::Final } else { RoundKind::Delta };
        let delivered = self.deliver(kind);
        // Also what came before an error: it is in the memory, and is named once.
        for (at, named) in self.kept.named.iter_mut().enumerate() {
            into.pages(RegionId(at), named.words());
            named.clear();
        }
        delivered
    }

    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let from = offset as usize;
        into.copy_from_slice(&self.kept.memory[region.0][from..from + into.len()]);
        Ok(())
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        self.paused = true;
        self.source.pause()
    }

    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        self.source.confirm_paused()
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        self.source.resume()?;
        self.paused = false;
        Ok(())
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.source.stop_logging()
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        self.source.guest()
    }
}
