//! Taking a connection over from a client that was interrupted.

use crate::{GREETING, Peer, SHORT, Server, TIMEOUT, reads_well};
use memtwin_qmp::{Qmp, QmpError};
use serde_json::{Value, json};
use std::io::{BufRead, Read};
use std::os::unix::net::UnixStream;

#[test]
fn stale_answers_and_half_a_line_are_skipped() {
    let (server, mut first) = Server::ready(|mut peer| {
        let stale = peer.hear();
        // The first client has read a part of this when it dies.
        peer.say("{\"event\": \"STOP\"");
        let mut half = [0; 7];
        peer.lines.read_exact(&mut half).unwrap();
        peer.say(", \"data\": {}}\n");
        peer.say("\"}}\n");
        peer.answer(&stale, json!("stale"));
        // What a parser says that was torn out of the middle of a command.
        peer.begin_anew();
        let command = peer.hear();
        assert_eq!(command["execute"], "qmp_capabilities");
        let error = json!({"class": "CommandNotFound", "desc": "complete, command ignored"});
        peer.say(format!("{}\n", json!({"error": error, "id": command["id"]})));
        let command = peer.hear();
        peer.answer(&command, json!("fresh"));
    });
    first.set_patience(SHORT);
    let error = first.execute::<Value>("query-status", ()).unwrap_err();
    assert!(matches!(error, QmpError::Timeout { .. }));
    let socket = first.try_clone().unwrap();
    drop(first);
    rustix::io::write(&socket, b"{\"execu").unwrap();
    let mut second = Qmp::resume_on(socket, TIMEOUT).unwrap();
    assert_eq!(second.execute::<Value>("query-status", ()).unwrap(), "fresh");
    server.done();
}

#[test]
fn a_dead_connection_is_told() {
    let (server, first) = Server::ready(drop);
    let socket = first.try_clone().unwrap();
    server.done();
    assert!(Qmp::resume_on(socket, TIMEOUT).unwrap_err().is_gone());
}

/// Half a command stays behind when its time is over: the next begins again.
#[test]
fn a_command_that_was_cut_off_does_not_spoil_the_next() {
    let (go, wait) = std::sync::mpsc::channel();
    let (server, mut qmp) = Server::ready(move |mut peer| {
        wait.recv().unwrap();
        let mut cut = Vec::new();
        peer.lines.read_until(b'\n', &mut cut).unwrap();
        assert!(cut.ends_with(b"xxx\xff\n"), "{} bytes", cut.len());
        peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n");
        let command = peer.hear();
        peer.answer(&command, json!(7));
        let command = peer.hear();
        peer.answer(&command, json!(8));
    });
    qmp.set_patience(SHORT);
    let error = qmp.execute::<Value>("x", json!({"long": "x".repeat(4 << 20)})).unwrap_err();
    assert!(matches!(error, QmpError::Timeout { .. }), "{error}");
    go.send(()).unwrap();
    qmp.set_patience(TIMEOUT);
    assert_eq!(qmp.execute::<u32>("y", ()).unwrap(), 7);
    assert_eq!(qmp.execute::<u32>("y", ()).unwrap(), 8);
    server.done();
}

/// A connection for commands out of band: greeted late, asked for the capability, and none of its
/// commands waits for a turn.
#[test]
fn an_urgent_command_goes_out_of_band() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut peer = Peer::new(theirs);
        peer.say(format!("{GREETING}\r\n"));
        peer.begin_anew();
        let command = peer.hear();
        assert_eq!(command["execute"], "qmp_capabilities");
        assert_eq!(command["arguments"], json!({"enable": ["oob"]}));
        peer.answer(&command, json!({}));
        let command = peer.hear();
        assert_eq!((&command["exec-oob"], command.get("execute")), (&json!("yank"), None));
        peer.answer(&command, json!({}));
    });
    let mut urgent = Qmp::urgent_on(ours.into(), TIMEOUT).unwrap();
    urgent.execute_urgently::<Value>("yank", json!({ "instances": [] })).unwrap();
    server.join().unwrap();
}

#[test]
fn a_monitor_without_out_of_band_is_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut peer = Peer::new(theirs);
        peer.say("{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
        peer.begin_anew();
        let command = peer.hear();
        let error = json!({"class": "GenericError", "desc": "capability 'oob' not available"});
        peer.say(format!("{}\n", json!({"error": error, "id": command["id"]})));
    });
    let error = Qmp::urgent_on(ours.into(), TIMEOUT).unwrap_err();
    reads_well(&error, &["qmp_capabilities", "'oob' not available"]);
    server.join().unwrap();
}
