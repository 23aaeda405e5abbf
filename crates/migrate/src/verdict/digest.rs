//! The digests of a paused guest's memory, page by page, as they travel from the host where its QEMU
//! runs: the whole memory of both sides is compared, and only pages that differ are sent.
//!
//! A line `memtwin digest 1`; for each RAMBlock a line of JSON ([`BlockHead`]) and 16 bytes for each of
//! its pages, the beginning of the page's BLAKE3 digest; a line `end`. Without the last line the list is
//! no list: something has died on the way.

use memtwin_pages::{Gpa, Layout, PageSize, Region, Window};
use memtwin_qemu::{Block, BlockMemory, BlocksError, MemoryError, Process, blocks};
use memtwin_qmp::{Qmp, QmpError};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const FIRST: &str = "memtwin digest 1";
const LAST: &str = "end";
/// How many pages a block may have: 16 TiB of pages of 4 KiB.
const MOST_PAGES: u64 = 1 << 32;
/// How many bytes are read at once.
const CHUNK: usize = 1 << 20;
/// The unit in which memory is compared: the same on both sides, whatever pages they have.
const PAGE: u64 = 4096;
/// How long QEMU may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The beginning of a page's BLAKE3 digest.
pub type PageDigest = [u8; 16];

/// What comes before a block's digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHead {
    /// Its name, as in the migration stream.
    pub name: String,
    /// How many bytes of it are in use.
    pub bytes: u64,
    /// The size of the pages that are digested.
    pub page_size: u64,
    /// Where the guest sees it: address, offset in the block, bytes.
    pub windows: Vec<(u64, u64, u64)>,
}

/// A block and its digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDigests {
    /// The head.
    pub head: BlockHead,
    /// Of each page.
    pub pages: Vec<PageDigest>,
}

/// Why there are no digests.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// QEMU can't be asked.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Its blocks are not known.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// Its memory can't be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// There is no such page.
    #[error("{0}: no such page; expected BLOCK:NUMBER")]
    NoPage(String),
    /// They can't be sent or received.
    #[error("the digests of a guest's memory: {0}")]
    Stream(#[from] io::Error),
    /// What came is no list of digests.
    #[error("the digests of a guest's memory: {what}: got {got:?}")]
    Format {
        /// What is wrong.
        what: &'static str,
        /// What stands there.
        got: String,
    },
    /// Word could not be written, or read back.
    #[error("process_vm_writev at {hva:#x} of QEMU (process {pid}): {error}")]
    Write {
        /// QEMU's process.
        pid: u32,
        /// Where.
        hva: u64,
        /// What the system said.
        error: io::Error,
    },
}

/// A QEMU on this machine, whose guest stands still.
#[derive(Debug)]
pub struct Paused {
    process: Arc<Process>,
    blocks: Vec<Block>,
    page_size: u64,
}

impl Paused {
    /// Attaches to the QEMU behind a QMP socket. Changes nothing.
    ///
    /// Errors: no QMP there, or the memory is not to be found.
    pub fn attach(socket: &Path) -> Result<Self, DigestError> {
        let mut qmp = Qmp::connect(socket, ANSWER_TIMEOUT)?;
        let blocks = blocks(&mut qmp)?;
        let process = Arc::new(Process::find(&mut qmp, &blocks)?);
        Ok(Self { process, blocks, page_size: PAGE })
    }

    /// Writes the digests of all blocks.
    ///
    /// Errors: the memory can't be read, or nobody takes them.
    pub fn digest(&self, to: &mut impl Write) -> Result<(), DigestError> {
        writeln!(to, "{FIRST}")?;
        let mut chunk = vec![0; CHUNK];
        let zero = zero_page(self.page_size);
        // What is not migrated arrives nowhere.
        for block in self.blocks.iter().filter(|block| block.is_named && block.used > 0) {
            let windows =
                block.windows.iter().map(|window| (window.gpa.0, window.offset, window.bytes));
            let head = BlockHead {
                name: block.name.clone(),
                bytes: block.used,
                page_size: self.page_size,
                windows: windows.collect(),
            };
            let head = serde_json::to_string(&head).map_err(io::Error::from)?;
            writeln!(to, "{head}")?;
            let memory = BlockMemory::new(Arc::clone(&self.process), block)?;
            let mut at = 0;
            while at < block.used {
                let bytes = usize::try_from(block.used - at).unwrap_or(CHUNK).min(CHUNK);
                memory.read(at, &mut chunk[..bytes])?;
                for page in chunk[..bytes].chunks(self.page_size as usize) {
                    to.write_all(&digest_of(page, &zero))?;
                }
                at += bytes as u64;
            }
        }
        writeln!(to, "{LAST}")?;
        Ok(to.flush()?)
    }

    /// Writes the bytes of pages, each named `BLOCK:NUMBER`.
    ///
    /// Errors: there is no such page; or as [`Paused::digest`].
    pub fn pages(&self, names: &[String], to: &mut impl Write) -> Result<(), DigestError> {
        for name in names {
            let (block, offset) = self.page(name)?;
            let bytes = (block.used - offset).min(self.page_size);
            let mut page = vec![0; bytes as usize];
            BlockMemory::new(Arc::clone(&self.process), block)?.read(offset, &mut page)?;
            to.write_all(&page)?;
        }
        Ok(to.flush()?)
    }

    /// The control's hand: flips all bits of the word in the middle of a page, behind the back of
    /// everyone who writes this memory. Done twice, it is as before. This is the one place where
    /// Memtwin writes a QEMU's memory: that of a guest of its own, which stands still.
    ///
    /// Errors: there is no such page, or it can't be written.
    pub fn flip(&self, name: &str) -> Result<(), DigestError> {
        let (block, offset) = self.page(name)?;
        let offset = offset + self.page_size / 2;
        let mut word = [0; 8];
        BlockMemory::new(Arc::clone(&self.process), block)?.read(offset, &mut word)?;
        let word = word.map(|byte| !byte);
        let hva = block.hva.unwrap_or_default().saturating_add(offset);
        let pid = self.process.pid();
        let failed = |error| DigestError::Write { pid, hva, error };
        let raw = i32::try_from(pid).map_err(|_| failed(io::ErrorKind::NotFound.into()))?;
        let remote = nix::sys::uio::RemoteIoVec { base: hva as usize, len: word.len() };
        let local = [io::IoSlice::new(&word)];
        let pid = nix::unistd::Pid::from_raw(raw);
        let wrote = nix::sys::uio::process_vm_writev(pid, &local, &[remote]);
        match wrote.map_err(|errno| failed(errno.into()))? {
            8 => Ok(()),
            _ => Err(failed(io::ErrorKind::WriteZero.into())),
        }
    }

    fn page(&self, name: &str) -> Result<(&Block, u64), DigestError> {
        let none = || DigestError::NoPage(name.to_owned());
        let (block, page) = name.rsplit_once(':').ok_or_else(none)?;
        let page: u64 = page.parse().map_err(|_| none())?;
        let block = self.blocks.iter().find(|known| known.name == block).ok_or_else(none)?;
        let offset = page.checked_mul(self.page_size).filter(|offset| *offset < block.used);
        Ok((block, offset.ok_or_else(none)?))
    }
}

/// A page of zeros, and its digest: most pages of a fresh guest.
fn zero_page(bytes: u64) -> (Vec<u8>, PageDigest) {
    let page = vec![0; bytes as usize];
    let digest = beginning(&page);
    (page, digest)
}

fn digest_of(page: &[u8], (zeros, digest): &(Vec<u8>, PageDigest)) -> PageDigest {
    if page == zeros { *digest } else { beginning(page) }
}

fn beginning(page: &[u8]) -> PageDigest {
    let mut digest = PageDigest::default();
    digest.copy_from_slice(&blake3::hash(page).as_bytes()[..16]);
    digest
}

/// Reads a whole list.
///
/// Errors: it breaks off, or is none.
pub fn read(from: impl Read) -> Result<Vec<BlockDigests>, DigestError> {
    let mut from = io::BufReader::new(from);
    let first = line(&mut from)?;
    if first != FIRST {
        return Err(DigestError::Format { what: "no list", got: first });
    }
    let mut list = Vec::new();
    loop {
        let text = line(&mut from)?;
        if text == LAST {
            return Ok(list);
        }
        let bad = |what| DigestError::Format { what, got: text.clone() };
        let head: BlockHead = serde_json::from_str(&text).map_err(|_| bad("no block"))?;
        if head.page_size == 0 || head.bytes.div_ceil(head.page_size) > MOST_PAGES {
            return Err(bad("no size"));
        }
        let mut pages = Vec::new();
        for _ in 0..head.bytes.div_ceil(head.page_size) {
            let mut digest = PageDigest::default();
            from.read_exact(&mut digest)?;
            pages.push(digest);
        }
        list.push(BlockDigests { head, pages });
    }
}

fn line(from: &mut impl BufRead) -> Result<String, DigestError> {
    const LONGEST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    from.take(LONGEST).read_until(b'\n', &mut bytes)?;
    match bytes.pop() {
        Some(b'\n') => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        _ => Err(DigestError::Stream(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// The blocks as a layout.
///
/// Errors: a block that is not made of whole pages.
pub fn layout(list: &[BlockDigests]) -> Result<Layout, DigestError> {
    let region = |block: &BlockDigests| {
        let BlockHead { name, bytes, page_size, windows } = &block.head;
        let bad = |got: String| DigestError::Format { what: "no region", got };
        let size = PageSize::new(*page_size).map_err(|error| bad(error.to_string()))?;
        let gpa = windows.first().map_or(0, |window| window.0);
        let region = Region::new(name, Gpa(gpa), *bytes, size);
        let window = |&(gpa, offset, bytes): &_| Window { gpa: Gpa(gpa), offset, bytes };
        let windows = windows.iter().map(window).collect();
        region.map(|region| region.in_windows(windows)).map_err(|error| bad(error.to_string()))
    };
    list.iter().map(region).collect::<Result<_, _>>().map(Layout::new)
}

#[cfg(test)]
mod tests;
