//! A plan: which boards there are, where the guest's disk is, what the guest is. In TOML; the lab of the
//! specification of 2014 is built in.

use serde::Deserialize;

/// The plan that is built in, as a person would write it.
pub const SEED: &str = include_str!("seed.toml");

/// A plan that can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is not written as a plan is.
    #[error("the plan: {0}")]
    Toml(#[from] toml::de::Error),
    /// An address without its prefix's length, or that is none.
    #[error(
        "the plan: {name} = '{address}': expected an IPv4 address with its prefix, as 192.168.10.100/24"
    )]
    Address {
        /// Whose.
        name: &'static str,
        /// What stands there.
        address: String,
    },
    /// A version of NFS that is not tried.
    #[error("the plan: nfs = '{0}': expected 4.2, 4.1 or 3")]
    Nfs(String),
    /// A word that goes into a shell line there.
    #[error("the plan: {name} = '{word}': expected letters, digits and - _ . / , : alone")]
    Word {
        /// Which.
        name: &'static str,
        /// What stands there.
        word: String,
    },
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// The NFS server.
    pub storage: Storage,
    /// Where the guest boots.
    pub a: Board,
    /// Where it moves.
    pub b: Board,
    /// What both boards have.
    pub boards: Boards,
    /// The guest.
    pub guest: Guest,
}

/// The NFS server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Its address, with the prefix's length.
    pub address: String,
    /// MiB.
    pub memory: u32,
    /// What it exports.
    pub folder: String,
    /// With which options.
    pub export: String,
    /// The version of NFS.
    pub nfs: String,
    /// The image's name in the folder.
    pub image: String,
}

/// A board.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its address, with the prefix's length.
    pub address: String,
    /// MiB.
    pub memory: u32,
}

/// What both boards have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boards {
    /// CPUs.
    pub cpus: u16,
    /// The largest packet.
    pub mtu: u16,
    /// Where the export is mounted.
    pub mount: String,
    /// The tap device.
    pub tap: String,
    /// Its address, which is the guest's default route.
    pub tap_address: String,
    /// Its MAC address.
    pub tap_mac: String,
    /// Where the destination listens.
    pub migration_port: u16,
}

/// The guest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// Its address, with the prefix's length.
    pub address: String,
    /// Its MAC address.
    pub mac: String,
    /// CPUs.
    pub cpus: u16,
    /// MiB.
    pub memory: u64,
    /// Its disk, MiB.
    pub disk: u64,
    /// And the file system on it.
    pub fstype: String,
}

impl Plan {
    /// Reads a plan.
    ///
    /// Errors: it is none, or says what can't be.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let plan: Self = toml::from_str(text)?;
        let addresses = [
            ("storage.address", &plan.storage.address),
            ("a.address", &plan.a.address),
            ("b.address", &plan.b.address),
            ("boards.tap_address", &plan.boards.tap_address),
            ("guest.address", &plan.guest.address),
        ];
        for (name, address) in addresses {
            let parsed = address.split_once('/').and_then(|(ip, prefix)| {
                let _: std::net::Ipv4Addr = ip.parse().ok()?;
                prefix.parse::<u8>().ok().filter(|prefix| *prefix <= 32)
            });
            if parsed.is_none() {
                return Err(PlanError::Address { name, address: address.clone() });
            }
        }
        if !["4.2", "4.1", "3"].contains(&plan.storage.nfs.as_str()) {
            return Err(PlanError::Nfs(plan.storage.nfs));
        }
        let words = [
            ("storage.folder", &plan.storage.folder),
            ("storage.export", &plan.storage.export),
            ("storage.image", &plan.storage.image),
            ("boards.mount", &plan.boards.mount),
            ("boards.tap", &plan.boards.tap),
            ("boards.tap_mac", &plan.boards.tap_mac),
            ("guest.mac", &plan.guest.mac),
            ("guest.fstype", &plan.guest.fstype),
        ];
        for (name, word) in words {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=".contains(c);
            if word.is_empty() || !word.chars().all(plain) {
                return Err(PlanError::Word { name, word: word.clone() });
            }
        }
        Ok(plan)
    }
}

/// An address without its prefix's length.
pub fn ip(address: &str) -> &str {
    address.split('/').next().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_plan_is_that_of_2014() {
        let plan = Plan::parse(SEED).unwrap();
        assert_eq!(ip(&plan.b.address), "192.168.10.101");
        assert_eq!((plan.boards.migration_port, plan.storage.folder.as_str()), (4321, "/srv"));
        assert_eq!(plan.storage.export, "rw,sync,no_root_squash,no_subtree_check,insecure");
    }

    #[test]
    fn what_can_not_be_is_named() {
        let with = |from: &str, to: &str| {
            assert!(SEED.contains(from));
            Plan::parse(&SEED.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(with("192.168.10.101/24", "192.168.10.101").contains("b.address"));
        assert!(with("nfs = \"4.2\"", "nfs = \"2\"").contains("expected 4.2"));
        assert!(with("image = \"migr.root\"", "image = \"x; reboot\"").contains("storage.image"));
        assert!(with("mtu = 9000", "mtu = 9000\nspeed = 1").contains("speed"));
    }
}
