//! What a receiver keeps, from taking a path to the end of its session.

use super::disk::acknowledge;
use super::first::{First, PARTIAL};
use super::inspect::{check, recover, unfinished};
use super::journal::{Header, JOURNAL, Journal};
use super::place::Place;
use super::whole::{Parts, Whole};
use super::{Config, Ended, Outlet, Point};
use crate::RemoteError;
use memtwin_pages::Layout;
use memtwin_twin::{Inode, Marker};
use memtwin_wire::{Base, Outcome, Round};
use std::path::{Path, PathBuf};

const MARKER: &str = ".replicating";

/// What there is of a twin.
#[derive(Debug)]
enum State {
    Nothing,
    First(First),
    Whole(Whole),
    Over(Over),
}

/// A session that was judged.
#[derive(Debug)]
struct Over {
    session: [u8; 16],
    layout: Layout,
    held: u32,
    outcome: Outcome,
    reason: String,
    kept: Result<(), String>,
}

/// A receiver's file and what belongs to it.
#[derive(Debug)]
pub(super) struct Keep {
    place: Place,
    /// `None` when the twin's life is over.
    marker: Option<Marker>,
    state: State,
    /// Whether a session of this process is served: others are foreign from then on.
    bound: bool,
    config: Config,
    outlet: Outlet,
}

impl Keep {
    pub(super) fn take(path: &Path, config: &Config, outlet: &Outlet) -> Result<Self, RemoteError> {
        let place = Place::of(path)?;
        let (marker, left) = Marker::take(place.path(MARKER), &place.path(""))?;
        let state = match recover(&place, config, outlet)? {
            Some(whole) => {
                marker.write(whole.inode)?;
                marker.sync()?;
                State::Whole(whole)
            }
            None => {
                // What was left half done and can't be gone on with is moved out of the way.
                let marked = left.is_some_and(|left| Some(left.twin) == place.inode(""));
                if marked || unfinished(&place, "")?.is_some() {
                    place.rename("", PARTIAL)?;
                }
                marker.write(Inode::default())?;
                State::Nothing
            }
        };
        place.sync()?;
        let (config, outlet) = (config.clone(), outlet.clone());
        Ok(Self { place, marker: Some(marker), state, bound: false, config, outlet })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.place.path("")
    }

    /// The last round that it holds.
    pub(super) fn held(&self) -> Option<u32> {
        match &self.state {
            State::Nothing | State::First(_) => None,
            State::Whole(whole) => Some(whole.held),
            State::Over(over) => Some(over.held),
        }
    }

    pub(super) fn regions(&self) -> Layout {
        match &self.state {
            State::Nothing => Layout::default(),
            State::First(first) => first.layout.clone(),
            State::Whole(whole) => whole.layout.clone(),
            State::Over(over) => over.layout.clone(),
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        self.bound
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    pub(super) fn ended(&self, why: &str) -> Ended {
        match &self.state {
            State::Over(over) => Ended::Judged {
                outcome: over.outcome,
                reason: over.reason.clone(),
                kept: over.kept.clone(),
            },
            _ => Ended::Abandoned { held: self.held(), why: why.to_owned() },
        }
    }

    fn session(&self) -> Option<[u8; 16]> {
        match &self.state {
            State::Nothing => None,
            State::First(first) => Some(first.session),
            State::Whole(whole) => Some(whole.session),
            State::Over(over) => Some(over.session),
        }
    }

    /// A sender of this session is there. Which of its rounds it finds here, brought to order.
    pub(super) fn begin(&mut self, session: [u8; 16]) -> Result<Option<u32>, RemoteError> {
        if self.session() != Some(session) {
            // What an earlier process has left gives way; what is served does not.
            return if self.bound { Err(RemoteError::ForeignSession) } else { Ok(None) };
        }
        if let State::Whole(whole) = &mut self.state {
            whole.cut()?;
        }
        Ok(self.held())
    }

    /// The sender has said what its regions are.
    pub(super) fn layout(&mut self, session: [u8; 16], layout: Layout) -> Result<(), RemoteError> {
        let known = match &self.state {
            State::Whole(whole) if whole.session == session => Some(&whole.layout),
            State::Over(over) if over.session == session => Some(&over.layout),
            _ => None,
        };
        if let Some(known) = known {
            if *known != layout {
                return Err(RemoteError::order("other regions than the session began with"));
            }
            self.bound = true;
            return Ok(());
        }
        if let State::Whole(whole) = &mut self.state {
            // The twin of a session that nobody went on with: a whole round, as it stands.
            whole.checkpoint()?;
            self.place.remove(JOURNAL)?;
            self.place.sync()?;
        }
        if let State::Whole(whole) = std::mem::replace(&mut self.state, State::Nothing) {
            whole.finish()?;
        }
        let first = First::new(&self.place, session, layout)?;
        self.mark(first.inode)?;
        self.state = State::First(first);
        self.bound = true;
        Ok(())
    }

    fn mark(&self, inode: Inode) -> Result<(), RemoteError> {
        if let Some(marker) = &self.marker {
            marker.write(inode)?;
            marker.sync()?;
        }
        self.place.sync()
    }

    pub(super) fn records(&mut self, body: &[u8]) -> Result<(), RemoteError> {
        match &mut self.state {
            State::First(first) => first.records(body),
            State::Whole(whole) => whole.records(body),
            _ => Err(RemoteError::order("records after the end")),
        }
    }

    pub(super) fn end(&mut self, round: Round) -> Result<(), RemoteError> {
        match &mut self.state {
            State::First(first) => {
                first.end(round)?;
                self.go_live(round.round)
            }
            State::Whole(whole) => whole.end(round, &self.place),
            _ => Err(RemoteError::order("a round after the end")),
        }
    }

    /// The first round is whole: from now on PATH is the twin.
    fn go_live(&mut self, round: u32) -> Result<(), RemoteError> {
        let State::First(mut first) = std::mem::replace(&mut self.state, State::Nothing) else {
            return Err(RemoteError::order("no first round"));
        };
        let at = self.config.at.clone();
        at.reached(Point::FirstWritten);
        first.image.checkpoint(&mut first.unfinished, round)?;
        at.reached(Point::FirstSynced);
        let base = Base { round, image: first.unfinished.trailer().image };
        let header = Header { session: first.session, layout: first.layout, base };
        let (journal, tail) = Journal::begin(&self.place, &header)?;
        at.reached(Point::FirstJournal);
        self.place.rename(PARTIAL, "")?;
        self.place.sync()?;
        at.reached(Point::FirstRenamed);
        let image = first.image.renamed(self.place.path(""));
        let First { inode, unfinished, .. } = first;
        let parts = Parts { header, round, image, inode, unfinished, journal, tail };
        self.state = State::Whole(Whole::new(parts, &self.config, &self.outlet)?);
        acknowledge(&self.outlet, round);
        Ok(())
    }

    /// The whole twin, everything applied, to be looked at.
    pub(super) fn settled(&self) -> Result<&Whole, RemoteError> {
        let State::Whole(whole) = &self.state else {
            return Err(RemoteError::order("a question about a twin that is not whole"));
        };
        whole.settle()?;
        Ok(whole)
    }

    /// The judge has spoken. Whether the file is kept as complete, or why not.
    pub(super) fn judged(
        &mut self,
        outcome: Outcome,
        reason: &str,
        digests: &[[u8; 32]],
    ) -> Result<Result<(), String>, RemoteError> {
        if let State::Over(over) = &self.state {
            return Ok(over.kept.clone());
        }
        let whole = self.settled()?;
        let kept = match outcome {
            Outcome::Identical => check(whole, digests)?,
            Outcome::Differs => Err("the judge found pages that differ".to_owned()),
            Outcome::Inconclusive => Err("there is no verdict".to_owned()),
        };
        self.config.at.reached(Point::Judged);
        let State::Whole(whole) = &mut self.state else {
            return Err(RemoteError::order("a verdict of a twin that is not whole"));
        };
        let (session, layout, held) = (whole.session, whole.layout.clone(), whole.held);
        let there = Some(whole.inode) == self.place.inode("");
        let kept = match kept {
            Ok(()) if !there => Err("something else has removed or replaced the file".to_owned()),
            kept => {
                whole.checkpoint()?;
                if kept.is_err() && there {
                    self.place.rename("", PARTIAL)?;
                }
                kept
            }
        };
        let outcome = match (&kept, outcome) {
            // Its bytes are not those that the judge has seen: no pass.
            (Err(_), Outcome::Identical) => Outcome::Differs,
            (_, outcome) => outcome,
        };
        self.place.remove(JOURNAL)?;
        self.place.sync()?;
        self.config.at.reached(Point::JournalRemoved);
        let reason = reason.to_owned();
        let over = Over { session, layout, held, outcome, reason, kept: kept.clone() };
        let whole = std::mem::replace(&mut self.state, State::Nothing);
        if let (Ok(()), State::Whole(whole)) = (&kept, whole) {
            whole.finish()?;
        }
        if let Some(marker) = self.marker.take() {
            marker.remove()?;
        }
        self.place.sync()?;
        // Not before: until all is on the disk nobody is told that it is kept.
        self.state = State::Over(over);
        Ok(kept)
    }
}
