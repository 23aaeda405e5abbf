//! A plan: which boards there are, where the guest's disk is, what the guest is. In TOML; the lab of the
//! reference setup is built in.

use serde::Deserialize;
use std::io::Read;

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
    /// A path where a name belongs.
    #[error(
        "the plan: storage.image = '{0}': expected the name of a file in storage.folder, without a '/', and \
         neither kernel nor initrd"
    )]
    Image(String),
    /// It is longer than any plan.
    #[error("the plan: expected at most {MOST} bytes")]
    TooLong,
    /// It can't be read.
    #[error("the plan: {0}")]
    Read(#[from] std::io::Error),
    /// A word that goes into a shell line there.
    #[error("the plan: {name} = '{word}': expected letters, digits and - _ . / , : alone")]
    Word {
        /// The name.
        name: &'static str,
        /// What stands there.
        word: String,
    },
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationPlan {
    /// The name of the migration plan.
    pub name: String,
    /// The NFS server.
    pub storage: PlanStorage,
    /// Where the guest boots.
    pub a: PlanBoard,
    /// Where it moves.
    pub b: PlanBoard,
    /// What both boards have.
    pub boards: PlanBoards,
    /// The guest.
    pub guest: PlanGuest,
}

/// The NFS server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanStorage {
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
pub struct PlanBoard {
    /// Its address, with the prefix's length.
    pub address: String,
    /// MiB.
    pub memory: u32,
}

/// What both boards have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanBoards {
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
pub struct PlanGuest {
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

/// The most bytes that a plan may have.
pub const MOST: u64 = 1 << 20;

impl MigrationPlan {
    /// Reads a plan from a file, or whatever it is: no more than a plan may have.
    ///
    /// Errors: it can't be read, is too long, or as [`MigrationPlan::parse`].
    pub fn read(from: impl Read) -> Result<Self, PlanError> {
        let mut text = String::new();
        let read = from.take(MOST + 1).read_to_string(&mut text)?;
        if read as u64 > MOST { Err(PlanError::TooLong) } else { Self::parse(&text) }
    }

    /// Parses a plan.
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
        let image = plan.storage.image.as_str();
        // The others lie beside it.
        if image.contains('/')
            || image.starts_with('-')
            || [".", "..", "kernel", "initrd"].contains(&image)
        {
            return Err(PlanError::Image(plan.storage.image));
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
        let plan = MigrationPlan::parse(SEED).unwrap();
        assert_eq!(ip(&plan.b.address), "192.168.10.101");
        assert_eq!((plan.boards.migration_port, plan.storage.folder.as_str()), (4321, "/srv"));
        assert_eq!(plan.storage.export, "rw,sync,no_root_squash,no_subtree_check,insecure");
    }

    #[test]
    fn no_more_is_read_than_a_plan_may_have() {
        assert_eq!(
            MigrationPlan::read(SEED.as_bytes()).unwrap(),
            MigrationPlan::parse(SEED).unwrap()
        );
        // A comment makes it as long as it may be, and a byte too long.
        let room = usize::try_from(MOST).unwrap() - SEED.len();
        let padded = |more: usize| format!("{SEED}#{}", "x".repeat(room - 1 + more));
        assert!(MigrationPlan::read(padded(0).as_bytes()).is_ok());
        assert!(matches!(MigrationPlan::read(padded(1).as_bytes()), Err(PlanError::TooLong)));
        assert!(matches!(MigrationPlan::read(std::io::repeat(0)), Err(PlanError::TooLong)));
        assert!(matches!(
            MigrationPlan::read((&[0xff][..]).chain(SEED.as_bytes())),
            Err(PlanError::Read(_))
        ));
    }

    #[test]
    fn what_can_not_be_is_named() {
        let with = |from: &str, to: &str| {
            assert!(SEED.contains(from));
            MigrationPlan::parse(&SEED.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(with("192.168.10.101/24", "192.168.10.101").contains("b.address"));
        assert!(with("nfs = \"4.2\"", "nfs = \"2\"").contains("expected 4.2"));
        assert!(with("image = \"migr.root\"", "image = \"x; reboot\"").contains("storage.image"));
        for out in ["../x", "/etc/passwd", "a/b", "..", ".", "-x", "kernel"] {
            let said = with("image = \"migr.root\"", &format!("image = \"{out}\""));
            assert!(said.contains("storage.image") && said.contains(out), "{said}");
        }
        assert!(with("mtu = 9000", "mtu = 9000\nspeed = 1").contains("speed"));
    }
}
