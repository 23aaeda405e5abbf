//! A page in a record: by region and guest-physical address.

use memtwin_pages::{Gpa, Region};
use memtwin_verdict::Difference;
use serde::{Deserialize, Serialize};

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PageAt {
    /// The name of its region.
    pub region: String,
    /// Where it begins.
    #[serde(with = "hex_gpa")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^0x[0-9a-f]{1,16}$")))]
    pub gpa: Gpa,
}

impl PageAt {
    /// A page of this region, by its number there.
    pub fn of(region: &Region, page: u64) -> Self {
        Self { region: region.name().to_owned(), gpa: region.gpa_of(page) }
    }
}

/// A lost page: its bytes differ from the twin's although the log was clean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LostPage {
    /// The name of its region.
    pub region: String,
    /// Where it begins.
    #[serde(with = "hex_gpa")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^0x[0-9a-f]{1,16}$")))]
    pub gpa: Gpa,
    /// The round in which it last went to the twin; 0 is pre-copy.
    pub last_round: u32,
    /// The first byte that differs, counted from the page's beginning.
    pub first_byte: u64,
    /// How many bytes differ.
    pub bytes: u64,
    /// What the difference looks like, if it looks like something known.
    pub hint: Option<String>,
    /// The bytes themselves, where they were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// Where exactly a lost page differs, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Detail {
    /// Where the page begins in its region, in bytes.
    pub offset: u64,
    /// Which bytes of the page differ: from, and up to but without.
    pub ranges: Vec<(u64, u64)>,
    /// The twin's bytes, in hex: those of the aligned 8-byte word in which the first one differs.
    pub twin: String,
    /// The memory's bytes at the same place.
    pub memory: String,
}

impl LostPage {
    /// A page of this region that a comparison found to differ; when it last went to the twin is not known
    /// here, and 0.
    pub fn of(region: &Region, difference: &Difference) -> Self {
        Self {
            region: region.name().to_owned(),
            gpa: region.gpa_of(difference.page),
            last_round: 0,
            first_byte: u64::from(difference.first_byte),
            bytes: u64::from(difference.bytes),
            hint: difference.hint.map(|hint| hint.to_string()),
            detail: None,
        }
    }

    /// Which page it is.
    pub fn at(&self) -> PageAt {
        PageAt { region: self.region.clone(), gpa: self.gpa }
    }
}

/// An address as a hex string: a JSON number has only 53 bits in many readers.
pub(super) mod hex_gpa {
    use memtwin_pages::Gpa;
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::borrow::Cow;

    pub(crate) fn serialize<S: Serializer>(gpa: &Gpa, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(gpa)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Gpa, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        text.strip_prefix("0x")
            // A sign would be taken by the parser, but is no part of an address.
            .filter(|digits| digits.starts_with(|first: char| first.is_ascii_hexdigit()))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Gpa)
            .ok_or_else(|| {
                de::Error::custom(format_args!("gpa {text:?}: expected a hex string as 0x20000000"))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_hex_string() {
        let page = PageAt { region: "aeshmem".into(), gpa: Gpa(u64::MAX) };
        let json = serde_json::to_string(&page).unwrap();
        assert_eq!(json, r#"{"region":"aeshmem","gpa":"0xffffffffffffffff"}"#);
        assert_eq!(serde_json::from_str::<PageAt>(&json).unwrap(), page);
        for bad in ["1", r#""20000000""#, r#""0x""#, r#""0x+1""#, r#""0x10000000000000000""#] {
            let json = format!(r#"{{"region":"aeshmem","gpa":{bad}}}"#);
            assert!(serde_json::from_str::<PageAt>(&json).is_err(), "{bad} was taken");
        }
    }
}
