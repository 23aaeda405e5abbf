//! How a run came about: enough to repeat it, and to say what exactly ran.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a run came about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunProvenance {
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// When its record was written: RFC 3339, UTC.
    pub ended: String,
    /// The arguments as they were typed, the program's name first; bytes that are no text are replaced.
    pub arguments: Vec<String>,
    /// Each option with the value that counted: what was typed, else the default, else what the run chose
    /// by itself (the seed). By the option's name without its dashes.
    #[serde(default)]
    pub resolved: BTreeMap<String, Value>,
    /// The git revision that Memtwin was built from, with `-dirty` behind it if the sources were changed;
    /// absent where the build could not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_revision: Option<String>,
    /// How Memtwin was built: `release` or `debug`.
    pub build_profile: String,
}
