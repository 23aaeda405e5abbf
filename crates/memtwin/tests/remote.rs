//! `memtwin receive` and `memtwin replicate SOURCE tcp://…`: two processes, and what comes between.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Held, Place, conform, expect, json, memtwin, text, until};
use memtwin_testbed::Sshd;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A receiver that listens by now.
fn receive(place: &Place, port: u16, more: &[&str]) -> Held {
    let mut command = memtwin();
    command.arg("receive").arg(format!("127.0.0.1:{port}")).arg(place.path("twin")).args(more);
    let mut held = Held::spawn(&mut command);
    let mut lines = BufReader::new(held.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening at") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended");
    }
    // Nobody else reads it, and it must not fill up.
    thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    held
}

fn replicate(source: &str, place: &Place, port: u16) -> Command {
    let mut command = memtwin();
    command.args(["replicate", source]).arg(format!("tcp://127.0.0.1:{port}"));
    command.args(["--quiet", "--interval", "10ms", "--memory"]).arg(place.path("memory"));
    command
}

fn same(place: &Place) -> bool {
    fs::read(place.path("memory")).unwrap() == fs::read(place.path("twin")).unwrap()
}

#[test]
fn two_commands_give_a_verified_twin() {
    for source in ["kvm", "process"] {
        let (place, port) = (Place::new(), free_port());
        let record = place.path("receive.json");
        let mut receiver = receive(&place, port, &["--json", record.to_str().unwrap()]);
        let sent = place.path("replicate.json");
        let mut command = replicate(source, &place, port);
        command.args(["--guest-seconds", "500ms", "--until", "clean", "--json"]).arg(&sent);
        let (out, _) = expect(0, &mut command);
        assert!(out.contains("sent "), "{out}");
        assert_eq!(receiver.end().code(), Some(0));
        assert!(same(&place), "{source}");
        conform(&[&sent, &record]);
        let case = &json(&sent)["cases"][0];
        assert_eq!(case["verdict"], "identical");
        let digest = &case["digest"]["aeshmem"];
        assert_eq!(digest["memory"]["blake3"], digest["twin"]["blake3"]);
        let case = &json(&record)["cases"][0];
        assert_eq!((&case["name"], &case["verdict"]), (&"receive".into(), &"identical".into()));
        assert_eq!(case["regions"][0]["name"], "aeshmem");
        assert_eq!(place.names(), ["memory", "receive.json", "replicate.json", "twin"]);
    }
}

/// A receiver that goes on says what the last session came to, while it waits for the next.
#[test]
fn metrics_of_a_receiver_that_goes_on_are_those_of_its_last_session() {
    let (place, port) = (Place::new(), free_port());
    let metrics = place.path("receive.prom");
    let now = || fs::read_to_string(&metrics).unwrap_or_default();
    let mut receiver =
        receive(&place, port, &["--forever", "--metrics", metrics.to_str().unwrap()]);
    for _ in 0..2 {
        let _ = fs::remove_file(&metrics);
        let mut command = replicate("process", &place, port);
        command.args(["--guest-seconds", "200ms", "--until", "clean"]);
        expect(0, &mut command);
        until("it says so", || now().contains("memtwin_last_run_exit_code{run=\"receive\"} 0"));
        let cases = now().matches("verdict=\"identical\"").count();
        assert_eq!(cases, 1, "{}", now());
    }
    let last = now();
    receiver.signal(rustix::process::Signal::INT.as_raw());
    assert_eq!(receiver.end().code(), Some(130));
    assert_eq!(now(), last, "what was said of the last session stays");
}

#[test]
fn a_receiver_that_is_killed_in_the_middle_goes_on() {
    let (place, port) = (Place::new(), free_port());
    let mut receiver = receive(&place, port, &[]);
    let mut command = replicate("process", &place, port);
    // Not `--until clean`: on a busy machine the log may be clean before the guest has written.
    let mut sender = Held::spawn(command.args(["--guest-seconds", "4s", "--pace", "20000"]));
    for _ in 0..3 {
        until("the twin is there", || place.path("twin").exists());
        thread::sleep(Duration::from_millis(200));
        receiver.0.kill().unwrap();
        receiver.end();
        let mut verify = memtwin();
        verify.arg("verify").arg(place.path("memory")).arg(place.path("twin"));
        let (_, err) = expect(11, &mut verify);
        assert!(err.contains("incomplete"), "{err}");
        receiver = receive(&place, port, &[]);
    }
    let status = sender.end();
    let mut out = String::new();
    sender.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(status.code(), Some(0), "{out}");
    assert!(out.contains("made anew 3 times"), "{out}");
    assert_eq!(receiver.end().code(), Some(0));
    assert!(same(&place));
}

#[test]
fn a_pair_of_keys_is_one_line_to_paste() {
    let (place, port) = (Place::new(), free_port());
    let identity = place.path("receiver.identity");
    let mut command = memtwin();
    command.args(["receive", "--new-identity", "--quiet", "--identity"]).arg(&identity);
    let (line, _) = expect(0, &mut command);
    assert_eq!(line.lines().count(), 1);
    assert_eq!(fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
    // It is not overwritten.
    let (_, err) = expect(3, &mut command);
    assert!(err.contains("move the old one away"), "{err}");
    let mut receiver = receive(&place, port, &["--identity", identity.to_str().unwrap()]);
    // Without the line nobody comes in.
    let (_, err) = expect(3, replicate("process", &place, port).args(["--rounds", "1"]));
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(!place.path("twin").exists());
    let mut command = replicate("process", &place, port);
    command.env("MEMTWIN_IDENTITY", &line).args(["--rounds", "5"]);
    expect(0, &mut command);
    assert_eq!(receiver.end().code(), Some(0));
    assert!(same(&place));
}

#[test]
fn plain_text_stays_on_this_host_unless_told() {
    let place = Place::new();
    // No key of whoever runs this test.
    let alone = |command: &mut Command| {
        command.env("XDG_CONFIG_HOME", place.path("none")).env_remove("MEMTWIN_IDENTITY");
    };
    let mut command = memtwin();
    command.args(["receive", "0.0.0.0:0"]).arg(place.path("twin"));
    alone(&mut command);
    let (_, err) = expect(2, &mut command);
    assert!(err.contains("--insecure-plaintext"), "{err}");
    let mut command = memtwin();
    command.args(["replicate", "process", "tcp://192.0.2.1:1"]);
    alone(&mut command);
    let (_, err) = expect(2, &mut command);
    assert!(err.contains("--new-identity"), "{err}");
}

#[test]
fn over_ssh_the_other_side_is_started_by_it() {
    let place = Place::new();
    // What sshd does: a shell runs the command. Its destination is noted.
    let ssh = place.path("ssh");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_memtwin")).parent().unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {0}\nwhile [ \"$1\" != -- ]; do shift; done\n\
         PATH={1}:$PATH exec sh -c \"$3\"\n",
        place.path("asked").display(),
        binary.display()
    );
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let twin = place.path("a twin's");
    let mut command = memtwin();
    command.args(["replicate", "process"]).arg(format!("ssh://me@host:22{}", twin.display()));
    command.args(["--quiet", "--rounds", "5", "--interval", "10ms", "--ssh"]).arg(&ssh);
    command.arg("--memory").arg(place.path("memory"));
    expect(0, &mut command);
    assert!(fs::read(&twin).unwrap() == fs::read(place.path("memory")).unwrap());
    let asked = fs::read_to_string(place.path("asked")).unwrap();
    assert!(asked.contains("-p 22 -- me@host memtwin receive"), "{asked}");
}

/// What ssh, and a host that it reaches, say comes to a terminal without what would steer it.
#[test]
fn what_ssh_says_is_shown_harmless() {
    let place = Place::new();
    let ssh = place.path("ssh");
    fs::write(&ssh, "#!/bin/sh\nprintf 'a \\033]0;x\\007banner\\r\\nand more' >&2\nexit 255\n")
        .unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = memtwin();
    command.args([
        "replicate",
        "process",
        "ssh://host/x",
        "--rounds",
        "1",
        "--retry",
        "0s",
        "--ssh",
    ]);
    let (_, err) = expect(3, command.arg(&ssh));
    assert!(err.contains(r"a \u{1b}]0;x\u{7}banner") && err.contains("and more"), "{err:?}");
    assert!(!err.chars().any(|c| c.is_control() && c != '\n'), "{err:?}");
}

#[test]
fn over_a_real_ssh_the_twin_is_kept_and_found_again() {
    if let Some(lacks) = Sshd::lacks() {
        assert!(std::env::var("CI").is_err(), "CI must have this: {lacks}");
        println!("skipped: {lacks}");
        return;
    }
    let place = Place::new();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_memtwin")).parent().unwrap();
    let sshd = Sshd::start(&[binary]).unwrap();
    let ssh = place.path("ssh");
    let script = format!("#!/bin/sh\nexec ssh -F {} \"$@\"\n", sshd.config().display());
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let twin = place.path("twin");
    let mut command = memtwin();
    let target = format!("ssh://127.0.0.1:{}{}", sshd.port(), twin.display());
    command.args(["replicate", "process"]).arg(target);
    command.args(["--quiet", "--rounds", "5", "--interval", "10ms", "--ssh"]).arg(&ssh);
    command.arg("--memory").arg(place.path("memory"));
    expect(0, &mut command);
    assert!(fs::read(&twin).unwrap() == fs::read(place.path("memory")).unwrap());
    // Nobody listens any more: said once, before anything runs.
    drop(sshd);
    let (_, err) = expect(3, &mut command);
    assert!(err.contains("ssh"), "{err}");
}

#[test]
fn what_does_not_converge_says_so_in_numbers() {
    let (place, port) = (Place::new(), free_port());
    let mut receiver = receive(&place, port, &[]);
    let mut command = replicate("process", &place, port);
    command.args(["--until", "clean", "--timeout", "1s", "--bandwidth", "2M"]);
    let (out, _) = expect(10, &mut command);
    for said in ["did not converge", "pages got dirty at", "the link takes", "backlog"] {
        assert!(out.contains(said), "{said:?}: {out}");
    }
    // Paused and judged all the same.
    assert_eq!(receiver.end().code(), Some(0));
    assert!(same(&place));
}

#[test]
fn nobody_there_is_said_before_anything_runs() {
    let place = Place::new();
    let (out, err) = expect(3, &mut replicate("process", &place, free_port()));
    assert!(err.contains("is `memtwin receive` running there?"), "{err}");
    assert_eq!((out.as_str(), err.lines().count()), ("", 1));
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_sender_that_goes_away_makes_it_inconclusive() {
    let (place, port) = (Place::new(), free_port());
    let mut receiver = receive(&place, port, &["--wait", "1s"]);
    let mut sender = Held::spawn(&mut replicate("process", &place, port));
    until("the twin is there", || place.path("twin").exists());
    sender.0.kill().unwrap();
    sender.end();
    let mut out = String::new();
    assert_eq!(receiver.end().code(), Some(11));
    receiver.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(out.contains("marked incomplete"), "{out}");
    let mut verify = memtwin();
    verify.arg("verify").arg(place.path("twin")).arg(place.path("twin"));
    expect(11, &mut verify);
}

/// A receiver on a file system of this many bytes of its own, and what the script says of it after.
fn receive_on(size: &str, place: &Place, port: u16, more: &str) -> Held {
    let script = format!(
        "mount -t tmpfs -o size={size} none $2; \
         $1 receive 127.0.0.1:{port} $2/twin {more}; rc=$?; ls -A $2; exit $rc"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_memtwin")]);
    Held::spawn(command.arg(place.0.path()))
}

/// Runs a sender as soon as its receiver listens.
fn send(sender: &mut Command) -> (Option<i32>, String, String) {
    let mut ended = None;
    until("it listens", || {
        let output = common::run(sender);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let listens = !err.contains("running there?");
        ended = Some((output.status.code(), out, err));
        listens
    });
    ended.unwrap()
}

#[test]
fn a_twin_that_does_not_fit_is_refused_and_the_next_one_served() {
    if !common::root() {
        println!("skipped: mounting needs root");
        return;
    }
    let (place, port) = (Place::new(), free_port());
    let mut receiver = receive_on("512k", &place, port, "");
    let mut sender = replicate("process", &place, port);
    sender.args(["--rounds", "2"]);
    let (code, _, err) = send(&mut sender);
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("are free"), "{err}");
    // Whoever was refused was no session: the receiver is there for the next.
    expect(0, sender.args(["--size", "64K"]));
    assert_eq!(receiver.end().code(), Some(0));
    let mut left = String::new();
    receiver.0.stdout.take().unwrap().read_to_string(&mut left).unwrap();
    assert!(left.ends_with("\ntwin\n"), "{left}");
}

/// The journal has no room: both sides end, and both say why.
#[test]
fn a_disk_that_gets_full_is_said_on_both_sides() {
    if !common::root() {
        println!("skipped: mounting needs root");
        return;
    }
    let (place, port) = (Place::new(), free_port());
    let mut receiver = receive_on("12m", &place, port, "");
    let mut sender = replicate("process", &place, port);
    sender.args(["--size", "8M", "--seconds", "3600", "--no-delta", "--compress", "none"]);
    let (code, out, err) = send(&mut sender);
    assert_eq!(code, Some(11), "{out}{err}");
    assert!(out.contains("No space left"), "{out}{err}");
    assert_eq!(receiver.end().code(), Some(3));
    let mut left = String::new();
    receiver.0.stdout.take().unwrap().read_to_string(&mut left).unwrap();
    // What it had promised is there for its next life.
    assert!(left.contains("twin.journal") && left.contains("twin.replicating"), "{left}");
}
