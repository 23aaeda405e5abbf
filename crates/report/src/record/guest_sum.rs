//! What a program inside the guest found its memory to be.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What `sum -r` in the guest says of the memory that was replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuestSum {
    /// The BSD checksum.
    pub bsd_sum: u16,
    /// How many blocks of 1024 bytes were summed.
    pub blocks: u64,
}

/// Something is not what `sum -r` says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}': expected a checksum and a number of blocks, as sum -r prints them")]
pub struct NoGuestSum(String);

impl fmt::Display for GuestSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05} {:>5}", self.bsd_sum, self.blocks)
    }
}

impl FromStr for GuestSum {
    type Err = NoGuestSum;

    fn from_str(text: &str) -> Result<Self, NoGuestSum> {
        let wrong = || NoGuestSum(text.to_owned());
        let mut words = text.split_whitespace();
        let (Some(sum), Some(blocks), None) = (words.next(), words.next(), words.next()) else {
            return Err(wrong());
        };
        match (sum.parse(), blocks.parse()) {
            (Ok(bsd_sum), Ok(blocks)) => Ok(Self { bsd_sum, blocks }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sum_prints() {
        let sum = GuestSum { bsd_sum: 23, blocks: 1024 };
        assert_eq!(sum.to_string(), "00023  1024");
        assert_eq!("00023  1024".parse(), Ok(sum));
        for odd in ["", "23", "x 1024", "65536 1", "1 2 file", "tstaeshm: killed"] {
            assert!(odd.parse::<GuestSum>().is_err(), "{odd}");
        }
    }
}
