//! What the metrics file said before: the time of the last success survives a run that failed.

use super::MetricsError;
use super::families::{LAST_RUN, LAST_SUCCESS};
use memtwin_safe_path::Place;
use std::io::Read;
use std::path::Path;

/// The families of the run come first; what follows, cases and their guests, is not read.
const MOST_READ: u64 = 16 << 10;
/// How every file of ours begins.
const BEGINS: &str = "# HELP memtwin_";
/// How much of another file's first line is shown.
const MOST_SHOWN: usize = 40;

/// What is kept of an earlier run, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Previous {
    pub(super) last_run: Option<f64>,
    pub(super) last_success: Option<f64>,
}

impl Previous {
    /// Reads the file; one that is not there, or empty, says nothing.
    ///
    /// Errors: it can't be read, or holds something else than metrics of ours.
    pub(super) fn read(place: &Place, path: &Path) -> Result<Self, MetricsError> {
        let Some(file) = place.read_ours().map_err(MetricsError::at(path))? else {
            return Ok(Self::default());
        };
        let mut bytes = Vec::new();
        file.take(MOST_READ)
            .read_to_end(&mut bytes)
            .map_err(|error| MetricsError::Io { path: path.to_owned(), error })?;
        let text = String::from_utf8_lossy(&bytes);
        if !text.is_empty() && !text.starts_with(BEGINS) {
            let line = text.lines().next().unwrap_or_default();
            let begins = line.chars().take(MOST_SHOWN).collect::<String>();
            let begins = begins.escape_debug().to_string();
            return Err(MetricsError::Foreign { path: path.to_owned(), begins });
        }
        Ok(Self { last_run: value(&text, LAST_RUN), last_success: value(&text, LAST_SUCCESS) })
    }
}

/// The value of a family that has one sample; none if it is no time.
fn value(text: &str, family: &str) -> Option<f64> {
    let of_family =
        |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with('{'));
    let (_, value) = text.lines().find(of_family)?.rsplit_once(' ')?;
    value.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_and_nonsense_is_none() {
        let of = |text: &str| value(text, LAST_SUCCESS);
        assert_eq!(
            of(&format!("{LAST_SUCCESS}{{run=\"a b\"}} 1764550000.5\n")),
            Some(1_764_550_000.5)
        );
        assert_eq!(of(&format!("{LAST_RUN}{{run=\"a\"}} 17\n")), None);
        for odd in ["NaN", "+Inf", "-1", "x", ""] {
            assert_eq!(of(&format!("{LAST_SUCCESS}{{run=\"a\"}} {odd}\n")), None, "{odd}");
        }
    }
}
