//! `--fault`: what is broken on purpose, for how long, and when; so that one may see beforehand what
//! becomes of a guest.

use crate::values::Time;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The cable of the board to which the guest moves.
    Link,
    /// The NFS server that has the guest's disk.
    Nfs,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What breaks.
    pub(crate) what: What,
    /// For how long; without, until the move is over.
    pub(crate) lasts: Option<Duration>,
    /// In which hop, once something was sent; 0: before the first one, while the guest works.
    pub(crate) hop: u16,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
            "cut-link" => What::Link,
            "stop-nfs" => What::Nfs,
            _ => return Err(wrong()),
        };
        let hop = match when {
            "load" => 0,
            hop => hop.parse().ok().filter(|hop| *hop > 0).ok_or_else(wrong)?,
        };
        if hop == 0 && lasts.is_none() {
            return Err(format!("'{text}': before a move, a fault needs a :TIME"));
        }
        Ok(Self { what, lasts, hop })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "the destination's link is cut",
            Self::Nfs => "the NFS server is stopped",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.what)?;
        match self.hop {
            0 => f.write_str("while the guest works"),
            1 => f.write_str("amid the move"),
            hop => write!(f, "amid hop {hop}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        let read = |text: &str| text.parse::<Fault>();
        let s = Duration::from_secs;
        let fault = |what, lasts, hop| Ok(Fault { what, lasts, hop });
        assert_eq!(read("cut-link:5s"), fault(What::Link, Some(s(5)), 1));
        assert_eq!(read("cut-link"), fault(What::Link, None, 1));
        assert_eq!(read("stop-nfs:10@load"), fault(What::Nfs, Some(s(10)), 0));
        assert_eq!(read("stop-nfs:1m@2"), fault(What::Nfs, Some(s(60)), 2));
        for wrong in ["", "cut", "cut-link:", "cut-link:5s@", "cut-link@0", "stop-nfs@load"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            read("stop-nfs:10@load").unwrap().to_string(),
            "the NFS server is stopped while the guest works"
        );
    }
}
