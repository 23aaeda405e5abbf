//! A QEMU whose twin is anywhere: it is paused only while its memory is read, against what has come of it.
//! Then it runs on, the rest goes to the twin, and the twin is judged.

use super::Judge;
use crate::bounded::PauseBound;
use crate::discards::DiscardWatch;
use crate::findings::{Findings, JudgeError};
use crate::paused_read::{DetachedRead, PausedRead, PausedRegion};
use crate::read_twin::ReadTwin;
use crate::session::SessionEnd;
use crate::verdict::{CaseFacts, Override};
use memtwin_pages::{Image, Layout, PageSet, Region, RegionId};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{
    BufferedSource, CancelToken, Observer, Replication, RoundError, Sink, SourceError,
};
use memtwin_tap::MigrationTap;
use memtwin_verdict::{CompareError, compare};
use std::time::Duration;

/// Reads the memory in the pause, and compares the twin with it afterwards.
pub(crate) struct BufferedJudge<'j> {
    layout: &'j Layout,
    memories: &'j [BlockMemory],
    discards: &'j DiscardWatch<'j>,
    max_pause: Duration,
    read: Vec<DetachedRead>,
    findings: Findings,
    given_up: u64,
    trouble: Option<String>,
    overrides: Vec<Override>,
}

impl<'j> BufferedJudge<'j> {
    /// `memories` are in the order of the layout; reading them ends when the guest was paused for
    /// `max_pause`.
    pub(crate) fn new(
        layout: &'j Layout,
        memories: &'j [BlockMemory],
        discards: &'j DiscardWatch<'j>,
        max_pause: Duration,
    ) -> Self {
        Self {
            layout,
            memories,
            discards,
            max_pause,
            read: Vec::new(),
            findings: Findings::default(),
            given_up: 0,
            trouble: None,
            overrides: Vec::new(),
        }
    }

    /// What was seen in a session that ended so. `is_control`: whether a controller was to change memory.
    pub(crate) fn facts(self, end: &SessionEnd, is_control: bool) -> CaseFacts {
        let (given_up, tampered) = match end {
            SessionEnd::Reached { tampered, .. } => (self.given_up, tampered.clone()),
            SessionEnd::Broken(_) => (0, Vec::new()),
        };
        CaseFacts {
            broken: end.broken().or(self.trouble),
            lost: self.findings.lost(),
            digests: self.findings.digests(),
            injected: is_control.then_some(tampered),
            given_up,
            judge: None,
            overrides: self.overrides,
        }
    }

    /// Reads all memory once, while the guest is paused: no disk and no network is waited for. `came`:
    /// what the log named since the guest was paused, by region.
    ///
    /// Errors: it can't be read, or not in time.
    fn read(
        &self,
        source: &mut BufferedSource<MigrationTap<'_>>,
        came: &[PageSet],
    ) -> Result<Vec<DetachedRead>, RoundError> {
        let by = source.inner_mut().resume_by();
        let bound = PauseBound::new(self.layout.bytes(), by);
        let read = |(memory, (id, region)): (&BlockMemory, (RegionId, &Region))| {
            let region = PausedRegion {
                id,
                page_size: region.page_size(),
                came: Some(&came[id.0]),
                never_sent: source.never_sent(id),
                // Known when the twin has it.
                last_round: |_| 0,
            };
            let twin = source.memory(id);
            PausedRead::of((memory, &bound), &twin, self.discards, &region)
                .map(PausedRead::into_parts)
        };
        let read: Result<Vec<_>, CompareError> =
            self.memories.iter().zip(self.layout.iter()).map(read).collect();
        read.map_err(|error| {
            let cut = source.inner_mut().was_cut();
            let why = match cut.or_else(|| bound.exceeded(self.max_pause)) {
                Some(why) => SourceError::Guest(why),
                None => SourceError::Memory(Box::new(error)),
            };
            why.into()
        })
    }

    /// Compares the twin with the guest's memory as it was then.
    ///
    /// Errors: one of the two can't be read.
    fn compare_all<K: ReadTwin, O: Observer>(
        &mut self,
        replication: &Replication<BufferedSource<MigrationTap<'_>>, K, O>,
    ) -> Result<(), JudgeError> {
        let read = std::mem::take(&mut self.read);
        for (parts, (id, region)) in read.into_iter().zip(self.layout.iter()) {
            let came = replication.source().memory(id);
            let read = PausedRead::from_parts(parts, &came, region.page_size())?;
            let Some(twin) = replication.sink().image(self.layout, id, &read.memory)? else {
                self.overrides.push(Override::TwinDiscarded);
                return Ok(());
            };
            let mut comparison = compare(&read.memory as &dyn Image, &*twin, region.page_size())?;
            let unclear = read.set_aside(&mut comparison, region.name());
            self.overrides.extend(unclear.map(Override::Unclear));
            let last_round = |page| replication.last_round(id, page);
            self.findings.enter(id, region, &comparison, last_round);
            self.given_up += read.discarded.count();
        }
        Ok(())
    }
}

impl<K: ReadTwin + Sink> Judge<BufferedSource<MigrationTap<'_>>, K> for BufferedJudge<'_> {
    fn stop<O: Observer>(
        &mut self,
        replication: &mut Replication<BufferedSource<MigrationTap<'_>>, K, O>,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        self.read = replication.read_paused(stop, |source, came| self.read(source, came))?;
        replication.settle(stop)
    }

    fn compare<O: Observer>(
        &mut self,
        replication: &Replication<BufferedSource<MigrationTap<'_>>, K, O>,
    ) {
        let compared = self.compare_all(replication);
        self.trouble = compared.err().map(|error| error.to_string());
    }
}
