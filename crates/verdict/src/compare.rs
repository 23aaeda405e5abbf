//! The question that the judge is asked, and its answer.

use crate::judge::Judge;
use crate::{Difference, ImageDigests};
use memtwin_pages::{Image, PageSize};
use std::fmt;
use std::io;

/// The longest page whose offsets and lengths fit 32 bits.
pub(crate) const MOST_PAGE_BYTES: u64 = 1 << 31;

/// One of the two images that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The guest's memory; the first image of `verify`.
    Memory,
    /// Its twin; the second image of `verify`.
    Twin,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Twin => "twin",
        })
    }
}

/// Why two images could not be compared. Never a pass.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// An image's length can't be obtained.
    #[error("asking the {side} for its size: {cause}")]
    Size {
        /// Whose.
        side: Side,
        /// What the system said.
        cause: io::Error,
    },
    /// There is nothing to compare.
    #[error("the {side} is empty: expected at least one byte to compare")]
    Empty {
        /// Which is.
        side: Side,
    },
    /// The images are not of one size, and should be.
    #[error("the memory has {memory} bytes, its twin {twin}: expected the same size")]
    Sizes {
        /// The memory's bytes.
        memory: u64,
        /// The twin's bytes.
        twin: u64,
    },
    /// A page is too large to say where in it something is.
    #[error("a page size of {}: expected at most {MOST_PAGE_BYTES} bytes", .page_size.bytes())]
    PageSize {
        /// The page size.
        page_size: PageSize,
    },
    /// A part of an image can't be read.
    #[error("reading {len} bytes of the {side} at offset {offset}: {cause}")]
    Read {
        /// Whose.
        side: Side,
        /// Where the part begins.
        offset: u64,
        /// How long it is.
        len: usize,
        /// What the system said.
        cause: io::Error,
    },
    /// No thread can be obtained to work in.
    #[error("starting a thread to compare in: {0}")]
    Thread(io::Error),
}

impl CompareError {
    /// Which of the two it is about, if it is about one.
    pub fn side(&self) -> Option<Side> {
        match self {
            Self::Size { side, .. } | Self::Empty { side } | Self::Read { side, .. } => Some(*side),
            Self::Sizes { .. } | Self::PageSize { .. } | Self::Thread(_) => None,
        }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// How many bytes the memory has.
    pub memory_bytes: u64,
    /// How many bytes the twin has.
    pub twin_bytes: u64,
    /// How many pages both have and were compared, the last one perhaps not full.
    pub pages: u64,
    /// Every one of them that differs, in order.
    pub differing: Vec<Difference>,
    /// The digests of the whole memory.
    pub memory: ImageDigests,
    /// The digests of the whole twin.
    pub twin: ImageDigests,
}

impl Comparison {
    /// Whether the images are equal, byte for byte and in size.
    pub fn identical(&self) -> bool {
        self.memory_bytes == self.twin_bytes
            && self.differing.is_empty()
            && self.memory == self.twin
    }
}

/// Compares a region's memory with its twin.
///
/// Errors: the two are not of one size, or as [`verify`].
pub fn compare(
    memory: &dyn Image,
    twin: &dyn Image,
    page_size: PageSize,
) -> Result<Comparison, CompareError> {
    let judge = Judge::new(memory, twin, page_size)?;
    match judge.bytes() {
        (memory, twin) if memory != twin => Err(CompareError::Sizes { memory, twin }),
        _ => judge.run(),
    }
}

/// Compares two images of any size. If one is longer they are not identical; what both have is
/// compared, and each is digested to its own end.
///
/// Errors: an image is empty or can't be read to its end, the page size is over 2 GiB, or there
/// are no threads to be had.
pub fn verify(
    a: &dyn Image,
    b: &dyn Image,
    page_size: PageSize,
) -> Result<Comparison, CompareError> {
    Judge::new(a, b, page_size)?.run()
}
