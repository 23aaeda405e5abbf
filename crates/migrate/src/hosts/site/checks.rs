//! What is refused, before anything is changed: what is missing on a machine, and what is somebody's there.

use super::facts::{HostFacts, MountPoint};
use crate::plan::{MigrationPlan, ip};
use std::net::Ipv4Addr;

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostRole {
    Storage,
    A,
    B,
}

impl HostRole {
    pub(super) const ALL: [Self; 3] = [Self::Storage, Self::A, Self::B];

    /// Its address's name in the plan.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Storage => "storage.address",
            Self::A => "a.address",
            Self::B => "b.address",
        }
    }

    /// Its address.
    pub(super) fn address(self, plan: &MigrationPlan) -> &str {
        ip(match self {
            Self::Storage => &plan.storage.address,
            Self::A => &plan.a.address,
            Self::B => &plan.b.address,
        })
    }
}

/// What stands in the way on a machine, and what to do about it.
pub(super) fn check(role: HostRole, facts: &HostFacts, plan: &MigrationPlan) -> Result<(), String> {
    if !facts.root {
        return Err("devices, routes and mounts need root there: name root@ in --hosts".to_owned());
    }
    let programs: &[(&str, &str)] = match role {
        HostRole::Storage => &[
            ("ip", "iproute2"),
            ("iputils", "iputils-ping, for ping -D"),
            ("exportfs", "nfs-kernel-server"),
        ],
        _ => &[
            ("ip", "iproute2"),
            ("mount", "mount"),
            ("umount", "mount"),
            ("mount.nfs", "nfs-common"),
        ],
    };
    for (name, package) in programs {
        if !facts.programs.contains_key(*name) {
            return Err(format!("no program {name} there (Debian's package: {package})"));
        }
    }
    for peer in HostRole::ALL {
        on_link(role, peer, facts, plan)?;
    }
    let (guest, tap) = (ip(&plan.guest.address), &plan.boards.tap);
    if let Some(route) = facts.routes.first() {
        return Err(format!(
            "the guest's network is routed there already: '{route}'; give the guest another in the plan \
             (guest.address {guest}, boards.tap_address)"
        ));
    }
    if role == HostRole::Storage {
        return serves(facts, plan);
    }
    for module in ["tun", "nfsv4"] {
        let mounted = module == "nfsv4" && facts.mounted.is_some();
        if !mounted && !facts.modules.iter().any(|name| name == module) {
            return Err(format!("its kernel has no module {module}"));
        }
    }
    if facts.tap {
        return Err(format!(
            "{tap} is there already: name another device in the plan (boards.tap)"
        ));
    }
    mounts(facts, plan)
}

/// That a machine has its own address, and that another is its neighbour by it: the route to the guest leads over
/// it, and the export is for it.
fn on_link(
    role: HostRole,
    peer: HostRole,
    facts: &HostFacts,
    plan: &MigrationPlan,
) -> Result<(), String> {
    let (own, to) = (role.address(plan), peer.address(plan));
    if role == peer {
        return match facts.addresses.iter().any(|address| address == own) {
            true => Ok(()),
            false => Err(format!(
                "the plan's {} {own} is not there; its addresses: {}",
                role.key(),
                facts.addresses.join(", ")
            )),
        };
    }
    let key = peer.key();
    match facts.ways.get(to) {
        None => Err(format!("no way from there to {key} {to}: put all three on one network")),
        Some(way) if way.own => {
            Err(format!("{key} {to} is the same machine: storage and both boards are three"))
        }
        Some(way) if way.via.is_some() => Err(format!(
            "{key} {to} is behind a router ({}): put all three on one network, and its addresses in the plan",
            way.via.as_deref().unwrap_or_default()
        )),
        Some(way) if way.source != own => Err(format!(
            "what goes to {key} {to} has the address {}, not {} {own}: name that in the plan",
            way.source,
            role.key()
        )),
        Some(_) => Ok(()),
    }
}

fn serves(facts: &HostFacts, plan: &MigrationPlan) -> Result<(), String> {
    let folder = &plan.storage.folder;
    if facts.threads == 0 {
        return Err(
            "no NFS server of the kernel runs there (/proc/fs/nfsd/threads): start it".to_owned()
        );
    }
    if !facts.folder {
        return Err(format!("no folder {folder} there: make it, or name another (storage.folder)"));
    }
    Ok(())
}

fn mounts(facts: &HostFacts, plan: &MigrationPlan) -> Result<(), String> {
    let (mount, export) = (&plan.boards.mount, export(plan));
    let other = "name another folder in the plan (boards.mount)";
    match (&facts.mounted, facts.mount_point) {
        (Some((from, kind)), _) if *from == export && kind.starts_with("nfs") => Ok(()),
        (Some((from, _)), _) => {
            Err(format!("{mount} has {from} mounted, and not {export}: {other}"))
        }
        (None, MountPoint::Taken) => Err(format!("{mount} is no empty folder: {other}")),
        // Its locks need rpc.statd, which mount.nfs would start, and nobody would end.
        (None, _) if plan.storage.nfs == "3" => Err(format!(
            "nfs = \"3\" needs daemons there: mount {export} at {mount} yourself, or say 4.2"
        )),
        (None, _) => Ok(()),
    }
}

/// What is mounted, as mount(8) has it.
pub(super) fn export(plan: &MigrationPlan) -> String {
    format!("{}:{}", ip(&plan.storage.address), plan.storage.folder)
}

/// Whether the folder is exported to an address already.
pub(super) fn is_exported(facts: &HostFacts, plan: &MigrationPlan, address: &str) -> bool {
    let to = |client: &str| client == address || client == "*" || is_within(address, client);
    facts.exports.iter().any(|(path, client)| *path == plan.storage.folder && to(client))
}

/// Whether an address is in a network, as exports(5) writes it.
fn is_within(address: &str, network: &str) -> bool {
    let within = || -> Option<bool> {
        let (net, mask) = network.split_once('/')?;
        let mask = match mask.parse::<u32>() {
            Ok(prefix) => u32::MAX.checked_shl(32_u32.checked_sub(prefix)?).unwrap_or(0),
            Err(_) => mask.parse::<Ipv4Addr>().ok()?.to_bits(),
        };
        let bits = |ip: &str| ip.parse::<Ipv4Addr>().ok().map(|ip| ip.to_bits() & mask);
        Some(bits(address)? == bits(net)?)
    };
    within().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SEED;

    /// What a machine says in whose way nothing stands.
    fn fit(role: HostRole) -> String {
        let plan = MigrationPlan::parse(SEED).unwrap();
        let own = role.address(&plan);
        let mut said = format!("user 0\naddress {own}/24\nmountpoint empty\nthreads 8\nfolder\n");
        for name in ["ip", "iputils", "exportfs", "mount", "umount", "mount.nfs"] {
            said.push_str(&format!("program {name} /usr/bin/{name}\n"));
        }
        ["tun", "nfsv4"].iter().for_each(|name| said.push_str(&format!("module {name}\n")));
        for peer in HostRole::ALL.into_iter().filter(|peer| *peer != role) {
            let to = peer.address(&plan);
            said.push_str(&format!("way {to} {to} dev eth1 src {own} uid 0\n"));
        }
        said
    }

    fn checked(role: HostRole, said: &str, plan: &str) -> Result<(), String> {
        check(role, &HostFacts::read(said).unwrap(), &MigrationPlan::parse(plan).unwrap())
    }

    #[test]
    fn what_is_fit_passes() {
        for role in HostRole::ALL {
            assert_eq!(checked(role, &fit(role), SEED), Ok(()), "{role:?}");
        }
        let mounted = fit(HostRole::A) + "mounted 192.168.10.10:/srv nfs4\nmountpoint mounted\n";
        assert_eq!(checked(HostRole::A, &mounted, SEED), Ok(()));
        let v3 = SEED.replace("nfs = \"4.2\"", "nfs = \"3\"");
        assert_eq!(checked(HostRole::A, &mounted, &v3), Ok(()));
        assert!(checked(HostRole::A, &fit(HostRole::A), &v3).unwrap_err().contains("yourself"));
    }

    #[test]
    fn what_is_missing_or_somebodys_is_named() {
        let refused = |role: HostRole, from: &str, to: &str, expected: &str| {
            let said = fit(role);
            assert!(said.contains(from), "{from}");
            let why = checked(role, &said.replace(from, to), SEED).unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        refused(HostRole::A, "user 0", "user 1000", "root@");
        refused(HostRole::B, "program mount.nfs", "program other", "nfs-common");
        refused(HostRole::A, "module tun", "module other", "no module tun");
        refused(
            HostRole::A,
            "address 192.168.10.100/24",
            "address 10.0.0.1/8",
            "addresses: 10.0.0.1",
        );
        refused(HostRole::A, "mountpoint empty", "mountpoint taken", "boards.mount");
        refused(HostRole::A, "user 0", "user 0\ntap", "boards.tap");
        refused(HostRole::A, "user 0", "user 0\nmounted /dev/sda1 ext4", "has /dev/sda1 mounted");
        let route = "user 0\nroute 192.168.2.0/24 dev eth0 proto kernel";
        refused(HostRole::A, "user 0", route, "'192.168.2.0/24 dev eth0 proto kernel'");
        refused(
            HostRole::Storage,
            "user 0",
            "user 0\nroute 192.168.2.100 via 1.2.3.4",
            "routed there",
        );
        refused(HostRole::Storage, "program iputils", "program other", "iputils-ping");
        refused(HostRole::Storage, "threads 8", "threads 0", "start it");
        refused(HostRole::Storage, "\nfolder", "", "storage.folder");
        let way = "way 192.168.10.101 192.168.10.101";
        refused(HostRole::A, way, "way 1.1.1.1 1.1.1.1", "no way from there to b.address");
        refused(HostRole::A, way, "way 192.168.10.101 local 192.168.10.101", "the same machine");
        refused(
            HostRole::A,
            way,
            "way 192.168.10.101 192.168.10.101 via 10.0.0.2",
            "router (10.0.0.2)",
        );
        let other = fit(HostRole::B).replace("src 192.168.10.101", "src 10.1.1.1");
        assert!(
            checked(HostRole::B, &other, SEED).unwrap_err().contains("has the address 10.1.1.1")
        );
    }

    #[test]
    fn exports() {
        let plan = MigrationPlan::parse(SEED).unwrap();
        for (client, exported) in [
            ("*", true),
            ("192.168.10.100", true),
            ("192.168.10.101", false),
            ("192.168.10.0/24", true),
            ("192.168.10.0/255.255.255.0", true),
            ("192.168.11.0/24", false),
            ("0.0.0.0/0", true),
            ("board.example", false),
        ] {
            let facts = HostFacts::read(&format!("export /srv {client}(rw)")).unwrap();
            assert_eq!(is_exported(&facts, &plan, "192.168.10.100"), exported, "{client}");
            assert!(!is_exported(
                &HostFacts::read("export /home *(rw)").unwrap(),
                &plan,
                "1.1.1.1"
            ));
        }
    }
}
