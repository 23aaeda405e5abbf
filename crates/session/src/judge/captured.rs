//! A QEMU whose twin is in memory: it is paused while its memory is read against the twin, and what differs
//! is kept. Its tap is closed before anything more is done with that.

use super::Judge;
use crate::bounded::PauseBound;
use crate::discards::DiscardWatch;
use crate::paused_read::{DetachedRead, PausedRead, read_all};
use crate::read_twin::TwinPart;
use memtwin_pages::{Layout, Region};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{CancelToken, Observer, Replication, RoundError};
use memtwin_tap::{Counters, MigrationTap, PausedInterval};
use memtwin_twin::WithheldTwin;
use memtwin_verdict::CompareError;
use std::time::Duration;

/// How a stop went.
#[derive(Debug)]
pub(crate) struct StopTiming {
    /// How long the guest was paused, by QEMU's clock.
    pub(crate) paused: Option<PausedInterval>,
    /// How long reading its memory against the twin took.
    pub(crate) compared: Duration,
    /// How many bytes that was.
    pub(crate) bytes: u64,
    /// What came in the tap's stream.
    pub(crate) counters: Counters,
}

/// Keeps what differs at the stop, for later.
pub(crate) struct CapturedJudge<'j> {
    layout: &'j Layout,
    memories: &'j [BlockMemory],
    discards: &'j DiscardWatch<'j>,
    max_pause: Duration,
    read: Vec<DetachedRead>,
    compared: Duration,
    timing: Option<StopTiming>,
    trouble: Option<String>,
}

impl<'j> CapturedJudge<'j> {
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
            compared: Duration::ZERO,
            timing: None,
            trouble: None,
        }
    }

    /// Why the memory could not be read at the stop, or not in time.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    /// How the stop went, if it was reached.
    pub(crate) fn timing(&mut self) -> Option<StopTiming> {
        self.timing.take()
    }

    /// What was read of each region, beside the same twin's parts again.
    ///
    /// Errors: one does not say its length.
    pub(crate) fn read<'t>(
        &mut self,
        parts: &'t [TwinPart],
    ) -> Result<Vec<PausedRead<'t, TwinPart>>, CompareError> {
        let regions = self.layout.iter().map(|(_, region): (_, &Region)| region.page_size());
        let read = std::mem::take(&mut self.read).into_iter().zip(parts).zip(regions);
        read.map(|((read, part), page_size)| PausedRead::from_parts(read, part, page_size))
            .collect()
    }
}

impl<'q> Judge<MigrationTap<'q>, &mut WithheldTwin> for CapturedJudge<'_> {
    fn stop<O: Observer>(
        &mut self,
        replication: &mut Replication<MigrationTap<'q>, &mut WithheldTwin, O>,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        // There since it was opened.
        let parts = TwinPart::all(replication.sink(), self.layout);
        let mut paused = replication.pause_and_settle(stop)?;
        let bound = PauseBound::new(self.layout.bytes(), paused.source().resume_by());
        let watched = (self.discards, &bound);
        match read_all(&mut paused, self.layout, self.memories, &parts, watched) {
            Ok(read) => self.read = read.into_iter().map(PausedRead::into_parts).collect(),
            Err(error) => {
                let cut = paused.source().was_cut();
                let why = cut.or_else(|| bound.exceeded(self.max_pause));
                self.trouble = Some(why.unwrap_or_else(|| error.to_string()));
            }
        }
        self.compared = bound.took();
        paused.release()
    }

    fn compare<O: Observer>(
        &mut self,
        replication: &Replication<MigrationTap<'q>, &mut WithheldTwin, O>,
    ) {
        self.timing = Some(StopTiming {
            paused: replication.source().paused(),
            compared: self.compared,
            bytes: self.layout.bytes(),
            counters: replication.source().counters(),
        });
    }
}
