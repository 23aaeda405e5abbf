//! What a receiver keeps, from taking a path to the end of its session.

use super::committed_twin::{CommittedParts, CommittedTwin};
use super::config::ReceiverConfig;
use super::disk_worker::acknowledge;
use super::initial_copy::{CompleteInitialCopy, InitialCopy};
use super::journal::{JournalHeader, RoundJournal};
use super::received_state::{FinishedSession, ReceivedState};
use super::recovery::{check, recover};
use super::shared_writer::SharedWriter;
use super::{ReceiveEnd, ReceiverPoint};
use crate::RemoteError;
use memtwin_pages::Layout;
use memtwin_replicate::CancelToken;
use memtwin_twin::{StoreRole, TwinPlace, TwinStore};
use memtwin_wire::{JournalBase, RoundEnd, TwinVerdict};
use std::path::{Path, PathBuf};

/// A receiver's file or device, and what belongs to it.
#[derive(Debug)]
pub(super) struct ReceivedTwin {
    store: TwinStore,
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
        let place = TwinPlace::find(path, StoreRole::Received).map_err(RemoteError::of_path)?;
        let store = TwinStore::take(place, StoreRole::Received, &config.device)
            .map_err(RemoteError::Twin)?;
        let state = match recover(&store, config, shared_writer)? {
            Some(twin) => {
                store.resume(&twin.kept)?;
                ReceivedState::Committed(Box::new(twin))
            }
            None => {
                store.clear()?;
                ReceivedState::Empty
            }
        };
        let (config, shared_writer) = (config.clone(), shared_writer.clone());
        Ok(Self { store, state, served: false, first: None, config, shared_writer })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.store.path()
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

    pub(super) fn ended(&self, why: &str) -> ReceiveEnd {
        match &self.state {
            ReceivedState::Finished(over) => ReceiveEnd::Judged {
                outcome: over.outcome,
                reason: over.reason.clone(),
                kept: over.kept.clone(),
            },
            _ => ReceiveEnd::Abandoned { held: self.held(), why: why.to_owned() },
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
                self.make_way(&layout)?;
                let first = InitialCopy::new(&self.store, session, layout);
                self.first = Some(first.map_err(RemoteError::unkept)?);
                return Ok(());
            }
        };
        if *known != layout {
            return Err(RemoteError::order("other regions than the session began with"));
        }
        self.served = true;
        Ok(())
    }

    /// On a device a new session is written over what is there. Rounds that were promised to another
    /// one are given up only where that was asked for.
    fn make_way(&mut self, layout: &Layout) -> Result<(), RemoteError> {
        if !self.store.is_device() {
            return Ok(());
        }
        let fits = self.store.check_layout(layout);
        fits.map_err(|error| RemoteError::from(error).unkept())?;
        if let ReceivedState::Committed(_) = self.state {
            if !self.store.is_forced() {
                return Err(RemoteError::DeviceHeld { path: self.store.path() });
            }
            // Its thread ends: it writes no more.
            self.state = ReceivedState::Empty;
        }
        Ok(())
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

    pub(super) fn end(&mut self, round: RoundEnd) -> Result<(), RemoteError> {
        match (self.first.take(), &mut self.state) {
            (Some(first), _) => self.go_live(first.end(round)?),
            (None, ReceivedState::Committed(whole)) => whole.end(round),
            (None, _) => Err(RemoteError::order("a round after the end")),
        }
    }

    /// The first round is whole: from now on PATH is its twin, in place of what was there.
    fn go_live(&mut self, proven: CompleteInitialCopy) -> Result<(), RemoteError> {
        let CompleteInitialCopy { session, layout, round, mut kept, image, written } = proven;
        self.config.at.reached(ReceiverPoint::FirstWritten);
        let unkept = |error| RemoteError::from(error).unkept();
        kept.checkpoint(round).map_err(unkept)?;
        self.config.at.reached(ReceiverPoint::FirstSynced);
        let base = JournalBase { round, image: kept.number() };
        let header = JournalHeader { session, layout, base };
        let journals = self.store.journal(&kept).map_err(unkept)?;
        let prepared = RoundJournal::prepare(&journals, &header).map_err(RemoteError::unkept)?;
        // Up to here everything is as it was. What follows is names, each of which can be found
        // half changed.
        self.store.mark(&kept)?;
        self.state = ReceivedState::Empty;
        self.served = true;
        kept.keep_staged();
        let (journal, tail) = prepared.install(&journals)?;
        self.config.at.reached(ReceiverPoint::FirstJournal);
        self.store.go_live(&mut kept)?;
        self.config.at.reached(ReceiverPoint::FirstRenamed);
        let image = image.renamed(kept.name().to_owned());
        let parts = CommittedParts { header, round, kept, image, written, journal, journals, tail };
        self.state = ReceivedState::Committed(Box::new(CommittedTwin::new(
            parts,
            &self.config,
            &self.shared_writer,
        )?));
        // That of an earlier session, which was not kept.
        self.store.remove_partial()?;
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
        outcome: TwinVerdict,
        reason: &str,
        digests: &[[u8; 32]],
        stop: &CancelToken,
    ) -> Result<Result<(), String>, RemoteError> {
        if let ReceivedState::Finished(over) = self.of_served()? {
            return Ok(over.kept.clone());
        }
        let whole = self.settled()?;
        let kept = match outcome {
            TwinVerdict::Identical => check(whole, digests, stop)?,
            TwinVerdict::Differs => Err("the judge found pages that differ".to_owned()),
            TwinVerdict::Inconclusive => Err("there is no verdict".to_owned()),
        };
        self.config.at.reached(ReceiverPoint::Judged);
        let ReceivedState::Committed(whole) = &mut self.state else {
            return Err(RemoteError::order("a verdict of a twin that is not whole"));
        };
        let (session, layout, held) = (whole.session, whole.layout.clone(), whole.held);
        let there = self.store.holds(&whole.kept);
        let kept = match kept {
            Ok(()) if !there => Err("something else has removed or replaced the file".to_owned()),
            kept => {
                whole.checkpoint()?;
                if kept.is_err() && there {
                    self.store.demote(&whole.kept)?;
                }
                kept
            }
        };
        let outcome = match (&kept, outcome) {
            // Its bytes are not those that the judge has seen: no pass.
            (Err(_), TwinVerdict::Identical) => TwinVerdict::Differs,
            (_, outcome) => outcome,
        };
        // In the directory of the twin, whose name may have changed too.
        whole.remove_journal()?;
        self.config.at.reached(ReceiverPoint::JournalRemoved);
        let whole = match std::mem::replace(&mut self.state, ReceivedState::Empty) {
            ReceivedState::Committed(whole) => Some(whole.into_kept()),
            ReceivedState::Empty | ReceivedState::Finished(_) => None,
        };
        self.store.conclude(whole, kept.is_ok())?;
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
