//! Everything that can be behind a path that is no QMP ready for us.

use crate::{GREETING, Peer, SHORT, Server, TIMEOUT, reads_well};
use memtwin_qmp::{Qmp, QmpError};
use rustix::process::geteuid;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

fn refused(path: &Path) -> QmpError {
    Qmp::connect(path, SHORT).unwrap_err()
}

#[test]
fn what_is_no_listening_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);

    let error = refused(&path("none"));
    assert!(matches!(error, QmpError::NoSocket { .. }), "{error}");
    reads_well(&error, &["none", "-qmp"]);

    fs::write(path("file"), "").unwrap();
    let _datagrams = UnixDatagram::bind(path("datagrams")).unwrap();
    for name in ["file", "datagrams", "file/below"] {
        let error = refused(&path(name));
        assert!(matches!(error, QmpError::NotASocket { .. }), "{name}: {error}");
        reads_well(&error, &[name, "-qmp"]);
    }

    drop(UnixListener::bind(path("left")).unwrap());
    let error = refused(&path("left"));
    assert!(matches!(error, QmpError::NobodyListens { .. }) && error.is_gone(), "{error}");
    reads_well(&error, &["left", "start it again"]);

    let error = refused(&path(&"long".repeat(40)));
    assert!(matches!(error, QmpError::Connect { .. }), "{error}");
    reads_well(&error, &["too long for a socket"]);
}

/// A path may be longer than a socket's address: its directory is opened first.
#[test]
fn a_long_path_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("long".repeat(40));
    fs::create_dir(&deep).unwrap();
    let error = refused(&deep.join("q"));
    assert!(matches!(error, QmpError::NoSocket { .. }), "{error}");
    // Bound where its name is short, and moved.
    let listener = UnixListener::bind(dir.path().join("q")).unwrap();
    fs::rename(dir.path().join("q"), deep.join("q")).unwrap();
    let server = std::thread::spawn(move || {
        let mut peer = Peer::new(listener.accept().unwrap().0);
        peer.greet();
    });
    Qmp::connect(&deep.join("q"), TIMEOUT).unwrap();
    server.join().unwrap();
}

/// What other programs take for QMP, and what would be right instead.
#[test]
fn what_is_no_path() {
    for tcp in ["127.0.0.1:4444", "localhost:4444,server=on", "[::1]:4444"] {
        let error = refused(Path::new(tcp));
        assert!(matches!(error, QmpError::NoSocket { .. }), "{error}");
        let way_out = format!("is given as tcp:{}", tcp.split(',').next().unwrap());
        reads_well(&error, &[tcp, &way_out]);
    }
    for path in ["a:b", "no/such:4444", "unix:", "tcp:127.0.0.1:1"] {
        let error = refused(Path::new(path));
        assert!(matches!(error, QmpError::NoSocket { .. }), "{path}");
        reads_well(&error, &["-qmp unix:"]);
    }
}

/// What was accepted and is silent is no busy monitor.
#[test]
fn a_server_that_does_not_greet() {
    let server = Server::new(|mut peer| peer.wait_for_end());
    let error = Qmp::connect(&server.path(), SHORT * 20).unwrap_err();
    assert!(matches!(error, QmpError::Silent { .. }), "{error}");
    reads_well(&error, &["guest agent", "serial line", "-qmp"]);
    server.done();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("org.qemu.guest_agent.0");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = refused(&path);
    reads_well(&error, &["it is a guest agent's channel", "-qmp"]);
}

#[test]
fn a_socket_that_is_not_ours() {
    if geteuid().is_root() {
        // Root may connect to anything: nothing to see here.
        return;
    }
    let server = Server::new(|_| {});
    fs::set_permissions(server.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let error = refused(&server.path());
    assert!(matches!(error, QmpError::Permission { .. }), "{error}");
}

#[test]
fn a_server_of_something_else() {
    let openings: [(&[u8], &str); 5] = [
        (b"QEMU 10.0.2 monitor - type 'help'\r\n(qemu) ", "human monitor"),
        (b"SSH-2.0-OpenSSH_9.2", "SSH-2.0"),
        (b"\xff\xfb\x01", "\\xff\\xfb\\x01"),
        (b"{\"return\": {}}\n", "return"),
        (b"{\"QMP\": nonsense}\n", "nonsense"),
    ];
    for (opening, fact) in openings {
        let server = Server::new(move |mut peer| {
            peer.say(opening);
            peer.wait_for_end();
        });
        let error = server.connect().unwrap_err();
        assert!(matches!(error, QmpError::NotQmp { .. }), "{error}");
        reads_well(&error, &[fact, "no QMP server"]);
        server.done();
    }
}

/// A QEMU that starts sends them to whoever is connected, greeted or not.
#[test]
fn events_before_the_greeting() {
    const RESUME: &str =
        "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"RESUME\"}\r\n";
    let server = Server::new(|mut peer| {
        peer.say(RESUME.repeat(2));
        peer.greet();
        let command = peer.hear();
        peer.answer(&command, json!(7));
    });
    let mut qmp = server.connect().unwrap();
    assert_eq!(qmp.execute::<u32>("query-status", ()).unwrap(), 7);
    server.done();
    // The control: without a greeting there is no end to wait for.
    let server = Server::new(|mut peer| while peer.try_say(RESUME) {});
    let error = Qmp::connect(&server.path(), SHORT).unwrap_err();
    assert!(matches!(error, QmpError::NotQmp { .. }), "{error}");
    server.done();
}

#[test]
fn a_greeting_that_ends_in_the_middle() {
    let server = Server::new(|mut peer| peer.say(&GREETING[..20]));
    let error = server.connect().unwrap_err();
    assert!(matches!(error, QmpError::NotQmp { .. }), "{error}");
    let server = Server::new(drop::<Peer>);
    let error = server.connect().unwrap_err();
    assert!(matches!(error, QmpError::Closed { .. }), "{error}");
    reads_well(&error, &["the greeting"]);
}

#[test]
fn a_server_that_is_busy() {
    // As QEMU does it: one client is served, others wait in the queue.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, QmpError::Busy { .. }), "{error}");
    reads_well(&error, &["one QMP client", "ss -xp"]);
    // And a queue that is full, in which connecting itself would wait.
    rustix::net::listen(&listener, 0).unwrap();
    for _ in 0..3 {
        let error = refused(&path);
        assert!(matches!(error, QmpError::Busy { .. }), "{error}");
    }
    // One that becomes free in time is no error.
    let server = std::thread::spawn(move || {
        loop {
            let mut peer = Peer::new(listener.accept().unwrap().0);
            if peer.try_say(format!("{GREETING}\n")) {
                let command = peer.hear();
                return peer.answer(&command, serde_json::json!({}));
            }
        }
    });
    Qmp::connect(&path, TIMEOUT).unwrap();
    server.join().unwrap();
}

#[test]
fn a_client_that_may_not_negotiate_says_so() {
    let server = Server::new(|mut peer| {
        peer.say(format!("{GREETING}\n"));
        let command = peer.hear();
        peer.say(format!(
            "{}\n",
            serde_json::json!({"error": {"class": "GenericError", "desc": "no"}, "id": command["id"]})
        ));
    });
    let error = server.connect().unwrap_err();
    reads_well(&error, &["qmp_capabilities", "GenericError"]);
}
