//! The sending end: a sink whose twin is on another host.
//!
//! `write` takes the engine's pages, leaves out what the twin has already, and puts the rest into
//! frames; `commit` sends the round's end, as soon as the rounds before it are durable
//! ([`MOST_ROUNDS`]), and does not wait for its own. That and the stream itself, when the link is full, are the back-pressure, and it
//! is measured. A broken
//! connection is made again at the next call; what it swallowed is given back to the engine.

mod adaptive_compressor;
mod config;
mod figures;
mod in_flight_rounds;
mod reconnector;
mod sender_link;
mod sink;
mod twin_region;
mod twin_shadow;

pub use config::{Compression, SenderConfig};
pub use figures::Figures;
pub use twin_region::{MemoryGuess, TwinRegion};

use crate::RemoteError;
use adaptive_compressor::AdaptiveCompressor;
use figures::FigureMeter;
use in_flight_rounds::InFlightRounds;
use memtwin_pages::Layout;
use memtwin_replicate::{CancelToken, Retry, SinkError};
use memtwin_wire::{FrameKind, RecordWriter, TwinShape, TwinVerdict, WireMessage};
use reconnector::Reconnector;
pub(crate) use reconnector::nonce;
use sender_link::SenderLink;
use std::sync::Mutex;
use twin_shadow::TwinShadow;

/// How many ended rounds may be on their way: this many, and what has come of the one after them, are
/// what a break swallows at most.
const MOST_ROUNDS: usize = 1;

/// A twin on another host.
#[derive(Debug)]
pub struct RemoteTwin {
    config: SenderConfig,
    session: [u8; 16],
    stop: CancelToken,
    meter: FigureMeter,
    /// In a lock for the judge, who only borrows the sink.
    reconnector: Mutex<Reconnector>,
    opened: Option<OpenedSender>,
}

#[derive(Debug)]
struct OpenedSender {
    layout: Layout,
    shape: TwinShape,
    in_flight: InFlightRounds,
    shadow: Option<TwinShadow>,
    writer: RecordWriter,
    compressor: AdaptiveCompressor,
}

impl RemoteTwin {
    /// Calls the receiver, so that what is wrong there is known before a guest is made.
    pub fn connect(config: SenderConfig, stop: CancelToken) -> Result<Self, RemoteError> {
        let session = nonce()?;
        let meter = FigureMeter::default();
        let link = SenderLink::make(&config, &session, None, &stop)?.0;
        let reconnector = Reconnector {
            link: Some(link),
            layout: None,
            news: None,
            breaks: 0,
            ended: None,
            acked_at_break: None,
        };
        Ok(Self {
            config,
            session,
            stop,
            meter,
            reconnector: Mutex::new(reconnector),
            opened: None,
        })
    }

    /// What it came to so far.
    pub fn figures(&self) -> Figures {
        self.meter.figures()
    }

    /// Tells the receiver the verdict, with the BLAKE3 of each region's memory if it is
    /// `identical`; waits for its word. Whether it has kept the twin as complete, or why not.
    ///
    /// Call it when everything is settled and judged. Before the end of the first round there is no twin
    /// that a verdict could be of: the connection ends then, as the receiver expects of a sender that is gone.
    pub fn finish(
        &mut self,
        outcome: TwinVerdict,
        reason: &str,
        digests: &[[u8; 32]],
    ) -> Result<Result<(), String>, RemoteError> {
        self.reconnector().check()?;
        let has_twin = |opened: &OpenedSender| opened.in_flight.is_past_pre_copy();
        if !self.opened.as_ref().is_some_and(has_twin) {
            self.reconnector().link = None;
            return Ok(Err("its first round did not come to an end".to_owned()));
        }
        let digests = digests.concat();
        let verdict = WireMessage::Verdict { outcome, reason: reason.into(), digests: &digests };
        let body = self.ask(&verdict, FrameKind::Confirm)?;
        let kept = match WireMessage::read(FrameKind::Confirm, &body)? {
            WireMessage::Confirm { kept: true, .. } => Ok(()),
            WireMessage::Confirm { why, .. } => Err(why.to_string()),
            _ => Err("no confirmation".to_owned()),
        };
        // It has all that it needs; whether it hears this changes nothing.
        if let Some(link) = &mut self.reconnector().link {
            let _ = link.send(&WireMessage::Bye);
        }
        Ok(kept)
    }

    /// Says something and waits for the answer, over a new connection if need be.
    fn ask(&self, message: &WireMessage<'_>, expected: FrameKind) -> Result<Vec<u8>, RemoteError> {
        let mut reconnector =
            self.reconnector.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            reconnector.check()?;
            let answer = match &mut reconnector.link {
                Some(link) => link.ask(message, expected, &self.stop),
                None => Err(RemoteError::Closed),
            };
            match answer {
                Err(error) if error.may_pass() => {
                    tracing::warn!("{error}; calling again");
                    reconnector
                        .anew(&self.config, &self.session, &self.stop, &self.meter, error)
                        .map_err(|error| reconnector.end(error))?;
                    // Everything was settled before anyone asked; a receiver that holds less now is
                    // not to be judged.
                    if reconnector.news.flatten() < reconnector.acked_at_break {
                        let error = RemoteError::order(format!(
                            "the receiver holds round {:?} where it had acknowledged {:?}",
                            reconnector.news.flatten(),
                            reconnector.acked_at_break
                        ));
                        return Err(reconnector.end(error));
                    }
                }
                Err(error) => return Err(reconnector.end(error)),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn reconnector(&mut self) -> &mut Reconnector {
        self.reconnector.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs `work` on what is open and the link. When that breaks: a new link, the books set right,
    /// and [`Retry`].
    fn connected<T>(
        &mut self,
        work: impl FnOnce(&mut OpenedSender, &mut SenderLink, &FigureMeter) -> Result<T, RemoteError>,
    ) -> Result<T, SinkError> {
        let Some(opened) = &mut self.opened else {
            return Err(RemoteError::order("pages before the regions").into());
        };
        let reconnector =
            self.reconnector.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        reconnector.check()?;
        // A link that the judge's questions have made again: nobody has looked at the books yet.
        let done = match (&mut reconnector.link, reconnector.news) {
            (Some(link), None) => {
                opened.in_flight.acknowledged(link.acked());
                work(opened, link, &self.meter)
            }
            (Some(_), Some(_)) => Err(RemoteError::Closed),
            (None, _) => Err(RemoteError::Closed),
        };
        let error = match done {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if reconnector.news.is_none() {
            if !error.may_pass() {
                return Err(reconnector.end(error).into());
            }
            tracing::warn!("{error}; calling again");
            if let Some(link) = &reconnector.link {
                opened.in_flight.acknowledged(link.acked());
            }
            reconnector
                .anew(&self.config, &self.session, &self.stop, &self.meter, error)
                .map_err(|error| reconnector.end(error))?;
        }
        let held = reconnector.news.take().flatten();
        self.meter.swallowed(opened.in_flight.swallowed(held));
        let lost = opened.in_flight.broke(held);
        if let Some(shadow) = &mut opened.shadow {
            for (region, run) in lost {
                shadow.forget(region, run);
            }
        }
        opened.writer.restart();
        Err(SinkError::new(Retry))
    }
}
