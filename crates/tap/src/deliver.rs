//! A round of a tap: what is read from the stream until everything that was pending has come.

use crate::pace::Pace;
use crate::tap::{Tap, log};
use crate::watch::Receiver;
use crate::wire::Got;
use memtwin_qemu::{migration, status};
use memtwin_replicate::{Deliver, Delivery, RoundError, RoundKind, SourceError, Stop};
use memtwin_stream::{FeedError, Phase, return_path};
use std::time::{Duration, Instant};

/// How often a wait looks whether it was asked to stop.
const LOOK: Duration = Duration::from_millis(50);
/// After how much silence QEMU is asked whether all is well. At [`Pace::Held`] a section comes in
/// each tenth of a second, but a QEMU that syncs the log of a terabyte takes its time.
const SILENCE: Duration = Duration::from_secs(5);
/// How long QEMU may look for a moment at which the guest need not stand still for long; then it
/// must end all the same.
const LENIENT: Duration = Duration::from_secs(2);
/// After the last page come the devices. When nothing has come for so long, they are all sent.
const QUIET: Duration = Duration::from_millis(10);
/// How long the guest may take to stand still after that.
const STANDING: Duration = Duration::from_secs(10);

impl Deliver for Tap<'_> {
    fn deliver(
        &mut self,
        kind: RoundKind,
        into: &mut dyn Delivery,
        stop: &Stop,
    ) -> Result<(), RoundError> {
        self.watch.begin();
        match kind {
            RoundKind::PreCopy => {
                self.round(into, stop)?;
                self.hold()
            }
            RoundKind::Delta => self.delta(into, stop),
            RoundKind::Final => {
                self.last(into, stop)?;
                self.judged = self.stood;
                Ok(())
            }
        }
    }
}

impl Tap<'_> {
    /// A round while the guest runs. QEMU is held, and hurries only if there is something to send.
    fn delta(&mut self, into: &mut dyn Delivery, stop: &Stop) -> Result<(), RoundError> {
        // What came since the last round, and does not tell of now.
        while self.step(Duration::ZERO, into)? {}
        self.watch.sections = 0;
        self.until(into, stop, |tap| tap.watch.sections > 0)?;
        if self.has_ended() || (self.watch.pages == 0 && self.nothing_pending()?) {
            return Ok(());
        }
        self.pace(Pace::Full)?;
        self.round(into, stop)?;
        self.hold()
    }

    /// Reads on until what was pending when the round began has come.
    fn round(&mut self, into: &mut dyn Delivery, stop: &Stop) -> Result<(), RoundError> {
        loop {
            self.watch.empty = false;
            self.until(into, stop, |tap| tap.watch.empty || tap.watch.is_once_around())?;
            if self.watch.is_once_around() || self.has_ended() {
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
    fn catch_up(&mut self, into: &mut dyn Delivery, stop: &Stop) -> Result<(), RoundError> {
        // Not until nothing is there: a QEMU that goes at full pace always has something more.
        let upto = self.counters.bytes + self.unread()?;
        self.until(into, stop, |tap| tap.counters.bytes >= upto)?;
        let sections = self.watch.sections;
        self.until(into, stop, |tap| tap.watch.sections > sections)
    }

    /// How many bytes have come and were not taken yet.
    fn unread(&self) -> Result<u64, SourceError> {
        Ok(self.ahead.len() as u64 + self.wire.waiting().map_err(log)?)
    }

    /// Whether QEMU has sent everything that it knows to be dirty. An empty section alone does not
    /// say so: QEMU also writes one when it has used up its bandwidth.
    fn nothing_pending(&mut self) -> Result<bool, SourceError> {
        let now = migration(self.qmp).map_err(log)?;
        Ok(now.ram.is_none_or(|ram| ram.remaining == 0))
    }

    fn hold(&mut self) -> Result<(), RoundError> {
        if !self.has_ended() {
            self.pace(Pace::Held)?;
        }
        Ok(())
    }

    /// The last pages, with which QEMU pauses the guest; nothing when they have come.
    fn last(&mut self, into: &mut dyn Delivery, stop: &Stop) -> Result<(), RoundError> {
        if self.has_ended() && self.stood_still()? {
            return Ok(());
        }
        if !self.has_ended() {
            // Most of it while the guest still runs.
            self.pace(Pace::Full)?;
            self.round(into, stop)?;
        }
        if !self.has_ended() {
            self.watched()?;
            self.pace(Pace::MayEnd)?;
            if !std::mem::replace(&mut self.may_end, true) {
                self.wire.send(&return_path::switchover_ack()).map_err(log)?;
            }
            let since = Instant::now();
            self.until(into, stop, |tap| tap.watch.switchover || since.elapsed() > LENIENT)?;
            if !self.watch.switchover {
                self.pace(Pace::MustEnd)?;
            }
            self.until(into, stop, Tap::has_ended)?;
        }
        self.may_end = true;
        while self.step(QUIET, into)? {}
        self.drained = true;
        let since = Instant::now();
        while !self.stood_still()? {
            if since.elapsed() > STANDING {
                let reason = "QEMU has sent its last page, and the guest still runs";
                return Err(SourceError::Guest(reason.to_owned()).into());
            }
            if stop.wait(Duration::from_millis(1)) {
                return Err(RoundError::Interrupted);
            }
        }
        if let Ok(now) = migration(self.qmp) {
            self.counters.qemu = now.ram;
        }
        Ok(())
    }

    /// Whether all of memory has come.
    fn has_ended(&self) -> bool {
        self.decoder.phase() == Phase::RamEnded
    }

    fn stood_still(&mut self) -> Result<bool, SourceError> {
        let now = status(self.qmp).map_err(log)?;
        self.note_events();
        Ok(!now.running)
    }

    /// Reads until something is so, or all of memory has come.
    fn until(
        &mut self,
        into: &mut dyn Delivery,
        stop: &Stop,
        so: impl Fn(&Self) -> bool,
    ) -> Result<(), RoundError> {
        let mut silent = Instant::now();
        while !so(self) && !self.has_ended() {
            if stop.is_set() {
                return Err(RoundError::Interrupted);
            }
            if self.step(LOOK, into)? {
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
    fn step(&mut self, patience: Duration, into: &mut dyn Delivery) -> Result<bool, RoundError> {
        let ahead = std::mem::take(&mut self.ahead);
        let bytes = if ahead.is_empty() {
            match self.wire.read(patience).map_err(log)? {
                Got::Bytes(count) => self.wire.bytes(count),
                Got::Nothing => return Ok(false),
                Got::End => return Err(self.ended().into()),
            }
        } else {
            &ahead
        };
        let before = self.watch.pages;
        let mut receiver = Receiver {
            into,
            page_shift: self.decoder.page_bytes().ilog2(),
            watch: &mut self.watch,
            regions: &self.regions,
        };
        let fed = self.decoder.feed(bytes, &mut receiver);
        self.counters.bytes += bytes.len() as u64;
        self.counters.pages += self.watch.pages - before;
        fed.map_err(|error| match error {
            FeedError::Decode(error) => RoundError::Source(log(error)),
            FeedError::Visitor(error) => RoundError::Sink(error),
        })?;
        Ok(true)
    }
}
