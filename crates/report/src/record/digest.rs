//! The digests of a region: of the guest's memory and of its twin.

use memtwin_verdict::{Comparison, ImageDigests};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Blake3(pub [u8; 32]);

/// Both digests of the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordedDigest {
    /// The BLAKE3 digest, as lower-case hex.
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^[0-9a-f]{64}$")))]
    pub blake3: Blake3,
    /// The BSD checksum, as `sum -r` prints it.
    pub bsd_sum: u16,
}

/// A region's digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RegionDigests {
    /// Of the guest's memory.
    pub memory: RecordedDigest,
    /// Of its twin.
    pub twin: RecordedDigest,
}

impl From<&ImageDigests> for RecordedDigest {
    fn from(digests: &ImageDigests) -> Self {
        Self { blake3: Blake3(*digests.blake3.as_bytes()), bsd_sum: digests.bsd_sum }
    }
}

impl From<&Comparison> for RegionDigests {
    fn from(found: &Comparison) -> Self {
        Self { memory: (&found.memory).into(), twin: (&found.twin).into() }
    }
}

impl RegionDigests {
    /// Whether memory and twin are the same.
    pub fn agree(&self) -> bool {
        self.memory == self.twin
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blake3({self})")
    }
}

impl Serialize for Blake3 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Blake3 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        from_hex(&text).map(Self).ok_or_else(|| {
            de::Error::custom(format_args!("blake3 {text:?}: expected 64 lower-case hex digits"))
        })
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_hex_and_leads_back() {
        let digest = Blake3(std::array::from_fn(|i| i as u8 * 8));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(&json[..10], r#""00081018"#.to_owned() + "2");
        assert_eq!(serde_json::from_str::<Blake3>(&json).unwrap(), digest);
        for bad in [&json[2..], r#""00""#, &json.replace("f8", "F8"), &json.replace("f8", "é")] {
            assert!(serde_json::from_str::<Blake3>(bad).is_err(), "{bad} was taken");
        }
    }
}
