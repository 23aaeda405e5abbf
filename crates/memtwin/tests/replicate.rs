//! `memtwin replicate`: the reference setup's Part B with a guest of our own, and what may go wrong with it.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Held, Place, expect, json, memtwin, root, text, until};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// `replicate SOURCE file:…/twin --memory …/memory`, with progress off.
fn replicate(source: &str, place: &Place) -> Command {
    replicate_each("10ms", source, place)
}

/// The same, with a round in so much time.
fn replicate_each(interval: &str, source: &str, place: &Place) -> Command {
    let mut command = memtwin();
    let twin = format!("file:{}", place.path("twin").display());
    command.args(["replicate", source, &twin, "--quiet", "--interval", interval, "--memory"]);
    command.arg(place.path("memory"));
    command
}

/// The first field of what `sum -r` prints.
fn sum(path: &Path) -> String {
    let output = Command::new("sum").arg("-r").arg(path).output().unwrap();
    text(&output.stdout).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn memory_and_twin_have_the_same_sum_at_the_end() {
    for source in ["kvm", "process"] {
        let place = Place::new();
        let record = place.path("out.json");
        let mut command = replicate(source, &place);
        command.args(["--guest-seconds", "500ms", "--until", "clean", "--json"]).arg(&record);
        let (out, _) = expect(0, &mut command);
        let (memory, twin) = (sum(&place.path("memory")), sum(&place.path("twin")));
        assert_eq!(memory, twin, "{source}");
        assert_eq!(fs::metadata(place.path("twin")).unwrap().len(), 1 << 20);
        assert_eq!(out.matches(&memory).count(), 2, "{out}");
        let case = &json(&record)["cases"][0];
        assert_eq!(case["name"], format!("replicate/{source}"));
        assert_eq!(case["verdict"], "identical");
        let bsd: u64 = memory.parse().unwrap();
        for side in ["memory", "twin"] {
            assert_eq!(case["digest"]["aeshmem"][side]["bsd_sum"], bsd);
        }
        let rounds = case["rounds"].as_array().unwrap();
        assert_eq!(rounds[0]["kind"], "precopy");
        assert_eq!(rounds.last().unwrap()["dirty_pages"], 0);
        assert!(rounds.iter().any(|round| round["kind"] == "delta" && round["dirty_pages"] != 0));
        assert_eq!(place.names(), ["memory", "out.json", "twin"]);
    }
}

#[test]
fn while_it_runs_the_two_differ() {
    let place = Place::new();
    let mut command = replicate_each("200ms", "kvm", &place);
    command.arg("--dirty-bitmap").arg(place.path("bitmap"));
    let mut held = Held::spawn(&mut command);
    until("the twin is there", || place.path("twin").exists());
    // Sampled often: at one moment or another a page is ahead of its twin.
    until("they differ", || sum(&place.path("memory")) != sum(&place.path("twin")));
    let bitmap = || fs::read(place.path("bitmap")).unwrap();
    until("a round's bitmap is there", || {
        bitmap().get(32..40).is_some_and(|dirty| dirty != [0; 8])
    });
    assert_eq!(bitmap().len(), 64 + 64 + 64);
    held.signal(2);
    assert_eq!(held.end().code(), Some(130));
    // An interrupted twin is no twin.
    assert!(!place.path("twin").exists(), "{:?}", place.names());
    assert!(!place.path("memory").exists(), "{:?}", place.names());
}

#[test]
fn a_limit_without_a_clean_log_is_no_convergence() {
    let place = Place::new();
    // Rounds so long that the guest writes in each, however busy the machine is.
    let mut command = replicate_each("200ms", "kvm", &place);
    let (out, _) = expect(10, command.args(["--until", "clean", "--rounds", "5"]));
    assert!(out.contains("did not converge"), "{out}");
    assert_eq!(
        sum(&place.path("memory")),
        sum(&place.path("twin")),
        "paused and judged all the same"
    );
    expect(0, replicate("kvm", &place).args(["--rounds", "5"]));
    expect(0, replicate("kvm", &place).args(["--seconds", "300ms"]));
}

#[test]
fn what_can_not_be_a_twin_is_refused_and_left_alone() {
    let place = Place::new();
    let twin = place.path("twin");
    fs::create_dir(&twin).unwrap();
    let refused = |said: &str| {
        let (out, err) = expect(3, replicate("kvm", &place).args(["--rounds", "1"]));
        assert!(err.contains(said), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert_eq!(out, "");
    };
    refused("directory");
    fs::remove_dir(&twin).unwrap();

    rustix::fs::mknodat(rustix::fs::CWD, &twin, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    refused("pipe");
    fs::remove_file(&twin).unwrap();

    symlink("/dev/null", &twin).unwrap();
    refused("device");
    fs::remove_file(&twin).unwrap();

    symlink(place.path("no/such"), &twin).unwrap();
    refused("no");
    fs::remove_file(&twin).unwrap();
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn wrong_words_are_refused() {
    for (args, said) in [
        (
            ["replicate", "xen", "discard"],
            "expected kvm, process, qemu:QMP-SOCKET or libvirt:DOMAIN",
        ),
        (["replicate", "kvm", "ftp://x/y"], "expected file:PATH, tcp://HOST:PORT"),
        (["replicate", "kvm", "file:"], "expected file:PATH, tcp://HOST:PORT"),
    ] {
        let (_, err) = expect(2, memtwin().args(args));
        assert!(err.contains(said), "{err}");
    }
}

#[test]
fn a_discarded_twin_is_not_judged() {
    let place = Place::new();
    let mut command = memtwin();
    command.args(["replicate", "kvm", "discard", "--rounds", "3", "--quiet", "--memory"]);
    let (out, _) = expect(4, command.arg(place.path("memory")));
    assert!(out.contains("discarded"), "{out}");
}

#[test]
fn of_two_on_the_same_twin_the_second_is_refused() {
    let place = Place::new();
    let _first = Held::spawn(&mut replicate("kvm", &place));
    until("the twin is there", || place.path("twin").exists());
    let (_, err) = expect(3, &mut replicate("kvm", &place));
    assert!(err.contains("in use by another memtwin"), "{err}");
    let mut second = memtwin();
    second.args(["replicate", "kvm", "discard", "--memory"]).arg(place.path("memory"));
    let (_, err) = expect(3, &mut second);
    assert!(err.contains("--memory"), "{err}");
}

#[test]
fn a_killed_one_leaves_a_twin_that_verify_refuses() {
    let place = Place::new();
    let mut held = Held::spawn(&mut replicate("kvm", &place));
    until("the twin is there", || place.path("twin").exists());
    std::thread::sleep(Duration::from_millis(50));
    held.0.kill().unwrap();
    held.end();
    let verify = || {
        let mut command = memtwin();
        command.arg("verify").arg(place.path("memory")).arg(place.path("twin"));
        command
    };
    let (_, err) = expect(11, &mut verify());
    assert!(err.contains("incomplete"), "{err}");
    // The next one takes both files over and ends well.
    expect(0, replicate("kvm", &place).args(["--rounds", "3"]));
    expect(0, &mut verify());
}

#[test]
fn a_full_or_read_only_file_system_is_said_before_anything_runs() {
    if !root() {
        println!("skipped: mounting needs root");
        return;
    }
    let place = Place::new();
    let full = |line: &str| {
        let script =
            format!("mount -t tmpfs -o size=256k none $2; {line}; rc=$?; ls -A $2; exit $rc");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_memtwin")]);
        command.arg(place.0.path());
        command
    };
    let (left, err) =
        expect(3, &mut full("$1 replicate kvm file:/dev/shm/memtwin-unused --memory $2/memory"));
    assert!(err.contains("no room for 1048576 bytes"), "{err}");
    assert_eq!(left, "", "left behind");
    let (left, err) =
        expect(3, &mut full("$1 replicate kvm file:$2/twin --memory /dev/shm/memtwin-full-test"));
    assert!(err.contains("twin"), "{err}");
    assert_eq!(left, "", "left behind");
    let (_, err) = expect(
        3,
        &mut full(
            "mount -o remount,ro $2; $1 replicate kvm file:$2/twin --memory /dev/shm/memtwin-full-test",
        ),
    );
    assert!(err.to_lowercase().contains("read-only"), "{err}");
    for name in ["memtwin-unused", "memtwin-full-test"] {
        assert!(!Path::new("/dev/shm").join(name).exists(), "{name} left behind");
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_makes_it_inconclusive() {
    if !root() {
        println!("skipped: mounting needs root");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Room is there when it is asked for, and taken by someone else before it is used.
    let script = "mount -t tmpfs -o size=24m none $2; \
        $1 replicate kvm file:$2/twin --memory /dev/shm/memtwin-filling-test --size 16M \
           --rounds 5 --quiet & memtwin=$!; \
        head -c 20m /dev/zero > $2/other ; wait $memtwin; rc=$?; rm $2/other; ls -A $2; exit $rc";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_memtwin")]);
    let output = common::run(command.arg(place.0.path()));
    // Who is first is a race: refused at the start, or out of room in the middle. Never a pass.
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!([3, 11].contains(&output.status.code().unwrap()), "{out}{err}");
    assert!(!out.lines().any(|line| line == "twin"), "a partial twin stands there: {out}{err}");
    assert!(!Path::new("/dev/shm/memtwin-filling-test").exists());
}
