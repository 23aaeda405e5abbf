//! The number of the schema, as a type: a record of another one can't be held.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Schema version 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemaVersion;

impl SchemaVersion {
    /// The number in the file.
    pub const NUMBER: u32 = 1;
}

impl Serialize for SchemaVersion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for SchemaVersion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u32::deserialize(from)? {
            Self::NUMBER => Ok(Self),
            other => Err(de::Error::custom(format_args!(
                "schema_version {other}: this version of memtwin reads {}",
                Self::NUMBER
            ))),
        }
    }
}
