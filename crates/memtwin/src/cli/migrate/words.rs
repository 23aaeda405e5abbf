//! Words of `memtwin migrate` that have a grammar of their own: faults, and where a sweep searches.

use crate::values::Time;
use memtwin_migrate::{FaultKind, MigrationFault};
use std::str::FromStr;

/// Reads `--fault`: what breaks, for how long, and when.
pub(super) fn fault(text: &str) -> Result<MigrationFault, String> {
    let wrong = || {
        format!(
            "'{text}' is no fault: expected cut-link or stop-nfs, then :TIME, then @load or @HOP, as \
             cut-link:5s or stop-nfs:10s@load"
        )
    };
    let (rest, when) = text.split_once('@').unwrap_or((text, "1"));
    let (what, lasts) = match rest.split_once(':') {
        Some((what, time)) => (what, Some(time.parse::<Time>()?.0)),
        None => (rest, None),
    };
    let what = match what {
        "cut-link" => FaultKind::Link,
        "stop-nfs" => FaultKind::Nfs,
        _ => return Err(wrong()),
    };
    let hop = match when {
        "load" => 0,
        hop => hop.parse().ok().filter(|hop| *hop > 0).ok_or_else(wrong)?,
    };
    if hop == 0 && lasts.is_none() {
        return Err(format!("'{text}': before a move, a fault needs a :TIME"));
    }
    Ok(MigrationFault { what, lasts, hop })
}

/// Where the smallest interval is looked for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SweepBounds(pub(super) Option<(u64, u64)>);

impl FromStr for SweepBounds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let both = text
            .split_once(',')
            .and_then(|(low, high)| Some((low.parse::<u64>().ok()?, high.parse::<u64>().ok()?)));
        match both {
            Some((low, high)) if low >= 1 && low <= high && high < 60_000 => {
                Ok(Self(Some((low, high))))
            }
            _ => Err(format!("'{text}': expected none, or two numbers of milliseconds, as 1,50")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn faults_are_read() {
        let read = |text: &str| fault(text);
        let s = Duration::from_secs;
        let of = |what, lasts, hop| Ok(MigrationFault { what, lasts, hop });
        assert_eq!(read("cut-link:5s"), of(FaultKind::Link, Some(s(5)), 1));
        assert_eq!(read("cut-link"), of(FaultKind::Link, None, 1));
        assert_eq!(read("stop-nfs:10@load"), of(FaultKind::Nfs, Some(s(10)), 0));
        assert_eq!(read("stop-nfs:1m@2"), of(FaultKind::Nfs, Some(s(60)), 2));
        for wrong in ["", "cut", "cut-link:", "cut-link:5s@", "cut-link@0", "stop-nfs@load"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            read("stop-nfs:10@load").unwrap().to_string(),
            "the NFS server is stopped while the guest works"
        );
    }

    #[test]
    fn bounds() {
        assert_eq!("2,40".parse(), Ok(SweepBounds(Some((2, 40)))));
        assert_eq!("none".parse(), Ok(SweepBounds(None)));
        for bad in ["", "5", "0,5", "9,5", "1,x", "1,2,3", "1,60000"] {
            assert!(bad.parse::<SweepBounds>().is_err(), "'{bad}' was taken");
        }
    }
}
