//! How much of its memory a guest changes, by QEMU's own sampling (`qapi/migration.json`,
//! `calc-dirty-rate`, mode `page-sampling`; `migration/dirtyrate.c`): hashes of pages that are chosen at
//! random, taken twice. It needs no dirty log, so the guest is not slowed down, and no KVM.

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How many pages of a GiB are sampled: the most that QEMU takes.
const SAMPLES: u32 = 16_384;
/// How often it is asked whether it is done.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// What QEMU allows.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(60);
/// How long it may take beside the time itself, on an emulated CPU.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum DirtyRateError {
    /// QEMU can't be asked, or refuses.
    #[error("the dirty rate: {0}")]
    Qmp(#[from] QmpError),
    /// It never ended.
    #[error("the dirty rate: QEMU has not measured it {} s after it was asked to", TIMEOUT.as_secs())]
    Never,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirtyRate {
    /// The time between the two looks at a page.
    pub within: Duration,
    /// Bytes of all pages that had changed then; sampled, and to whole MiB per second.
    pub bytes: u64,
}

/// How far a measurement is (DirtyRateStatus).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Measurement {
    Unstarted,
    Measuring,
    Measured,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DirtyRateInfo {
    status: Measurement,
    dirty_rate: Option<i64>,
    calc_time: u64,
}

/// Measures once, over about this time; QEMU takes longer where it has not hashed all by then, and
/// says so.
///
/// Errors: QEMU is too old (before 8.2), refuses, or is never done.
pub fn dirtied(qmp: &mut Qmp, within: Duration) -> Result<DirtyRate, DirtyRateError> {
    let within = within.clamp(SHORTEST, LONGEST);
    let milliseconds = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let ask = json!({
        "calc-time": milliseconds,
        "calc-time-unit": "millisecond",
        "sample-pages": SAMPLES,
        "mode": "page-sampling",
    });
    let _: Value = qmp.execute("calc-dirty-rate", ask)?;
    let began = Instant::now();
    loop {
        let unit = json!({ "calc-time-unit": "millisecond" });
        let info: DirtyRateInfo = qmp.execute("query-dirty-rate", unit)?;
        match info.status {
            Measurement::Measured => return Ok(info.dirtied()),
            Measurement::Unstarted | Measurement::Measuring | Measurement::Unknown => {}
        }
        if began.elapsed() >= within + TIMEOUT {
            return Err(DirtyRateError::Never);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

impl DirtyRateInfo {
    fn dirtied(&self) -> DirtyRate {
        // Minus one is an answer of QEMU's too: nothing was sampled.
        let rate = u64::try_from(self.dirty_rate.unwrap_or_default()).unwrap_or_default();
        let within = Duration::from_millis(self.calc_time);
        DirtyRate { within, bytes: (rate << 20).saturating_mul(self.calc_time) / 1000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> DirtyRate {
        serde_json::from_str::<DirtyRateInfo>(text).unwrap().dirtied()
    }

    #[test]
    fn a_measurement_of_qemu_10() {
        let text = r#"{"status": "measured", "sample-pages": 16384, "calc-time-unit": "millisecond",
            "dirty-rate": 12, "mode": "page-sampling", "start-time": 1000, "calc-time": 500}"#;
        assert_eq!(info(text), DirtyRate { within: Duration::from_millis(500), bytes: 6 << 20 });
        assert_eq!(info(&text.replace("12", "-1")).bytes, 0);
        assert_eq!(info(&text.replace("\"dirty-rate\": 12,", "")).bytes, 0);
    }
}
