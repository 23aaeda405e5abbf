//! What is read of a guest that stands still, and what it is judged by when it runs again.

use super::Session;
use crate::bounded::PauseBound;
use crate::judge::{Findings, JudgeError, Judged};
use crate::standing::{Read, ReadParts, Region};
use memtwin_pages::PageSet;
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{BufferedSource, Observer, Replication, RoundError, SourceError};
use memtwin_tap::Tap;
use memtwin_verdict::{CompareError, Image, compare};

impl Session<'_> {
    /// Reads all memory once, while the guest stands still: no disk and no network is waited for. `came`:
    /// what the log named since the guest was paused, by region.
    ///
    /// Errors: it can't be read, or not in time.
    pub(super) fn read(
        &self,
        source: &mut BufferedSource<Tap<'_>>,
        came: &[PageSet],
    ) -> Result<Vec<ReadParts>, RoundError> {
        let by = source.inner_mut().resume_by();
        let bound = PauseBound::new(self.layout.bytes(), by);
        let read = |(memory, (id, region)): (&BlockMemory, (_, &memtwin_pages::Region))| {
            let region = Region {
                id,
                page_size: region.page_size(),
                came: Some(&came[id.0]),
                never_sent: source.never_sent(id),
                // Known when the twin has it.
                last_round: |_| 0,
            };
            let twin = source.memory(id);
            Read::of((memory, &bound), &twin, &self.discards, &region).map(Read::into_parts)
        };
        let read: Result<Vec<_>, CompareError> =
            self.memories.iter().zip(self.layout.iter()).map(read).collect();
        read.map_err(|error| {
            let cut = source.inner_mut().was_cut();
            let why = match cut.or_else(|| bound.exceeded(self.config.max_pause)) {
                Some(why) => SourceError::Guest(why),
                None => SourceError::Memory(Box::new(error)),
            };
            why.into()
        })
    }

    /// Compares the twin with the guest's memory as it was then. What keeps it from a verdict, if
    /// anything does.
    ///
    /// Errors: one of the two can't be read.
    pub(super) fn judge<K: Judged, O: Observer>(
        &self,
        replication: &Replication<BufferedSource<Tap<'_>>, &mut K, O>,
        read: Vec<ReadParts>,
        findings: &mut Findings,
        discarded: &mut u64,
    ) -> Result<Option<String>, JudgeError> {
        let mut trouble = None;
        for (parts, (id, region)) in read.into_iter().zip(self.layout.iter()) {
            let came = replication.source().memory(id);
            let read = Read::from_parts(parts, &came, region.page_size())?;
            let Some(twin) = replication.sink().image(self.layout, id, &read.memory).transpose()?
            else {
                return Ok(Some("a twin that was discarded can't be judged".to_owned()));
            };
            let mut comparison = compare(&read.memory as &dyn Image, &*twin, region.page_size())?;
            trouble = trouble.or(read.set_aside(&mut comparison, region.name()));
            findings.enter(id, region, &comparison, |page| replication.last_round(id, page));
            *discarded += read.discarded.count();
        }
        Ok(trouble)
    }
}
