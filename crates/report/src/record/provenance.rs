//! How a run came about: enough to repeat it, and to say what exactly ran.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Options with the values that counted, by their names without dashes.
pub type ResolvedOptions = BTreeMap<String, Value>;

/// How a run came about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunProvenance {
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// When its record was written: RFC 3339, UTC.
    pub ended: String,
    /// The arguments as they were typed, the program's name first; bytes that are no text are replaced.
    pub arguments: Vec<String>,
    /// Each option with the value that counted: what was typed, else the default, else what the run chose
    /// (the seed). By the option's name without its dashes.
    #[serde(default)]
    pub resolved: ResolvedOptions,
    /// The git revision that Memtwin was built from, with `-dirty` behind it if the sources were changed;
    /// absent where the build could not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_revision: Option<String>,
    /// How Memtwin was built: `release` or `debug`.
    pub build_profile: String,
}

/// A moment as RFC 3339 writes it, in UTC, to the millisecond.
pub fn rfc3339(moment: SystemTime) -> String {
    DateTime::<Utc>::from(moment).to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_moment_is_written_in_utc() {
        let leap_day = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_208_000_042);
        assert_eq!(rfc3339(leap_day), "2024-02-29T12:00:00.042Z");
    }
}
