//! `memtwin audit libvirt:DOMAIN@URI` on a real libvirtd in session mode, of another user than ours: libvirt's
//! view of its domain is right before, during and after, and the domain stays manageable.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

#[path = "audit/machine.rs"]
#[allow(dead_code, reason = "the firmware and what is checked of a record are of use here")]
mod machine;

mod common;

use common::{Held, expect, json, memtwin, run, text, until};
use machine::{WRITTEN, all_identical, firmware};
use memtwin_child::Spawn;
use memtwin_qemu::{Capabilities, Parameters, capabilities, migration, parameters};
use memtwin_qmp::Qmp;
use memtwin_testbed::{NOBODY, Need, lacks, program};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const PC: &str = "qemu-system-x86_64";
const DOMAIN: &str = "a guest's";
const TIMEOUT: Duration = Duration::from_secs(60);

/// A libvirtd of the test's own with a domain that writes, both of `nobody`, in a PID namespace that ends
/// with the test.
struct Libvirt {
    dir: TempDir,
    _daemon: Held,
    /// A monitor of its QEMU for the test itself.
    qmp: Qmp,
}

impl Libvirt {
    fn start() -> Option<Self> {
        let programs = ["libvirtd", "virsh", "unshare", "setpriv", PC].map(Need::Program);
        if lacks(&[&programs[..], &[Need::Root]].concat()) {
            return None;
        }
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["run", "home", "mon"] {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::write(dir.path().join("firmware"), firmware()).unwrap();
        fs::write(dir.path().join("domain.xml"), domain(dir.path())).unwrap();
        let home = dir.path().join("home");
        let mut command = Command::new("unshare");
        // The shell takes what libvirtd's own children leave: they would be waited for as long as they are
        // not gone.
        let script = format!(
            "setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups libvirtd & while :; do wait; sleep 1; done"
        );
        command.args(["--pid", "--mount-proc", "--fork", "--kill-child=KILL", "sh", "-c", &script]);
        command.current_dir("/").env_clear().env("HOME", &home).env("LC_ALL", "C");
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("XDG_RUNTIME_DIR", dir.path().join("run"));
        for (name, below) in [("CONFIG", "config"), ("CACHE", "cache"), ("DATA", "data")] {
            command.env(format!("XDG_{name}_HOME"), home.join(below));
        }
        let daemon = Held::spawn(&mut command);
        let uri = uri(dir.path());
        until("libvirtd answers", || run(&mut virsh(&uri, &["list"])).status.success());
        let xml = dir.path().join("domain.xml");
        expect(0, &mut virsh(&uri, &["create", xml.to_str().unwrap()]));
        let mut qmp = None;
        until("its second monitor listens", || {
            qmp = Qmp::connect(&dir.path().join("mon/second"), TIMEOUT).ok();
            qmp.is_some()
        });
        Some(Self { dir, _daemon: daemon, qmp: qmp.unwrap() })
    }

    fn virsh(&self, words: &[&str]) -> String {
        let (out, _) = expect(0, &mut virsh(&uri(self.dir.path()), words));
        out.trim().to_owned()
    }

    fn address(&self) -> String {
        format!("libvirt:{DOMAIN}@{}", uri(self.dir.path()))
    }

    fn audit(&self, arguments: &str) -> Command {
        let mut command = memtwin();
        command.arg("audit").arg(self.address()).args(["--max-pause", "1m"]);
        command.args(arguments.split_whitespace());
        command
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out.json")
    }

    fn settings(&mut self) -> (Capabilities, Parameters) {
        (capabilities(&mut self.qmp).unwrap(), parameters(&mut self.qmp).unwrap())
    }

    fn is_tainted(&self) -> bool {
        self.virsh(&["dominfo", DOMAIN]).contains("custom monitor")
    }

    /// It runs, has no job, and can be paused and let run.
    fn is_manageable(&self) {
        assert!(self.virsh(&["domstate", DOMAIN]).starts_with("running"));
        assert!(self.virsh(&["domjobinfo", DOMAIN]).contains("None"));
        self.virsh(&["suspend", DOMAIN]);
        assert!(self.virsh(&["domstate", DOMAIN]).starts_with("paused"));
        self.virsh(&["resume", DOMAIN]);
        assert!(self.virsh(&["domstate", DOMAIN]).starts_with("running"));
    }
}

fn uri(dir: &Path) -> String {
    format!("qemu+unix:///session?socket={}", dir.join("run/libvirt/libvirt-sock").display())
}

fn virsh(uri: &str, words: &[&str]) -> Command {
    let mut command = Command::new("virsh");
    command.args(["--quiet", "--connect", uri]).args(words).env("LC_ALL", "C");
    command
}

fn domain(dir: &Path) -> String {
    let emulator = program(PC).into_string().unwrap();
    let emulator =
        if emulator.starts_with('/') { emulator } else { format!("/usr/bin/{emulator}") };
    let dir = dir.display();
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
           <name>{DOMAIN}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
           <os><type arch='x86_64' machine='pc'>hvm</type><loader type='rom'>{dir}/firmware</loader></os>
           <features><acpi/></features>
           <devices><emulator>{emulator}</emulator><controller type='usb' model='none'/>
             <memballoon model='none'/></devices>
           <qemu:commandline><qemu:arg value='-qmp'/>
             <qemu:arg value='unix:{dir}/mon/second,server=on,wait=off'/></qemu:commandline>
         </domain>"
    )
    .replace(&format!("<name>{DOMAIN}"), &format!("<name>{}", DOMAIN.replace('\'', "&apos;")))
}

#[test]
fn a_domain_is_audited_and_replicated_through_libvirt() {
    let Some(mut libvirt) = Libvirt::start() else { return };
    let before = libvirt.settings();
    assert!(libvirt.virsh(&["domstate", DOMAIN]).starts_with("running"));
    // A dry run does not even mark it, and says that an audit would.
    let (out, _) = expect(0, &mut libvirt.audit("--dry-run"));
    assert!(out.contains("tainted (custom-monitor)") && out.contains(DOMAIN), "{out}");
    assert!(out.contains("(running)"), "{out}");
    assert!(!libvirt.is_tainted());

    let events = libvirt.dir.path().join("events");
    let mut listener = virsh(&uri(libvirt.dir.path()), &["event", "--all", "--loop"]);
    let listener = listener.stdout(fs::File::create(&events).unwrap());
    let _listener = Held(listener.spawn_bound().unwrap());
    let heard = || fs::read_to_string(&events).unwrap();
    until("events are heard", || {
        libvirt.virsh(&["suspend", DOMAIN]);
        libvirt.virsh(&["resume", DOMAIN]);
        heard().contains("Resumed")
    });
    // The listener may have come between two of them; they are all there when what came after them is.
    libvirt.virsh(&["desc", DOMAIN, "--live", "heard"]);
    until("all of them", || heard().contains("metadata-change"));
    let ours = heard().len();

    let out = libvirt.out();
    let (said, err) = expect(0, libvirt.audit("--rounds 3 --json").arg(&out));
    assert!(err.contains("tainted (custom-monitor)"), "said before: {err}");
    assert!(
        said.contains("tainted (custom-monitor)") && said.contains("the guest stood still"),
        "{said}"
    );
    all_identical(&serde_json::from_slice(&fs::read(&out).unwrap()).unwrap());
    let record = json(&out);
    assert_eq!(record["cases"][0]["source"], libvirt.address().as_str());
    assert!(libvirt.is_tainted());
    assert_eq!(libvirt.settings(), before);
    until("libvirt saw its domain paused and let run", || {
        let ours = heard()[ours..].to_owned();
        ours.contains("Suspended") && ours.contains("Resumed")
    });
    libvirt.is_manageable();
    replicated(&mut libvirt);
}

/// The twin is what the guest had when it stood still, and libvirt's view is right during it and after.
fn replicated(libvirt: &mut Libvirt) {
    let before = libvirt.settings();
    let (twin, record) = (libvirt.dir.path().join("twin"), libvirt.out());
    let mut replicate = memtwin();
    replicate.arg("replicate").arg(libvirt.address()).arg(format!("file:{}", twin.display()));
    replicate.args(["--rounds", "5", "--interval", "50ms", "--max-pause", "1m", "--json"]);
    let (said, err) = expect(0, replicate.arg(&record));
    assert!(err.contains("tainted (custom-monitor)"), "said before: {err}");
    assert!(said.contains("tainted (custom-monitor)"), "{said}");
    let record = json(&record);
    let case = &record["cases"][0];
    assert_eq!((&case["verdict"], &case["passed"]), (&"identical".into(), &true.into()), "{case}");
    assert_eq!(case["source"], libvirt.address().as_str());
    assert!(case["rounds"].as_array().unwrap().len() > 5, "{case}");
    // The guest's memory is there: each of the pages that it counts in has come.
    let ram = fs::read_dir(&twin).unwrap().map(|it| it.unwrap().path());
    let ram = ram.into_iter().find(|path| path.to_string_lossy().contains("pc.ram")).unwrap();
    let bytes = fs::read(ram).unwrap();
    assert!(WRITTEN.step_by(4096).all(|at| bytes[at as usize..][..2] != [0, 0]));
    assert!(libvirt.is_tainted());
    assert_eq!(libvirt.settings(), before);
    libvirt.is_manageable();
}

/// A virsh that knows no descriptors, as before libvirt 8.2: QEMU, which is another user's, connects to a
/// socket of Memtwin's.
#[test]
fn an_older_libvirt_passes_no_descriptors() {
    let Some(mut libvirt) = Libvirt::start() else { return };
    let before = libvirt.settings();
    let old = libvirt.dir.path().join("old");
    fs::create_dir(&old).unwrap();
    let real = text(&run(Command::new("sh").args(["-c", "command -v virsh"])).stdout);
    let script = format!(
        "#!/bin/sh\nfor word; do [ \"$word\" = --pass-fds ] && {{ echo \"error: command \
         'qemu-monitor-command' doesn't support option --pass-fds\" >&2; exit 1; }}; done\nexec {} \"$@\"\n",
        real.trim()
    );
    fs::write(old.join("virsh"), script).unwrap();
    fs::set_permissions(old.join("virsh"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut path = old.into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let out = libvirt.out();
    let (said, _) = expect(0, libvirt.audit("--rounds 2 --json").arg(&out).env("PATH", path));
    assert!(said.contains("QEMU connects to a socket of Memtwin's"), "{said}");
    // No events come this way either.
    assert!(said.contains("the guest stood still"), "{said}");
    all_identical(&serde_json::from_slice(&fs::read(&out).unwrap()).unwrap());
    assert_eq!(libvirt.settings(), before);
    libvirt.is_manageable();
}

/// The guardian goes through libvirt by itself.
#[test]
fn memtwin_is_killed_while_it_audits_a_domain() {
    let Some(mut libvirt) = Libvirt::start() else { return };
    let before = libvirt.settings();
    let mut audit = Held::spawn(&mut libvirt.audit("--seconds 1h --quiet"));
    until("it migrates", || migration(&mut libvirt.qmp).unwrap().status.is_under_way());
    audit.signal(9);
    audit.end();
    until("its settings are back", || {
        !migration(&mut libvirt.qmp).unwrap().status.is_under_way() && libvirt.settings() == before
    });
    libvirt.is_manageable();
}

/// What speaks with libvirt dies, and libvirt and its domain live: Memtwin connects again.
#[test]
fn virsh_is_killed_while_memtwin_audits_a_domain() {
    let Some(mut libvirt) = Libvirt::start() else { return };
    let before = libvirt.settings();
    let record = libvirt.out();
    let mut audit = Held::spawn(libvirt.audit("--seconds 1h --quiet --json").arg(&record));
    // Between two rounds: pre-copy is over.
    until("it holds QEMU", || parameters(&mut libvirt.qmp).unwrap()["max-bandwidth"] == 10);
    let pid = audit.0.id();
    let mut killed = false;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let children = fs::read_to_string(thread.unwrap().path().join("children")).unwrap();
        for child in children.split_whitespace() {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if name.trim() == "virsh" {
                let child = rustix::process::Pid::from_raw(child.parse().unwrap()).unwrap();
                rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
                killed = true;
            }
        }
    }
    assert!(killed, "no virsh");
    assert_eq!(audit.end().code(), Some(11));
    assert_eq!(json(&record)["cases"][0]["verdict"], "inconclusive");
    assert_eq!(libvirt.settings(), before);
    libvirt.is_manageable();
}

#[test]
fn what_libvirt_does_not_have_is_said_in_its_words() {
    let Some(libvirt) = Libvirt::start() else { return };
    let refused = |target: String, parts: &[&str]| {
        let (_, err) = expect(3, memtwin().args(["audit", &target, "--quiet"]));
        assert_eq!(err.trim().lines().count(), 1, "{err}");
        parts.iter().for_each(|part| assert!(err.contains(part), "{part}: {err}"));
    };
    let other = format!("libvirt:other@{}", uri(libvirt.dir.path()));
    refused(other.clone(), &["libvirt says", "failed to get domain 'other'"]);
    let (_, err) = expect(3, memtwin().args(["audit", &other, "--dry-run"]));
    assert!(err.contains("failed to get domain 'other'"), "{err}");
    let nowhere = uri(Path::new("/no/such"));
    refused(format!("libvirt:g@{nowhere}"), &["virsh has ended", "/no/such"]);
    // Its own monitor is libvirt's alone.
    let id = libvirt.virsh(&["domid", DOMAIN]);
    let place = format!("home/config/libvirt/qemu/lib/domain-{id}-{DOMAIN}/monitor.sock");
    let monitor = libvirt.dir.path().join(place);
    assert!(monitor.exists(), "{}", monitor.display());
    refused(monitor.display().to_string(), &["libvirt's own monitor", "memtwin audit libvirt:"]);
    // Without virsh.
    let mut without = memtwin();
    let (_, err) = expect(3, without.args(["audit", "libvirt:g", "--quiet"]).env("PATH", "/none"));
    assert!(err.contains("virsh can't be started") && err.contains("libvirt-clients"), "{err}");
}

/// Found by the process, and reached through the libvirt that has it.
#[test]
fn a_domain_is_among_all() {
    if lacks(&[Need::Program("nsenter")]) {
        return;
    }
    let Some(mut libvirt) = Libvirt::start() else { return };
    let before = libvirt.settings();
    let pid = libvirt._daemon.0.id();
    let first = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let all = |more: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", first.trim(), "--pid", "--mount", env!("CARGO_BIN_EXE_memtwin")]);
        command.args(["audit", "--all", "--max-pause", "1m"]).args(more);
        command.current_dir("/").stdin(std::process::Stdio::null());
        command
    };
    let (out, _) = expect(0, &mut all(&["--dry-run"]));
    assert!(out.contains("libvirt's own monitor") && out.contains("tainted"), "{out}");
    let record = libvirt.out();
    let (out, err) = expect(0, all(&["--rounds", "2", "--json"]).arg(&record));
    for said in [out, err] {
        // Of that domain, before it is so and in the record.
        let mut lines = said.lines().filter(|line| line.contains("tainted (custom-monitor)"));
        assert!(lines.any(|line| line.contains(DOMAIN)), "{said}");
    }
    let record = json(&record);
    assert!(record["cases"][0]["source"].as_str().unwrap().starts_with("libvirt:"), "{record}");
    assert_eq!(libvirt.settings(), before);
    libvirt.is_manageable();
}
