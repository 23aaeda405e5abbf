//! Taking a connection over from a client that was interrupted.

use crate::{PATIENCE, SHORT, Server};
use memtwin_qmp::{Qmp, QmpError};
use serde_json::{Value, json};
use std::io::{BufRead, Read};

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
        let mut again = Vec::new();
        peer.lines.read_until(b'\n', &mut again).unwrap();
        assert_eq!(again, b"\xff\n");
        peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n");
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
    let mut second = Qmp::resume_on(socket, PATIENCE).unwrap();
    assert_eq!(second.execute::<Value>("query-status", ()).unwrap(), "fresh");
    server.done();
}

#[test]
fn a_dead_connection_is_told() {
    let (server, first) = Server::ready(drop);
    let socket = first.try_clone().unwrap();
    server.done();
    assert!(Qmp::resume_on(socket, PATIENCE).unwrap_err().is_gone());
}

/// Half a command stays behind when its time is over: the next begins anew.
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
    qmp.set_patience(PATIENCE);
    assert_eq!(qmp.execute::<u32>("y", ()).unwrap(), 7);
    assert_eq!(qmp.execute::<u32>("y", ()).unwrap(), 8);
    server.done();
}
