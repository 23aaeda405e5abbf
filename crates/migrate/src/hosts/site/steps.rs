//! What is set up on the three machines, each with what undoes it: a row for each thing.

use super::checks::{HostRole, export, is_exported};
use super::facts::{HostFacts, MountPoint};
use crate::hosts::setup::{HostWords, SetupRow, SetupStep, steps};
use crate::plan::{MigrationPlan, ip};
use memtwin_lab::host::quoted;

/// Storage: the export for both boards, a folder of ours in it and one for what is said, the way to the guest.
const STORAGE: &[SetupRow<SiteHost>] = &[
    export_row(|host| !host.exports_to(HostRole::A), "a"),
    export_row(|host| !host.exports_to(HostRole::B), "b"),
    SetupRow::folder(|host| !host.folders.is_empty(), "first_folder"),
    SetupRow::folder(|host| host.folders.len() > 1, "second_folder"),
    SetupRow {
        needed: |_| true,
        of: "guest",
        says: "the route to {it}",
        free: "! [ -n \"$({ip} -4 route show exact {it}/32)\" ]",
        does: "{ip} route add {it} via {a}",
        // By whichever board it leads then.
        undoes: "! [ -n \"$({ip} -4 route show exact {it}/32)\" ] || {ip} route delete {it}",
    },
];

/// A board: a folder of ours, the export, the tap device, forwarding between them.
const BOARD: &[SetupRow<SiteHost>] = &[
    SetupRow::folder(|_| true, "first_folder"),
    SetupRow {
        needed: |host| host.is_unmounted() && host.facts.mount_point == MountPoint::Missing,
        of: "mount_point",
        says: "{it}",
        free: "[ ! -e {it} ]",
        does: "mkdir {it}",
        undoes: "[ ! -e {it} ] || rmdir {it}",
    },
    SetupRow {
        needed: SiteHost::is_unmounted,
        of: "mount_point",
        says: "{export} at {it}",
        free: "! grep -q '^[^ ]* {it} ' /proc/mounts",
        does: "{mount} -t nfs -o vers={nfs},retry=0 {export} {it}",
        // Whatever still has a file of it open: the guest's QEMU ends at the same time as we do.
        undoes: "! grep -q '^{export} {it} ' /proc/mounts || {umount} -l {it}",
    },
    SetupRow {
        needed: |_| true,
        of: "tap",
        says: "{it}",
        free: "[ ! -e /sys/class/net/{it} ]",
        does: "{ip} tuntap add dev {it} mode tap",
        undoes: "[ ! -e /sys/class/net/{it} ] || {ip} link delete dev {it}",
    },
    // All of this vanishes with the device.
    SetupRow {
        needed: |_| true,
        of: "tap",
        says: "{it} {tap_address}",
        free: "true",
        does: "{ip} link set dev {it} address {tap_mac} up && {ip} address add {tap_address} dev {it} && \
               echo 1 >/proc/sys/net/ipv4/conf/{it}/forwarding",
        undoes: "true",
    },
    // For the one device, as net.ipv4.ip_forward is about all of them, and resets other settings of theirs.
    SetupRow {
        needed: |host| host.device().is_some_and(|device| !host.forwards(device)),
        of: "device",
        says: "net.ipv4.conf.{it}.forwarding",
        free: "[ $(cat /proc/sys/net/ipv4/conf/{it}/forwarding) = 0 ]",
        does: "echo 1 >/proc/sys/net/ipv4/conf/{it}/forwarding",
        undoes: "echo 0 >/proc/sys/net/ipv4/conf/{it}/forwarding",
    },
];

/// The export for a board.
const fn export_row(needed: fn(&SiteHost) -> bool, board: &'static str) -> SetupRow<SiteHost> {
    SetupRow {
        needed,
        of: board,
        says: "the export of {folder} to {it}",
        free: "! {exportfs} -s | grep -q '^{folder} *{it}('",
        does: "{exportfs} -o {options} {it}:{folder}",
        undoes: "! {exportfs} -s | grep -q '^{folder} *{it}(' || {exportfs} -u {it}:{folder}",
    }
}

/// The steps of storage, with folders of ours.
pub(super) fn storage(
    facts: &HostFacts,
    plan: &MigrationPlan,
    folders: &[String],
) -> Vec<SetupStep> {
    steps(STORAGE, &SiteHost::new(facts, plan, folders))
}

/// The steps of a board, with a folder of ours.
pub(super) fn board(facts: &HostFacts, plan: &MigrationPlan, own: &str) -> Vec<SetupStep> {
    steps(BOARD, &SiteHost::new(facts, plan, &[own.to_owned()]))
}

/// One of the three machines: what it said of itself, and what the plan says of it.
#[derive(Clone, Debug)]
struct SiteHost {
    facts: HostFacts,
    plan: MigrationPlan,
    /// Folders of ours there.
    folders: Vec<String>,
}

impl SiteHost {
    fn new(facts: &HostFacts, plan: &MigrationPlan, folders: &[String]) -> Self {
        Self { facts: facts.clone(), plan: plan.clone(), folders: folders.to_vec() }
    }

    fn exports_to(&self, board: HostRole) -> bool {
        is_exported(&self.facts, &self.plan, board.address(&self.plan))
    }

    fn is_unmounted(&self) -> bool {
        self.facts.mounted.is_none()
    }

    /// The device that leads to storage.
    fn device(&self) -> Option<&String> {
        let way = self.facts.ways.get(HostRole::Storage.address(&self.plan))?;
        Some(&way.device)
    }

    /// Whether packets of a device are forwarded; so of one that it does not know.
    fn forwards(&self, device: &str) -> bool {
        self.facts.forwards.get(device) != Some(&false)
    }
}

impl HostWords for SiteHost {
    fn word(&self, name: &str) -> Option<String> {
        let MigrationPlan { storage, boards, guest, .. } = &self.plan;
        let word = match name {
            "ip" | "mount" | "umount" | "exportfs" => self.facts.programs.get(name)?.clone(),
            "folder" => storage.folder.clone(),
            "options" => storage.export.clone(),
            "nfs" => storage.nfs.clone(),
            "export" => export(&self.plan),
            "a" => HostRole::A.address(&self.plan).to_owned(),
            "b" => HostRole::B.address(&self.plan).to_owned(),
            "guest" => ip(&guest.address).to_owned(),
            "mount_point" => boards.mount.clone(),
            "tap" => boards.tap.clone(),
            "tap_mac" => boards.tap_mac.clone(),
            "tap_address" => boards.tap_address.clone(),
            "device" => self.device()?.clone(),
            "first_folder" => quoted(self.folders.first()?),
            "second_folder" => quoted(self.folders.get(1)?),
            _ => return None,
        };
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SEED;

    fn facts(more: &str) -> HostFacts {
        let mut said = format!("{more}\nway 192.168.10.10 192.168.10.10 dev eth1 src 1.1.1.1\n");
        for name in ["ip", "exportfs", "mount", "umount"] {
            said.push_str(&format!("program {name} /bin/{name}\n"));
        }
        HostFacts::read(&said).unwrap()
    }

    fn whats(steps: &[SetupStep]) -> Vec<&str> {
        steps.iter().map(|step| step.says.as_str()).collect()
    }

    #[test]
    fn what_is_there_is_left() {
        let plan = MigrationPlan::parse(SEED).unwrap();
        let all = board(&facts("forwards eth1 0\nmountpoint missing"), &plan, "/tmp/own");
        let (mounted, forwarding) = ("192.168.10.10:/srv at /mnt", "net.ipv4.conf.eth1.forwarding");
        let own = ["/tmp/own", "/mnt", mounted, "tap0", "tap0 192.168.2.1/24", forwarding];
        assert_eq!(whats(&all), own);
        let some = "forwards eth1 1\nmounted 192.168.10.10:/srv nfs4\nmountpoint mounted";
        assert_eq!(whats(&board(&facts(some), &plan, "/tmp/own")), [own[0], own[3], own[4]]);
        let empty = board(&facts("forwards eth1 1\nmountpoint empty"), &plan, "/tmp/own");
        assert_eq!(whats(&empty), [own[0], own[2], own[3], own[4]]);

        let folder = ["/srv/memtwin-x".to_owned()];
        let exported = "export /srv 192.168.10.100(rw)";
        let steps = storage(&facts(exported), &plan, &folder);
        let of = "the export of /srv to 192.168.10.101";
        assert_eq!(whats(&steps), [of, "/srv/memtwin-x", "the route to 192.168.2.100"]);
        assert_eq!(whats(&storage(&facts("export /srv *(rw)"), &plan, &folder)).len(), 2);
    }

    #[test]
    fn the_lines_are_those_of_2014() {
        let plan = MigrationPlan::parse(SEED).unwrap();
        let lines =
            |steps: Vec<SetupStep>| steps.into_iter().map(|step| step.does).collect::<Vec<_>>();
        let storage = lines(storage(&facts("threads 8"), &plan, &[]));
        assert!(
            storage[0].ends_with("no_subtree_check,insecure 192.168.10.100:/srv"),
            "{storage:?}"
        );
        assert_eq!(storage[2], "/bin/ip route add 192.168.2.100 via 192.168.10.100");
        let board = lines(board(&facts("mountpoint empty"), &plan, "/tmp/own"));
        assert_eq!(board[1], "/bin/mount -t nfs -o vers=4.2,retry=0 192.168.10.10:/srv /mnt");
    }

    /// A word that no host has would go to its shell as it stands in the table.
    #[test]
    fn every_word_of_every_row_is_known() {
        let plan = MigrationPlan::parse(SEED).unwrap();
        let all = "forwards eth1 0\nmountpoint missing";
        let folders = ["/srv/memtwin-x", "/tmp/memtwin-x-s"].map(str::to_owned);
        let storage = storage(&facts("threads 8"), &plan, &folders);
        let board = board(&facts(all), &plan, "/tmp/own");
        assert_eq!((storage.len(), board.len()), (STORAGE.len(), BOARD.len()));
        for SetupStep { says, free, does, undoes } in storage.into_iter().chain(board) {
            for text in [says, free, does, undoes] {
                let name = |at: usize| text[at + 1..].split('}').next().unwrap_or_default();
                let named = |at: usize| !name(at).starts_with(' ');
                assert!(!text.match_indices('{').any(|(at, _)| named(at)), "{text}");
            }
        }
    }
}
