//! The page: the unit in which a source logs. Declared by the source, never a literal.

use std::fmt;

/// A page size in bytes: a power of two of at least [`PageSize::LEAST`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    shift: u8,
}

/// A number of bytes that is no page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSizeError {
    /// The number that was offered.
    pub bytes: u64,
}

impl fmt::Display for PageSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = PageSize::LEAST;
        write!(f, "page size {}: expected a power of two of {least} bytes or more", self.bytes)
    }
}

impl std::error::Error for PageSizeError {}

impl PageSize {
    /// The smallest page size in bytes: that of QEMU's avr, the smallest of its targets.
    pub const LEAST: u64 = 256;

    /// Takes a page size in bytes. Errors if it is not a power of two or below [`PageSize::LEAST`].
    pub const fn new(bytes: u64) -> Result<Self, PageSizeError> {
        if !bytes.is_power_of_two() || bytes < Self::LEAST {
            return Err(PageSizeError { bytes });
        }
        Ok(Self { shift: bytes.trailing_zeros() as u8 })
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.shift
    }

    /// The size in bytes, as the length of a slice.
    pub const fn as_usize(self) -> usize {
        1 << self.shift
    }

    /// The binary logarithm of the size.
    pub const fn shift(self) -> u32 {
        self.shift as u32
    }

    /// How many pages hold `bytes` bytes, the last one perhaps not full.
    pub const fn pages_for(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.bytes())
    }

    /// Whether `bytes` is a whole number of pages.
    pub const fn divides(self, bytes: u64) -> bool {
        bytes & (self.bytes() - 1) == 0
    }

    /// The offset in bytes at which page number `page` begins.
    pub const fn offset_of(self, page: u64) -> u64 {
        page << self.shift
    }

    /// The number of the page in which the byte at `offset` lies.
    pub const fn page_of(self, offset: u64) -> u64 {
        offset >> self.shift
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageSize({})", self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_are_page_sizes() {
        for good in [256, 512, 4096, 16384, 65536, 1 << 21, 1 << 30] {
            assert_eq!(PageSize::new(good).map(PageSize::bytes), Ok(good));
        }
        for bad in [0, 1, 128, 4095, 4097, 12288, u64::MAX] {
            assert_eq!(PageSize::new(bad), Err(PageSizeError { bytes: bad }));
        }
    }

    #[test]
    fn pages_and_offsets_convert() {
        let size = PageSize::new(16384).unwrap();
        assert_eq!(size.offset_of(3), 49152);
        assert_eq!(size.page_of(49151), 2);
        assert_eq!(size.pages_for(49153), 4);
        assert!(size.divides(32768) && !size.divides(4096));
    }
}
