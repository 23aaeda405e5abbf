//! The verdict on RAM: every page of the guest, as it stands still at the source and has not run yet at
//! the destination, by digests that were made on each side.

use super::digest::{self, BlockDigests, DigestError};
use memtwin_child::Spawn;
use memtwin_lab::host::{Host, HostError, quoted};
use memtwin_pages::{Image, Layout, PageSize, RegionId};
use memtwin_verdict::{CompareError, Difference, compare};
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How many pages are asked for at once: their names must fit on a command line.
const AT_ONCE: usize = 1000;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// The digests can't be obtained.
    #[error("{host}: {error}{said}")]
    Digest {
        /// The host.
        host: String,
        /// Why.
        error: Box<DigestError>,
        /// What the command said there.
        said: String,
    },
    /// The host can't be reached.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The two have not the same memory to compare.
    #[error("the source's RAMBlocks are {source_blocks}, the destination's {destination_blocks}")]
    Shapes {
        /// Names and sizes there.
        source_blocks: String,
        /// And here.
        destination_blocks: String,
    },
    /// Pages that differ can't be compared byte by byte.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A page has other bytes than its digest said: the guest does not stand still.
    #[error(
        "{block} page {page}: its digest differed, its bytes do not: something wrote meanwhile"
    )]
    Restless {
        /// The block.
        block: String,
        /// The page.
        page: u64,
    },
}

/// A side's QEMU, as the digests' maker finds it.
#[derive(Clone, Copy, Debug)]
pub struct DigestHost<'p> {
    /// The host that it runs on.
    pub host: &'p dyn Host,
    /// Memtwin's command there.
    pub memtwin: &'p str,
    /// Its QMP socket for this there.
    pub qmp: &'p str,
}

/// What a comparison came to.
#[derive(Clone, Debug)]
pub struct RamVerdict {
    /// The blocks.
    pub layout: Layout,
    /// Every page that differs.
    pub differing: Vec<(RegionId, Difference)>,
    /// How long making and comparing the digests took.
    pub took: Duration,
    /// The source's digests: it stands still, and need not be asked again.
    source: Vec<BlockDigests>,
}

/// Compares the memory of two guests that stand still.
///
/// Errors: one of them can't be read, or they are not of one shape.
pub fn compare_sides(
    source: &DigestHost<'_>,
    destination: &DigestHost<'_>,
) -> Result<RamVerdict, RamError> {
    let began = Instant::now();
    let (ours, theirs) = thread::scope(|scope| {
        let ours = scope.spawn(|| source.digests());
        let theirs = destination.digests();
        (ours.join(), theirs)
    });
    let ours = ours.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    verdict(source, ours, destination, &theirs?, began)
}

impl RamVerdict {
    /// Compares once more: the source, which has stood still since, with the destination as it is now.
    ///
    /// Errors: as [`compare_sides`].
    pub fn again(
        &self,
        source: &DigestHost<'_>,
        destination: &DigestHost<'_>,
    ) -> Result<Self, RamError> {
        let began = Instant::now();
        verdict(source, self.source.clone(), destination, &destination.digests()?, began)
    }
}

fn verdict(
    source: &DigestHost<'_>,
    source_digests: Vec<BlockDigests>,
    destination: &DigestHost<'_>,
    theirs: &[BlockDigests],
    began: Instant,
) -> Result<RamVerdict, RamError> {
    let ours = &source_digests[..];
    let heads = |list: &[BlockDigests]| {
        let name = |block: &BlockDigests| format!("{} ({})", block.head.name, block.head.bytes);
        list.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let shape = |list: &[BlockDigests]| -> Vec<(String, u64, u64)> {
        let part = |b: &BlockDigests| (b.head.name.clone(), b.head.bytes, b.head.page_size);
        list.iter().map(part).collect()
    };
    if shape(ours) != shape(theirs) {
        let (source_blocks, destination_blocks) = (heads(ours), heads(theirs));
        return Err(RamError::Shapes { source_blocks, destination_blocks });
    }
    let layout = digest::layout(ours).map_err(|error| source.failed(error, String::new()))?;
    let mut differing = Vec::new();
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let pages = ours.pages.iter().zip(&theirs.pages);
        let pages = (0..).zip(pages).filter(|(_, (ours, theirs))| ours != theirs);
        let pages: Vec<u64> = pages.map(|(page, _)| page).collect();
        let size = layout.region(RegionId(at)).page_size();
        for some in pages.chunks(AT_ONCE) {
            let memory = source.pages(&ours.head.name, some, size)?;
            let twin = destination.pages(&ours.head.name, some, size)?;
            let found = compare(&Bytes(memory), &Bytes(twin), size)?;
            let mut found = found.differing.into_iter();
            for (n, &page) in (0..).zip(some) {
                let block = || ours.head.name.clone();
                let difference = found.next().filter(|difference| difference.page == n);
                let difference =
                    difference.ok_or_else(|| RamError::Restless { block: block(), page })?;
                differing.push((RegionId(at), Difference { page, ..difference }));
            }
        }
    }
    Ok(RamVerdict { layout, differing, took: began.elapsed(), source: source_digests })
}

impl DigestHost<'_> {
    /// The digests of all its memory.
    ///
    /// Errors: they can't be made there, or don't come.
    pub fn digests(&self) -> Result<Vec<BlockDigests>, RamError> {
        self.ask("", |from| digest::read(from))
    }

    /// Flips a word of a page (see [`digest::Paused::flip`]).
    ///
    /// Errors: it can't be done there.
    pub fn flip(&self, block: &str, page: u64) -> Result<(), RamError> {
        let word = format!("--flip {}", quoted(&format!("{block}:{page}")));
        self.ask(&word, |from| Ok(io::copy(from, &mut io::sink())?)).map(drop)
    }

    fn pages(&self, block: &str, pages: &[u64], size: PageSize) -> Result<Vec<u8>, RamError> {
        let names: Vec<String> = pages
            .iter()
            .map(|page| format!("--page {}", quoted(&format!("{block}:{page}"))))
            .collect();
        let whole = size.offset_of(pages.len() as u64);
        self.ask(&names.join(" "), |from| {
            let mut bytes = Vec::new();
            from.take(whole).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != whole {
                return Err(DigestError::Stream(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(bytes)
        })
    }

    /// Runs Memtwin's own command there and reads what it says.
    fn ask<T>(
        &self,
        words: &str,
        read: impl FnOnce(&mut dyn Read) -> Result<T, DigestError>,
    ) -> Result<T, RamError> {
        let line = format!("exec {} digest {} {words}", quoted(self.memtwin), quoted(self.qmp));
        let mut command: Command = self.host.command(&line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let stream = |error| self.failed(DigestError::Stream(error), String::new());
        let mut child = command.spawn_on_stdin().map_err(stream)?;
        let mut output =
            child.stdout.take().ok_or_else(|| stream(io::ErrorKind::BrokenPipe.into()))?;
        // What it runs ends with its standard input, and is to end by itself first.
        let input = child.stdin.take();
        let mut answer = read(&mut output);
        if answer.is_ok()
            && let Err(error) = io::copy(&mut output, &mut io::sink())
        {
            answer = Err(error.into());
        }
        let input = input.filter(|_| answer.is_ok());
        drop(output);
        let mut said = String::new();
        if let Some(errors) = child.stderr.take() {
            // What it complained of explains, and is not needed.
            let _ = errors.take(4096).read_to_string(&mut said);
        }
        let status = child.wait().map_err(stream)?;
        drop(input);
        let said = said.trim().lines().map(|line| format!("; {line}")).collect::<String>();
        match answer {
            Ok(answer) if status.success() => Ok(answer),
            Ok(_) => {
                let error = io::Error::other(format!("memtwin digest: {status}"));
                Err(self.failed(DigestError::Stream(error), said))
            }
            Err(error) => Err(self.failed(error, said)),
        }
    }

    fn failed(&self, error: DigestError, said: String) -> RamError {
        RamError::Digest { host: self.host.name().to_owned(), error: Box::new(error), said }
    }
}

/// Pages that have come.
struct Bytes(Vec<u8>);

impl Image for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = at.checked_add(into.len()).and_then(|end| self.0.get(at..end));
        into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
