//! Who goes first when there is no memory left: /proc/PID/oom_score_adj
//! (proc_pid_oom_score_adj(5)).

use std::fs;
use std::io;
use std::str::FromStr;

/// Where a process sets its own.
const OWN: &str = "/proc/self/oom_score_adj";

/// How readily the kernel ends a process for want of memory: from -1000, never, to 1000, first.
/// A child has its parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScore(i16);

/// It can't be read or set.
#[derive(Debug, thiserror::Error)]
#[error("/proc/self/oom_score_adj: {0}")]
pub struct OomScoreError(#[from] io::Error);

impl OomScore {
    /// Before all others.
    pub const FIRST: Self = Self(1000);

    /// This process's, now.
    ///
    /// Errors: /proc does not say.
    pub fn own() -> Result<Self, OomScoreError> {
        let text = fs::read_to_string(OWN)?;
        text.trim().parse().map_err(|error: String| io::Error::other(error).into())
    }

    /// Makes it this process's. Raising it needs no privilege; lowering it needs none down to the
    /// value below which only a privileged process has set it (`oom_score_adj_min` in fs/proc/base.c):
    /// back to what it was before a process raised it itself.
    ///
    /// Errors: it is not allowed.
    pub fn set(self) -> Result<(), OomScoreError> {
        Ok(fs::write(OWN, self.0.to_string())?)
    }
}

impl std::fmt::Display for OomScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for OomScore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<i16>() {
            Ok(score) if (-1000..=1000).contains(&score) => Ok(Self(score)),
            _ => Err(format!("'{text}': expected a number from -1000 to 1000")),
        }
    }
}

/// Offers this process, and the children that it starts from now on, as the first to be ended.
/// Returns what it had before, for a child that is to outlive it.
///
/// Errors: the system does not let it; then it goes when its turn comes.
pub fn go_first() -> Result<OomScore, OomScoreError> {
    let before = OomScore::own()?;
    OomScore::FIRST.set()?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_a_number_of_a_range() {
        assert_eq!("-1000".parse(), Ok(OomScore(-1000)));
        assert_eq!("1000".parse::<OomScore>(), Ok(OomScore::FIRST));
        assert!("1001".parse::<OomScore>().is_err() && "".parse::<OomScore>().is_err());
    }

    #[test]
    fn it_is_raised_and_lowered_again() {
        let before = OomScore::own().unwrap();
        assert_eq!(go_first().unwrap(), before);
        assert_eq!(OomScore::own().unwrap(), OomScore::FIRST);
        before.set().unwrap();
        assert_eq!(OomScore::own().unwrap(), before);
    }
}
