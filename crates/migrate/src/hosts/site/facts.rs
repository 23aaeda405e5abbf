//! What a machine says of itself before anything is changed there.

use crate::plan::{MigrationPlan, ip};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What a machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostFacts {
    pub(super) root: bool,
    /// Programs by their names, with their paths: a shell that is busybox would take its own.
    pub(super) programs: BTreeMap<String, String>,
    pub(super) modules: Vec<String>,
    pub(super) addresses: Vec<String>,
    /// The ways to addresses.
    pub(super) ways: BTreeMap<String, RouteTo>,
    /// Routes into the guest's network.
    pub(super) routes: Vec<String>,
    /// Whether a device has the tap's name.
    pub(super) tap: bool,
    /// What is mounted at the plan's mount point, and of which type.
    pub(super) mounted: Option<(String, String)>,
    pub(super) mount_point: MountPoint,
    /// Which devices' packets are forwarded.
    pub(super) forwards: BTreeMap<String, bool>,
    /// The NFS server's threads.
    pub(super) threads: u32,
    /// What it exports, and to whom.
    pub(super) exports: Vec<(String, String)>,
    /// Whether the folder that is to be exported is there.
    pub(super) folder: bool,
}

/// How packets go to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteTo {
    /// To this machine itself.
    pub(super) own: bool,
    pub(super) via: Option<String>,
    pub(super) device: String,
    pub(super) source: String,
}

/// What is where something is to be mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MountPoint {
    #[default]
    Missing,
    Empty,
    /// A folder with something in it, or no folder.
    Taken,
}

/// The line that asks for all of it.
pub(super) fn line(plan: &MigrationPlan) -> String {
    let peers = [&plan.storage.address, &plan.a.address, &plan.b.address].map(|peer| ip(peer));
    let nets = [&plan.boards.tap_address, &plan.guest.address].map(|address| net(address));
    let (mount, tap, folder) = (&plan.boards.mount, &plan.boards.tap, &plan.storage.folder);
    format!(
        r#"path() {{ for d in /usr/sbin /usr/bin /sbin /bin; do if [ -x $d/$1 ]; then echo $d/$1; return; fi; done; }}
echo "user $(id -u)"
for p in ip ping mount umount mount.nfs exportfs; do w=$(path $p); [ -z "$w" ] || echo "program $p $w"; done
ip=$(path ip) ping=$(path ping) exportfs=$(path exportfs)
[ -z "$ping" ] || ! $ping -V 2>&1 | grep -q iputils || echo "program iputils $ping"
if grep -qw tun /proc/misc || modprobe -n -q tun 2>/dev/null; then echo module tun; fi
if [ -d /sys/module/nfsv4 ] || modprobe -n -q nfsv4 2>/dev/null; then echo module nfsv4; fi
if [ -n "$ip" ]; then
    $ip -o -4 address show | while read -r _ _ _ a _; do echo "address $a"; done
    for to in {peers}; do $ip -o -4 route get $to 2>/dev/null | head -n 1 | sed "s/^/way $to /"; done
    for net in {nets}; do $ip -o -4 route show root $net | sed 's/^/route /'; done
fi
[ ! -e /sys/class/net/{tap} ] || echo tap
m=missing
while read -r from at kind _; do [ "$at" != {mount} ] || {{ m=mounted; echo "mounted $from $kind"; }}; done </proc/mounts
if [ $m = missing ] && [ -e {mount} ]; then
    m=taken; [ ! -d {mount} ] || [ -n "$(ls -A {mount})" ] || m=empty
fi
echo "mountpoint $m"
for f in /proc/sys/net/ipv4/conf/*/forwarding; do d=${{f%/forwarding}}; echo "forwards ${{d##*/}} $(cat $f)"; done
[ ! -r /proc/fs/nfsd/threads ] || echo "threads $(cat /proc/fs/nfsd/threads)"
[ ! -d {folder} ] || echo folder
[ -z "$exportfs" ] || $exportfs -s 2>/dev/null | sed 's/^/export /'
true"#,
        peers = peers.join(" "),
        nets = nets.join(" "),
    )
}

/// The network of an address with its prefix's length, which a plan's addresses have.
fn net(address: &str) -> String {
    let (ip, prefix) = address.split_once('/').unwrap_or((address, "32"));
    let (ip, prefix) = (ip.parse().unwrap_or(Ipv4Addr::UNSPECIFIED), prefix.parse().unwrap_or(32));
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    format!("{}/{prefix}", Ipv4Addr::from(ip.to_bits() & mask))
}

impl HostFacts {
    /// What a machine has said; the line that is not understood otherwise.
    pub(super) fn read(said: &str) -> Result<Self, String> {
        let mut facts = Self::default();
        for line in said.lines() {
            facts.take(line).ok_or_else(|| format!("not understood: '{line}'"))?;
        }
        Ok(facts)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split_whitespace();
        let mut word = || words.next().map(str::to_owned);
        match key {
            "user" => self.root = word()? == "0",
            "program" => drop(self.programs.insert(word()?, word()?)),
            "module" => self.modules.push(word()?),
            "address" => self.addresses.push(word()?.split('/').next()?.to_owned()),
            "way" => {
                let to = word()?;
                let words: Vec<&str> = rest.split_whitespace().skip(1).collect();
                let after = |name: &str| {
                    let at = words.iter().position(|word| *word == name)?;
                    words.get(at + 1).map(|word| (*word).to_owned())
                };
                let way = RouteTo {
                    own: words.first() == Some(&"local"),
                    via: after("via"),
                    device: after("dev").unwrap_or_default(),
                    source: after("src").unwrap_or_default(),
                };
                self.ways.insert(to, way);
            }
            "route" => self.routes.push(rest.trim().to_owned()),
            "tap" => self.tap = true,
            "mounted" => self.mounted = Some((word()?, word()?)),
            "mountpoint" => {
                self.mount_point = match word()?.as_str() {
                    "missing" => MountPoint::Missing,
                    "empty" => MountPoint::Empty,
                    _ => MountPoint::Taken,
                };
            }
            "forwards" => drop(self.forwards.insert(word()?, word()? == "1")),
            "threads" => self.threads = word()?.parse().ok()?,
            "folder" => self.folder = true,
            "export" => {
                let (path, client) = (word()?, word()?);
                self.exports.push((path, client.split('(').next()?.to_owned()));
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SEED;

    #[test]
    fn what_a_machine_says_is_read() {
        let said = "user 0\nprogram ip /usr/bin/ip\nmodule tun\naddress 127.0.0.1/8\n\
            way 192.168.10.10 192.168.10.10 dev eth1 src 192.168.10.100 uid 0 \\    cache\n\
            way 192.168.10.100 local 192.168.10.100 dev lo src 192.168.10.100 uid 0 \\    cache <local>\n\
            way 192.168.10.101 192.168.10.101 via 10.0.2.2 dev eth0 src 10.0.2.15 uid 0 \\    cache\n\
            route 192.168.2.100 via 192.168.10.100 dev eth1\ntap\nmounted 192.168.10.10:/srv nfs4\n\
            mountpoint mounted\nforwards all 0\nforwards eth0.5 1\nthreads 8\nfolder\n\
            export /srv 192.168.10.0/24(sync,wdelay,rw)\n";
        let facts = HostFacts::read(said).unwrap();
        assert!(facts.root && facts.tap && facts.folder && facts.threads == 8);
        let way = |to: &str| facts.ways[to].clone();
        assert_eq!(way("192.168.10.10").device, "eth1");
        assert!(way("192.168.10.100").own && !way("192.168.10.10").own);
        assert_eq!(way("192.168.10.101").via.as_deref(), Some("10.0.2.2"));
        assert_eq!((facts.forwards["all"], facts.forwards["eth0.5"]), (false, true));
        assert_eq!(facts.exports, [("/srv".to_owned(), "192.168.10.0/24".to_owned())]);
        assert_eq!(facts.mounted, Some(("192.168.10.10:/srv".to_owned(), "nfs4".to_owned())));
        for odd in ["bash: warning", "threads many", "way", "program ip"] {
            assert_eq!(HostFacts::read(odd), Err(format!("not understood: '{odd}'")));
        }
    }

    #[test]
    fn this_machine_answers() {
        let plan = MigrationPlan::parse(SEED).unwrap();
        let output = std::process::Command::new("sh").args(["-c", &line(&plan)]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let facts = HostFacts::read(&String::from_utf8_lossy(&output.stdout)).unwrap();
        assert!(facts.addresses.contains(&"127.0.0.1".to_owned()) || facts.programs.is_empty());
    }

    #[test]
    fn networks() {
        assert_eq!(net("192.168.2.1/24"), "192.168.2.0/24");
        assert_eq!(net("10.9.8.7/0"), "0.0.0.0/0");
        assert_eq!(net("10.9.8.7/32"), "10.9.8.7/32");
    }
}
