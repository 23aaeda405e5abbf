//! `memtwin lab run --hosts ssh://…`: this machine, through a real sshd.

use crate::common::{Held, Place, expect, json, memtwin, text, until, verdicts};
use memtwin_child::Spawn;
use memtwin_testbed::{Need, Sshd, lacks};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An sshd, and an ssh that knows it and tells us what is asked and answered.
struct Far {
    sshd: Sshd,
    place: Place,
}

impl Far {
    /// None where there can be none.
    fn start() -> Option<Self> {
        if let Some(lacks) = Sshd::lacks() {
            assert!(std::env::var("CI").is_err(), "CI must have this: {lacks}");
            println!("skipped: {lacks}");
            return None;
        }
        let (sshd, place) = (Sshd::start(&[]).unwrap(), Place::new());
        for folder in ["bin", "tmp"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        let ssh = place.path("bin").join("ssh");
        let script = format!(
            "#!/bin/bash\necho \"$*\" >>{asked}\nexec /usr/bin/ssh -F {config} \"$@\" > >(exec tee -a {said})\n",
            asked = place.path("asked").display(),
            said = place.path("said").display(),
            config = sshd.config().display()
        );
        fs::write(&ssh, script).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { sshd, place })
    }

    fn lab_run(&self, experiment: &str) -> Command {
        let host = format!("ssh://127.0.0.1:{}", self.sshd.port());
        let path = std::env::var("PATH").unwrap();
        let mut command = memtwin();
        command.args(["lab", "run", experiment, "--hosts", &host]);
        command.env("PATH", format!("{}:{path}", self.place.path("bin").display()));
        command.env("TMPDIR", self.place.path("tmp"));
        command
    }

    /// The folders that it had there.
    fn folders(&self) -> Vec<PathBuf> {
        let asked = fs::read_to_string(self.place.path("asked")).unwrap();
        let words = asked.split("/tmp/memtwin-").skip(1);
        let names = words.filter_map(|word| word.get(..6).filter(|name| *name != "XXXXXX"));
        let mut folders: Vec<PathBuf> =
            names.map(|name| format!("/tmp/memtwin-{name}").into()).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Nothing of it is left, here or there.
    fn nothing_left(&self) {
        let folders = self.folders();
        assert!(!folders.is_empty(), "the control: it had a folder there");
        for folder in folders {
            until("its processes have ended", || processes(&folder) == 0);
            assert!(!folder.exists(), "{}", folder.display());
        }
        assert_eq!(fs::read_dir(self.place.path("tmp")).unwrap().count(), 0);
    }
}

/// How many processes were started with something of this folder's.
fn processes(folder: &Path) -> usize {
    let folder = folder.display().to_string();
    let lines = fs::read_dir("/proc").unwrap().flatten();
    let lines = lines.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(&folder)).count()
}

const CASE: &str = "kvm/get/shm/vcpus=1";

/// A check of few cases that take no time, by the Memtwin that is tested: the machine is this one.
fn check(far: &Far, more: &[&str]) -> Option<Command> {
    if lacks(&[Need::Kvm]) {
        return None;
    }
    let mut command = far.lab_run("check");
    command.arg("--board-programs").arg(Path::new(env!("CARGO_BIN_EXE_memtwin")).parent()?);
    command.arg("--json").arg(far.place.path("out.json"));
    command.args(["--", "--mode", "get", "--backing", "shm", "--vcpus", "1"]).args(more);
    Some(command)
}

pub(crate) fn checks() {
    let Some(far) = Far::start() else { return };
    let Some(mut command) = check(&far, &["--stressor", "once", "--rounds", "40"]) else { return };
    let (out, err) = expect(0, &mut command);
    println!("{err}{out}");
    let host = format!("127.0.0.1:{}", far.sshd.port());
    let found = verdicts(&json(&far.place.path("out.json")));
    let expected = ["identical", "differs"].into_iter().zip(["", "/control"]);
    let expected = expected.map(|(verdict, end)| {
        (format!("{CASE}/once/host=4k,{host}{end}"), verdict.to_owned(), true)
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
    far.nothing_left();
}

/// The connection dies when the first of the cases has ended: that one has its verdict, the others have
/// none.
pub(crate) fn cut() {
    let Some(far) = Far::start() else { return };
    let more = ["--stressor", "once,random,sequential", "--seconds", "10s"];
    let Some(mut command) = check(&far, &more) else { return };
    let mut held =
        Held(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn_bound().unwrap());
    let said = || fs::read_to_string(far.place.path("said")).unwrap_or_default();
    until("a case has ended", || said().contains("MEMTWIN PIECE "));
    let [folder] = &far.folders()[..] else { panic!("{:?}", far.folders()) };
    assert_ne!(processes(folder), 0, "the control: it runs");
    let cut = Command::new("pkill").args(["-KILL", "-P", &far.sshd.pid().to_string()]).status();
    assert!(cut.unwrap().success());
    let status = held.end();
    let mut out = String::new();
    held.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    println!("{out}");
    assert_eq!(status.code(), Some(11), "{out}");
    assert!(out.contains("no connection by ssh"), "{out}");
    let found = verdicts(&json(&far.place.path("out.json")));
    assert_eq!(found[0].0, format!("{CASE}/once/host=4k,127.0.0.1:{}", far.sshd.port()));
    assert_eq!((found[0].1.as_str(), found[0].2), ("identical", true));
    let last = found.last().unwrap();
    assert_eq!((last.1.as_str(), last.2), ("inconclusive", false), "{found:?}");
    assert_eq!(found.len(), 5, "{found:?}");
    far.nothing_left();
}

/// A machine on which KVM runs no such guest.
pub(crate) fn refused() {
    let Some(far) = Far::start() else { return };
    if cfg!(target_arch = "aarch64") {
        println!("skipped: this is a machine for it");
        return;
    }
    let folder = far.place.path("tmp");
    let mut check = far.lab_run("check");
    let (_, err) = expect(3, check.arg("--board-programs").arg(&folder));
    assert!(err.contains(&format!("{}: not there", folder.join("memtwin").display())), "{err}");
    for experiment in ["replicate", "audit"] {
        // Nothing that is asked for is passed over in silence, and nothing is asked of the machine before.
        for option in ["--arch x86_64", "--accel tcg"] {
            let (_, err) = expect(2, far.lab_run(experiment).args(option.split(' ')));
            assert!(err.contains(option) && err.contains("take --hosts local"), "{err}");
        }
        let (out, err) = expect(3, &mut far.lab_run(experiment));
        assert!(err.contains("x86_64: expected an aarch64 machine"), "{err}");
        assert!(err.contains("--hosts emulated"), "{err}");
        assert_eq!((out.as_str(), err.lines().count()), ("", 1), "{err}");
    }
    far.nothing_left();
    // Nobody is there any more.
    let Far { sshd, place } = far;
    let port = sshd.port();
    drop(sshd);
    let mut command = memtwin();
    command.args(["lab", "run", "audit", "--hosts", &format!("ssh://127.0.0.1:{port}")]);
    let output = crate::common::run(command.env("TMPDIR", place.path("tmp")));
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no connection by ssh"), "{}", text(&output.stderr));
}
