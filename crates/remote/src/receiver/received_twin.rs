//! What a receiver keeps, from taking a path to the end of its session.

use super::committed_twin::{CommittedParts, CommittedTwin};
use super::disk_worker::acknowledge;
use super::initial_copy::{CompleteInitialCopy, FIRST, InitialCopy, PARTIAL};
use super::journal::{JOURNAL, JournalHeader, RoundJournal};
use super::recovery::{check, recover, unfinished};
use super::twin_path::TwinPath;
use super::{ReceiverConfig, ReceiverPoint, SessionEnd, SharedWriter};
use crate::RemoteError;
use memtwin_pages::Layout;
use memtwin_replicate::Stop;
use memtwin_twin::{Inode, TwinMarker};
use memtwin_wire::{Base, Outcome, Round};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MARKER: &str = ".replicating";

/// What there is at PATH.
#[derive(Debug)]
enum ReceivedState {
    Empty,
    Committed(Box<CommittedTwin>),
    Finished(FinishedSession),
}

/// A session that was judged.
#[derive(Debug)]
struct FinishedSession {
    session: [u8; 16],
    layout: Layout,
    held: u32,
    outcome: Outcome,
    reason: String,
    kept: Result<(), String>,
}

/// A receiver's file and what belongs to it.
#[derive(Debug)]
pub(super) struct ReceivedTwin {
    place: Arc<TwinPath>,
    /// `None` when the twin's life is over.
    marker: Option<TwinMarker>,
    state: ReceivedState,
    /// Whether the session of `state` is served: others are foreign from then on.
    served: bool,
    /// A session that may take its place, once its first round is whole.
    first: Option<InitialCopy>,
    config: ReceiverConfig,
    shared_writer: SharedWriter,
}

impl ReceivedTwin {
    pub(super) fn take(
        path: &Path,
        config: &ReceiverConfig,
        shared_writer: &SharedWriter,
    ) -> Result<Self, RemoteError> {
        let place = Arc::new(TwinPath::of(path)?);
        let (marker, left) = TwinMarker::take(place.path(MARKER), &place.path(""))?;
        let state = match recover(&place, config, shared_writer)? {
            Some(whole) => {
                marker.write(whole.inode)?;
                marker.sync()?;
                ReceivedState::Committed(Box::new(whole))
            }
            None => {
                // What was left half done and can't be gone on with is moved out of the way.
                let marked = left.is_some_and(|left| Some(left.twin) == place.inode(""));
                if marked || unfinished(&place, "")?.is_some() {
                    place.rename("", PARTIAL)?;
                }
                marker.write(Inode::default())?;
                ReceivedState::Empty
            }
        };
        // A first round that came to nothing.
        place.remove(FIRST)?;
        place.sync()?;
        let (marker, config, shared_writer) = (Some(marker), config.clone(), shared_writer.clone());
        Ok(Self { place, marker, state, served: false, first: None, config, shared_writer })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.place.path("")
    }

    /// The last round that it holds.
    pub(super) fn held(&self) -> Option<u32> {
        match &self.state {
            ReceivedState::Empty => None,
            ReceivedState::Committed(whole) => Some(whole.held),
            ReceivedState::Finished(over) => Some(over.held),
        }
    }

    pub(super) fn regions(&self) -> Layout {
        match (&self.first, &self.state) {
            (Some(first), _) => first.layout.clone(),
            (None, ReceivedState::Empty) => Layout::default(),
            (None, ReceivedState::Committed(whole)) => whole.layout.clone(),
            (None, ReceivedState::Finished(over)) => over.layout.clone(),
        }
    }

    /// Whether a session is served that may be gone on with.
    pub(super) fn is_bound(&self) -> bool {
        self.served
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, ReceivedState::Finished(_))
    }

    pub(super) fn ended(&self, why: &str) -> SessionEnd {
        match &self.state {
            ReceivedState::Finished(over) => SessionEnd::Judged {
                outcome: over.outcome,
                reason: over.reason.clone(),
                kept: over.kept.clone(),
            },
            _ => SessionEnd::Abandoned { held: self.held(), why: why.to_owned() },
        }
    }

    /// The session whose rounds are at PATH: it may come again at any time.
    pub(super) fn session(&self) -> Option<[u8; 16]> {
        match &self.state {
            ReceivedState::Empty => None,
            ReceivedState::Committed(whole) => Some(whole.session),
            ReceivedState::Finished(over) => Some(over.session),
        }
    }

    /// A sender of this session is there. Which of its rounds it finds here, brought to order.
    pub(super) fn begin(&mut self, session: [u8; 16]) -> Result<Option<u32>, RemoteError> {
        self.break_off();
        if self.session() != Some(session) {
            return if self.served { Err(RemoteError::ForeignSession) } else { Ok(None) };
        }
        if let ReceivedState::Committed(whole) = &mut self.state {
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
            ReceivedState::Committed(whole) if whole.session == session => &whole.layout,
            ReceivedState::Finished(over) if over.session == session => &over.layout,
            _ if self.served => return Err(RemoteError::ForeignSession),
            _ => {
                self.first = Some(
                    InitialCopy::new(&self.place, session, layout).map_err(RemoteError::unkept)?,
                );
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
            (None, ReceivedState::Committed(whole)) => whole.records(body),
            (None, _) => Err(RemoteError::order("records after the end")),
        }
    }

    /// Errors if what came will never be acknowledged, as the disk has failed.
    pub(super) fn check_disk(&self) -> Result<(), RemoteError> {
        if let ReceivedState::Committed(whole) = &self.state { whole.check() } else { Ok(()) }
    }

    pub(super) fn end(&mut self, round: Round) -> Result<(), RemoteError> {
        match (self.first.take(), &mut self.state) {
            (Some(first), _) => self.go_live(first.end(round)?),
            (None, ReceivedState::Committed(whole)) => whole.end(round, &self.place),
            (None, _) => Err(RemoteError::order("a round after the end")),
        }
    }

    /// The first round is whole: from now on PATH is its twin, in place of what was there.
    fn go_live(&mut self, proven: CompleteInitialCopy) -> Result<(), RemoteError> {
        let CompleteInitialCopy {
            session,
            layout,
            round,
            image,
            inode,
            mut unfinished,
            mut scratch,
            written,
        } = proven;
        self.config.at.reached(ReceiverPoint::FirstWritten);
        image.checkpoint(&mut unfinished, round).map_err(RemoteError::unkept)?;
        self.config.at.reached(ReceiverPoint::FirstSynced);
        let base = Base { round, image: unfinished.trailer().image };
        let header = JournalHeader { session, layout, base };
        let prepared = RoundJournal::prepare(&self.place, &header).map_err(RemoteError::unkept)?;
        // Up to here everything is as it was. What follows is names, each of which can be found
        // half changed.
        self.mark(inode)?;
        self.state = ReceivedState::Empty;
        self.served = true;
        scratch.keep();
        let (journal, tail) = prepared.install(&self.place)?;
        self.config.at.reached(ReceiverPoint::FirstJournal);
        scratch.become_twin()?;
        self.config.at.reached(ReceiverPoint::FirstRenamed);
        let image = image.renamed(self.place.path(""));
        let parts =
            CommittedParts { header, round, image, inode, unfinished, written, journal, tail };
        self.state = ReceivedState::Committed(Box::new(CommittedTwin::new(
            parts,
            &self.config,
            &self.shared_writer,
        )?));
        // That of an earlier session, which was not kept.
        self.place.remove(PARTIAL)?;
        acknowledge(&self.shared_writer, round);
        Ok(())
    }

    /// What is at PATH, for the session that is served, if it is its own.
    fn of_served(&self) -> Result<&ReceivedState, RemoteError> {
        if self.served && self.first.is_none() {
            return Ok(&self.state);
        }
        Err(RemoteError::order("a question about a twin that is not whole"))
    }

    /// The whole twin, everything applied, to be looked at.
    pub(super) fn settled(&self) -> Result<&CommittedTwin, RemoteError> {
        let ReceivedState::Committed(whole) = self.of_served()? else {
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
        if let ReceivedState::Finished(over) = self.of_served()? {
            return Ok(over.kept.clone());
        }
        let whole = self.settled()?;
        let kept = match outcome {
            Outcome::Identical => check(whole, digests, stop)?,
            Outcome::Differs => Err("the judge found pages that differ".to_owned()),
            Outcome::Inconclusive => Err("there is no verdict".to_owned()),
        };
        self.config.at.reached(ReceiverPoint::Judged);
        let ReceivedState::Committed(whole) = &mut self.state else {
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
        self.config.at.reached(ReceiverPoint::JournalRemoved);
        let whole = std::mem::replace(&mut self.state, ReceivedState::Empty);
        if let (Ok(()), ReceivedState::Committed(whole)) = (&kept, whole) {
            whole.finish()?;
        }
        if let Some(marker) = self.marker.take() {
            marker.remove()?;
        }
        self.place.sync()?;
        // Not before: until all is on the disk nobody is told that it is kept.
        let reason = reason.to_owned();
        self.state = ReceivedState::Finished(FinishedSession {
            session,
            layout,
            held,
            outcome,
            reason,
            kept: kept.clone(),
        });
        Ok(kept)
    }
}
