//! The sender as the engine's sink.

use super::adaptive_compressor::AdaptiveCompressor;
use super::in_flight_rounds::InFlightRounds;
use super::sender_link::SenderLink;
use super::twin_shadow::{KnownBlock, TwinShadow, is_zero};
use super::{MOST_ROUNDS, OpenedSender, RemoteTwin};
use crate::RemoteError;
use memtwin_pages::{Layout, RegionId, Run};
use memtwin_replicate::{Collector, SamePages, Sink, SinkError, WriteOutcome};
use memtwin_wire::{RecordWriter, RoundEnd, TwinShape, WireMessage, encode_layout};
use std::time::Instant;

impl Sink for RemoteTwin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        let mut body = Vec::new();
        encode_layout(layout, &mut body).map_err(RemoteError::from)?;
        let shape = TwinShape::of(layout);
        self.opened = Some(OpenedSender {
            in_flight: InFlightRounds::new(layout),
            shadow: self.config.delta.then(|| TwinShadow::new(&shape)),
            writer: RecordWriter::default(),
            compressor: AdaptiveCompressor::new(self.config.compression),
            layout: layout.clone(),
            shape,
        });
        let (config, session, stop) = (self.config.clone(), self.session, self.stop.clone());
        let meter = self.meter.clone();
        let reconnector = self.reconnector();
        reconnector.layout = Some(body);
        let body = reconnector.layout.as_deref();
        let said = match (&mut reconnector.link, body) {
            (Some(link), Some(body)) => link.introduce(body, &stop),
            _ => Err(RemoteError::Closed),
        };
        match said {
            // Nothing was sent yet, so nothing is lost.
            Err(error) if error.may_pass() => {
                reconnector
                    .anew(&config, &session, &stop, &meter, error)
                    .map_err(|error| reconnector.end(error))?;
                reconnector.news = None;
                Ok(())
            }
            Err(error) => Err(reconnector.end(error).into()),
            Ok(()) => Ok(()),
        }
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        self.connected(|opened, link, meter| {
            let before = opened.writer.bytes();
            let block = opened.shape.block(region);
            let pages = bytes.len() as u64 / opened.layout.region(region).page_size().bytes();
            // Noted first: whatever breaks below, these pages are this round's.
            opened.in_flight.took(region, Run { first, count: pages });
            let first_page = first;
            let first = first * opened.shape.per_page(region);
            let per_page = opened.shape.per_page(region);
            let (mut same, mut same_in_page) = (SamePages::default(), 0);
            // To copy all of memory takes longer than to send it over a fast link, which would hardly
            // gain by deltas; pages that are written again are worth it on any.
            let note = opened.in_flight.is_past_pre_copy() || opened.compressor.is_link_slow();
            for (at, new) in (first..).zip(bytes.chunks_exact(block)) {
                let known = opened
                    .shadow
                    .as_mut()
                    .map_or(KnownBlock::Nothing, |shadow| shadow.look(region, at, new, note));
                match known {
                    KnownBlock::This(held) => {
                        same_in_page += u64::from(!opened.writer.update(region, at, held, new));
                    }
                    KnownBlock::Nothing => {
                        if is_zero(new) {
                            opened.writer.zero(region, at);
                        } else {
                            opened.writer.full(region, at, new);
                        }
                    }
                }
                if (at + 1) % per_page == 0 {
                    if same_in_page == per_page {
                        same.insert(at / per_page - first_page);
                    }
                    same_in_page = 0;
                }
                if opened.writer.is_full(&opened.shape) {
                    flush(opened, link)?;
                }
            }
            meter.took(pages);
            Ok(WriteOutcome { same, bytes: opened.writer.bytes() - before })
        })
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        if let Some(OpenedSender { shadow: Some(shadow), .. }) = &self.opened {
            shadow.prefetch(region, pages);
        }
    }

    fn commit(&mut self, round: u32) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        self.connected(|opened, link, meter| {
            flush(opened, link)?;
            let began = Instant::now();
            while opened.in_flight.on_the_way() >= MOST_ROUNDS {
                link.wait(opened.in_flight.arrived(), &stop)?;
                opened.in_flight.acknowledged(link.acked());
            }
            meter.stalled(began.elapsed());
            let blocks = opened.writer.blocks();
            // A round of which the twin has everything already needs no word.
            if blocks > 0 {
                link.send(&WireMessage::RoundEnd(RoundEnd { round, blocks }))?;
            }
            opened.writer.restart();
            opened.in_flight.ended(round, blocks > 0);
            meter.linked(link, opened.in_flight.on_the_way());
            Ok(())
        })
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        self.connected(|opened, link, meter| {
            let began = Instant::now();
            while opened.in_flight.on_the_way() > 0 {
                link.wait(opened.in_flight.arrived(), &stop)?;
                opened.in_flight.acknowledged(link.acked());
            }
            meter.stalled(began.elapsed());
            meter.linked(link, 0);
            Ok(())
        })
    }

    fn take_undelivered(&mut self, into: &mut dyn Collector) {
        if let Some(opened) = &mut self.opened {
            let pages = opened.in_flight.take_undelivered(into);
            self.meter.sent_again(pages);
        }
    }
}

/// Sends what the writer has.
fn flush(opened: &mut OpenedSender, link: &mut SenderLink) -> Result<(), RemoteError> {
    if !opened.writer.is_empty() {
        opened.compressor.send(link, opened.writer.frame())?;
        opened.writer.clear();
    }
    Ok(())
}
