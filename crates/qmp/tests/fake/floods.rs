//! More events than anybody can take.

use crate::{Peer, SHORT, Server, TIMEOUT};
use memtwin_qmp::QmpError;
use serde_json::{Value, json};
use std::os::fd::AsFd;

fn event(name: &str, n: usize) -> String {
    let at = json!({"seconds": 1, "microseconds": 2});
    format!("{}\n", json!({"event": name, "data": {"pass": n}, "timestamp": at}))
}

/// Sends until the client is gone.
fn flood(peer: &mut Peer) {
    let events: String = (0..1000).map(|n| event("MIGRATION_PASS", n)).collect();
    while peer.try_say(&events) {}
}

#[test]
fn an_answer_is_found_in_a_flood_and_other_events_are_kept() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        let command = peer.hear();
        for n in 0..100_000 {
            peer.say(event("MIGRATION_PASS", n));
            if n == 50_000 {
                peer.say(event("STOP", n));
            }
        }
        peer.answer(&command, json!(1));
        peer.say(event("RESUME", 0));
        peer.wait_for_end();
    });
    assert_eq!(qmp.execute::<u32>("query-migrate", ()).unwrap(), 1);
    let stop = qmp.wait_event(SHORT, |event| event.name == "STOP").unwrap().unwrap();
    assert_eq!((&stop.data["pass"], stop.timestamp.seconds), (&json!(50_000), 1));
    assert!(qmp.wait_event(TIMEOUT, |event| event.name == "RESUME").unwrap().is_some());
    let rest = qmp.events();
    assert_eq!((rest.len(), &rest[0].data["pass"]), (1, &json!(99_999)));
    assert_eq!((qmp.kept_events().dropped(), qmp.kept_events().is_empty()), (0, true));
    drop(qmp);
    server.done();
}

#[test]
fn a_flood_without_end_is_no_answer() {
    let (server, mut qmp) = Server::ready(|mut peer| flood(&mut peer));
    qmp.set_patience(SHORT);
    let error = qmp.execute::<Value>("query-migrate", ()).unwrap_err();
    assert!(matches!(error, QmpError::Timeout { .. }), "{error}");
    assert!(qmp.wait_event(SHORT, |event| event.name == "STOP").unwrap().is_none());
    drop(qmp);
    server.done();
}

#[test]
fn what_nobody_takes_is_bounded_and_counted() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        let command = peer.hear();
        for n in 0..10_000 {
            peer.say(event("RTC_CHANGE", n));
        }
        peer.answer(&command, json!(null));
        peer.wait_for_end();
    });
    qmp.execute::<Value>("query-status", ()).unwrap();
    let (kept, dropped) = (qmp.kept_events().len() as u64, qmp.kept_events().dropped());
    assert_eq!(kept + dropped, 10_000);
    assert!(dropped > 0);
    assert_eq!(qmp.events().last().unwrap().data["pass"], 9_999);
    drop(qmp);
    server.done();
}

/// A server that reads nothing until its events are read: whoever only writes waits for ever.
#[test]
fn a_long_command_and_a_flood_do_not_wait_for_each_other() {
    let (server, mut qmp) = Server::ready(|mut peer| {
        for n in 0..50_000 {
            peer.say(event("STOP", n));
        }
        let command = peer.hear();
        let length = command["arguments"]["long"].as_str().unwrap().len();
        peer.answer(&command, json!(length));
    });
    let long = "x".repeat(4 << 20);
    assert_eq!(qmp.execute::<usize>("x", json!({"long": long})).unwrap(), 4 << 20);
    server.done();
}

#[test]
fn the_socket_can_be_polled_and_an_event_be_missed_in_time() {
    let (server, mut qmp) = Server::ready(|mut peer| peer.wait_for_end());
    assert!(qmp.wait_event(SHORT, |_| true).unwrap().is_none());
    rustix::net::shutdown(qmp.as_fd(), rustix::net::Shutdown::Both).unwrap();
    assert!(qmp.wait_event(TIMEOUT, |_| true).unwrap_err().is_gone());
    server.done();
}
