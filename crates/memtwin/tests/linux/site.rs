//! `memtwin migrate --hosts STORAGE,A,B` on boards of `memtwin lab up`, as machines that are somebody's: whatever
//! ends it, they are as they were.

use crate::boards::{LONG, lab, no_programs};
use crate::common::{Held, Place, expect, json, memtwin, run_within, text, until, verdicts};
use memtwin_child::Spawn;
use memtwin_wait::Deadline;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The owner's NFS server.
const SERVER: &str = "set -e; load nfsd auth_rpcgss; P=/var/lib/nfs/rpc_pipefs
mkdir -p $P /var/lib/nfs/nfsdcld; touch /var/lib/nfs/etab
/usr/bin/mount -t nfsd nfsd /proc/fs/nfsd; /usr/bin/mount -t rpc_pipefs rpc_pipefs $P
echo 10 >/proc/fs/nfsd/nfsv4leasetime; echo 10 >/proc/fs/nfsd/nfsv4gracetime
rpcbind -w; rpc.mountd; nfsdcld
n=0; until rpc.nfsd 4 && [ -p $P/nfsd/cld ]; do rpc.nfsd 0; n=$((n+1)); [ $n -lt 20 ]; sleep 0.5; done";

/// All that may be left behind. What mount(8) keeps of itself is in /run/mount; time passes, and the kernel's own
/// threads come and go.
const STATE: &str = "ip -o address | sed 's/valid_lft.*//'; ip -4 route show table all; ip -o link
cat /proc/mounts; exportfs -s; cat /run/mount/utab 2>/dev/null
grep . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding
find /tmp /srv /mnt /run -not -path '/run/mount*' -not -path '/mnt/*'
p=$(grep -l . /proc/[0-9]*/cmdline 2>/dev/null | sed 's/cmdline$/comm/'); cat $p 2>/dev/null | sort";

/// How long the end of all that was killed may take.
const UNDONE: Duration = Duration::from_secs(30);

/// Three boards that are up.
struct Site<'p> {
    state: &'p Path,
    _up: Held,
}

impl Site<'_> {
    fn ssh(&self, board: &str, line: &str) -> String {
        let mut command = memtwin();
        command.args(["lab", "ssh", "--state"]).arg(self.state).args([board, line]);
        expect(0, &mut command).0
    }

    /// Of all at the same time: each is slow.
    fn states(&self) -> [String; 3] {
        thread::scope(|scope| {
            let asked = ["a", "b", "c"].map(|board| scope.spawn(move || self.ssh(board, STATE)));
            asked.map(|asked| asked.join().unwrap())
        })
    }

    /// Waits until all is as it was: what was killed takes a moment to end.
    fn is_again(&self, before: &[String; 3]) {
        let deadline = Deadline::after(UNDONE);
        let mut now = self.states();
        while now != *before && !deadline.is_over() {
            now = self.states();
        }
        let but = |one: &str, other: &str| -> Vec<String> {
            let mut lines: Vec<&str> = other.lines().collect();
            let mut is_new = |line: &&str| {
                let there = lines.iter().position(|other| other == line);
                there.map(|at| lines.swap_remove(at)).is_none()
            };
            one.lines().filter(|line| is_new(line)).map(str::to_owned).collect()
        };
        for (now, before) in now.iter().zip(before) {
            assert!(now == before, "new: {:#?} gone: {:#?}", but(now, before), but(before, now));
        }
    }

    /// The command, with all its files here in a place of the test's own.
    fn migrate(&self, place: &Place) -> Command {
        let folder = place.path("tmp");
        fs::create_dir_all(&folder).unwrap();
        let mut command = memtwin();
        command.args(["migrate", "--hosts", "emulated:c,emulated:a,emulated:b", "--seconds", "2s"]);
        command.args(["--memory", "128M", "--load", "8192 64 50"]);
        command.arg("--state").arg(self.state).arg("--plan").arg(place.path("plan"));
        command.env("TMPDIR", folder);
        command
    }
}

fn up<'p>(place: &Place, state: &'p Path) -> Site<'p> {
    let programs = no_programs(place);
    let words = ["up", "3", "--memory", "768", "--programs", &programs];
    let up = lab(&words, state).stderr(Stdio::null()).stdout(Stdio::null()).spawn_bound().unwrap();
    let site = Site { state, _up: Held(up) };
    until("three boards", || state.join("lab.json").exists());
    site.ssh("c", SERVER);
    site.ssh("a", "load nfsv4 tun");
    site.ssh("b", "load nfsv4 tun");
    site
}

pub(crate) fn three_machines() {
    let place = Place::new();
    let state = place.path("s");
    let site = up(&place, &state);
    let plan = memtwin_migrate::plan::SEED.replace("192.168.10.10/24", "192.168.10.102/24");
    fs::write(place.path("plan"), plan).unwrap();

    // What is somebody's is named, and nothing is touched.
    site.ssh("b", "/usr/bin/ip tuntap add dev tap0 mode tap");
    let before = site.states();
    let lists = |state: &String| state.lines().any(|line| line == "dropbear");
    assert!(before.iter().all(lists), "the control: processes are listed: {before:#?}");
    let (_, err) = expect(3, site.migrate(&place).arg("--quiet"));
    assert!(err.contains("emulated:b: tap0 is there already"), "{err}");
    site.is_again(&before);
    site.ssh("b", "/usr/bin/ip link delete dev tap0");

    // Killed, with everything under way. What the owner had set up himself stays.
    let own = "exportfs -o rw,no_root_squash,no_subtree_check 192.168.10.0/24:/srv";
    site.ssh("c", own);
    let own = "/usr/bin/mount -t nfs -o vers=4.2 192.168.10.102:/srv /mnt";
    site.ssh("b", &format!("{own} && echo 1 >/proc/sys/net/ipv4/conf/eth1/forwarding"));
    let before = site.states();
    let log = fs::File::create(place.path("log")).unwrap();
    let spawned = site.migrate(&place).stderr(log).stdout(Stdio::null()).spawn_bound();
    let mut held = Held(spawned.unwrap());
    let said = || fs::read_to_string(place.path("log")).unwrap();
    let began = Instant::now();
    while !said().contains("sends it a stream") {
        // It may have to build Memtwin for the boards first.
        let on = held.0.try_wait().unwrap().is_none() && began.elapsed() < LONG;
        assert!(on, "{}", said());
        thread::sleep(Duration::from_millis(50));
    }
    let amid = site.states();
    for (amid, before) in amid.iter().zip(&before) {
        assert_ne!(amid, before, "the control");
    }
    held.signal(9);
    held.end();
    site.is_again(&before);
    site.ssh("b", "umount /mnt && echo 0 >/proc/sys/net/ipv4/conf/eth1/forwarding");
    site.ssh("c", "exportfs -u 192.168.10.0/24:/srv");

    // And when it may go its way.
    let before = site.states();
    let record = place.path("out.json");
    let mut command = site.migrate(&place);
    // A guest on a busy machine may need longer than QEMU allows by itself.
    command.args(["--control", "--downtime-limit", "2s", "--json"]).arg(&record);
    let output = run_within(LONG, &mut command);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    println!("{err}{out}");
    assert_eq!(output.status.code(), Some(0));
    let found: Vec<String> = verdicts(&json(&record))
        .into_iter()
        .map(|(name, verdict, passed)| format!("{name} {verdict} {passed}"))
        .collect();
    assert_eq!(
        found,
        [
            "migrate/ram identical true",
            "migrate/ram/control differs true",
            "migrate/disk identical true",
            "migrate/guest identical true",
            "migrate/network identical true",
        ]
    );
    assert!(
        out.contains("before the route is switched, the guest does not reach storage"),
        "{out}"
    );
    site.is_again(&before);
    assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0);
}
