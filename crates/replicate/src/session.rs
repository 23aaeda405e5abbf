//! A replication from its start to its end, and the stand-still that a verdict needs.

use crate::backlog::Backlog;
use crate::paused_guest::PausedGuest;
use crate::round::{CopyBuffer, RoundTally};
use crate::round_receiver::RoundReceiver;
use crate::{
    CancelToken, GuestState, Observer, RegionRound, ReplicationEvent, Round, RoundError, RoundKind,
    Sink, Source,
};
use memtwin_pages::{Layout, PageSet, RegionId};
use std::time::{Duration, Instant};

/// A paused guest's log is clean after the round that empties it, if pausing means anything. A few
/// more are allowed for what a hypervisor logs late.
const ROUNDS_TO_SETTLE: u32 = 8;

/// A guest, its twin, and what is owed from the one to the other.
#[derive(Debug)]
pub struct Replication<S: Source, K: Sink, O: Observer> {
    pub(crate) source: S,
    pub(crate) sink: K,
    observer: O,
    pub(crate) backlog: Backlog,
    stage: CopyBuffer,
    pub(crate) next: u32,
    /// Whether a delivery ended in the middle.
    torn: bool,
    paused: Option<Instant>,
}

impl<S: Source, K: Sink, O: Observer> Replication<S, K, O> {
    /// Makes room in the sink and switches logging on. Nothing has been copied yet.
    ///
    /// Errors: the sink has no room, or logging can't be switched on; logging is off then.
    pub fn start(source: S, mut sink: K, mut observer: O) -> Result<Self, RoundError> {
        sink.open(source.layout())?;
        observer.event(&ReplicationEvent::Started(source.layout()));
        let backlog = Backlog::of_everything(source.layout());
        let stage = CopyBuffer::for_layout(source.layout());
        // From here on dropping it switches logging off, also when switching it on half succeeds.
        let mut this =
            Self { source, sink, observer, backlog, stage, next: 0, torn: false, paused: None };
        this.source.start_logging()?;
        Ok(this)
    }

    /// The regions.
    pub fn layout(&self) -> &Layout {
        self.source.layout()
    }

    /// The guest's side.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The guest's side, to start, pace or end its guest.
    pub fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// The twin's side.
    pub fn sink(&self) -> &K {
        &self.sink
    }

    /// Who hears the events.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// How many rounds were committed after pre-copy.
    pub fn deltas(&self) -> u32 {
        self.next.saturating_sub(1)
    }

    /// The round in which a page last went to the twin.
    pub fn last_round(&self, region: RegionId, page: u64) -> u32 {
        self.backlog.last_round(region, page)
    }

    /// What the log named in the last round, by region.
    pub fn named(&self) -> &[PageSet] {
        self.backlog.named()
    }

    /// The pages of a region that are not in the twin: between rounds none, but where a hypervisor that hands
    /// its pages over has not sent them.
    pub fn not_sent(&self, region: RegionId) -> &PageSet {
        &self.backlog.owed()[region.0]
    }

    pub(crate) fn begin_pause(&mut self) {
        self.paused = Some(Instant::now());
    }

    /// Whether the guest still runs; an error if it died or is stuck.
    pub fn guest(&mut self) -> Result<GuestState, RoundError> {
        Ok(self.source.guest()?)
    }

    /// Runs one round: collect (not in pre-copy, which owes every page anyway), copy, commit.
    ///
    /// Errors leave everything that was collected on the backlog: call again to retry. Where the
    /// sink says so itself ([`Retry`](crate::Retry)), that is done here.
    pub fn round(&mut self, stop: &CancelToken) -> Result<Round, RoundError> {
        self.backlog.forget_named();
        loop {
            match self.try_round(stop) {
                Err(RoundError::Sink(error)) if error.is_again() => {}
                done => return done,
            }
        }
    }

    fn try_round(&mut self, stop: &CancelToken) -> Result<Round, RoundError> {
        if stop.is_set() {
            return Err(RoundError::Interrupted);
        }
        let n = self.next;
        let kind = match (n, self.paused) {
            (0, _) => RoundKind::PreCopy,
            (_, None) => RoundKind::Delta,
            (_, Some(_)) => RoundKind::Final,
        };
        let began = Instant::now();
        let (tallies, collect) = if self.source.push_source().is_some() {
            (self.receive(n, kind, stop)?, Duration::ZERO)
        } else {
            self.collect_and_copy(n, kind, stop)?
        };
        Ok(self.report(n, kind, &tallies, collect, began.elapsed()))
    }

    /// Says what a committed round came to.
    pub(crate) fn report(
        &mut self,
        n: u32,
        kind: RoundKind,
        tallies: &[RoundTally],
        collect: Duration,
        total_time: Duration,
    ) -> Round {
        self.observer.event(&ReplicationEvent::Shares {
            round: n,
            of: &shares(self.backlog.named(), tallies),
            named: self.backlog.named(),
            same: &tallies.iter().map(|tally| &tally.same).collect::<Vec<_>>(),
        });
        let total = |of: fn(&RoundTally) -> u64| tallies.iter().map(of).sum();
        let round = Round {
            n,
            kind,
            dirty_pages: self.backlog.named_count(),
            sent_pages: total(|tally| tally.sent),
            false_dirty_pages: total(|tally| tally.false_dirty),
            zero_pages: total(|tally| tally.zero),
            bytes: total(|tally| tally.bytes),
            collect,
            copy: total_time - collect,
            total: total_time,
        };
        self.observer.event(&ReplicationEvent::Round(&round));
        round
    }

    /// A round of a source that is asked for its log and read. Returns how long collecting took.
    fn collect_and_copy(
        &mut self,
        n: u32,
        kind: RoundKind,
        stop: &CancelToken,
    ) -> Result<(Vec<RoundTally>, Duration), RoundError> {
        let began = Instant::now();
        if kind != RoundKind::PreCopy {
            // All of it, before the first byte is copied: a write that races with the copy below
            // is then seen by the next collection.
            self.source.collect(&mut self.backlog)?;
        }
        let collect = began.elapsed();
        Ok((self.copy_and_commit(n, stop)?, collect))
    }

    /// Copies everything that is owed, and commits it.
    pub(crate) fn copy_and_commit(
        &mut self,
        n: u32,
        stop: &CancelToken,
    ) -> Result<Vec<RoundTally>, RoundError> {
        self.sink.take_undelivered(&mut self.backlog.owing());
        self.observer.event(&ReplicationEvent::Collected { round: n, named: self.backlog.named() });
        let tallies = self.stage.copy(
            &self.backlog,
            &mut self.source,
            &mut self.sink,
            &mut self.observer,
            stop,
        )?;
        self.sink.commit(n)?;
        self.backlog.committed(n);
        self.next = n + 1;
        Ok(tallies)
    }

    /// A round of a source that hands its pages over.
    fn receive(
        &mut self,
        n: u32,
        kind: RoundKind,
        stop: &CancelToken,
    ) -> Result<Vec<RoundTally>, RoundError> {
        // Until all of it is committed: what a hypervisor has sent can't be obtained again.
        if std::mem::replace(&mut self.torn, true) {
            return Err(RoundError::Incomplete);
        }
        let layout = self.source.layout().clone();
        let expected = if kind == RoundKind::PreCopy { layout.pages() } else { 0 };
        let mut receiving = RoundReceiver {
            tallies: RoundTally::of_each(&layout),
            layout: &layout,
            backlog: &mut self.backlog,
            sink: &mut self.sink,
            observer: &mut self.observer,
            stage: self.stage.buffer(),
            gathered: None,
            expected,
        };
        if let Some(push_source) = self.source.push_source() {
            push_source.deliver(kind, &mut receiving, stop)?;
        }
        let tallies = receiving.finish()?;
        self.observer.event(&ReplicationEvent::Collected { round: n, named: self.backlog.named() });
        self.sink.commit(n)?;
        self.backlog.committed_arrivals(n);
        self.torn = false;
        self.next = n + 1;
        Ok(tallies)
    }

    /// Pauses the guest and runs rounds until its log is clean and everything is committed.
    ///
    /// Errors: a round's, or [`RoundError::NeverClean`]; the guest runs on then.
    pub fn pause_and_settle(
        &mut self,
        stop: &CancelToken,
    ) -> Result<PausedGuest<'_, S, K, O>, RoundError> {
        // Noted first: if pausing half succeeds, the drop must still resume.
        self.paused = Some(Instant::now());
        let still = PausedGuest::of(self);
        let this = &mut *still.replication;
        this.source.pause()?;
        this.observer.event(&ReplicationEvent::Paused);
        let mut rounds = 0;
        loop {
            let round = this.round(stop)?;
            if round.kind == RoundKind::Final && round.dirty_pages == 0 {
                if this.is_settled()? {
                    return Ok(still);
                }
                // The log is clean, but the sink has lost something: that goes first.
                continue;
            }
            rounds += 1;
            if rounds > ROUNDS_TO_SETTLE {
                return Err(RoundError::NeverClean { pages: round.dirty_pages, round: round.n });
            }
        }
    }

    /// Waits until everything committed is in the twin. Whether nothing was lost on the way.
    pub(crate) fn is_settled(&mut self) -> Result<bool, RoundError> {
        match self.sink.settle() {
            Err(error) if !error.is_again() => return Err(error.into()),
            _ => {}
        }
        let owed = self.backlog.owed_count();
        self.sink.take_undelivered(&mut self.backlog.owing());
        if self.source.push_source().is_none() {
            return Ok(self.backlog.is_empty());
        }
        // Of such a source some pages may be owed because they never came; but what came and was
        // lost can't be obtained again.
        if self.backlog.owed_count() > owed { Err(RoundError::Incomplete) } else { Ok(true) }
    }

    /// Switches logging off and lets the guest run. As dropping it, but says when that fails.
    pub fn finish(mut self) -> Result<(), RoundError> {
        self.shutdown()
    }

    fn shutdown(&mut self) -> Result<(), RoundError> {
        let resumed = self.resume();
        self.source.stop_logging()?;
        resumed
    }

    pub(crate) fn resume(&mut self) -> Result<(), RoundError> {
        if let Some(since) = self.paused {
            self.source.resume()?;
            self.paused = None;
            self.observer.event(&ReplicationEvent::Resumed(since.elapsed()));
        }
        Ok(())
    }
}

/// What the observers hear of each region.
fn shares(named: &[PageSet], tallies: &[RoundTally]) -> Vec<RegionRound> {
    let share = |(named, tally): (&PageSet, &RoundTally)| RegionRound {
        dirty_pages: named.count(),
        sent_pages: tally.sent,
        false_dirty_pages: tally.false_dirty,
        zero_pages: tally.zero,
        bytes: tally.bytes,
    };
    named.iter().zip(tallies).map(share).collect()
}

impl<S: Source, K: Sink, O: Observer> Drop for Replication<S, K, O> {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; switching off twice is harmless.
        let _ = self.shutdown();
    }
}
