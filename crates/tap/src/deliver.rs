//! A round of a tap: what is read from the stream until everything that was pending has come.

use crate::migration_tap::{MigrationTap, log};
use crate::reader::ReadResult;
use crate::throttle::Throttle;
use crate::tracker::StreamReceiver;
use memtwin_qemu::{RamCounters, migration, status};
use memtwin_replicate::{
    CancelToken, PageReceiver, PushSource, RoundError, RoundKind, SourceError,
};
use memtwin_stream::{FeedError, StreamPhase};
use std::time::{Duration, Instant};

/// How often a wait looks whether it was asked to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// After how much silence QEMU is asked whether all is well. At [`Throttle::Held`] a section comes in
/// each tenth of a second, but a QEMU that syncs the log of a terabyte takes its time.
const SILENCE: Duration = Duration::from_secs(5);
/// How long QEMU may look for a moment at which the guest need not stand still for long.
const LENIENT: Duration = Duration::from_secs(2);
/// How long it may look for one at which the pause is just short enough.
const NO_MOMENT: Duration = Duration::from_secs(20);
/// How often it is asked whether the guest still runs, when it may be paused.
pub(crate) const PAUSE_INTERVAL: Duration = Duration::from_millis(10);
/// How often a QEMU is asked how fast it sends that can't be told what a link carries.
const MEASURE_INTERVAL: Duration = Duration::from_millis(200);
/// After the last page come the devices. When nothing has come for this long, they are all sent.
const QUIET: Duration = Duration::from_millis(10);
/// How long the guest may take to stand still after that, where no pause of ours is counted.
const STAND_TIMEOUT: Duration = Duration::from_secs(10);

impl PushSource for MigrationTap<'_> {
    fn deliver(
        &mut self,
        kind: RoundKind,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        self.tracker.begin();
        match kind {
            RoundKind::PreCopy => self.pre_copy(into, stop),
            RoundKind::Delta => self.delta(into, stop),
            RoundKind::Final => {
                self.last(into, stop)?;
                self.judged = self.paused;
                Ok(())
            }
        }
    }
}

impl MigrationTap<'_> {
    /// A round while the guest runs. QEMU is held, and hurries only if there is something to send.
    fn delta(&mut self, into: &mut dyn PageReceiver, stop: &CancelToken) -> Result<(), RoundError> {
        let looked = self.pending()?.map_or(0, |now| now.dirty_sync_count);
        // What came since the last round, and does not tell of now.
        while self.step(Duration::ZERO, into)? {}
        loop {
            self.tracker.sections = 0;
            self.until(into, stop, |tap| tap.tracker.sections > 0)?;
            if self.has_left() {
                return Ok(());
            }
            let now = self.pending()?;
            if self.tracker.pages > 0 || now.is_some_and(|now| now.remaining > 0) {
                break;
            }
            // Only a log that was collected since says that it is clean.
            if now.is_none_or(|now| now.dirty_sync_count > looked) {
                return self.followed_clean(now, into, stop);
            }
        }
        self.throttle(Throttle::Full, into)?;
        let followed = self.begin_followed(into, stop)?;
        self.round(into, stop)?;
        if self.has_left() {
            return Ok(());
        }
        self.slow_down(into)?;
        self.end_followed(followed, into, stop)
    }

    /// Reads on until what was pending when the round began has come.
    pub(crate) fn round(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        loop {
            self.tracker.empty = false;
            self.until(into, stop, |tap| tap.tracker.empty || tap.tracker.is_once_around())?;
            if self.tracker.is_once_around() || self.has_left() {
                return Ok(());
            }
            if self.nothing_pending()? {
                return self.catch_up(into, stop);
            }
        }
    }

    /// Reads what QEMU had sent when it said that nothing is pending: what is in the socket, and
    /// the rest of the section that it was writing then (it flushes at each section's end). A page
    /// of one byte takes ten bytes, so thousands may be on the way.
    pub(crate) fn catch_up(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        // Not until nothing is there: a QEMU that goes at full pace always has something more.
        let upto = self.counters.bytes + self.reader.unread().map_err(log)?;
        self.until(into, stop, |tap| tap.counters.bytes >= upto)?;
        let sections = self.tracker.sections;
        self.until(into, stop, |tap| tap.tracker.sections > sections)
    }

    /// Whether QEMU has sent everything that it knows to be dirty. An empty section alone does not
    /// say so: QEMU also writes one when it has used up its bandwidth.
    fn nothing_pending(&mut self) -> Result<bool, SourceError> {
        Ok(self.pending()?.is_none_or(|now| now.remaining == 0))
    }

    /// QEMU's counters, if a migration is under way.
    pub(crate) fn pending(&mut self) -> Result<Option<RamCounters>, SourceError> {
        Ok(migration(self.qmp).map_err(log)?.ram)
    }

    fn slow_down(&mut self, into: &mut dyn PageReceiver) -> Result<(), RoundError> {
        self.throttle(Throttle::Held, into)
    }

    /// The last pages, with which QEMU pauses the guest; nothing when they have come.
    fn last(&mut self, into: &mut dyn PageReceiver, stop: &CancelToken) -> Result<(), RoundError> {
        if self.may_end && self.has_ended() && self.stood_still()? {
            return Ok(());
        }
        if !self.may_end && !self.has_left() {
            // Most of it while the guest still runs.
            self.throttle(Throttle::Full, into)?;
            self.round(into, stop)?;
        }
        self.left_early |= !self.may_end && self.has_left();
        if !self.left_early {
            self.let_go(into)?;
        }
        self.may_end = true;
        self.read_to_end(into, stop)?;
        while self.step(QUIET, into)? {}
        let since = Instant::now();
        while self.ask_and_count_pause()? || !self.stood_still()? {
            if since.elapsed() > STAND_TIMEOUT {
                let reason = "QEMU has sent its last page, and the guest still runs";
                return Err(SourceError::Guest(reason.to_owned()).into());
            }
            if stop.wait(Duration::from_millis(1)) {
                return Err(RoundError::Interrupted);
            }
        }
        self.agrees_with_qemu()
    }

    /// Lets QEMU pause the guest and send what is left, when it finds that this is little enough.
    fn let_go(&mut self, into: &mut dyn PageReceiver) -> Result<(), RoundError> {
        self.count_pause(into)?;
        self.measure(into)?;
        self.throttle(Throttle::MayEnd(self.max_pause), into)?;
        if !self.may_end && self.hold.let_go(self.reader.socket()).is_err() {
            // Only of a stream that has ended already, by whomever.
            return Err(self.ended().into());
        }
        Ok(())
    }

    /// Reads its last pages, and counts the guest's pause meanwhile.
    fn read_to_end(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        let since = Instant::now();
        let mut throttle = Throttle::MayEnd(self.max_pause);
        let mut measured = since;
        while !self.has_ended() {
            if stop.is_set() {
                return Err(RoundError::Interrupted);
            }
            let until = Instant::now() + PAUSE_INTERVAL;
            while !self.has_ended() && Instant::now() < until && self.step(PAUSE_INTERVAL, into)? {}
            if !self.count_pause(into)? || self.left_early || self.has_ended() {
                continue;
            }
            if since.elapsed() > NO_MOMENT {
                return Err(self.no_moment().into());
            }
            let is_lenient = throttle == Throttle::MayEnd(self.max_pause);
            if is_lenient && since.elapsed() > LENIENT {
                throttle = Throttle::MustEnd(self.max_pause);
                self.throttle(throttle, into)?;
            } else if !self.pace.is_told && measured.elapsed() > MEASURE_INTERVAL {
                measured = Instant::now();
                self.measure(into)?;
                self.throttle(throttle, into)?;
            }
        }
        Ok(())
    }

    fn no_moment(&self) -> SourceError {
        SourceError::Guest(format!(
            "it writes so fast that its last pages would take longer than it may stand still (--max-pause \
             {} ms): in {} s there was no moment for them; a larger --max-pause lets it stand still longer",
            self.max_pause.as_millis(),
            NO_MOMENT.as_secs()
        ))
    }

    /// Errors unless as many pages have come as QEMU says that it has sent.
    fn agrees_with_qemu(&mut self) -> Result<(), RoundError> {
        let now = migration(self.qmp).map_err(log)?;
        if !now.status.is_under_way() {
            return Err(self.ended().into());
        }
        self.counters.qemu = now.ram;
        let sent = now.ram.map(|ram| ram.normal + ram.duplicate);
        if sent == Some(self.counters.pages) {
            return Ok(());
        }
        Err(self.pages_missing().into())
    }

    /// Other pages have come than QEMU has sent.
    pub(crate) fn pages_missing(&self) -> SourceError {
        let sent = self.counters.qemu.map(|ram| ram.normal + ram.duplicate);
        let sent =
            sent.map_or("does not say how many".to_owned(), |sent| format!("has sent {sent}"));
        let problem = format!(
            "{} pages have come, and QEMU {sent}: pages were lost between QEMU and here, not by its log",
            self.counters.pages
        );
        SourceError::Log(problem.into())
    }

    /// Whether QEMU has left pre-copy.
    pub(crate) fn has_left(&self) -> bool {
        matches!(self.decoder.phase(), StreamPhase::LastPass | StreamPhase::RamEnded)
    }

    /// Whether all of memory has come.
    fn has_ended(&self) -> bool {
        self.decoder.phase() == StreamPhase::RamEnded
    }

    pub(crate) fn stood_still(&mut self) -> Result<bool, SourceError> {
        let now = status(self.qmp).map_err(log)?;
        self.note_events();
        Ok(!now.running)
    }

    /// Reads until something is so, or QEMU has left pre-copy.
    pub(crate) fn until(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
        so: impl Fn(&Self) -> bool,
    ) -> Result<(), RoundError> {
        let mut silent = Instant::now();
        while !so(self) && !self.has_left() {
            if stop.is_set() {
                return Err(RoundError::Interrupted);
            }
            self.count_unasked_pause(into)?;
            let wait = if self.is_held { POLL_INTERVAL } else { PAUSE_INTERVAL };
            if self.step(wait, into)? {
                silent = Instant::now();
            } else if silent.elapsed() > SILENCE {
                silent = Instant::now();
                let now = migration(self.qmp).map_err(log)?;
                if !now.status.is_under_way() {
                    return Err(self.ended().into());
                }
            }
        }
        Ok(())
    }

    /// Reads a piece and hands its pages over. Whether there was one in time.
    pub(crate) fn step(
        &mut self,
        timeout: Duration,
        into: &mut dyn PageReceiver,
    ) -> Result<bool, RoundError> {
        match self.reader.read(timeout) {
            ReadResult::Bytes => {}
            ReadResult::Nothing => return Ok(false),
            ReadResult::End => return Err(self.ended().into()),
        }
        let bytes = self.reader.bytes();
        let before = self.tracker.pages;
        let mut receiver = StreamReceiver {
            into,
            page_shift: self.decoder.page_bytes().ilog2(),
            watch: &mut self.tracker,
            regions: &self.regions,
        };
        let fed = self.decoder.feed(bytes, &mut receiver);
        self.counters.bytes += bytes.len() as u64;
        self.counters.pages += self.tracker.pages - before;
        fed.map_err(|error| match error {
            FeedError::Decode(error) => RoundError::Source(log(error)),
            FeedError::Visitor(error) => RoundError::Sink(error),
        })?;
        Ok(true)
    }
}
