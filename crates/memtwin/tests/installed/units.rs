//! The units of systemd: systemd itself finds nothing wrong with them, and what they start takes the words.

use crate::common::{Held, Place, memtwin};
use memtwin_wait::{wait_for, wait_until};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const UNITS: [&str; 5] = [
    "memtwin-check.service",
    "memtwin-check.timer",
    "memtwin-audit.service",
    "memtwin-receive.service",
    "memtwin-receive.socket",
];
/// The exposure that `systemd-analyze security` may find, of 100. The audit reads other processes' memory.
const MOST_EXPOSED: [(&str, u32); 3] =
    [("memtwin-check.service", 25), ("memtwin-audit.service", 45), ("memtwin-receive.service", 15)];
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_secs(60);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd")
}

/// Whether a program of systemd's is there; CI must have it.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "CI must have {program}");
    if !there {
        eprintln!("skipped: no {program}: Debian's package systemd");
    }
    there
}

/// The units in a folder of their own, where they start the built program.
fn copied(place: &Place, change: impl Fn(&str) -> String) -> Vec<PathBuf> {
    let paths = UNITS.map(|unit| {
        let text = fs::read_to_string(folder().join(unit)).unwrap();
        let path = place.path(unit);
        fs::write(&path, change(&text.replace("/usr/bin/memtwin", env!("CARGO_BIN_EXE_memtwin"))))
            .unwrap();
        path
    });
    paths.into()
}

fn verify(units: &[PathBuf]) -> Output {
    Command::new("systemd-analyze").args(["verify", "--man=no"]).args(units).output().unwrap()
}

#[test]
fn systemd_finds_nothing_wrong_with_them() {
    if !has("systemd-analyze") {
        return;
    }
    let place = Place::new();
    let found = verify(&copied(&place, str::to_owned));
    let said = String::from_utf8_lossy(&found.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("memtwin")).collect();
    assert!(found.status.success() && ours.is_empty(), "{said}");
    // The control.
    let wrong = verify(&copied(&place, |text| text.replace("Type=oneshot", "Typo=oneshot")));
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("Typo"), "{said}");
}

#[test]
fn they_give_what_they_start_few_rights() {
    if !has("systemd-analyze") {
        return;
    }
    let exposed = |unit: &Path, most: u32| {
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", &format!("--threshold={most}")])
            .arg(unit)
            .output()
            .unwrap()
    };
    let place = Place::new();
    copied(&place, str::to_owned);
    for (unit, most) in MOST_EXPOSED {
        let out = exposed(&place.path(unit), most);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{said}");
    }
    // The control: without its hardening.
    let service = "[Service]\nType=oneshot\nExecStart=/bin/true\n";
    fs::write(place.path("bare.service"), service).unwrap();
    assert!(!exposed(&place.path("bare.service"), 45).status.success());
}

/// The words of a unit's line, with the variables of its `Environment=`.
fn words(unit: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(folder().join(unit)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap();
    let variables =
        text.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    let line = variables
        .fold(line.to_owned(), |line, (name, value)| line.replace(&format!("${{{name}}}"), value));
    let mut words = line.split_whitespace().map(str::to_owned);
    assert_eq!(words.next().unwrap(), "/usr/bin/memtwin");
    words.collect()
}

#[test]
fn what_they_start_takes_the_words() {
    let check = memtwin()
        .args(words("memtwin-check.service", "ExecStart"))
        .arg("--dry-run")
        .output()
        .unwrap();
    // 3 where there is no /dev/kvm.
    assert!(matches!(check.status.code(), Some(0 | 3)), "{check:?}");
    for key in ["ExecStart", "ExecCondition"] {
        let mut audit = memtwin();
        audit.args(words("memtwin-audit.service", key));
        if key == "ExecStart" {
            audit.arg("--dry-run");
        }
        let audit = audit.output().unwrap();
        assert!(matches!(audit.status.code(), Some(0 | 3)), "{audit:?}");
    }
    // The control.
    assert_eq!(
        memtwin().args(["check", "--no-such-word"]).output().unwrap().status.code(),
        Some(2)
    );
}

/// The socket of systemd, by its own program for tests; what systemd is told; a session; the end.
#[test]
fn a_receiver_takes_the_socket_of_systemd_and_says_when_it_is_ready() {
    if !has("systemd-socket-activate") {
        return;
    }
    let place = Place::new();
    let told = UnixDatagram::bind(place.path("notify")).unwrap();
    told.set_nonblocking(true).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut words = words("memtwin-receive.service", "ExecStart");
    let identity = words.iter().position(|word| word == "--identity").unwrap();
    // Loopback needs none.
    words.drain(identity..identity + 2);
    words[2] = place.path("twin").to_str().unwrap().to_owned();
    let mut activate = Command::new("systemd-socket-activate");
    activate.arg(format!("--listen=127.0.0.1:{port}")).arg("--setenv=NOTIFY_SOCKET");
    activate.env("NOTIFY_SOCKET", place.path("notify"));
    activate
        .arg(env!("CARGO_BIN_EXE_memtwin"))
        .args(words)
        .arg("--json")
        .arg(place.path("received.json"));
    let mut receiver = Held::spawn(&mut activate);
    // It starts Memtwin when the first one knocks.
    let knocked = wait_for(TIMEOUT, POLL_INTERVAL, || TcpStream::connect(("127.0.0.1", port)).ok());
    drop(knocked.unwrap());

    let mut said = String::new();
    let mut heard = |line: &str| {
        wait_until(TIMEOUT, POLL_INTERVAL, || {
            let mut bytes = [0; 4096];
            while let Ok(n) = told.recv(&mut bytes) {
                said.push_str(&String::from_utf8_lossy(&bytes[..n]));
                said.push('\n');
            }
            said.lines().any(|said| said == line)
        })
    };
    assert!(heard("READY=1"));
    let sent = memtwin()
        .args(["replicate", "process", &format!("tcp://127.0.0.1:{port}"), "--quiet"])
        .args(["--guest-seconds", "0.2", "--until", "clean", "--memory"])
        .arg(place.path("memory"))
        .output()
        .unwrap();
    assert_eq!(sent.status.code(), Some(0), "{sent:?}");
    assert!(heard("STATUS=the last session: identical"));
    receiver.signal(rustix::process::Signal::TERM.as_raw());
    assert_eq!(receiver.end().code(), Some(130));
    assert!(heard("STOPPING=1"));
    let record = fs::read_to_string(place.path("received.json")).unwrap();
    assert!(record.contains("\"identical\""), "{record}");
}

#[test]
fn without_a_socket_of_systemd_it_says_so() {
    let place = Place::new();
    let out = memtwin().args(["receive", "systemd"]).arg(place.path("twin")).output().unwrap();
    assert_eq!(out.status.code(), Some(3));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("handed over no socket, expected one listening TCP socket"), "{said}");
}
