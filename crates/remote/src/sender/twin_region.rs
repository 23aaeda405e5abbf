//! The twin as the judge reads it, without most of its bytes crossing the wire.
//!
//! The receiver is asked for the digests of its chunks. A chunk of the guest's memory that has the
//! same BLAKE3 *is* the twin's; of any other the blocks' digests are asked for, and what differs
//! still is fetched. So what this yields is the twin's content, byte for byte, whatever the memory
//! does meanwhile; who compares it learns where the two differ, and fetches only that.

use super::RemoteTwin;
use crate::RemoteError;
use memtwin_pages::{Image, RegionId};
use memtwin_wire::{BlockAnswer, BlockQuery, FrameKind, WireMessage};
use std::io;
use std::sync::{Mutex, PoisonError};

/// How many bytes go into one digest of the first level.
const CHUNK: u64 = 1 << 20;
/// How many digests are asked for at once: 64 MiB of the twin.
const DIGESTS: u64 = 64;
/// How many bytes are fetched at once.
const FETCH: u64 = 256 << 10;

/// Reads memory that the twin should be equal to: the offset in the region, and where to.
pub type MemoryGuess<'g> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + Sync + 'g;

/// A region of the twin.
pub struct TwinRegion<'t> {
    twin: &'t RemoteTwin,
    region: RegionId,
    bytes: u64,
    block: u64,
    guess: Box<MemoryGuess<'t>>,
    /// The first chunk's number and the digests that were had last.
    cache: Mutex<DigestCache>,
}

#[derive(Default)]
struct DigestCache {
    first: u64,
    digests: Vec<[u8; 32]>,
}

impl std::fmt::Debug for TwinRegion<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TwinRegion {{ {:?} }}", self.region)
    }
}

impl RemoteTwin {
    /// A region of the twin, to be read. `guess` is the memory that it should be equal to.
    ///
    /// Errors: the regions are not known yet. Panics if there is no such region.
    pub fn region<'t>(
        &'t self,
        region: RegionId,
        guess: Box<MemoryGuess<'t>>,
    ) -> Result<TwinRegion<'t>, RemoteError> {
        let opened = self.opened.as_ref().ok_or_else(|| RemoteError::order("not opened yet"))?;
        Ok(TwinRegion {
            twin: self,
            region,
            bytes: opened.layout.region(region).bytes(),
            block: opened.shape.block(region) as u64,
            guess,
            cache: Mutex::default(),
        })
    }
}

impl Image for TwinRegion<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let chunk = at / CHUNK;
            let begin = chunk * CHUNK;
            let end = (begin + CHUNK).min(self.bytes);
            let Some(len) = end.checked_sub(at).filter(|&len| len > 0) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let (part, after) = rest.split_at_mut(rest.len().min(len as usize));
            let mut whole = vec![0; (end - begin) as usize];
            (self.guess)(begin, &mut whole)?;
            if blake3::hash(&whole).as_bytes() != &self.digest(chunk)? {
                self.fetch_blocks(begin, &mut whole)?;
            }
            let from = (at - begin) as usize;
            part.copy_from_slice(&whole[from..from + part.len()]);
            at += part.len() as u64;
            rest = after;
        }
        Ok(())
    }
}

impl TwinRegion<'_> {
    /// The twin's digest of a chunk.
    fn digest(&self, chunk: u64) -> io::Result<[u8; 32]> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let index = chunk.wrapping_sub(cache.first) as usize;
        if let Some(digest) = cache.digests.get(index) {
            return Ok(*digest);
        }
        let chunks = self.bytes.div_ceil(CHUNK);
        let count = (chunks - chunk).min(DIGESTS);
        let each = CHUNK / self.block;
        cache.digests = self.digests(chunk * each, each, count)?;
        cache.first = chunk;
        cache.digests.first().copied().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn digests(&self, first: u64, each: u64, count: u64) -> io::Result<Vec<[u8; 32]>> {
        // All are small by the constants above.
        let asked = BlockQuery {
            region: self.region.0 as u64,
            first,
            each: each as u32,
            count: count as u32,
        };
        let body = self.answer(&WireMessage::AskDigests(asked), FrameKind::Digests)?;
        match WireMessage::read(FrameKind::Digests, &body) {
            Ok(WireMessage::Digests(BlockAnswer { asked: answered, bytes }))
                if answered == asked =>
            {
                Ok(bytes.as_chunks::<32>().0.to_vec())
            }
            _ => Err(wrong()),
        }
    }

    /// Makes the twin's of a chunk of memory that differs from it.
    fn fetch_blocks(&self, begin: u64, chunk: &mut [u8]) -> io::Result<()> {
        let block = self.block as usize;
        let first = begin / self.block;
        let blocks = (chunk.len() / block) as u64;
        let digests = self.digests(first, 1, blocks)?;
        let mut wanted: Vec<u64> = (0..blocks)
            .filter(|&i| {
                let bytes = &chunk[i as usize * block..][..block];
                digests.get(i as usize) != Some(blake3::hash(bytes).as_bytes())
            })
            .collect();
        wanted.reverse();
        let most = (FETCH / self.block).max(1);
        while let Some(from) = wanted.pop() {
            let mut count = 1;
            while count < most && wanted.last() == Some(&(from + count)) {
                wanted.pop();
                count += 1;
            }
            let range = from as usize * block..(from + count) as usize * block;
            let bytes = self.fetch(first + from, count)?;
            if bytes.len() != range.len() {
                return Err(wrong());
            }
            for (i, bytes) in (from..).zip(bytes.chunks(block)) {
                if digests.get(i as usize) != Some(blake3::hash(bytes).as_bytes()) {
                    return Err(io::Error::other("the twin's bytes do not have its digest"));
                }
            }
            chunk[range].copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn fetch(&self, first: u64, count: u64) -> io::Result<Vec<u8>> {
        let region = self.region.0 as u64;
        let asked = BlockQuery { region, first, each: 1, count: count as u32 };
        let body = self.answer(&WireMessage::Fetch(asked), FrameKind::Bytes)?;
        match WireMessage::read(FrameKind::Bytes, &body) {
            Ok(WireMessage::Bytes(BlockAnswer { asked: answered, bytes })) if answered == asked => {
                Ok(bytes.to_vec())
            }
            _ => Err(wrong()),
        }
    }

    fn answer(&self, question: &WireMessage<'_>, expected: FrameKind) -> io::Result<Vec<u8>> {
        self.twin.ask(question, expected).map_err(io::Error::other)
    }
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the receiver answered something else")
}
