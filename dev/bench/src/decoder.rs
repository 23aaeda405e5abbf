//! The decoder of QEMU's migration stream alone, beside a plain copy of the same pages.

use crate::beside::{Aim, Measured};
use anyhow::{Result, anyhow};
use memtwin_stream::{BlockEntry, Decoder, StreamLimits, StreamVisitor};
use std::convert::Infallible;
use std::time::{Duration, Instant};

#[path = "../../../crates/stream/tests/common/encode.rs"]
#[allow(dead_code, reason = "a part of it is enough")]
mod encode;

const PAGE: usize = 4096;
/// Of a page record: flags and offset.
const HEAD: usize = 8;
/// What is read from a socket at a time.
const PIECE: usize = 256 << 10;
const PAGES: u64 = 64 << 10;

/// Random pages into a twin, beside memcpy; zero pages beside them.
pub(crate) fn decoder(turns: usize) -> Result<Vec<Measured>> {
    let (random, zero) = (stream(false), stream(true));
    let mut twin = DecodedTwin::default();
    let (mut decoded, mut copied, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
    // The first of each touches memory that was never touched.
    decode(&random, &mut twin)?;
    for _ in 0..turns {
        copied.push(copy(&random, &mut twin));
        decoded.push(decode(&random, &mut twin)?);
        // To fill them takes as long as to copy; of the decoder itself little is left.
        zeros.push(decode(&zero, &mut ZeroCounter::default())?);
    }
    let what = format!("decoding {PAGES} random pages into a twin");
    let zero = format!("decoding {PAGES} zero pages into nothing");
    Ok(vec![
        Measured::of(what, &decoded, "memcpy of the pages", &copied, Aim::Faster(0.8)),
        Measured::of(zero, &zeros, "random ones into a twin", &decoded, Aim::Faster(5.0)),
    ])
}

/// A twin in memory.
#[derive(Default)]
struct DecodedTwin(Vec<u8>);

impl StreamVisitor for DecodedTwin {
    type Error = Infallible;

    fn blocks(&mut self, blocks: &[BlockEntry]) -> Result<(), Infallible> {
        let bytes: u64 = blocks.iter().map(|block| block.used_bytes).sum();
        self.0.resize(bytes as usize, 1);
        Ok(())
    }

    fn page(&mut self, _: usize, offset: u64, bytes: &[u8]) -> Result<(), Infallible> {
        self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn fill(&mut self, _: usize, offset: u64, byte: u8) -> Result<(), Infallible> {
        self.0[offset as usize..][..PAGE].fill(byte);
        Ok(())
    }
}

/// Counts zero pages, so that their records must be read.
#[derive(Default)]
struct ZeroCounter(u64);

impl StreamVisitor for ZeroCounter {
    type Error = Infallible;

    fn blocks(&mut self, _: &[BlockEntry]) -> Result<(), Infallible> {
        Ok(())
    }

    fn page(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn fill(&mut self, _: usize, offset: u64, _: u8) -> Result<(), Infallible> {
        self.0 = std::hint::black_box(self.0 + offset);
        Ok(())
    }
}

fn decode(stream: &[u8], twin: &mut impl StreamVisitor<Error = Infallible>) -> Result<Duration> {
    let began = Instant::now();
    let mut decoder = Decoder::new(StreamLimits::default(), PAGE as u32);
    for piece in stream.chunks(PIECE) {
        decoder.feed(piece, twin).map_err(|error| anyhow!("{error:?}"))?;
    }
    decoder.finish()?;
    Ok(began.elapsed())
}

/// Page after page out of the stream, without looking at what is between them.
fn copy(stream: &[u8], twin: &mut DecodedTwin) -> Duration {
    let began = Instant::now();
    for (page, from) in twin.0.chunks_exact_mut(PAGE).zip(stream.chunks(PAGE + HEAD)) {
        page.copy_from_slice(&from[..PAGE]);
    }
    began.elapsed()
}

/// All of a guest's memory, once.
fn stream(zero: bool) -> Vec<u8> {
    let mut stream = encode::Stream::new("bench", PAGE);
    stream.blocks(&[("pc.ram", PAGES * PAGE as u64)]).part();
    for page in 0..PAGES {
        if zero {
            stream.fill("pc.ram", page * PAGE as u64, 0);
        } else {
            stream.page("pc.ram", page * PAGE as u64, page);
        }
    }
    stream.close().end().close().devices();
    stream.bytes
}
