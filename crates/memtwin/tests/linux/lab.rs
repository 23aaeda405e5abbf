//! `memtwin lab run replicate`, from the package of a kernel to the three sums.

use crate::common::{Held, Place, conform, expect, json, memtwin, text, until};
use memtwin_child::Spawn;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

/// The command, with all its files in a place of the test's own.
fn lab(place: &Place) -> Command {
    let folder = place.path("tmp");
    fs::create_dir_all(&folder).unwrap();
    let mut command = memtwin();
    command.args(["lab", "run", "replicate", "--memory"]).arg(place.path("memory"));
    command.arg("--twin").arg(place.path("twin")).env("TMPDIR", folder);
    command
}

/// What is left in the place and in the run's own directory.
fn left(place: &Place) -> (Vec<String>, usize) {
    (place.names(), fs::read_dir(place.path("tmp")).unwrap().count())
}

pub(crate) fn three_sides() {
    let place = Place::new();
    let record = place.path("out.json");
    let mut command = lab(&place);
    command.args(["--seconds", "2s", "--control", "--keep", "--json"]).arg(&record);
    let (out, err) = expect(0, &mut command);
    println!("{err}{out}");
    assert!(err.contains("they differ"), "{err}");
    assert!(err.contains("one RAM block"), "{err}");
    conform(&[&record]);
    let record = json(&record);
    let [case, control] = record["cases"].as_array().unwrap().as_slice() else {
        panic!("{record}")
    };
    assert_eq!((&case["name"], &case["verdict"]), (&"replicate/qemu".into(), &"identical".into()));
    assert!(case["source"].as_str().unwrap().starts_with("qemu:"), "{case}");
    assert_eq!(control["name"], "replicate/qemu/control");
    // The middle of the window, 0x5f800000 and a MiB.
    let page = |gpa: &Value| u64::from_str_radix(&gpa.as_str().unwrap()[2..], 16).unwrap();
    let [found] = control["control"]["found"].as_array().unwrap().as_slice() else {
        panic!("{control}")
    };
    assert_eq!(page(&found["gpa"]), 0x5f88_0000, "{control}");
    assert_eq!(control["passed"], true);

    // The sums of the first run are the same on all sides; the control's twin has another.
    let is_sum =
        |line: &&str| line.contains("1048576 bytes from") || line.contains("guest: tstaeshm sum");
    let sums: Vec<&str> = out.lines().filter(is_sum).map(|line| &line[..11]).collect();
    let [memory, twin, guest, memory_too, twin_too, guest_too] = sums[..] else { panic!("{out}") };
    assert_eq!((memory, twin), (twin, guest), "{out}");
    assert_eq!(memory_too, guest_too, "{out}");
    assert_ne!(memory_too, twin_too, "{out}");
    // Kept, and what sum(1) says of it is what was printed.
    let mut window = vec![0; 1 << 20];
    let kept = fs::File::open(place.path("memory")).unwrap();
    kept.read_exact_at(&mut window, 504 << 20).unwrap();
    fs::write(place.path("window"), window).unwrap();
    let sum = Command::new("sum").arg("-r").arg(place.path("window")).output().unwrap();
    assert!(text(&sum.stdout).starts_with(memory_too), "{}", text(&sum.stdout));
}

pub(crate) fn panics() {
    let place = Place::new();
    let (out, _) = expect(11, lab(&place).args(["--append", "rdinit=/none", "--quiet"]));
    assert!(out.contains("the guest's kernel panicked before MEMTWIN READY"), "{out}");
    assert!(out.contains("    [") && out.contains("Kernel panic - not syncing: VFS"), "{out}");
    assert_eq!(left(&place), (vec!["tmp".to_owned()], 0));
}

/// In the middle of the replication, and before the guest is ready.
pub(crate) fn interrupted() {
    for live in [true, false] {
        let place = Place::new();
        let mut command = lab(&place);
        let log = fs::File::create(place.path("log")).unwrap();
        command.args(["--seconds", "10m"]).stderr(log).stdout(Stdio::null());
        let mut held = Held(command.spawn_bound().unwrap());
        let said = || fs::read_to_string(place.path("log")).unwrap();
        let (what, sign) = if live { ("a look", "sum -r:") } else { ("a boot", "boots under") };
        until(what, || said().contains(sign));
        held.signal(2);
        assert_eq!(held.end().code(), Some(130), "{}", said());
        assert_eq!(left(&place), (vec!["log".to_owned(), "tmp".to_owned()], 0), "{}", said());
        // Who has its RAM open is its QEMU, by whatever name.
        let memory = place.path("memory").display().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut maps =
            processes.filter_map(|entry| fs::read_to_string(entry.path().join("maps")).ok());
        assert!(!maps.any(|maps| maps.contains(&memory)), "QEMU runs on");
    }
}

pub(crate) fn refused() {
    let place = Place::new();
    let refused = |code, options: &[&str], why: &str| {
        let (_, err) = expect(code, lab(&place).args(options));
        assert!(err.contains(why), "{options:?}: {err}");
    };
    let tcg = ["--accel", "tcg"];
    refused(3, &[&tcg[..], &["--layout", "ivshmem"]].concat(), "docs/findings.md, bug 1");
    refused(3, &[&tcg[..], &["--cpu", "max"]].concat(), "docs/findings.md, bug 2");
    let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
    refused(3, &["--accel", "kvm", "--arch", other], "runs no");
    refused(2, &[&tcg[..], &["--size", "9M"]].concat(), "8 at most");
    assert_eq!(left(&place), (vec!["tmp".to_owned()], 0));
}
