//! How fast the decoder is, beside memcpy of the same page bytes in the same run.
//!
//! `cargo run --release -p memtwin-stream --example speed -- [MiB] [TURNS] [FILE]`
//!
//! A stream of random pages (or a recorded one in FILE) is decoded from memory, in pieces of 1 MiB,
//! into a twin that is already there; then the same pages are copied plainly. Each is measured in
//! turns, and the best of each counts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark")]

use memtwin_stream::{BlockEntry, Decoder, Limits, Visitor};
use std::convert::Infallible;
use std::time::{Duration, Instant};

#[path = "../tests/common/encode.rs"]
#[allow(dead_code, reason = "an example uses a part of it")]
mod encode;

const PAGE: usize = 4096;
/// What is read from a socket at a time.
const PIECE: usize = 1 << 20;

/// A twin in memory. Opening it touches every page once, and only the first time.
#[derive(Default)]
struct Twin {
    blocks: Vec<Vec<u8>>,
    /// Whose bytes were sent, in order, for the plain copy.
    places: Vec<(usize, usize)>,
    keep_places: bool,
    pages: u64,
    fills: u64,
}

impl Visitor for Twin {
    type Error = Infallible;

    fn blocks(&mut self, blocks: &[BlockEntry]) -> Result<(), Infallible> {
        if self.blocks.is_empty() {
            self.blocks = blocks.iter().map(|block| vec![1; block.used_bytes as usize]).collect();
        }
        Ok(())
    }

    fn page(&mut self, block: usize, offset: u64, bytes: &[u8]) -> Result<(), Infallible> {
        let at = offset as usize;
        self.blocks[block][at..at + bytes.len()].copy_from_slice(bytes);
        self.pages += 1;
        if self.keep_places {
            self.places.push((block, at));
        }
        Ok(())
    }

    fn fill(&mut self, block: usize, offset: u64, byte: u8) -> Result<(), Infallible> {
        let at = offset as usize;
        self.blocks[block][at..at + PAGE].fill(byte);
        self.fills += 1;
        Ok(())
    }
}

/// Tells nothing to anybody, for what the decoder itself costs.
#[derive(Default)]
struct Count(u64);

impl Visitor for Count {
    type Error = Infallible;

    fn blocks(&mut self, _: &[BlockEntry]) -> Result<(), Infallible> {
        Ok(())
    }

    fn page(&mut self, _: usize, offset: u64, _: &[u8]) -> Result<(), Infallible> {
        self.0 = self.0.wrapping_add(offset + 1);
        Ok(())
    }

    fn fill(&mut self, _: usize, offset: u64, _: u8) -> Result<(), Infallible> {
        self.0 = self.0.wrapping_add(offset + 1);
        Ok(())
    }
}

fn decode(stream: &[u8], to: &mut impl Visitor<Error = Infallible>) -> Duration {
    let begin = Instant::now();
    let mut decoder = Decoder::new(Limits::default(), PAGE as u32);
    for piece in stream.chunks(PIECE) {
        decoder.feed(piece, to).expect("a legal stream");
    }
    decoder.finish().expect("a whole stream");
    begin.elapsed()
}

/// Where the page bytes lie in a stream of random pages, in the order of the twin's places.
fn plain(stream: &[u8], twin: &mut Twin) -> Duration {
    let Twin { blocks, places, .. } = twin;
    let begin = Instant::now();
    // Page after page out of the stream's memory, without looking at what is between them.
    for (number, (block, at)) in places.iter().enumerate() {
        let from = (number * (PAGE + 8)).min(stream.len() - PAGE);
        blocks[*block][*at..*at + PAGE].copy_from_slice(&stream[from..from + PAGE]);
    }
    begin.elapsed()
}

fn generated(pages: u64, zero: bool) -> Vec<u8> {
    let mut stream = encode::Stream::new("speed", PAGE);
    stream.blocks(&[("pc.ram", pages * PAGE as u64)]).part();
    for page in 0..pages {
        if zero {
            stream.fill("pc.ram", page * PAGE as u64, 0);
        } else {
            stream.page("pc.ram", page * PAGE as u64, page);
        }
    }
    stream.close().end().close().devices();
    stream.bytes
}

fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e9
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mib: u64 = arguments.next().map_or(256, |mib| mib.parse().expect("a number of MiB"));
    let turns: usize = arguments.next().map_or(7, |turns| turns.parse().expect("a number"));
    let file = arguments.next();
    let pages = mib * (1 << 20) / PAGE as u64;
    let stream = file.map_or_else(|| generated(pages, false), |file| std::fs::read(file).unwrap());
    let zeros = generated(pages, true);

    let mut twin = Twin { keep_places: true, ..Twin::default() };
    decode(&stream, &mut twin);
    twin.keep_places = false;
    let bytes = twin.pages * PAGE as u64;
    let mut best = [Duration::MAX; 5];
    let mut zero_twin = Twin::default();
    decode(&zeros, &mut zero_twin);
    for _ in 0..turns {
        let times = [
            plain(&stream, &mut twin),
            decode(&stream, &mut twin),
            decode(&stream, &mut Count::default()),
            decode(&zeros, &mut zero_twin),
            decode(&zeros, &mut Count::default()),
        ];
        for (best, time) in best.iter_mut().zip(times) {
            *best = time.min(*best);
        }
    }
    let [copy, into_twin, alone, zero_fill, zero_alone] = best;
    println!("{} pages of {PAGE} bytes, best of {turns} turns:", bytes / PAGE as u64);
    println!("  memcpy of the pages          {:8.2} GB/s", rate(bytes, copy));
    println!(
        "  decoded into a twin          {:8.2} GB/s, ratio {:.2}",
        rate(bytes, into_twin),
        copy.as_secs_f64() / into_twin.as_secs_f64()
    );
    println!("  decoded, nothing kept        {:8.2} GB/s", rate(bytes, alone));
    let ram = pages * PAGE as u64;
    println!("{pages} zero pages:");
    println!("  decoded, twin filled         {:8.2} GB/s of RAM", rate(ram, zero_fill));
    println!(
        "  decoded, nothing kept        {:8.2} GB/s of RAM, {:.1} ns a page",
        rate(ram, zero_alone),
        zero_alone.as_secs_f64() * 1e9 / pages as f64
    );
}
