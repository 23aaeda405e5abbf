//! What a receiver keeps, from taking a path to the end of its session.

use super::disk::acknowledge;
use super::first::{FIRST, First, PARTIAL, Proven};
use super::inspect::{check, recover, unfinished};
use super::journal::{Header, JOURNAL, Journal};
use super::place::Place;
use super::whole::{Parts, Whole};
use super::{Config, Ended, Outlet, Point};
use crate::RemoteError;
use memtwin_pages::Layout;
use memtwin_replicate::Stop;
use memtwin_twin::{Inode, Marker};
use memtwin_wire::{Base, Outcome, Round};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MARKER: &str = ".replicating";

/// What there is at PATH.
#[derive(Debug)]
enum State {
    Nothing,
    Whole(Box<Whole>),
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
    place: Arc<Place>,
    /// `None` when the twin's life is over.
    marker: Option<Marker>,
    state: State,
    /// Whether the session of `state` is served: others are foreign from then on.
    served: bool,
    /// A session that may take its place, once its first round is whole.
    first: Option<First>,
    config: Config,
    outlet: Outlet,
}

impl Keep {
    pub(super) fn take(path: &Path, config: &Config, outlet: &Outlet) -> Result<Self, RemoteError> {
        let place = Arc::new(Place::of(path)?);
        let (marker, left) = Marker::take(place.path(MARKER), &place.path(""))?;
        let state = match recover(&place, config, outlet)? {
            Some(whole) => {
                marker.write(whole.inode)?;
                marker.sync()?;
                State::Whole(Box::new(whole))
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
        // A first round that came to nothing.
        place.remove(FIRST)?;
        place.sync()?;
        let (marker, config, outlet) = (Some(marker), config.clone(), outlet.clone());
        Ok(Self { place, marker, state, served: false, first: None, config, outlet })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.place.path("")
    }

    /// The last round that it holds.
    pub(super) fn held(&self) -> Option<u32> {
        match &self.state {
            State::Nothing => None,
            State::Whole(whole) => Some(whole.held),
            State::Over(over) => Some(over.held),
        }
    }

    pub(super) fn regions(&self) -> Layout {
        match (&self.first, &self.state) {
            (Some(first), _) => first.layout.clone(),
            (None, State::Nothing) => Layout::default(),
            (None, State::Whole(whole)) => whole.layout.clone(),
            (None, State::Over(over)) => over.layout.clone(),
        }
    }

    /// Whether a session is served that may be gone on with.
    pub(super) fn is_bound(&self) -> bool {
        self.served
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

    /// The session whose rounds are at PATH: it may come again at any time.
    pub(super) fn session(&self) -> Option<[u8; 16]> {
        match &self.state {
            State::Nothing => None,
            State::Whole(whole) => Some(whole.session),
            State::Over(over) => Some(over.session),
        }
    }

    /// A sender of this session is there. Which of its rounds it finds here, brought to order.
    pub(super) fn begin(&mut self, session: [u8; 16]) -> Result<Option<u32>, RemoteError> {
        self.break_off();
        if self.session() != Some(session) {
            return if self.served { Err(RemoteError::ForeignSession) } else { Ok(None) };
        }
        if let State::Whole(whole) = &mut self.state {
            whole.cut()?;
        }
        Ok(self.held())
    }

    /// The connection is over: a first round that is not whole has come to nothing. Whether there
    /// was one.
    pub(super) fn break_off(&mut self) -> bool {
        self.first.take().is_some()
    }

    /// The sender has said what its regions are. Nothing that is here is changed by it.
    pub(super) fn layout(&mut self, session: [u8; 16], layout: Layout) -> Result<(), RemoteError> {
        let known = match &self.state {
            State::Whole(whole) if whole.session == session => &whole.layout,
            State::Over(over) if over.session == session => &over.layout,
            _ if self.served => return Err(RemoteError::ForeignSession),
            _ => {
                self.first =
                    Some(First::new(&self.place, session, layout).map_err(RemoteError::unkept)?);
                return Ok(());
            }
        };
        if *known != layout {
            return Err(RemoteError::order("other regions than the session began with"));
        }
        self.served = true;
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
        match (&mut self.first, &mut self.state) {
            (Some(first), _) => first.records(body).map_err(RemoteError::unkept),
            (None, State::Whole(whole)) => whole.records(body),
            (None, _) => Err(RemoteError::order("records after the end")),
        }
    }

    /// Errors if what came will never be acknowledged, as the disk has failed.
    pub(super) fn check_disk(&self) -> Result<(), RemoteError> {
        if let State::Whole(whole) = &self.state { whole.check() } else { Ok(()) }
    }

    pub(super) fn end(&mut self, round: Round) -> Result<(), RemoteError> {
        match (self.first.take(), &mut self.state) {
            (Some(first), _) => self.go_live(first.end(round)?),
            (None, State::Whole(whole)) => whole.end(round, &self.place),
            (None, _) => Err(RemoteError::order("a round after the end")),
        }
    }

    /// The first round is whole: from now on PATH is its twin, in place of what was there.
    fn go_live(&mut self, proven: Proven) -> Result<(), RemoteError> {
        let Proven { session, layout, round, image, inode, mut unfinished, mut scratch, written } =
            proven;
        self.config.at.reached(Point::FirstWritten);
        image.checkpoint(&mut unfinished, round).map_err(RemoteError::unkept)?;
        self.config.at.reached(Point::FirstSynced);
        let base = Base { round, image: unfinished.trailer().image };
        let header = Header { session, layout, base };
        let prepared = Journal::prepare(&self.place, &header).map_err(RemoteError::unkept)?;
        // Up to here everything is as it was. What follows is names, each of which can be found
        // half changed.
        self.mark(inode)?;
        self.state = State::Nothing;
        self.served = true;
        scratch.keep();
        let (journal, tail) = prepared.install(&self.place)?;
        self.config.at.reached(Point::FirstJournal);
        scratch.become_twin()?;
        self.config.at.reached(Point::FirstRenamed);
        let image = image.renamed(self.place.path(""));
        let parts = Parts { header, round, image, inode, unfinished, written, journal, tail };
        self.state = State::Whole(Box::new(Whole::new(parts, &self.config, &self.outlet)?));
        // That of an earlier session, which was not kept.
        self.place.remove(PARTIAL)?;
        acknowledge(&self.outlet, round);
        Ok(())
    }

    /// What is at PATH, for the session that is served, if it is its own.
    fn of_served(&self) -> Result<&State, RemoteError> {
        if self.served && self.first.is_none() {
            return Ok(&self.state);
        }
        Err(RemoteError::order("a question about a twin that is not whole"))
    }

    /// The whole twin, everything applied, to be looked at.
    pub(super) fn settled(&self) -> Result<&Whole, RemoteError> {
        let State::Whole(whole) = self.of_served()? else {
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
        stop: &Stop,
    ) -> Result<Result<(), String>, RemoteError> {
        if let State::Over(over) = self.of_served()? {
            return Ok(over.kept.clone());
        }
        let whole = self.settled()?;
        let kept = match outcome {
            Outcome::Identical => check(whole, digests, stop)?,
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
        let whole = std::mem::replace(&mut self.state, State::Nothing);
        if let (Ok(()), State::Whole(whole)) = (&kept, whole) {
            whole.finish()?;
        }
        if let Some(marker) = self.marker.take() {
            marker.remove()?;
        }
        self.place.sync()?;
        // Not before: until all is on the disk nobody is told that it is kept.
        let reason = reason.to_owned();
        self.state =
            State::Over(Over { session, layout, held, outcome, reason, kept: kept.clone() });
        Ok(kept)
    }
}
