//! `memtwin relay`, behind a shell that plays ssh: a stream to a unix socket on another machine.

#![allow(clippy::unwrap_used, reason = "a test may end")]

mod common;

use common::{Place, expect, memtwin, until};
use memtwin_lab::host::{Host, Ssh};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A program that takes ssh's words and runs the line here, with our memtwin in the PATH.
fn host(place: &Place) -> Ssh {
    let path = place.path("ssh");
    let memtwin = Path::new(env!("CARGO_BIN_EXE_memtwin"));
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nPATH={}:$PATH\nexec sh -c \"$3\"\n",
        memtwin.parent().unwrap().display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Ssh::parse("ssh://far.example").unwrap().with_program(path)
}

/// Whether a relay to this socket runs.
fn relays(socket: &Path) -> bool {
    let words = format!("relay\0{}", socket.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|p| fs::read_to_string(p.path().join("cmdline")).ok());
    lines.any(|line| line.contains(&words))
}

#[test]
fn a_stream_goes_both_ways_and_ends_with_either_side() {
    let place = Place::new();
    let (host, socket) = (host(&place), place.path("it's a socket"));
    let listener = UnixListener::bind(&socket).unwrap();
    let name = socket.display().to_string();
    let mut ours = host.connect(&name).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (sent, mut echo) = (bytes.clone(), theirs.try_clone().unwrap());
    let there = std::thread::spawn(move || {
        let mut got = vec![0; sent.len()];
        theirs.read_exact(&mut got).unwrap();
        theirs.write_all(&got).unwrap();
        // Nothing more comes, but we may still speak.
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    });
    ours.write_all(&bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    ours.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
    ours.shutdown(Shutdown::Write).unwrap();
    there.join().unwrap();
    echo.write_all(b"last").unwrap();
    echo.shutdown(Shutdown::Both).unwrap();
    let mut last = String::new();
    ours.read_to_string(&mut last).unwrap();
    assert_eq!(last, "last");
    until("no relay", || !relays(&socket));

    // We go, and the other side neither speaks nor ends: the relay does not stay.
    let ours = host.connect(&name).unwrap();
    let (_theirs, _) = listener.accept().unwrap();
    assert!(relays(&socket), "the control: there is one to be found");
    drop(ours);
    until("no relay", || !relays(&socket));
}

#[test]
fn where_nobody_listens_there_is_no_stream() {
    let place = Place::new();
    let error = host(&place).connect("/no/such/socket").unwrap_err().to_string();
    assert!(error.starts_with("ssh://far.example: no connection to /no/such/socket: "), "{error}");
    assert!(error.contains("No such file"), "{error}");
    let (_, err) = expect(3, memtwin().args(["relay", "/no/such/socket"]));
    assert!(err.contains("/no/such/socket: "), "{err}");
}
