//! What is read of a guest that stands still, and what it is judged by when it runs again.

use super::Session;
use crate::bounded::PauseBound;
use crate::judge::{Findings, JudgeError, Judged};
use memtwin_replicate::{BufferedSource, Observer, Replication, RoundError, SourceError};
use memtwin_tap::Tap;
use memtwin_verdict::{CompareError, Image, Overlay, Side, capture, compare};
use std::collections::BTreeMap;

/// Of each region, the pages of the guest's memory that are not what has come of it.
pub(super) struct ReadPaused(Vec<BTreeMap<u64, Box<[u8]>>>);

impl Session<'_> {
    /// Reads all memory once, while the guest stands still: no disk and no network is waited for.
    ///
    /// Errors: it can't be read, or not in time.
    pub(super) fn read(
        &self,
        source: &mut BufferedSource<Tap<'_>>,
    ) -> Result<ReadPaused, RoundError> {
        let by = source.inner_mut().resume_by();
        let bound = PauseBound::new(self.layout.bytes(), by);
        let read = |(memory, (id, region)): (&_, (_, &memtwin_pages::Region))| {
            let read = capture(&bound.over(memory), source.memory(id), region.page_size());
            read.map(Overlay::into_pages)
        };
        let read: Result<Vec<_>, CompareError> =
            self.memories.iter().zip(self.layout.iter()).map(read).collect();
        let read = read.map_err(|error| {
            let cut = source.inner_mut().was_cut();
            match cut.or_else(|| bound.exceeded(self.args.max_pause.0)) {
                Some(why) => SourceError::Guest(why),
                None => SourceError::Memory(Box::new(error)),
            }
        })?;
        Ok(ReadPaused(read))
    }

    /// Compares the twin with the guest's memory as it was then. What keeps it from a verdict, if
    /// anything does.
    ///
    /// Errors: one of the two can't be read.
    pub(super) fn judge<K: Judged, O: Observer>(
        &self,
        replication: &Replication<BufferedSource<Tap<'_>>, &mut K, O>,
        read: &ReadPaused,
        findings: &mut Findings,
    ) -> Result<Option<String>, JudgeError> {
        let (source, mut missing) = (replication.source(), None);
        for (pages, (id, region)) in read.0.iter().zip(self.layout.iter()) {
            let came = source.memory(id);
            let memory = Overlay::new(came, region.page_size(), pages.clone())
                .map_err(|cause| CompareError::Size { side: Side::Memory, cause })?;
            let Some(twin) = replication.sink().image(self.layout, id, &memory).transpose()? else {
                return Ok(Some("a twin that was discarded can't be judged".to_owned()));
            };
            let comparison = compare(&memory as &dyn Image, &*twin, region.page_size())?;
            if comparison.differing.iter().any(|it| source.never_sent(id).contains(it.page)) {
                let block = region.name();
                missing = Some(format!(
                    "RAMBlock {block}: pages differ that QEMU never sent: discarded memory?"
                ));
            }
            findings.enter(id, region, &comparison, |page| replication.last_round(id, page));
        }
        Ok(missing)
    }
}
