//! A receiver that refuses in the middle of a session: its reason stays, for everyone who asks, and
//! nothing that it says reaches a terminal as anything but text.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Toy, sender_config};
use memtwin_pages::{Image as _, RegionId};
use memtwin_remote::{RemoteTwin, SenderConfig};
use memtwin_replicate::{CancelToken, Replication, Sink as _};
use memtwin_wire::{
    Direction, FrameKind, Inbox, Opener, RefuseCode, SealKey, Sealer, TwinVerdict, Welcome,
    WireMessage,
};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const WHY: &str = "no space\x1b[2J left\r\n\u{202e}ereh";
const SHOWN: &str = "no space\\u{1b}[2J left\\r\\n\\u{202e}ereh";

fn next(socket: &mut TcpStream, inbox: &mut Inbox) -> Option<(FrameKind, Vec<u8>)> {
    loop {
        if let Some(kind) = inbox.take_frame().unwrap() {
            return Some((kind, inbox.body().to_vec()));
        }
        match socket.read(inbox.space()) {
            Ok(bytes @ 1..) => inbox.filled(bytes),
            _ => return None,
        }
    }
}

/// Where a receiver refuses.
#[derive(Clone, Copy, PartialEq)]
enum At {
    /// At the end of the first round.
    RoundEnd,
    /// When it is called again, after it has hung up there.
    SecondCall,
}

/// Welcomes a sender, and refuses it.
fn refuse(listener: &TcpListener, at: At) {
    let mut calls = 0;
    loop {
        let mut socket = listener.accept().unwrap().0;
        calls += 1;
        let mut inbox = Inbox::new(Opener::new(SealKey::OPENING, Direction::FromSender));
        let mut sealer = Sealer::new(SealKey::OPENING, Direction::FromReceiver);
        let refusal = WireMessage::Refuse { code: RefuseCode::Disk, why: WHY.into() };
        while let Some((kind, body)) = next(&mut socket, &mut inbox) {
            let answer = match WireMessage::read(kind, &body).unwrap() {
                WireMessage::Hello(_) if calls == 2 => refusal.sealed(&mut sealer),
                WireMessage::Hello(hello) => {
                    let nonce = [9; 16];
                    let welcome = WireMessage::Welcome(Welcome { version: 1, nonce, holds: None });
                    let frame = welcome.sealed(&mut sealer);
                    let key = SealKey::of_connection(&hello.session, &hello.nonce, &nonce);
                    inbox.rekey(key);
                    sealer.rekey(key);
                    frame
                }
                WireMessage::Layout(_) => WireMessage::Ready.sealed(&mut sealer),
                WireMessage::RoundEnd(_) if at == At::SecondCall => break,
                WireMessage::RoundEnd(_) => refusal.sealed(&mut sealer),
                _ => continue,
            };
            socket.write_all(&answer).unwrap();
            if calls == 2 || kind == FrameKind::RoundEnd {
                return;
            }
        }
    }
}

fn the_reason_stays(at: At) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = thread::spawn(move || {
        refuse(&listener, at);
        // Nobody calls again: this is final.
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let stop = CancelToken::default();
    let config = SenderConfig { retry: Duration::from_secs(2), ..sender_config(address) };
    let mut twin = RemoteTwin::connect(config, stop.clone()).unwrap();
    let mut replication = Replication::start(Toy::with(1, &[(8, 4096)]), &mut twin, ()).unwrap();
    // The first round may be over before the refusal is heard.
    let mut errors: Vec<String> = Vec::new();
    while errors.len() < 3 {
        replication.source_mut().write(3);
        match replication.round(&stop) {
            Ok(_) => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
    let _ = replication.finish();
    // Whatever is asked for next.
    errors.push(twin.settle().unwrap_err().to_string());
    errors.push(twin.settle().unwrap_err().to_string());
    errors.push(twin.commit(9).unwrap_err().to_string());
    let guess = |_, into: &mut [u8]| {
        into.fill(1);
        Ok(())
    };
    let region = twin.region(RegionId(0), Box::new(guess)).unwrap();
    errors.push(region.read_at(0, &mut [0; 4096]).unwrap_err().to_string());
    drop(region);
    errors.push(twin.finish(TwinVerdict::Inconclusive, "", &[]).unwrap_err().to_string());
    for error in errors {
        assert!(error.contains(SHOWN), "{error:?}");
        assert!(!error.contains(char::is_control), "{error:?}");
    }
    assert!(receiver.join().unwrap().accept().is_err(), "it was called again");
}

#[test]
fn the_reason_of_a_receiver_stays_and_is_only_text() {
    the_reason_stays(At::RoundEnd);
}

#[test]
fn a_line_that_ended_for_good_is_not_tried_again() {
    the_reason_stays(At::SecondCall);
}
