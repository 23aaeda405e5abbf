//! A monitor that prints its messages over several lines (`pretty=on`).

use crate::{GREETING, Peer, SHORT, Server, TIMEOUT};
use memtwin_qmp::{Qmp, QmpError};
use serde_json::{Value, json};

/// As QEMU prints it: four spaces, and carriage returns.
fn pretty(message: &Value) -> String {
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut text = Vec::new();
    let mut to = serde_json::Serializer::with_formatter(&mut text, indent);
    serde::Serialize::serialize(message, &mut to).unwrap();
    String::from_utf8(text).unwrap().replace('\n', "\r\n") + "\r\n"
}

fn answer(peer: &mut Peer, returned: Value) {
    let command = peer.hear();
    peer.say(pretty(&json!({ "return": returned, "id": command["id"] })));
}

fn stop() -> Value {
    json!({"event": "STOP", "data": {"deep": [{}, [], {"a": {}}]}, "timestamp": {"seconds": 1, "microseconds": 2}})
}

#[test]
fn its_messages_are_understood() {
    let (go, wait) = std::sync::mpsc::channel();
    let server = Server::new(move |mut peer| {
        peer.say(pretty(&serde_json::from_str(GREETING).unwrap()));
        answer(&mut peer, json!({}));
        peer.say(pretty(&stop()));
        answer(&mut peer, json!({"status": "a {\n}\n in a text", "blocks": [{"a": 1}, {}]}));
        // A message that comes in two parts, the first of which ends with a line.
        let text = pretty(&stop());
        let (a, b) = text.split_at(text.find("\n").unwrap() + 1);
        peer.say(a);
        wait.recv().unwrap();
        peer.say(b);
        let command = peer.hear();
        let error = json!({"class": "GenericError", "desc": "no"});
        peer.say(pretty(&json!({ "error": error, "id": command["id"] })));
        // And compact ones among them.
        let command = peer.hear();
        peer.answer(&command, json!(7));
    });
    let mut qmp = server.connect().unwrap();
    let status: Value = qmp.execute("query-status", ()).unwrap();
    assert_eq!(
        (&status["status"], status["blocks"][0]["a"].as_u64()),
        (&json!("a {\n}\n in a text"), Some(1))
    );
    assert_eq!(qmp.events()[0].data, stop()["data"]);
    assert!(qmp.wait_event(SHORT, |event| event.name == "STOP").unwrap().is_none());
    go.send(()).unwrap();
    let event = qmp.wait_event(TIMEOUT, |event| event.name == "STOP").unwrap().unwrap();
    assert_eq!(event.timestamp.microseconds, 2);
    assert!(matches!(qmp.execute::<Value>("x", ()), Err(QmpError::Refused { .. })));
    assert_eq!(qmp.execute::<u32>("y", ()).unwrap(), 7);
    server.done();
}

/// Who takes the connection over begins within a message.
#[test]
fn a_successor_finds_the_next_message() {
    let (server, first) = Server::ready(|mut peer| {
        let text = pretty(&stop());
        peer.say(text.split_at(text.find("deep").unwrap()).1);
        peer.begin_anew();
        answer(&mut peer, json!({}));
        answer(&mut peer, json!("fresh"));
    });
    let socket = first.try_clone().unwrap();
    drop(first);
    let mut second = Qmp::resume_on(socket, TIMEOUT).unwrap();
    assert_eq!(second.execute::<Value>("query-status", ()).unwrap(), "fresh");
    server.done();
}

#[test]
fn what_is_wrong_in_one_is_quoted_with_its_offset() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        let command = peer.hear();
        peer.say("{\n    \"return\": oops\n}\n");
        peer.say(pretty(&json!({ "return": 1, "id": command["id"] })));
        answer(&mut peer, json!(2));
    });
    let error = qmp.execute::<Value>("x", ()).unwrap_err();
    let QmpError::BadMessage { offset, around, .. } = &error else { panic!("{error}") };
    assert_eq!((*offset, around.starts_with("oops")), (16, true), "{error}");
    assert_eq!(qmp.execute::<u32>("y", ()).unwrap(), 2);
    server.done();
}
