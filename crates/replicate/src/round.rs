//! One round's copy: the backlog, page run by page run, from the source to the sink.

use crate::RoundError;
use crate::backlog::Backlog;
use crate::{CancelToken, Observer, ReplicationEvent, Sink, Source, WriteOutcome};
use memtwin_pages::{Layout, PageSet, Region, RegionId, Run};

/// How many bytes go from source to sink at once, if the pages are not larger: small enough to
/// stay in a core's second-level cache between the two.
const STAGE_BYTES: u64 = 256 << 10;

/// A run this short is fetched ahead; in a longer one the hardware sees the pattern by itself.
const PREFETCH_PAGES: u64 = 2;

/// What a copy came to, in one region.
#[derive(Clone, Debug)]
pub(crate) struct RoundTally {
    pub(crate) sent: u64,
    /// How many pages were in the twin already; one that was handed over twice may count twice.
    pub(crate) false_dirty: u64,
    /// Which these are.
    pub(crate) same: PageSet,
    pub(crate) zero: u64,
    pub(crate) bytes: u64,
}

impl RoundTally {
    /// Nothing yet, of each region.
    pub(crate) fn of_each(layout: &Layout) -> Vec<Self> {
        let none = |(_, region): (RegionId, &Region)| Self {
            sent: 0,
            false_dirty: 0,
            same: PageSet::new(region.pages()),
            zero: 0,
            bytes: 0,
        };
        layout.iter().map(none).collect()
    }

    /// Adds pages that the sink took, from page number `first` of the region on.
    pub(crate) fn add(&mut self, run: Run, bytes: &[u8], page_len: usize, written: &WriteOutcome) {
        self.sent += run.count;
        self.false_dirty += written.same.count();
        self.bytes += written.bytes;
        self.zero += bytes.chunks_exact(page_len).filter(|page| is_zero(page)).count() as u64;
        for page in written.same.iter().take_while(|&page| page < run.count) {
            self.same.insert(run.first + page);
        }
    }
}

/// The buffer between source and sink: what is in it is the copy, and no longer changes.
#[derive(Debug)]
pub(crate) struct CopyBuffer {
    bytes: Vec<u8>,
}

impl CopyBuffer {
    pub(crate) fn for_layout(layout: &Layout) -> Self {
        let largest = layout.iter().map(|(_, region)| region.page_size().bytes()).max();
        let len = usize::try_from(largest.unwrap_or(0).max(STAGE_BYTES)).unwrap_or(usize::MAX);
        Self { bytes: vec![0; len] }
    }

    /// The buffer, for a round that is delivered.
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Copies everything that is owed. The sink has not committed it yet. Returns what came of it,
    /// by region.
    pub(crate) fn copy<S: Source, K: Sink, O: Observer>(
        &mut self,
        backlog: &Backlog,
        source: &mut S,
        sink: &mut K,
        observer: &mut O,
        stop: &CancelToken,
    ) -> Result<Vec<RoundTally>, RoundError> {
        let of = backlog.owed_count();
        let mut tallies = RoundTally::of_each(source.layout());
        let mut pages = 0;
        let mut pieces = self.pieces(backlog, source.layout().clone()).peekable();
        while let Some((region, piece, page_len)) = pieces.next() {
            if stop.is_set() {
                return Err(RoundError::Interrupted);
            }
            if let Some(&(region, next, _)) = pieces.peek()
                && next.count <= PREFETCH_PAGES
            {
                source.prefetch(region, next);
                sink.prefetch(region, next);
            }
            let bytes = &mut self.bytes[..piece.count as usize * page_len];
            source.read(region, piece.first * page_len as u64, bytes)?;
            let written = sink.write(region, piece.first, bytes)?;
            tallies[region.0].add(piece, bytes, page_len, &written);
            pages += piece.count;
            observer.event(&ReplicationEvent::Copied { pages, of });
        }
        Ok(tallies)
    }

    /// What is owed, in pieces that fit the stage, each with its page size in bytes.
    fn pieces<'b>(
        &self,
        backlog: &'b Backlog,
        layout: Layout,
    ) -> impl Iterator<Item = (RegionId, Run, usize)> + use<'b> {
        let stage = self.bytes.len();
        backlog.runs().flat_map(move |(id, run)| {
            let page_len = layout.region(id).page_size().as_usize();
            run.pieces((stage / page_len) as u64).map(move |piece| (id, piece, page_len))
        })
    }
}

fn is_zero(page: &[u8]) -> bool {
    // A line at a time: most pages show in the first one that they are not.
    page.chunks(64).all(|line| line.iter().fold(0, |seen, byte| seen | byte) == 0)
}
