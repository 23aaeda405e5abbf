//! Commands and what may come back.

use crate::{SHORT, Server, TIMEOUT, reads_well};
use memtwin_qmp::QmpError;
use rustix::fs::fstat;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

#[derive(Debug, PartialEq, Deserialize)]
struct Status {
    running: bool,
}

#[test]
fn an_answer_is_typed_and_a_refusal_is_quoted() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        let command = peer.hear();
        assert_eq!(command["arguments"], json!({"deep": [1]}));
        peer.answer(&command, json!({"running": true, "more": 1}));
        let command = peer.hear();
        let error =
            json!({"class": "CommandNotFound", "desc": "The command x\nhas not been found"});
        peer.say(format!("{}\n", json!({"error": error, "id": command["id"]})));
        // The parser's own complaint has no id.
        peer.hear();
        peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n");
    });
    let status: Status = qmp.execute("query-status", json!({"deep": [1]})).unwrap();
    assert_eq!(status, Status { running: true });
    let error = qmp.execute::<Value>("x", ()).unwrap_err();
    assert!(error.is_unknown_command());
    reads_well(&error, &["QEMU refused x", "has not been found", "CommandNotFound"]);
    let error = qmp.execute::<Value>("y", ()).unwrap_err();
    reads_well(&error, &["QEMU refused y", "JSON parse error"]);
    server.done();
}

#[test]
fn an_answer_of_another_form() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        for _ in 0..2 {
            let command = peer.hear();
            peer.answer(&command, json!({"running": 7}));
        }
    });
    let error = qmp.execute::<Status>("query-status", ()).unwrap_err();
    assert!(matches!(error, QmpError::BadAnswer { .. }));
    reads_well(&error, &["query-status", "unknown form", "boolean"]);
    qmp.execute::<Value>("query-status", ()).unwrap();
    assert!(matches!(qmp.execute::<Value>("x", 7), Err(QmpError::BadArguments { .. })));
    server.done();
}

#[test]
fn bad_json_is_quoted_with_its_offset_and_the_connection_stays() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        let command = peer.hear();
        peer.say("{\"return\": {}, oops}\n");
        peer.answer(&command, json!({}));
        let command = peer.hear();
        peer.answer(&command, json!("second"));
    });
    let error = qmp.execute::<Value>("query-status", ()).unwrap_err();
    let QmpError::BadMessage { offset, around, .. } = &error else { panic!("{error}") };
    assert_eq!((*offset, around.as_str()), (15, "oops}"));
    reads_well(&error, &["at byte 15", "query-status"]);
    // What comes late for the first is not taken for the second's.
    assert_eq!(qmp.execute::<Value>("x", ()).unwrap(), "second");
    server.done();
}

#[test]
fn an_end_in_the_middle() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        peer.hear();
        peer.say("{\"return\": ");
    });
    let error = qmp.execute::<Value>("stop", ()).unwrap_err();
    assert!(matches!(error, QmpError::Closed { .. }) && error.is_gone());
    reads_well(&error, &["stop", "closed"]);
    let error = qmp.execute::<Value>("cont", ()).unwrap_err();
    assert!(error.is_gone(), "{error}");
    server.done();
}

#[test]
fn a_time_out_names_the_command_and_a_late_answer_is_dropped() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        let first = peer.hear();
        let second = peer.hear();
        peer.answer(&first, json!("late"));
        peer.answer(&second, json!("right"));
    });
    qmp.set_patience(SHORT);
    let error = qmp.execute::<Value>("stop", ()).unwrap_err();
    assert!(matches!(error, QmpError::Timeout { .. }), "{error}");
    reads_well(&error, &["stop", "100ms"]);
    qmp.set_patience(TIMEOUT);
    assert_eq!(qmp.execute::<Value>("query-status", ()).unwrap(), "right");
    server.done();
}

#[test]
fn a_line_without_end_is_bounded() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        peer.hear();
        let piece = vec![b'x'; 1 << 20];
        while peer.try_say(&piece) {}
    });
    let error = qmp.execute::<Value>("query-block", ()).unwrap_err();
    assert!(matches!(error, QmpError::LineTooLong { .. }), "{error}");
    reads_well(&error, &["67108864", "query-block"]);
    drop(qmp);
    server.done();
}

#[test]
fn a_descriptor_goes_with_its_command() {
    let file = tempfile::tempfile().unwrap();
    let inode = fstat(&file).unwrap().st_ino;
    let (server, mut qmp) = Server::ready(move |mut peer| {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let received =
            recvmsg(peer.lines.get_ref(), into, &mut rights, RecvFlags::empty()).unwrap();
        let fds: Vec<_> = rights
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(fds.len(), 1);
        assert_eq!(fstat(&fds[0]).unwrap().st_ino, inode);
        let command: Value = serde_json::from_slice(&bytes[..received.bytes]).unwrap();
        assert_eq!(command["execute"], "getfd");
        assert_eq!(command["arguments"], json!({"fdname": "tap"}));
        peer.answer(&command, json!({}));
    });
    qmp.send_fd("tap", file.as_fd()).unwrap();
    assert_eq!(qmp.peer_pid().unwrap(), Some(std::process::id()));
    server.done();
}

/// Something that carries bytes alone stands between.
#[test]
fn a_descriptor_that_does_not_arrive() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        for desc in ["No file descriptor supplied via SCM_RIGHTS", "Parameter 'fdname' is wrong"] {
            let command = peer.hear();
            let error = json!({"class": "GenericError", "desc": desc});
            peer.say(format!("{}\n", json!({"error": error, "id": command["id"]})));
        }
    });
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = qmp.send_fd("x", file.as_fd()).unwrap_err();
    let us = format!("(process {})", std::process::id());
    reads_well(&error, &[&us, "stands between", "-qmp unix:PATH"]);
    let error = qmp.send_fd("x", file.as_fd()).unwrap_err();
    assert!(matches!(error, QmpError::Refused { .. }), "{error}");
    server.done();
}
