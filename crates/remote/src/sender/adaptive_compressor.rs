//! Whether compressing pays: on this link, with this processor, for these bytes.
//!
//! A byte costs what the link takes to take it, and compressing costs time. Now and then each
//! method is tried on a frame; the one whose time and bytes together cost least is used until the
//! next trial. Both costs are remembered with less weight the older they are.

use super::Compression;
use super::sender_link::SenderLink;
use crate::RemoteError;
use memtwin_wire::{CompressionMethod, Compressor, HEAD};
use std::time::Instant;

/// A trial in this many frames: the first number at the beginning and after a change, up to the
/// second while nothing changes.
const SOONEST: u32 = 16;
const LATEST: u32 = 1024;

/// A link that takes longer than this many seconds for a byte (below 400 MB/s) holds a first pass up
/// by itself: to copy memory that was never touched takes less.
const SLOW: f64 = 1.0 / 400e6;

/// Shorter bodies are not worth a thought.
const LEAST: usize = 512;

#[derive(Debug)]
pub(super) struct AdaptiveCompressor {
    wanted: Compression,
    squeeze: Compressor,
    method: CompressionMethod,
    /// How many frames until the next trial, and how many there were between it and the last.
    left: u32,
    every: u32,
    /// Seconds that the link takes for a byte.
    link: f64,
}

impl AdaptiveCompressor {
    pub(super) fn new(wanted: Compression) -> Self {
        let method = match wanted {
            Compression::Always(method) => method,
            Compression::Auto => CompressionMethod::None,
        };
        Self { wanted, squeeze: Compressor::default(), method, left: 1, every: SOONEST, link: 0.0 }
    }

    /// Sends a frame of records.
    pub(super) fn send(
        &mut self,
        link: &mut SenderLink,
        frame: &mut [u8],
    ) -> Result<(), RemoteError> {
        if self.wanted == Compression::Auto && frame.len() >= LEAST {
            if self.left == 0 {
                let best = self.try_all(frame);
                self.every =
                    if best == self.method { (self.every * 2).min(LATEST) } else { SOONEST };
                self.method = best;
                self.left = self.every;
            }
            self.left -= 1;
        }
        let method = if frame.len() < LEAST { CompressionMethod::None } else { self.method };
        let (bytes, began) = match self.squeeze.frame(method, frame) {
            Some(squeezed) => {
                let began = Instant::now();
                link.send_frame(method.kind(), squeezed)?;
                (squeezed.len(), began)
            }
            None => {
                let began = Instant::now();
                link.send_frame(CompressionMethod::None.kind(), frame)?;
                (frame.len(), began)
            }
        };
        self.cost(bytes, began);
        Ok(())
    }

    /// Whether it is the link that holds things up, and not this machine's memory.
    pub(super) fn is_link_slow(&self) -> bool {
        self.link > SLOW
    }

    fn cost(&mut self, bytes: usize, began: Instant) {
        if bytes >= LEAST {
            let now = began.elapsed().as_secs_f64() / bytes as f64;
            self.link = if self.link == 0.0 { now } else { self.link * 0.9 + now * 0.1 };
        }
    }

    /// The method that costs least for a frame like this one.
    fn try_all(&mut self, frame: &[u8]) -> CompressionMethod {
        let mut best = (self.link * frame.len() as f64, CompressionMethod::None);
        for method in [CompressionMethod::Lz4, CompressionMethod::Zstd] {
            let began = Instant::now();
            let Some(squeezed) = self.squeeze.frame(method, frame) else { continue };
            let bytes = squeezed.len() - HEAD;
            let cost = began.elapsed().as_secs_f64() + self.link * bytes as f64;
            if cost < best.0 {
                best = (cost, method);
            }
        }
        best.1
    }
}
