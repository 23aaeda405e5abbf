//! A region: a named range of guest-physical memory with one page size.

use crate::PageSize;
use std::fmt;

/// A guest-physical address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpa({:#x})", self.0)
    }
}

/// Which region of a [`Layout`]: its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub usize);

/// A KVM memslot, a QEMU RAMBlock, the `aeshmem` window: `pages` pages from `gpa` on.
///
/// A RAMBlock may also lie in the guest's physical memory in pieces ([`Region::in_windows`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    name: String,
    gpa: Gpa,
    page_size: PageSize,
    pages: u64,
    windows: Vec<Window>,
}

/// Where a part of a region lies in the guest's physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the part begins in the guest's physical memory.
    pub gpa: Gpa,
    /// Where it begins in the region, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// Why a range of memory can't be a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// A region of no bytes.
    Empty {
        /// The region's name.
        name: String,
    },
    /// The number of bytes is not a whole number of pages.
    NotWholePages {
        /// The region's name.
        name: String,
        /// The bytes that were asked for.
        bytes: u64,
        /// The page size that does not divide them.
        page_size: PageSize,
    },
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { name } => write!(f, "region {name}: 0 bytes, expected at least one page"),
            Self::NotWholePages { name, bytes, page_size } => write!(
                f,
                "region {name}: {bytes} bytes, expected a multiple of the page size {}",
                page_size.bytes()
            ),
        }
    }
}

impl std::error::Error for RegionError {}

impl Region {
    /// A region of `bytes` bytes at `gpa`. Errors unless it is one or more whole pages.
    pub fn new(
        name: impl Into<String>,
        gpa: Gpa,
        bytes: u64,
        page_size: PageSize,
    ) -> Result<Self, RegionError> {
        let name = name.into();
        if bytes == 0 {
            return Err(RegionError::Empty { name });
        }
        if !page_size.divides(bytes) {
            return Err(RegionError::NotWholePages { name, bytes, page_size });
        }
        Ok(Self { name, gpa, page_size, pages: page_size.page_of(bytes), windows: Vec::new() })
    }

    /// The same region, seen by the guest in these pieces, as a PC sees memory below and above
    /// 4 GiB. What is in none of them keeps its address from the region's beginning.
    pub fn in_windows(mut self, windows: Vec<Window>) -> Self {
        self.windows = windows;
        self
    }

    /// The region's name, unique in its layout.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the region begins in the guest's physical memory.
    pub fn gpa(&self) -> Gpa {
        self.gpa
    }

    /// The unit in which writes to this region are logged.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// How many pages the region has.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// How many bytes the region has.
    pub fn bytes(&self) -> u64 {
        self.page_size.offset_of(self.pages)
    }

    /// The guest-physical address of page number `page` of this region.
    pub fn gpa_of(&self, page: u64) -> Gpa {
        let offset = self.page_size.offset_of(page);
        let inside =
            |window: &&Window| window.offset <= offset && offset - window.offset < window.bytes;
        match self.windows.iter().find(inside) {
            Some(window) => Gpa(window.gpa.0 + (offset - window.offset)),
            None => Gpa(self.gpa.0.wrapping_add(offset)),
        }
    }
}

/// The regions of one source, in the source's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    regions: Vec<Region>,
}

impl Layout {
    /// The layout of these regions.
    pub fn new(regions: Vec<Region>) -> Self {
        Self { regions }
    }

    /// Every region with its id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (RegionId, &Region)> {
        self.regions.iter().enumerate().map(|(i, region)| (RegionId(i), region))
    }

    /// The region with this id. Panics if the id is another layout's.
    pub fn region(&self, id: RegionId) -> &Region {
        &self.regions[id.0]
    }

    /// How many regions there are.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there is no region.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// How many bytes all regions have together.
    pub fn bytes(&self) -> u64 {
        self.regions.iter().map(Region::bytes).sum()
    }

    /// How many pages all regions have together.
    pub fn pages(&self) -> u64 {
        self.regions.iter().map(Region::pages).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_whole_pages() {
        let page = PageSize::new(4096).unwrap();
        let window = Region::new("aeshmem", Gpa(0x2000_0000), 1 << 20, page).unwrap();
        assert_eq!(window.pages(), 256);
        assert_eq!(window.gpa_of(255).to_string(), "0x200ff000");
        assert!(matches!(Region::new("a", Gpa(0), 0, page), Err(RegionError::Empty { .. })));
        let high = Window { gpa: Gpa(1 << 32), offset: 8192, bytes: 4096 };
        let split = Region::new("ram", Gpa(0), 16384, page).unwrap().in_windows(vec![high]);
        let seen: Vec<u64> = (0..4).map(|page| split.gpa_of(page).0).collect();
        assert_eq!(seen, [0, 4096, 1 << 32, 12288]);
        let odd = Region::new("a", Gpa(0), 4097, page).unwrap_err();
        assert_eq!(
            odd.to_string(),
            "region a: 4097 bytes, expected a multiple of the page size 4096"
        );
    }
}
