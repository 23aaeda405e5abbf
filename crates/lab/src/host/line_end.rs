//! What the end of the command here says of the line that it ran there.

use std::process::ExitStatus;

/// The name of this machine, as a host.
pub(super) const LOCAL_NAME: &str = "local";

/// What ssh(1) returns when it is the connection that failed, and not the command.
const NO_CONNECTION: i32 = 255;

/// What became of a line, as far as the command that carried it ([`Host::command`](super::Host::command)) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// It has ended, and returned this.
    Returned(i32),
    /// Its carrier was killed, or has lost the connection: the line may go on, until the far side finds
    /// out. That has to be asked.
    Unknown,
}

impl LineEnd {
    /// What this end of the carrier says of the line on the host of this name.
    pub fn of(host: &str, status: ExitStatus) -> Self {
        match status.code() {
            Some(NO_CONNECTION) if host != LOCAL_NAME => Self::Unknown,
            Some(returned) => Self::Returned(returned),
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn only_what_the_far_side_returned_is_its_end() {
        let returned = |code: i32| ExitStatus::from_raw(code << 8);
        let killed = ExitStatus::from_raw(9);
        for host in ["ssh://there", "emulated:a"] {
            assert_eq!(LineEnd::of(host, returned(0)), LineEnd::Returned(0));
            // What a signal has ended there, a shell there tells.
            assert_eq!(LineEnd::of(host, returned(137)), LineEnd::Returned(137));
            assert_eq!(LineEnd::of(host, returned(255)), LineEnd::Unknown);
            assert_eq!(LineEnd::of(host, killed), LineEnd::Unknown);
        }
        assert_eq!(LineEnd::of("local", returned(255)), LineEnd::Returned(255));
        assert_eq!(LineEnd::of("local", killed), LineEnd::Unknown);
    }
}
