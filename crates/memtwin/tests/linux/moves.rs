//! `memtwin migrate --hosts local`: a loaded Linux guest between two QEMUs on this machine.

use crate::boards::LONG;
use crate::common::{Held, Place, conform, expect, json, memtwin, run_within, text, until};
use memtwin_child::Spawn;
use memtwin_testbed::Sshd;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// The command, with all its files in a place of the test's own.
fn migrate(place: &Place) -> Command {
    let folder = place.path("tmp");
    fs::create_dir_all(&folder).unwrap();
    let mut command = memtwin();
    command.args(["migrate", "--hosts", "local", "--seconds", "3s"]).env("TMPDIR", folder);
    command
}

/// What is left in the run's own directory, and the processes that name it.
fn left(place: &Place) -> (usize, Vec<String>) {
    let folder = place.path("tmp");
    let files = fs::read_dir(&folder).unwrap().count();
    let own = folder.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    (files, lines.filter(|line| line.contains(&own)).collect())
}

fn verdicts(record: &Value) -> Vec<String> {
    let cases = record["cases"].as_array().unwrap().iter();
    let line = |case: &Value| {
        let text = |key: &str| case[key].as_str().unwrap().to_owned();
        format!("{} {} {}", text("name"), text("verdict"), case["passed"])
    };
    cases.map(line).collect()
}

/// The verdicts on a guest that has arrived intact, without a network, with a control.
const INTACT: [&str; 5] = [
    "migrate/ram identical true",
    "migrate/ram/control differs true",
    "migrate/disk identical true",
    "migrate/guest identical true",
    "migrate/network skipped false",
];

/// Begins a move, and ends it amid pre-copy; what it returned, and said.
fn ended_by(signal: i32, place: &Place) -> (Option<i32>, String) {
    let mut command = migrate(place);
    let log = fs::File::create(place.path("log")).unwrap();
    command
        .args(["--bandwidth", "1M", "--json"])
        .arg(place.path("out.json"))
        .stderr(log)
        .stdout(Stdio::null());
    let mut held = Held(command.spawn_bound().unwrap());
    let said = || fs::read_to_string(place.path("log")).unwrap();
    until("pre-copy", || said().contains("active: "));
    held.signal(signal);
    (held.end().code(), said())
}

/// In the place of one that was killed: that leaves no QEMU, and what it leaves is found and removed.
pub(crate) fn intact() {
    let place = Place::new();
    let (code, said) = ended_by(9, &place);
    assert_eq!(code, None, "{said}");
    until("no QEMU is left", || left(&place).1.is_empty());
    assert_eq!(left(&place).0, 1, "the control: a folder is left");
    let record = place.path("out.json");
    let (out, err) = expect(0, migrate(&place).args(["--control", "--json"]).arg(&record));
    println!("{err}{out}");
    conform(&[&record]);
    let record = json(&record);
    assert_eq!(verdicts(&record), INTACT);
    let migration = &record["migration"];
    assert_eq!((&migration["guest"], &migration["doubled"]), (&"destination".into(), &0.into()));
    let clocks = migration["clocks"].as_array().unwrap();
    let saw = |name: &str, column: &str| {
        let clock = clocks.iter().find(|clock| clock["name"].as_str().unwrap().contains(name));
        clock.unwrap()[column].as_u64().unwrap()
    };
    // What was seen from outside has the judging in it, and QEMU's own downtime.
    let verify = migration["verify_us"].as_u64().unwrap();
    assert!(verify > 0 && saw("by our clock", "us") >= verify, "{migration:#}");
    assert_eq!(saw("QEMU's own", "us"), saw("QEMU's own", "without_verify_us") + verify);
    assert!(out.contains("were acknowledged"), "{out}");
    assert_eq!(left(&place), (0, Vec::new()));
}

pub(crate) fn given_up() {
    let place = Place::new();
    let mut command = migrate(&place);
    command.args(["--bandwidth", "1M", "--downtime-limit", "1ms", "--timeout", "3s", "--quiet"]);
    let (out, _) = expect(10, &mut command);
    assert!(out.contains("the guest runs on at the source: it did not converge"), "{out}");
    // Nothing is known of a working set before all was sent once.
    assert!(out.contains("not all of its memory was sent once"), "{out}");
    assert!(out.contains("give --timeout at least"), "{out}");
    assert!(out.contains("were acknowledged"), "{out}");
    assert_eq!(left(&place), (0, Vec::new()));
}

/// A load that dirties more than the link carries: what is advised then, taken, lets it converge.
pub(crate) fn advised() {
    let place = Place::new();
    let loaded = |limit: &str| {
        let mut command = migrate(&place);
        command.args(["--memory", "128M", "--load", "4096 512 50 --random", "--bandwidth", "8M"]);
        command.args(["--downtime-limit", limit, "--timeout", "60s", "--quiet"]);
        command
    };
    // The control: without it, it does not.
    let (out, _) = expect(10, &mut loaded("300ms"));
    println!("{out}");
    let advised = out.split("it would converge with --downtime-limit ").nth(1).unwrap();
    let advised = advised.split([':', ' ', '\n']).next().unwrap();
    let (out, _) = expect(0, &mut loaded(advised));
    println!("{advised}: {out}");
    assert_eq!(left(&place), (0, Vec::new()));
}

pub(crate) fn refused() {
    let place = Place::new();
    let mut command = migrate(&place);
    let (out, _) =
        expect(11, command.args(["--destination-cpu", "cortex-a53", "--no-load", "--quiet"]));
    assert!(out.contains("not moved, the guest runs on at the source"), "{out}");
    assert_eq!(left(&place), (0, Vec::new()));
}

pub(crate) fn interrupted() {
    let place = Place::new();
    let (code, said) = ended_by(2, &place);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the guest runs on at the source: interrupted"), "{said}");
    // To be told to stop is no fault of the disk's.
    let found = verdicts(&json(&place.path("out.json")));
    assert!(found.contains(&"migrate/disk identical true".to_owned()), "{found:?}");
    assert_eq!(left(&place), (0, Vec::new()));
}

/// A grid of two loads and two links. Over the slow one not even the first round is done in time.
pub(crate) fn swept() {
    let place = Place::new();
    let record = place.path("out.json");
    let mut command = migrate(&place);
    command.args(["--sweep", "--sweep-intervals", "50,10", "--sweep-bandwidths", "20M,1G"]);
    command.args(["--sweep-bounds", "none", "--memory", "128M", "--load", "8192 64 50"]);
    command.args(["--downtime-limit", "150ms", "--timeout", "4s", "--json"]).arg(&record);
    let (out, err) = expect(0, &mut command);
    println!("{err}{out}");
    let record = json(&record);
    assert_eq!(
        verdicts(&record),
        [
            "migrate/ram/unloaded identical true",
            "migrate/ram/interval=50ms/bandwidth=20M skipped false",
            "migrate/ram/interval=50ms/bandwidth=1G identical true",
            "migrate/ram/interval=10ms/bandwidth=20M skipped false",
            "migrate/ram/interval=10ms/bandwidth=1G identical true",
            "migrate/disk identical true",
            "migrate/guest identical true",
            "migrate/network skipped false",
        ]
    );
    let sweep = &record["sweep"];
    assert_eq!((&sweep["load_dirty"], &sweep["smallest"]), (&64.into(), &Value::Null));
    let cells = sweep["cells"].as_array().unwrap();
    let line = |cell: &Value| format!("{} {}", cell["predicted"]["outcome"], cell["agrees"]);
    let slow = [&cells[0], &cells[2]].map(line);
    assert!(slow.iter().all(|line| line.ends_with(" true") && !line.contains("converges")));
    // Distinct pages only become more; and the busier load dirties more of them.
    let curves: Vec<Vec<u64>> = sweep["loads"].as_array().unwrap().iter().map(curve).collect();
    assert!(curves.iter().all(|curve| curve.is_sorted() && curve.len() == 4), "{curves:?}");
    assert!(curves[0].last() < curves[1].last(), "{curves:?}");
    assert!(out.contains("of 4 came as foretold"), "{out}");
    assert_eq!(left(&place), (0, Vec::new()));
}

fn curve(load: &Value) -> Vec<u64> {
    let points = load["curve"].as_array().unwrap().iter();
    points.map(|point| point["bytes"].as_u64().unwrap()).collect()
}

/// Two machines by ssh: this one, twice, with two CPUs for the guest and several connections for its
/// pages.
pub(crate) fn over_ssh() {
    if let Some(lacks) = Sshd::lacks() {
        assert!(std::env::var("CI").is_err(), "CI must have this: {lacks}");
        println!("skipped: {lacks}");
        return;
    }
    let place = Place::new();
    let sshd = Sshd::start(&[]).unwrap();
    let ssh = place.path("bin");
    fs::create_dir(&ssh).unwrap();
    let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", sshd.config().display());
    fs::write(ssh.join("ssh"), script).unwrap();
    fs::set_permissions(ssh.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let shared = place.path("shared");
    fs::create_dir(&shared).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let plan = memtwin_migrate::plan::SEED
        .replace("192.168.10.100/24", "127.0.0.1/8")
        .replace("192.168.10.101/24", "127.0.0.1/8")
        .replace("\"/mnt\"", &format!("\"{}\"", shared.display()))
        .replace("4321", &port.to_string());
    fs::write(place.path("plan"), plan).unwrap();

    let host = format!("ssh://127.0.0.1:{}", sshd.port());
    let path = format!("{}:{}", ssh.display(), std::env::var("PATH").unwrap());
    let command = |shared: &str| {
        let folder = place.path("tmp");
        fs::create_dir_all(&folder).unwrap();
        let mut command = memtwin();
        command.args(["migrate", "--hosts", &format!("{host},{host}"), "--seconds", "2s"]);
        command.arg("--plan").arg(place.path(shared)).env("PATH", &path).env("TMPDIR", folder);
        command
    };
    let record = place.path("out.json");
    let mut moved = command("plan");
    moved.args(["--cpus", "2", "--parameter", "multifd-channels=2", "--control", "--json"]);
    let (out, err) = expect(0, moved.arg(&record));
    println!("{err}{out}");
    let record = json(&record);
    assert_eq!(verdicts(&record), INTACT);
    assert_eq!(record["migration"]["guest"], "destination");
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0, "nothing is left there");
    assert_eq!(left(&place), (0, Vec::new()));
    // A folder that is not there is said before anything is built or started.
    fs::remove_dir(&shared).unwrap();
    let (_, err) = expect(3, &mut command("plan"));
    assert!(err.contains("shared"), "{err}");
}

/// The whole of the reference setup's first experiment, on three emulated boards; and back, while cable and server fail.
pub(crate) fn seed() {
    let place = Place::new();
    let folder = place.path("tmp");
    fs::create_dir_all(&folder).unwrap();
    let record = place.path("out.json");
    let mut command = memtwin();
    command.args(["lab", "run", "migrate", "--control", "--json"]).arg(&record);
    command.args(["--hops", "2", "--fault", "stop-nfs:10s@load"]);
    command.args(["--fault", "cut-link:5s@2", "--fault", "stop-nfs:10s@2"]);
    // A guest on a busy machine may need longer than QEMU allows by itself.
    command.args(["--downtime-limit", "2s"]).env("TMPDIR", folder);
    let output = run_within(LONG, &mut command);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    println!("{err}{out}");
    assert_eq!(output.status.code(), Some(0));
    let record = json(&record);
    assert_eq!(
        verdicts(&record),
        [
            "migrate/ram identical true",
            "migrate/ram/control differs true",
            "migrate/ram/hop=2 identical true",
            "migrate/ram/hop=2/control differs true",
            "migrate/disk identical true",
            "migrate/guest identical true",
            "migrate/network identical true",
        ]
    );
    assert_eq!(record["migration"]["guest"], "destination");
    for line in [
        "before the route is switched, the guest reaches board b (192.168.10.101)",
        "before the route is switched, the guest does not reach storage (192.168.10.10)",
        "after the route is switched, the guest reaches storage (192.168.10.10)",
        "fault: the NFS server is stopped while the guest works, for 1",
        "fault: the NFS server is stopped amid hop 2, for 1",
        "fault: the destination's link is cut amid hop 2, for 5.",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    // The control: the server was away.
    let (_, waited) = out.split_once("the guest waited for it for ").unwrap();
    let waited: f64 = waited.split(' ').next().unwrap().parse().unwrap();
    assert!(waited > 9000.0, "{out}");
    assert_eq!(left(&place), (0, Vec::new()));
}
