//! A QEMU that is judged while its guest runs (docs/judging.md): its memory is read at a steady rate, sweep after
//! sweep, beside the twin in memory. What differs and is not named in time is read once more in a pause, and
//! only where there is such a page.

mod control;
mod sweep;

use super::{CapturedJudge, Judge};
use crate::bounded::PauseBound;
use crate::discards::DiscardWatch;
use crate::paused_read::{DetachedRead, PausedRead, PausedRegion};
use crate::read_twin::TwinPart;
use control::ControlPages;
use memtwin_pages::{Image as _, Layout, PageSet, RegionId, Run};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{
    CancelToken, GuestState, Observer, PausedGuest, Replication, RoundError, SourceError,
};
use memtwin_tap::MigrationTap;
use memtwin_twin::WithheldTwin;
use memtwin_verdict::{CompareError, Difference, SuspectCounts, SuspectTracker};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use sweep::Sweep;

/// How many rounds a page may stay a suspect without that it is known what it is.
const ROUNDS_TO_KNOW: u32 = 60;
/// How long is rested between these.
const REST: Duration = Duration::from_millis(100);
/// How long is read between two rounds when the audit's time is over.
const READ: Duration = Duration::from_millis(500);

/// How a running guest is judged.
#[derive(Clone, Copy, Debug)]
pub struct RunningPlan {
    /// How many bytes of the guest's memory are read in a second.
    pub read_rate: u64,
    /// How often all of it is read at least, however short the audit.
    pub sweeps: u32,
    /// Whether the guest is never paused: what a pause would have to confirm is inconclusive then.
    pub never_pause: bool,
}

impl Default for RunningPlan {
    fn default() -> Self {
        Self { read_rate: 200 << 20, sweeps: 1, never_pause: false }
    }
}

type Tapped<'r, 'q, 't, O> = Replication<MigrationTap<'q>, &'t mut WithheldTwin, O>;

/// What a region's sweeps have shown.
#[derive(Debug)]
pub(crate) struct SweptRegion {
    /// Pages that were compared, each as often as it was.
    pub(crate) compared: u64,
    pub(crate) counts: SuspectCounts,
    /// Pages that differ, that the log had to name and that no pause has confirmed.
    pub(crate) unconfirmed: PageSet,
    /// Pages that QEMU never sent and that are not as the twin has them.
    pub(crate) missing: PageSet,
    /// Pages that the guest gave up.
    pub(crate) discarded: PageSet,
    /// Of the control: the pages that were kept back and are not the memory's.
    pub(crate) withheld: BTreeSet<u64>,
    /// Those of them that were found.
    pub(crate) found: Vec<Difference>,
}

/// How all regions were swept.
#[derive(Debug)]
pub(crate) struct Swept {
    /// How often all memory was read.
    pub(crate) sweeps: u32,
    /// Bytes that were read in a second.
    pub(crate) bytes_per_second: u64,
    /// In the order of the layout.
    pub(crate) regions: Vec<SweptRegion>,
}

/// Reads a running guest's memory, sweep after sweep.
pub(crate) struct RunningJudge<'j> {
    layout: &'j Layout,
    memories: &'j [BlockMemory],
    discards: &'j DiscardWatch<'j>,
    plan: RunningPlan,
    /// Who judges a guest that does not run: it stands still already.
    paused: CapturedJudge<'j>,
    max_pause: Duration,
    suspects: SuspectTracker,
    control: ControlPages,
    sweep: Sweep,
    /// What was read of the suspects in a pause, by region.
    confirmed: Vec<(RegionId, DetachedRead)>,
    swept: Option<Swept>,
    trouble: Option<String>,
}

impl<'j> RunningJudge<'j> {
    /// `memories` are in the order of the layout; `paused` judges a guest that does not run.
    pub(crate) fn new(
        plan: RunningPlan,
        (layout, memories): (&'j Layout, &'j [BlockMemory]),
        discards: &'j DiscardWatch<'j>,
        max_pause: Duration,
    ) -> Self {
        Self {
            layout,
            memories,
            discards,
            plan,
            paused: CapturedJudge::new(layout, memories, discards, max_pause),
            max_pause,
            suspects: SuspectTracker::new(layout),
            control: ControlPages::new(layout),
            sweep: Sweep::new(layout),
            confirmed: Vec::new(),
            swept: None,
            trouble: None,
        }
    }

    /// Why there is nothing to judge.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.trouble.take().or_else(|| self.paused.trouble())
    }

    /// What the sweeps have shown; `None` if the guest was judged while it stood still.
    pub(crate) fn swept(&mut self) -> Option<Swept> {
        self.swept.take()
    }

    /// Who has judged a guest that does not run, and how the stop went in any case.
    pub(crate) fn paused(&mut self) -> &mut CapturedJudge<'j> {
        &mut self.paused
    }

    /// The suspects that a pause has confirmed, by region, beside the same twin's parts.
    ///
    /// Errors: the twin does not say its length.
    pub(crate) fn confirmed<'t>(
        &mut self,
        parts: &'t [TwinPart],
    ) -> Result<Vec<(RegionId, PausedRead<'t, TwinPart>)>, CompareError> {
        let read = std::mem::take(&mut self.confirmed).into_iter();
        let with_twin = |(id, read): (RegionId, DetachedRead)| {
            let page_size = self.layout.region(id).page_size();
            Ok((id, PausedRead::from_parts(read, &parts[id.0], page_size)?))
        };
        read.map(with_twin).collect()
    }

    /// Reads for so long. What is not known of what was read is closed with it.
    fn read_for<O: Observer>(
        &mut self,
        replication: &mut Tapped<'_, '_, '_, O>,
        time: Duration,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        let until = Instant::now() + time;
        let parts = TwinPart::all(replication.sink(), self.layout);
        loop {
            let now = Instant::now();
            let due = self.sweep.due(self.plan.read_rate);
            if self.layout.is_empty() || now >= until || due >= until || stop.is_set() {
                break;
            }
            if stop.wait(due.saturating_duration_since(now)) {
                break;
            }
            let (region, pages) = self.sweep.next(self.layout, self.discards);
            let what = (region, pages, self.layout.region(region).page_size());
            let not_sent = replication.not_sent(region);
            let kept = replication.sink().kept(region);
            let sides = (&self.memories[region.0], &parts[region.0]);
            self.sweep.read(sides, what, not_sent, &mut self.suspects)?;
            self.control.read(what, kept, self.sweep.bytes())?;
        }
        self.close(replication)
    }

    /// Ends what was read since the last round.
    fn close<O: Observer>(
        &mut self,
        replication: &mut Tapped<'_, '_, '_, O>,
    ) -> Result<(), RoundError> {
        let begun = replication.source_mut().collections_begun()?;
        self.suspects.close(begun);
        self.control.close(begun);
        Ok(())
    }

    /// Whether the guest does not run, or QEMU has left pre-copy: then there is nothing to read beside rounds.
    fn stands<O: Observer>(replication: &mut Tapped<'_, '_, '_, O>) -> Result<bool, RoundError> {
        let left = replication.source().has_left_pre_copy();
        Ok(left || replication.guest()? == GuestState::Stopped)
    }

    /// Another round, and what it says of the suspects.
    fn another_round<O: Observer>(
        &mut self,
        replication: &mut Tapped<'_, '_, '_, O>,
        rest: Duration,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        replication.round(stop)?;
        Judge::after_round(self, replication)?;
        if stop.wait(rest) { Err(RoundError::Interrupted) } else { Ok(()) }
    }

    /// Sweeps until all memory was read as often as was asked for, and until it is known of each suspect what
    /// it is. Whether that came to an end, and not to a guest that stands still.
    fn settle<O: Observer>(
        &mut self,
        replication: &mut Tapped<'_, '_, '_, O>,
        stop: &CancelToken,
    ) -> Result<bool, RoundError> {
        while self.sweep.sweeps() < self.plan.sweeps && !self.layout.is_empty() {
            if Self::stands(replication)? {
                return Ok(false);
            }
            self.read_for(replication, READ, stop)?;
            self.another_round(replication, Duration::ZERO, stop)?;
        }
        self.read_kept(replication)?;
        for _ in 0..ROUNDS_TO_KNOW {
            if Self::stands(replication)? {
                return Ok(false);
            }
            let is_known = !self.suspects.is_waiting() && !self.control.is_waiting();
            if is_known && replication.source().counts_agree() {
                return Ok(true);
            }
            self.another_round(replication, REST, stop)?;
        }
        let why = match replication.source().counts_agree() {
            true => "its log was not collected often enough to tell lost pages from late ones",
            false => "QEMU's count of the pages that it has sent could not be compared with ours",
        };
        Err(SourceError::Log(format!("{why} in {ROUNDS_TO_KNOW} rounds").into()).into())
    }

    /// Reads the pages again that the control keeps back, so that each was read since.
    fn read_kept<O: Observer>(
        &mut self,
        replication: &mut Tapped<'_, '_, '_, O>,
    ) -> Result<(), RoundError> {
        for (id, region) in self.layout.iter() {
            let kept = replication.sink().kept(id);
            self.control.read_all(id, kept, &self.memories[id.0], region.page_size())?;
        }
        self.close(replication)
    }

    /// Reads what is unexplained once more while the guest runs: what is the twin's again is dismissed.
    fn look_again<O: Observer>(
        &mut self,
        replication: &mut Tapped<'_, '_, '_, O>,
    ) -> Result<(), RoundError> {
        let parts = TwinPart::all(replication.sink(), self.layout);
        for (id, region) in self.layout.iter() {
            let page_size = region.page_size();
            let (mut bytes, mut scratch) = (vec![0; page_size.as_usize()], Vec::new());
            let failed = |error: std::io::Error| SourceError::Memory(Box::new(error));
            let unexplained = self.suspects.unexplained(id).clone();
            // Reading a page without memory may allot some.
            let known = self.discards.at_stop_of(id, &unexplained);
            for page in unexplained.iter().filter(|page| !known.is_absent(*page)) {
                let offset = page_size.offset_of(page);
                self.memories[id.0].read_at(offset, &mut bytes).map_err(failed)?;
                if parts[id.0].is_at(offset, &bytes, &mut scratch).map_err(failed)? {
                    self.suspects.equal(id, Run { first: page, count: 1 });
                }
            }
        }
        Ok(())
    }

    /// Pauses the guest, and reads what is unexplained once more.
    fn confirm<O: Observer>(
        &mut self,
        replication: &mut Tapped<'_, '_, '_, O>,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        let pages: Vec<(RegionId, PageSet)> = self
            .layout
            .iter()
            .map(|(id, _)| (id, self.suspects.unexplained(id).clone()))
            .filter(|(_, pages)| !pages.is_empty())
            .collect();
        let parts = TwinPart::all(replication.sink(), self.layout);
        let mut paused = replication.pause_and_settle(stop)?;
        let bytes = pages
            .iter()
            .map(|(id, pages)| pages.count() * self.layout.region(*id).page_size().bytes());
        let bound = PauseBound::new(bytes.sum(), paused.source().resume_by());
        match self.read_suspects(&mut paused, &pages, &parts, &bound) {
            Ok(read) => self.confirmed = read,
            Err(error) => {
                let cut = paused.source().was_cut();
                let why = cut.or_else(|| bound.exceeded(self.max_pause));
                self.trouble = Some(why.unwrap_or_else(|| error.to_string()));
            }
        }
        paused.release()
    }

    fn read_suspects<O: Observer>(
        &self,
        paused: &mut PausedGuest<'_, MigrationTap<'_>, &mut WithheldTwin, O>,
        pages: &[(RegionId, PageSet)],
        parts: &[TwinPart],
        bound: &PauseBound,
    ) -> Result<Vec<(RegionId, DetachedRead)>, crate::findings::JudgeError> {
        paused.compare(|paused| {
            let read = |(id, pages): &(RegionId, PageSet)| {
                let region = PausedRegion {
                    id: *id,
                    page_size: self.layout.region(*id).page_size(),
                    came: None,
                    never_sent: paused.never_sent(*id),
                    last_round: |page| paused.last_round(*id, page),
                };
                let memory = (&self.memories[id.0], bound);
                let twin = &parts[id.0];
                let read = PausedRead::of_pages(memory, twin, self.discards, &region, pages)?;
                Ok((*id, read.into_parts()))
            };
            pages.iter().map(read).collect()
        })?
    }

    /// What has been seen when no more is read.
    fn take_swept(&mut self) {
        let confirmed: BTreeSet<usize> = self.confirmed.iter().map(|(id, _)| id.0).collect();
        let region = |(id, region): (RegionId, &memtwin_pages::Region)| SweptRegion {
            compared: self.sweep.compared(id),
            counts: self.suspects.counts(id),
            unconfirmed: match confirmed.contains(&id.0) {
                true => PageSet::new(region.pages()),
                false => self.suspects.unexplained(id).clone(),
            },
            missing: self.sweep.missing(id).clone(),
            discarded: self.sweep.discarded(id).clone(),
            withheld: self.control.withheld(id),
            found: self.control.found(id),
        };
        self.swept = Some(Swept {
            sweeps: self.sweep.sweeps(),
            bytes_per_second: self.sweep.bytes_per_second(),
            regions: self.layout.iter().map(region).collect(),
        });
    }
}

impl<'q> Judge<MigrationTap<'q>, &mut WithheldTwin> for RunningJudge<'_> {
    fn after_round<O: Observer>(
        &mut self,
        replication: &mut Replication<MigrationTap<'q>, &mut WithheldTwin, O>,
    ) -> Result<(), RoundError> {
        self.suspects.named(replication.named());
        self.sweep.named(replication.named());
        let delivered = replication.source().collections_delivered();
        self.suspects.delivered(delivered);
        self.control.delivered(delivered);
        Ok(())
    }

    fn rest<O: Observer>(
        &mut self,
        replication: &mut Replication<MigrationTap<'q>, &mut WithheldTwin, O>,
        time: Duration,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        if Self::stands(replication)? {
            return Ok(());
        }
        self.read_for(replication, time, stop)
    }

    fn stop<O: Observer>(
        &mut self,
        replication: &mut Replication<MigrationTap<'q>, &mut WithheldTwin, O>,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        if !self.settle(replication, stop)? {
            return self.paused.stop(replication, stop);
        }
        self.look_again(replication)?;
        let unexplained =
            self.layout.iter().any(|(id, _)| !self.suspects.unexplained(id).is_empty());
        if unexplained && !self.plan.never_pause {
            self.confirm(replication, stop)?;
        }
        self.take_swept();
        Ok(())
    }

    fn compare<O: Observer>(
        &mut self,
        replication: &Replication<MigrationTap<'q>, &mut WithheldTwin, O>,
    ) {
        self.paused.compare(replication);
    }
}
