//! How the guest's own page tables are made: the reference setup's matrix of page and address sizes.

use std::fmt;
use std::str::FromStr;

/// The granule and the size of addresses of the guest's stage-1 translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Translation {
    /// The page size of the guest's own page tables.
    pub granule: Granule,
    /// How many bits a virtual address has.
    pub va_bits: u8,
}

/// The page size of the guest's own page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granule {
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl Granule {
    /// Every granule.
    pub const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];

    /// Its size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::K4 => 4 << 10,
            Self::K16 => 16 << 10,
            Self::K64 => 64 << 10,
        }
    }

    /// Its name, as on the command line and in case names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::K4 => "4k",
            Self::K16 => "16k",
            Self::K64 => "64k",
        }
    }
}

impl fmt::Display for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no granule has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown granule '{0}': expected 4k, 16k or 64k")]
pub struct UnknownGranule(String);

impl FromStr for Granule {
    type Err = UnknownGranule;

    fn from_str(name: &str) -> Result<Self, UnknownGranule> {
        Self::ALL
            .into_iter()
            .find(|granule| granule.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownGranule(name.to_owned()))
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "granule={}/va={}", self.granule, self.va_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for granule in Granule::ALL {
            assert_eq!(granule.name().parse(), Ok(granule));
            assert_eq!(granule.name().to_uppercase().parse(), Ok(granule));
        }
        let error = "8k".parse::<Granule>().unwrap_err().to_string();
        assert_eq!(error, "unknown granule '8k': expected 4k, 16k or 64k");
    }
}
