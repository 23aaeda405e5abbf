//! `memtwin audit --all`, in a PID namespace of the test's own: it audits what runs there, and nothing else.

use crate::common::{Held, Place, expect, json, until, verdicts};
use crate::machine::{PC, WRITING, firmware};
use memtwin_testbed::{Need, lacks, program};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A namespace in which these QEMUs run: each a line of arguments, in a directory of its own.
struct Host {
    init: Held,
}

impl Host {
    /// Ends with all that runs in it when dropped, or when the test does.
    fn start(place: &Place, script: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--mount-proc", "--fork", "--kill-child=KILL", "sh", "-c", script]);
        command.current_dir(place.path(""));
        Self { init: Held::spawn(&mut command) }
    }

    /// The first process in it, as seen from outside.
    fn first(&self) -> String {
        let pid = self.init.0.id();
        let path = format!("/proc/{pid}/task/{pid}/children");
        fs::read_to_string(path).unwrap_or_default().trim().to_owned()
    }

    /// `memtwin audit --all …` in it.
    fn audit(&self, place: &Place, arguments: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.first(),
            "--pid",
            "--mount",
            env!("CARGO_BIN_EXE_memtwin"),
        ]);
        command.args(["audit", "--all", "--max-pause", "1m"]).args(arguments.split_whitespace());
        command.current_dir(place.path("")).stdin(std::process::Stdio::null());
        command
    }
}

fn listens(socket: &Path) -> bool {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    socket.exists() && sockets.contains(&*socket.to_string_lossy())
}

#[test]
fn every_qemu_that_can_be_reached_and_why_not_the_others() {
    let needs = [
        Need::Program(PC),
        Need::Kvm,
        Need::Root,
        Need::Program("unshare"),
        Need::Program("nsenter"),
    ];
    if lacks(&needs) {
        return;
    }
    let place = Place::new();
    fs::write(place.path("firmware"), firmware()).unwrap();
    fs::create_dir(place.path("inner")).unwrap();
    let qemu = program(PC).into_string().unwrap();
    let here = place.0.path().display().to_string();
    let machine = format!("exec {qemu} -nodefaults -display none {WRITING}");
    // One reached by its path, one in a container that has another /run, one whose monitor is given by a
    // character device, one without any, and one that connects to its client by itself.
    let script = format!(
        "({machine} -name guest=plain -qmp unix:{here}/plain,server=on,wait=off) & \
         (unshare --mount sh -c 'mount --bind inner /run && {machine} -qmp unix:/run/far,server=on,wait=off') & \
         ({machine} -chardev socket,id=m,path=relative,server=on,wait=off -mon chardev=m,mode=control) & \
         ({machine} -name mute) & \
         wait"
    );
    let host = Host::start(&place, &script);
    until("they listen", || {
        listens(&place.path("plain"))
            && place.path("inner/far").exists()
            && place.path("relative").exists()
    });
    let (out, _) = expect(0, &mut host.audit(&place, "--dry-run"));
    assert!(out.contains("(plain): qemu:") && out.contains("audit/pc.ram"), "{out}");
    assert!(out.contains("(mute): skipped: it was started without a QMP monitor"), "{out}");
    assert!(out.contains("/root/run/far"), "{out}");

    let record = place.path("record");
    let arguments = format!("--rounds 2 --quiet --json {}", record.display());
    // One can't be audited: that is no success, and keeps no other from it.
    let (out, _) = expect(3, &mut host.audit(&place, &arguments));
    let cases = verdicts(&json(&record));
    let of = |wanted: &str| {
        let found = cases.iter().filter(|(name, ..)| name.ends_with(wanted));
        found.map(|(_, verdict, passed)| (verdict.as_str(), *passed)).collect::<Vec<_>>()
    };
    assert_eq!(of("/pc.ram"), [("identical", true); 3], "{cases:?}\n{out}");
    assert_eq!(of("/pc.ram/control"), [("differs", true); 3], "{cases:?}");
    let skipped: Vec<_> = cases.iter().filter(|(_, verdict, _)| verdict == "skipped").collect();
    assert_eq!(skipped.len(), 1, "{cases:?}");
    let mut names: Vec<_> = cases.iter().map(|(name, ..)| name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "each case has a name of its own");
    assert!(names.iter().all(|name| name.split('/').nth(1).unwrap().parse::<u32>().is_ok()));
    assert!(out.contains("without a QMP monitor"), "{out}");
}

#[test]
fn a_host_without_a_qemu() {
    if lacks(&[Need::Root, Need::Program("unshare"), Need::Program("nsenter")]) {
        return;
    }
    let place = Place::new();
    let host = Host::start(&place, "echo > ready; exec sleep 1000");
    until("it runs", || place.path("ready").exists());
    for more in ["", "--dry-run"] {
        let (_, err) = expect(3, &mut host.audit(&place, more));
        assert!(err.contains("no QEMU") && err.contains("on this host"), "{err}");
    }
}
