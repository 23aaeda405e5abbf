//! `--hosts`: where the two sides of a migration are.

use std::str::FromStr;

/// Where the two sides are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostChoice {
    /// On boards of three emulated ARMv8 ones, as the plan says.
    Emulated,
    /// Both on this machine.
    Local,
    /// On two machines that have a folder in common.
    Two([String; 2]),
    /// On the last two of three machines, of which the first is the NFS server.
    Three([String; 3]),
}

impl FromStr for HostChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "emulated" => return Ok(Self::Emulated),
            "local" => return Ok(Self::Local),
            _ => {}
        }
        let machine = |name: &&str| name.starts_with("ssh://") || name.starts_with("emulated:");
        let machines: Vec<&str> = text.split(',').collect();
        if !machines.iter().all(machine) {
            return Err(
                "expected emulated, local, or machines as ssh://A,ssh://B or ssh://STORAGE,ssh://A,ssh://B \
                 (emulated:NAME is one of `memtwin lab up`)"
                    .to_owned(),
            );
        }
        match machines[..] {
            [a, b] => Ok(Self::Two([a, b].map(str::to_owned))),
            [storage, a, b] => Ok(Self::Three([storage, a, b].map(str::to_owned))),
            [_] => {
                Err("one machine: expected two, ssh://A,ssh://B, which may be the same".to_owned())
            }
            _ => Err("more than three machines: expected the NFS server and two boards".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        assert_eq!("local".parse(), Ok(HostChoice::Local));
        let two = HostChoice::Two(["ssh://root@a:22", "ssh://b"].map(str::to_owned));
        assert_eq!("ssh://root@a:22,ssh://b".parse(), Ok(two));
        let three = HostChoice::Three(["ssh://s", "emulated:a", "emulated:b"].map(str::to_owned));
        assert_eq!("ssh://s,emulated:a,emulated:b".parse(), Ok(three));
        let wrong = |text: &str| text.parse::<HostChoice>().unwrap_err();
        assert!(wrong("ssh://a").contains("expected two"));
        assert!(wrong("emulated:a").contains("expected two"));
        assert!(wrong("ssh://a,ssh://b,ssh://c,ssh://d").contains("more than three"));
        for odd in ["", "ssh://a,local", "emulated,emulated", "a,b"] {
            assert!(wrong(odd).starts_with("expected emulated"), "{odd}");
        }
    }
}
