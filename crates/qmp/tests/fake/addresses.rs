//! Every kind of address, with a server behind it: connected to, and told from what only looks like one.

use crate::{GREETING, Peer, SHORT, TIMEOUT, reads_well};
use memtwin_qmp::{MonitorAddress, Qmp, QmpError};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

fn served(stream: impl Into<rustix::fd::OwnedFd>) {
    let mut peer = Peer::new(UnixStream::from(stream.into()));
    peer.greet();
    let command = peer.hear();
    peer.answer(&command, json!(7));
}

fn works(address: &str, server: JoinHandle<()>) {
    let address: MonitorAddress = address.parse().unwrap();
    let mut qmp = Qmp::connect_to(&address, TIMEOUT).unwrap();
    assert_eq!(qmp.execute::<u32>("x", ()).unwrap(), 7);
    server.join().unwrap();
}

fn refused(address: &str) -> QmpError {
    Qmp::connect_to(&address.parse().unwrap(), SHORT).unwrap_err()
}

#[test]
fn a_tcp_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || served(listener.accept().unwrap().0));
    works(&format!("tcp:127.0.0.1:{port},server=on"), server);
    // Nobody listens there any more.
    let error = refused(&format!("tcp:127.0.0.1:{port}"));
    assert!(matches!(error, QmpError::NobodyOnPort { .. }) && error.is_gone(), "{error}");
    reads_well(&error, &["nobody listens there", "ss -tlnp"]);
}

/// What is known of a TCP connection's other end: who has it, and whether it was accepted.
#[test]
fn a_tcp_port_carries_no_descriptors_and_names_its_process() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    // One that waits in the queue is served later, or by nobody.
    let error = refused(&address);
    assert!(matches!(error, QmpError::Busy { .. }), "{error}");
    reads_well(&error, &["one QMP client", "ss -tnp"]);
    drop(listener.accept().unwrap());
    let silent = thread::spawn(move || (listener.accept().unwrap().0, listener));
    let error = Qmp::connect_to(&address.parse().unwrap(), SHORT * 20).unwrap_err();
    assert!(matches!(error, QmpError::Silent { .. }), "{error}");
    let (_, listener) = silent.join().unwrap();
    let server = thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        Peer::new(UnixStream::from(rustix::fd::OwnedFd::from(stream))).greet();
        listener
    });
    let mut qmp = Qmp::connect_to(&address.parse().unwrap(), TIMEOUT).unwrap();
    let _listener = server.join().unwrap();
    let error = qmp.send_fd("x", std::fs::File::open("/dev/null").unwrap().as_fd()).unwrap_err();
    assert!(matches!(error, QmpError::NoDescriptors { .. }), "{error}");
    reads_well(&error, &["TCP stands between", "-qmp unix:PATH"]);
}

#[test]
fn an_abstract_socket() {
    let name = format!("memtwin-test-{}", std::process::id());
    let bound = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&bound).unwrap();
    let server = thread::spawn(move || served(listener.accept().unwrap().0));
    works(&format!("@{name}"), server);
    let error = refused(&format!("@{name}"));
    reads_well(&error, &["no such socket", "network namespace"]);
}

/// A descriptor that this process was started with: whoever made the connection may have been greeted.
#[test]
fn an_inherited_descriptor() {
    for is_fresh in [true, false] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        fcntl_setfd(&ours, FdFlags::empty()).unwrap();
        let server = thread::spawn(move || {
            let mut peer = Peer::new(theirs);
            if is_fresh {
                peer.greet();
            } else {
                peer.begin_anew();
                let command = peer.hear();
                let error = json!({"class": "CommandNotFound", "desc": "complete"});
                peer.say(format!("{}\n", json!({"error": error, "id": command["id"]})));
            }
            let command = peer.hear();
            peer.answer(&command, json!(7));
        });
        works(&format!("fd:{}", ours.as_raw_fd()), server);
    }
}

#[test]
fn a_descriptor_that_is_no_connection() {
    let error = refused("fd:1000000");
    reads_well(&error, &["fd:1000000 is not open", "a connected stream socket"]);
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = refused(&format!("fd:{}", file.as_raw_fd()));
    reads_well(&error, &["is no socket", "a connected stream socket"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refused(&format!("fd:{}", listener.as_raw_fd()));
    reads_well(&error, &["is a socket that is not connected"]);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"login: ").unwrap();
    let error = refused(&format!("fd:{}", ours.as_raw_fd()));
    reads_well(&error, &["no QMP server", "login:"]);
}

/// Nothing is sent to what is known to be something else.
#[test]
fn nothing_is_typed_into_what_greets_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("org.qemu.guest_agent.0");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut &stream, &mut bytes);
        bytes
    });
    let error = Qmp::connect(&path, SHORT).unwrap_err();
    reads_well(&error, &["a guest agent's channel"]);
    assert!(server.join().unwrap().is_empty());
}

/// Where a connection can be made again after it broke.
#[test]
fn the_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || served(listener.accept().unwrap().0));
    let stream = UnixStream::connect(&path).unwrap();
    let address: MonitorAddress = format!("fd:{}", stream.as_raw_fd()).parse().unwrap();
    let mut qmp = Qmp::connect_to(&address, TIMEOUT).unwrap();
    assert_eq!(qmp.way_back(&address), MonitorAddress::Path(path));
    qmp.execute::<u32>("x", ()).unwrap();
    server.join().unwrap();
    // A pair of sockets has no name.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = thread::spawn(move || served(theirs));
    let address: MonitorAddress = format!("fd:{}", ours.as_raw_fd()).parse().unwrap();
    let mut qmp = Qmp::connect_to(&address, TIMEOUT).unwrap();
    assert_eq!(qmp.way_back(&address), address);
    qmp.execute::<u32>("x", ()).unwrap();
    server.join().unwrap();
}

/// What QEMU does with a second client, on the socket that libvirt makes for its own monitor.
#[test]
fn libvirt_s_own_monitor_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("domain-3-a-guest");
    std::fs::create_dir(&folder).unwrap();
    let _listener = UnixListener::bind(folder.join("monitor.sock")).unwrap();
    let error = Qmp::connect(&folder.join("monitor.sock"), SHORT).unwrap_err();
    assert!(matches!(error, QmpError::HeldByLibvirt { .. }), "{error}");
    reads_well(&error, &["libvirt's own monitor", "memtwin audit libvirt:a-guest"]);
}

/// A telnet server speaks first.
#[test]
fn telnet_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"\xff\xfb\x01\xff\xfb\x03").unwrap();
        stream.write_all(GREETING.as_bytes()).unwrap();
        stream
    });
    let error = Qmp::connect_to(&address.parse().unwrap(), TIMEOUT).unwrap_err();
    reads_well(&error, &["which is telnet", "without it"]);
    drop(server.join().unwrap());
}
