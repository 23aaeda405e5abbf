//! `--hosts`: where the two sides of a migration are.

use std::str::FromStr;

/// Where the two sides are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// On boards of three emulated ARMv8 ones, as the plan says.
    Emulated,
    /// Both on this machine.
    Local,
    /// On two machines that ssh reaches.
    Ssh([String; 2]),
}

impl FromStr for Hosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "emulated" => return Ok(Self::Emulated),
            "local" => return Ok(Self::Local),
            _ => {}
        }
        let hosts: Vec<&str> = text.split(',').collect();
        if !hosts.iter().all(|host| host.starts_with("ssh://")) {
            return Err("expected emulated, local or ssh://A,ssh://B".to_owned());
        }
        match hosts[..] {
            [a, b] => Ok(Self::Ssh([a, b].map(str::to_owned))),
            [_] => Err("one machine: expected two, ssh://A,ssh://B, which may be the same".to_owned()),
            // Nobody has tried it: a server's exports and a board's routes are not ours to change blindly.
            _ => Err("more than two machines: an NFS server, taps and routes are set up on emulated boards \
                      alone; mount the export on two machines and give these"
                .to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_what_is_not_tried_is_refused() {
        assert_eq!("local".parse(), Ok(Hosts::Local));
        let two = Hosts::Ssh(["ssh://root@a:22", "ssh://b"].map(str::to_owned));
        assert_eq!("ssh://root@a:22,ssh://b".parse(), Ok(two));
        let wrong = |text: &str| text.parse::<Hosts>().unwrap_err();
        assert!(wrong("ssh://a,ssh://b,ssh://storage").contains("emulated boards alone"));
        assert!(wrong("ssh://a").contains("expected two"));
        for odd in ["", "ssh://a,local", "emulated:a", "a,b"] {
            assert!(wrong(odd).starts_with("expected emulated"), "{odd}");
        }
    }
}
