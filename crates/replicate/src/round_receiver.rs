//! One round's delivery: pages that the hypervisor hands over, gathered into runs for the sink.

use crate::backlog::Backlog;
use crate::round::RoundTally;
use crate::{Observer, PageReceiver, ReplicationEvent, Sink, SinkError};
use memtwin_pages::{Layout, RegionId, Run};

/// Takes a round's pages: notes each on the backlog, and hands neighbours to the sink at once.
pub(crate) struct RoundReceiver<'r, K, O> {
    pub(crate) layout: &'r Layout,
    pub(crate) backlog: &'r mut Backlog,
    pub(crate) sink: &'r mut K,
    pub(crate) observer: &'r mut O,
    /// Where a run is gathered; its length is how many bytes go to the sink at once.
    pub(crate) stage: &'r mut [u8],
    /// The run that is being gathered.
    pub(crate) gathered: Option<(RegionId, Run)>,
    pub(crate) tallies: Vec<RoundTally>,
    /// How many pages the round is expected to have; grows when more come.
    pub(crate) expected: u64,
}

impl<K: Sink, O: Observer> RoundReceiver<'_, K, O> {
    /// Hands what was gathered to the sink, and returns what each region's part came to.
    pub(crate) fn finish(mut self) -> Result<Vec<RoundTally>, SinkError> {
        self.flush()?;
        Ok(self.tallies)
    }

    fn page_len(&self, region: RegionId) -> usize {
        self.layout.region(region).page_size().as_usize()
    }

    /// Room in the stage for more pages, right behind those gathered if they are neighbours. At
    /// most as many pages as fit; the number comes back with the room.
    fn room(
        &mut self,
        region: RegionId,
        first: u64,
        count: u64,
    ) -> Result<(&mut [u8], u64), SinkError> {
        let page_len = self.page_len(region);
        let fits = (self.stage.len() / page_len) as u64;
        let follows = self.gathered.is_some_and(|(gathered, run)| {
            gathered == region && run.end() == first && run.count < fits
        });
        if !follows {
            self.flush()?;
        }
        let (_, run) = self.gathered.get_or_insert((region, Run { first, count: 0 }));
        let taken = count.min(fits - run.count);
        let at = run.count as usize * page_len;
        run.count += taken;
        Ok((&mut self.stage[at..at + taken as usize * page_len], taken))
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let Some((region, run)) = self.gathered.take() else {
            return Ok(());
        };
        let page_len = self.page_len(region);
        let bytes = &self.stage[..run.count as usize * page_len];
        self.backlog.arrived(region, run);
        let written = self.sink.write(region, run.first, bytes)?;
        self.tallies[region.0].add(run, bytes, page_len, &written);
        let pages = self.tallies.iter().map(|tally| tally.sent).sum();
        self.expected = self.expected.max(pages);
        self.observer.event(&ReplicationEvent::Copied { pages, of: self.expected });
        Ok(())
    }
}

impl<K: Sink, O: Observer> PageReceiver for RoundReceiver<'_, K, O> {
    fn pages(&mut self, region: RegionId, first: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let page_len = self.page_len(region);
        let (mut first, mut bytes) = (first, bytes);
        while !bytes.is_empty() {
            let (room, taken) = self.room(region, first, (bytes.len() / page_len) as u64)?;
            let (now, rest) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            (first, bytes) = (first + taken, rest);
        }
        Ok(())
    }

    fn filled(&mut self, region: RegionId, page: u64, byte: u8) -> Result<(), SinkError> {
        self.room(region, page, 1)?.0.fill(byte);
        Ok(())
    }
}
