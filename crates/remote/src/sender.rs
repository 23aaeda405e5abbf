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
use memtwin_pages::{Layout, RegionId, Run};
use memtwin_replicate::{Again, Collector, Sink, SinkError, Stop, Written};
use memtwin_wire::{Kind, Message, Outcome, RecordWriter, Round, Shape, encode_layout};
use pay::Payer;
use shadow::{Known, Shadow, is_zero};
use std::sync::Mutex;
use std::time::Instant;

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

impl Sink for RemoteTwin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        let mut body = Vec::new();
        encode_layout(layout, &mut body).map_err(RemoteError::from)?;
        let shape = Shape::of(layout);
        self.opened = Some(Opened {
            books: Books::new(layout),
            shadow: self.config.delta.then(|| Shadow::new(&shape)),
            writer: RecordWriter::default(),
            payer: Payer::new(self.config.compression),
            layout: layout.clone(),
            shape,
        });
        let (config, session, stop) = (self.config.clone(), self.session, self.stop.clone());
        let meter = self.meter.clone();
        let line = self.line();
        line.layout = Some(body);
        let body = line.layout.as_deref();
        let said = match (&mut line.link, body) {
            (Some(link), Some(body)) => link.introduce(body, &stop),
            _ => Err(RemoteError::Closed),
        };
        match said {
            // Nothing was sent yet, so nothing is lost.
            Err(error) if error.may_pass() => {
                line.anew(&config, &session, &stop, &meter, error)
                    .map_err(|error| line.end(error))?;
                line.news = None;
                Ok(())
            }
            Err(error) => Err(line.end(error).into()),
            Ok(()) => Ok(()),
        }
    }

    fn write(&mut self, region: RegionId, first: u64, bytes: &[u8]) -> Result<Written, SinkError> {
        self.on_line(|opened, link, meter| {
            let before = opened.writer.bytes();
            let block = opened.shape.block(region);
            let pages = bytes.len() as u64 / opened.layout.region(region).page_size().bytes();
            // Noted first: whatever breaks below, these pages are this round's.
            opened.books.took(region, Run { first, count: pages });
            let first = first * opened.shape.per_page(region);
            let per_page = opened.shape.per_page(region);
            let (mut same, mut same_in_page) = (0, 0);
            // To copy all of memory takes longer than to send it over a fast link, which would hardly
            // gain by deltas; pages that are written again are worth it on any.
            let note = opened.books.is_past_pre_copy() || opened.payer.is_link_slow();
            for (at, new) in (first..).zip(bytes.chunks_exact(block)) {
                let known = opened
                    .shadow
                    .as_mut()
                    .map_or(Known::Nothing, |shadow| shadow.look(region, at, new, note));
                match known {
                    Known::This(held) => {
                        same_in_page += u64::from(!opened.writer.update(region, at, held, new));
                    }
                    Known::Nothing => {
                        if is_zero(new) {
                            opened.writer.zero(region, at);
                        } else {
                            opened.writer.full(region, at, new);
                        }
                    }
                }
                if (at + 1) % per_page == 0 {
                    same += u64::from(same_in_page == per_page);
                    same_in_page = 0;
                }
                if opened.writer.is_full(&opened.shape) {
                    flush(opened, link)?;
                }
            }
            meter.took(pages);
            Ok(Written { false_dirty: same, bytes: opened.writer.bytes() - before })
        })
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        if let Some(Opened { shadow: Some(shadow), .. }) = &self.opened {
            shadow.prefetch(region, pages);
        }
    }

    fn commit(&mut self, round: u32) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        self.on_line(|opened, link, meter| {
            flush(opened, link)?;
            let began = Instant::now();
            while opened.books.on_the_way() >= MOST_ROUNDS {
                link.wait(opened.books.arrived(), &stop)?;
                opened.books.acknowledged(link.acked());
            }
            meter.stalled(began.elapsed());
            let blocks = opened.writer.blocks();
            // A round of which the twin has everything already needs no word.
            if blocks > 0 {
                link.send(&Message::RoundEnd(Round { round, blocks }))?;
            }
            opened.writer.restart();
            opened.books.ended(round, blocks > 0);
            meter.linked(link, opened.books.on_the_way());
            Ok(())
        })
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        self.on_line(|opened, link, meter| {
            let began = Instant::now();
            while opened.books.on_the_way() > 0 {
                link.wait(opened.books.arrived(), &stop)?;
                opened.books.acknowledged(link.acked());
            }
            meter.stalled(began.elapsed());
            meter.linked(link, 0);
            Ok(())
        })
    }

    fn give_back(&mut self, into: &mut dyn Collector) {
        if let Some(opened) = &mut self.opened {
            let pages = opened.books.give_back(into);
            self.meter.sent_again(pages);
        }
    }
}

/// Sends what the writer has.
fn flush(opened: &mut Opened, link: &mut Link) -> Result<(), RemoteError> {
    if !opened.writer.is_empty() {
        opened.payer.send(link, opened.writer.frame())?;
        opened.writer.clear();
    }
    Ok(())
}
