//! What is set up on the three machines, each with what undoes it.

use super::checks::{HostRole, export, is_exported};
use super::facts::{HostFacts, MountPoint};
use crate::hosts::setup::SetupStep;
use crate::plan::{MigrationPlan, ip};

/// Storage: the export for both boards, a folder of ours in it and one for what is said, the way to the guest.
pub(super) fn storage(
    facts: &HostFacts,
    plan: &MigrationPlan,
    folders: &[String],
) -> Vec<SetupStep> {
    let (folder, options) = (&plan.storage.folder, &plan.storage.export);
    let exportfs = &facts.programs["exportfs"];
    let mut steps = Vec::new();
    for board in [HostRole::A, HostRole::B] {
        let address = board.address(plan);
        if is_exported(facts, plan, address) {
            continue;
        }
        let there = format!("{exportfs} -s | grep -q '^{folder} *{address}('");
        steps.push(SetupStep {
            what: format!("the export of {folder} to {address}"),
            free: format!("! {there}"),
            line: format!("{exportfs} -o {options} {address}:{folder}"),
            undo: format!("! {there} || {exportfs} -u {address}:{folder}"),
        });
    }
    steps.extend(folders.iter().map(|folder| SetupStep::folder(folder)));
    let (programs, guest, a) = (&facts.programs, ip(&plan.guest.address), ip(&plan.a.address));
    let ip = &programs["ip"];
    let there = format!("[ -n \"$({ip} -4 route show exact {guest}/32)\" ]");
    steps.push(SetupStep {
        what: format!("the route to {guest}"),
        free: format!("! {there}"),
        line: format!("{ip} route add {guest} via {a}"),
        // By whichever board it leads then.
        undo: format!("! {there} || {ip} route delete {guest}"),
    });
    steps
}

/// A board: the export, the tap device, forwarding between them.
pub(super) fn board(facts: &HostFacts, plan: &MigrationPlan, own: &str) -> Vec<SetupStep> {
    let mut steps = vec![SetupStep::folder(own)];
    if facts.mounted.is_none() {
        steps.extend(mount(facts, plan));
    }
    let (ip, tap) = (&facts.programs["ip"], &plan.boards.tap);
    steps.push(SetupStep {
        what: tap.clone(),
        free: format!("[ ! -e /sys/class/net/{tap} ]"),
        line: format!("{ip} tuntap add dev {tap} mode tap"),
        undo: format!("[ ! -e /sys/class/net/{tap} ] || {ip} link delete dev {tap}"),
    });
    // All of this vanishes with the device.
    let (mac, address) = (&plan.boards.tap_mac, &plan.boards.tap_address);
    let up = format!(
        "{ip} link set dev {tap} address {mac} up && {ip} address add {address} dev {tap} && \
         echo 1 >/proc/sys/net/ipv4/conf/{tap}/forwarding"
    );
    steps.push(SetupStep::plain(&format!("{tap} {address}"), up));
    // For the one device, as net.ipv4.ip_forward is about all of them, and resets other settings of theirs.
    let device = facts.ways.get(HostRole::Storage.address(plan)).map(|way| &way.device);
    if let Some(device) = device.filter(|device| facts.forwards.get(*device) == Some(&false)) {
        let setting = format!("/proc/sys/net/ipv4/conf/{device}/forwarding");
        steps.push(SetupStep {
            what: format!("net.ipv4.conf.{device}.forwarding"),
            free: format!("[ $(cat {setting}) = 0 ]"),
            line: format!("echo 1 >{setting}"),
            undo: format!("echo 0 >{setting}"),
        });
    }
    steps
}

/// The export's mount, and the folder for it.
fn mount(facts: &HostFacts, plan: &MigrationPlan) -> Vec<SetupStep> {
    let (at, export, programs) = (&plan.boards.mount, export(plan), &facts.programs);
    let mut steps = Vec::new();
    if facts.mount_point == MountPoint::Missing {
        steps.push(SetupStep {
            what: at.clone(),
            free: format!("[ ! -e {at} ]"),
            line: format!("mkdir {at}"),
            undo: format!("[ ! -e {at} ] || rmdir {at}"),
        });
    }
    let there = |what: &str| format!("grep -q '^{what} {at} ' /proc/mounts");
    steps.push(SetupStep {
        what: format!("{export} at {at}"),
        free: format!("! {}", there("[^ ]*")),
        line: format!(
            "{} -t nfs -o vers={},retry=0 {export} {at}",
            programs["mount"], plan.storage.nfs
        ),
        // Whatever still has a file of it open: the guest's QEMU ends at the same time as we do.
        undo: format!("! {} || {} -l {at}", there(&export), programs["umount"]),
    });
    steps
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
        steps.iter().map(|step| step.what.as_str()).collect()
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
            |steps: Vec<SetupStep>| steps.into_iter().map(|step| step.line).collect::<Vec<_>>();
        let storage = lines(storage(&facts("threads 8"), &plan, &[]));
        assert!(
            storage[0].ends_with("no_subtree_check,insecure 192.168.10.100:/srv"),
            "{storage:?}"
        );
        assert_eq!(storage[2], "/bin/ip route add 192.168.2.100 via 192.168.10.100");
        let board = lines(board(&facts("mountpoint empty"), &plan, "/tmp/own"));
        assert_eq!(board[1], "/bin/mount -t nfs -o vers=4.2,retry=0 192.168.10.10:/srv /mnt");
    }
}
