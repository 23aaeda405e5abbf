//! The sending end: a sink whose twin is on another host.
//!
//! `write` takes the engine's pages, leaves out what the twin has already, and puts the rest into
//! frames; `commit` sends the round's end, as soon as the rounds before it are durable
//! ([`MOST_ROUNDS`]), and does not wait for its own. That and the stream itself, when the link is full, are the back-pressure, and it
//! is measured. A broken
//! connection is made anew at the next call; what it swallowed is given back to the engine.

mod books;
mod config;
mod figures;
mod line;
mod link;
mod pay;
mod shadow;
mod sink;
mod twin;

pub use config::{Compression, Config};
pub use figures::Figures;
pub use twin::{Guess, TwinRegion};

use crate::RemoteError;
use books::Books;
use figures::Meter;
use line::Line;
pub(crate) use line::nonce;
use link::Link;
use memtwin_pages::Layout;
use memtwin_replicate::{Again, SinkError, Stop};
use memtwin_wire::{Kind, Message, Outcome, RecordWriter, Shape};
use pay::Payer;
use shadow::Shadow;
use std::sync::Mutex;

/// How many ended rounds may be on their way: so many, and what has come of the one after them, are
/// what a break swallows at most.
const MOST_ROUNDS: usize = 1;

/// A twin on another host.
#[derive(Debug)]
pub struct RemoteTwin {
    config: Config,
    session: [u8; 16],
    stop: Stop,
    meter: Meter,
    /// In a lock for the judge, who only borrows the sink.
    line: Mutex<Line>,
    opened: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    layout: Layout,
    shape: Shape,
    books: Books,
    shadow: Option<Shadow>,
    writer: RecordWriter,
    payer: Payer,
}

impl RemoteTwin {
    /// Calls the receiver, so that what is wrong there is known before a guest is made.
    pub fn connect(config: Config, stop: Stop) -> Result<Self, RemoteError> {
        let session = nonce()?;
        let meter = Meter::default();
        let link = Link::make(&config, &session, None, &stop)?.0;
        let line = Line {
            link: Some(link),
            layout: None,
            news: None,
            breaks: 0,
            ended: None,
            acked_at_break: None,
        };
        Ok(Self { config, session, stop, meter, line: Mutex::new(line), opened: None })
    }

    /// What it came to so far.
    pub fn figures(&self) -> Figures {
        self.meter.figures()
    }

    /// Tells the receiver the verdict, with the BLAKE3 of each region's memory if it is
    /// `identical`; waits for its word. Whether it has kept the twin as complete, or why not.
    ///
    /// Call it when everything is settled and judged.
    pub fn finish(
        &mut self,
        outcome: Outcome,
        reason: &str,
        digests: &[[u8; 32]],
    ) -> Result<Result<(), String>, RemoteError> {
        let digests = digests.concat();
        let verdict = Message::Verdict { outcome, reason: reason.into(), digests: &digests };
        let body = self.ask(&verdict, Kind::Confirm)?;
        let kept = match Message::read(Kind::Confirm, &body)? {
            Message::Confirm { kept: true, .. } => Ok(()),
            Message::Confirm { why, .. } => Err(why.to_string()),
            _ => Err("no confirmation".to_owned()),
        };
        // It has all that it needs; whether it hears this changes nothing.
        if let Some(link) = &mut self.line().link {
            let _ = link.send(&Message::Bye);
        }
        Ok(kept)
    }

    /// Says something and waits for the answer, over a new connection if need be.
    fn ask(&self, message: &Message<'_>, expected: Kind) -> Result<Vec<u8>, RemoteError> {
        let mut line = self.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            line.check()?;
            let answer = match &mut line.link {
                Some(link) => link.ask(message, expected, &self.stop),
                None => Err(RemoteError::Closed),
            };
            match answer {
                Err(error) if error.may_pass() => {
                    tracing::warn!("{error}; calling again");
                    line.anew(&self.config, &self.session, &self.stop, &self.meter, error)
                        .map_err(|error| line.end(error))?;
                    // Everything was settled before anyone asked; a receiver that holds less now is
                    // not to be judged.
                    if line.news.flatten() < line.acked_at_break {
                        let error = RemoteError::order(format!(
                            "the receiver holds round {:?} where it had acknowledged {:?}",
                            line.news.flatten(),
                            line.acked_at_break
                        ));
                        return Err(line.end(error));
                    }
                }
                Err(error) => return Err(line.end(error)),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn line(&mut self) -> &mut Line {
        self.line.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs `work` on what is open and the link. When that breaks: a new link, the books set right,
    /// and [`Again`].
    fn on_line<T>(
        &mut self,
        work: impl FnOnce(&mut Opened, &mut Link, &Meter) -> Result<T, RemoteError>,
    ) -> Result<T, SinkError> {
        let Some(opened) = &mut self.opened else {
            return Err(RemoteError::order("pages before the regions").into());
        };
        let line = self.line.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        line.check()?;
        // A link that the judge's questions have made anew: nobody has looked at the books yet.
        let done = match (&mut line.link, line.news) {
            (Some(link), None) => {
                opened.books.acknowledged(link.acked());
                work(opened, link, &self.meter)
            }
            (Some(_), Some(_)) => Err(RemoteError::Closed),
            (None, _) => Err(RemoteError::Closed),
        };
        let error = match done {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if line.news.is_none() {
            if !error.may_pass() {
                return Err(line.end(error).into());
            }
            tracing::warn!("{error}; calling again");
            if let Some(link) = &line.link {
                opened.books.acknowledged(link.acked());
            }
            line.anew(&self.config, &self.session, &self.stop, &self.meter, error)
                .map_err(|error| line.end(error))?;
        }
        let held = line.news.take().flatten();
        self.meter.swallowed(opened.books.swallowed(held));
        let lost = opened.books.broke(held);
        if let Some(shadow) = &mut opened.shadow {
            for (region, run) in lost {
                shadow.forget(region, run);
            }
        }
        opened.writer.restart();
        Err(SinkError::new(Again))
    }
}
