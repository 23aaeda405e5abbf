//! What an unprivileged local user may do to a Memtwin that root runs: nothing, and it is said. Each
//! refusal has its control, the same thing of root's own.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Place, expect, memtwin, run, text};
use memtwin_testbed::{Need, as_nobody, lacks};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who does it.
const WHO: &str = "nobody (uid 65534)";

/// A place where everybody may write, as /tmp and /dev/shm are, and one of root's own.
struct Public {
    place: Place,
    own: Place,
}

impl Public {
    /// `None`: we are not root, who alone can play another user.
    fn new() -> Option<Self> {
        if lacks(&[Need::Root]) {
            return None;
        }
        let this = Self { place: Place::new(), own: Place::new() };
        fs::set_permissions(this.place.0.path(), Permissions::from_mode(0o1777)).unwrap();
        fs::write(this.victim(), "precious").unwrap();
        Some(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    fn victim(&self) -> PathBuf {
        self.own.path("victim")
    }

    fn is_spared(&self) -> bool {
        fs::read(self.victim()).unwrap() == b"precious"
    }

    /// `replicate process TWIN`, with its memory in root's own place.
    fn replicate(&self, twin: &str) -> Command {
        let mut command = memtwin();
        command.args(["replicate", "process", twin, "--quiet", "--guest-seconds", "100ms"]);
        command.args(["--until", "clean", "--memory"]).arg(self.own.path("memory"));
        command
    }
}

/// That a command is refused, in one line that names this.
fn refused(command: &mut Command, named: &[&str]) {
    let (_, said) = expect(3, command);
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in named {
        assert!(said.contains(part), "no '{part}' in: {said}");
    }
}

fn file(path: &Path) -> String {
    format!("file:{}", path.display())
}

#[test]
fn a_planted_link_leads_no_output_elsewhere() {
    let Some(public) = Public::new() else { return };
    let (twin, json, bitmap) = (public.path("twin"), public.path("json"), public.path("bitmap"));
    for ours in [false, true] {
        let plant = || [&twin, &json, &bitmap].map(|at| symlink(public.victim(), at).unwrap());
        if ours {
            plant()
        } else {
            as_nobody(plant)
        };
        let image = env!("CARGO_BIN_EXE_memtwin");
        let mut twin_link = public.replicate(&file(&twin));
        let mut json_link = memtwin();
        json_link.args(["verify", image, image, "--quiet", "--json"]).arg(&json);
        let mut bitmap_link = public.replicate("discard");
        bitmap_link.arg("--dirty-bitmap").arg(&bitmap);
        for (command, name, code) in [
            (&mut twin_link, "twin", 0),
            (&mut json_link, "json", 0),
            (&mut bitmap_link, "bitmap", 4),
        ] {
            if ours {
                expect(code, command);
                assert!(!public.is_spared(), "{name}: the control");
                fs::write(public.victim(), "precious").unwrap();
            } else {
                refused(command, &[&format!("{name}: is a symbolic link of {WHO}")]);
                assert!(public.is_spared(), "{name}");
            }
        }
        assert!(!public.own.names().iter().any(|name| name.starts_with("victim.")));
        [&twin, &json, &bitmap].into_iter().for_each(|at| fs::remove_file(at).unwrap());
    }
}

#[test]
fn a_planted_link_on_the_way_leads_nowhere() {
    let Some(public) = Public::new() else { return };
    let folder = public.path("folder");
    as_nobody(|| symlink(public.own.0.path(), &folder).unwrap());
    let said = format!("folder: is a symbolic link of {WHO}");
    refused(&mut public.replicate(&file(&folder.join("twin"))), &[&said]);
    let mut receive = memtwin();
    receive.args(["receive", "127.0.0.1:0", "--quiet"]).arg(folder.join("twin"));
    refused(&mut receive, &[&said]);
    let mut memory = memtwin();
    memory.args(["replicate", "process", "discard", "--rounds", "2", "--quiet", "--memory"]);
    refused(memory.arg(folder.join("memory")), &[&said]);
    assert_eq!(public.own.names(), ["victim"]);
}

#[test]
fn nobodys_locks_and_files_keep_no_memory_file_from_us() {
    let Some(public) = Public::new() else { return };
    let memory = public.path("aeshmem");
    let replicate = || {
        let mut command = memtwin();
        command.args(["replicate", "process", "discard", "--rounds", "2", "--quiet", "--memory"]);
        command.arg(&memory);
        command
    };
    // The lock of the directory, and what a draft could be called by those who think so.
    let first = std::process::id();
    let directory = as_nobody(|| {
        for pid in first..first + 500 {
            File::create(public.path(&format!("aeshmem.{pid}"))).unwrap();
        }
        let directory = File::open(public.place.0.path()).unwrap();
        flock(&directory, FlockOperation::NonBlockingLockExclusive).unwrap();
        directory
    });
    let another = File::open(public.place.0.path()).unwrap();
    assert!(flock(&another, FlockOperation::NonBlockingLockExclusive).is_err(), "it is held");
    expect(4, &mut replicate());
    drop(directory);

    // Root's own file that was kept is replaced; nobody's is not.
    assert_eq!(fs::metadata(&memory).unwrap().uid(), 0);
    expect(4, &mut replicate());
    fs::remove_file(&memory).unwrap();
    let locked = as_nobody(|| {
        let file = File::create(&memory).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        file
    });
    refused(&mut replicate(), &[&format!("aeshmem: belongs to {WHO}, expected root (uid 0);")]);
    drop(locked);
    refused(&mut replicate(), &[&format!("aeshmem: belongs to {WHO}")]);
    assert_eq!(fs::metadata(&memory).unwrap().len(), 0);
}

#[test]
fn nobodys_marker_neither_blocks_nor_destroys_a_twin() {
    let Some(public) = Public::new() else { return };
    let (twin, marker) = (public.path("twin"), public.path("twin.replicating"));
    expect(0, &mut public.replicate(&file(&twin)));
    let whole = fs::read(&twin).unwrap();
    let about = fs::metadata(&twin).unwrap();
    let names_it =
        format!("memtwin pid 0000000001 writes {:016x}:{:016x}\n", about.dev(), about.ino());
    let plant = || {
        fs::write(&marker, &names_it).unwrap();
        fs::set_permissions(&marker, Permissions::from_mode(0o666)).unwrap();
        let file = File::open(&marker).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        file
    };
    let verify = || {
        let mut command = memtwin();
        command.arg("verify").arg(&twin).arg(&twin).arg("--quiet");
        command
    };
    let locked = as_nobody(plant);
    for free in [false, true] {
        let said = format!("twin.replicating: belongs to {WHO}");
        refused(&mut public.replicate(&file(&twin)), &[&said]);
        let mut receive = memtwin();
        receive.args(["receive", "127.0.0.1:0", "--quiet"]).arg(&twin);
        refused(&mut receive, &[&said]);
        assert_eq!(fs::read(&twin).unwrap(), whole, "{free}");
        // Nor is it taken for what its writer never finished.
        expect(0, &mut verify());
        if !free {
            flock(&locked, FlockOperation::Unlock).unwrap();
        }
    }
    drop(locked);
    fs::remove_file(&marker).unwrap();
    // The control: root's own says the same, and is believed.
    drop(plant());
    expect(11, &mut verify());
    expect(0, &mut public.replicate(&file(&twin)));
    assert_ne!(fs::metadata(&twin).unwrap().ino(), about.ino());
}

#[test]
fn nobodys_twin_is_not_replaced() {
    let Some(public) = Public::new() else { return };
    let twin = public.path("twin");
    as_nobody(|| fs::write(&twin, "nobody's").unwrap());
    refused(&mut public.replicate(&file(&twin)), &[&format!("twin: belongs to {WHO}")]);
    let mut receive = memtwin();
    receive.args(["receive", "127.0.0.1:0", "--quiet"]).arg(&twin);
    refused(&mut receive, &[&format!("twin: belongs to {WHO}")]);
    assert_eq!(fs::read_to_string(&twin).unwrap(), "nobody's");
    assert_eq!(public.place.names(), ["twin"]);
}

#[test]
fn a_fake_lab_is_not_looked_up() {
    let Some(public) = Public::new() else { return };
    let (lab, runtime) = (public.path("memtwin/lab"), public.path("memtwin"));
    let board = r#"{"boards":[{"name":"a","about":"","console":"/c","keyboard":"/k","port":1,
        "key":"/k","known_hosts":"/h","control":"/c"}]}"#;
    let door = as_nobody(|| {
        fs::create_dir_all(&lab).unwrap();
        fs::set_permissions(&runtime, Permissions::from_mode(0o755)).unwrap();
        fs::write(lab.join("lab.json"), board).unwrap();
        UnixListener::bind(lab.join("door")).unwrap()
    });
    door.set_nonblocking(true).unwrap();
    // The dot stands for the folder.
    let commands = [
        "lab ssh --state . a",
        "lab console a --state .",
        "lab down --state .",
        "lab probe emulated:a --state .",
        "lab run check --hosts emulated:a --state .",
        "migrate --hosts emulated:a,emulated:b --state .",
    ];
    for line in commands {
        let mut command = memtwin();
        for word in line.split(' ') {
            if word == "." {
                command.arg(&lab)
            } else {
                command.arg(word)
            };
        }
        let output = run(&mut command);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{line}: {said}");
        assert!(said.contains(&format!("lab: belongs to {WHO}, expected root")), "{line}: {said}");
        let came = door.accept().map(drop).unwrap_err();
        assert_eq!(came.kind(), std::io::ErrorKind::WouldBlock, "{line}");
    }
    // Where no place is given, the fake is not found by its name either.
    fs::set_permissions(public.place.0.path(), Permissions::from_mode(0o755)).unwrap();
    let ssh = || {
        let mut command = memtwin();
        command.env("XDG_RUNTIME_DIR", public.place.0.path()).args(["lab", "ssh", "a"]);
        command
    };
    refused(&mut ssh(), &[&format!("memtwin: belongs to {WHO}")]);
    // The control: the same, made by root, is a lab without anybody behind its door.
    drop(door);
    fs::remove_dir_all(&runtime).unwrap();
    for folder in [&runtime, &lab] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    }
    fs::write(lab.join("lab.json"), board).unwrap();
    refused(&mut ssh(), &["memtwin/lab: no lab is up"]);
    let _door = UnixListener::bind(lab.join("door")).unwrap();
    // It is believed now: what fails is ssh, at the port that nobody has.
    let (_, said) = expect(255, &mut ssh());
    assert!(!said.contains("belongs to"), "{said}");
}
