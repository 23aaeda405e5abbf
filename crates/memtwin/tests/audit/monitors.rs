//! Every way to a QEMU's monitor: audited through each, and QEMU left as it was. Where no descriptor passes,
//! its stream comes by a socket of Memtwin's, also when Memtwin is killed or stopped in the middle.

use crate::common::{Held, expect, memtwin, until};
use crate::machine::{BareMachine, PC, all_identical, none_judged};
use crate::moment::{CONT, KILL, Moment};
use memtwin_testbed::{Need, lacks};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A socat that passes bytes on from one more socket to QEMU's.
struct Between {
    socat: Held,
    socket: PathBuf,
}

impl Between {
    /// `None` where there is no socat.
    fn start(machine: &mut BareMachine) -> Option<Self> {
        if lacks(&[Need::Program("socat")]) {
            return None;
        }
        let socket = machine.qemu.dir().join("between");
        let mut command = Command::new("socat");
        command.arg(format!("UNIX-LISTEN:{},fork", socket.display()));
        command.arg(format!("UNIX-CONNECT:{}", machine.qemu.qmp().display()));
        let socat = Held::spawn(&mut command);
        until("socat listens", || socket.exists());
        machine.monitor = socket.clone().into();
        Some(Self { socat, socket })
    }

    /// The processes that serve a client each.
    fn children(&self) -> Vec<i32> {
        let pid = self.socat.0.id();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        for pid in self.children() {
            kill(pid);
        }
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[test]
fn every_form_of_a_monitor_s_address() {
    let (port, name) = (free_port(), format!("memtwin-test-{}", std::process::id()));
    let more = format!(
        "-qmp tcp:127.0.0.1:{port},server=on,wait=off -qmp unix:{name},abstract=on,server=on,wait=off"
    );
    let Some(mut machine) = BareMachine::writing(&more) else { return };
    let before = machine.setup();
    let path = machine.qemu.qmp().display().to_string();
    let forms = [
        format!("tcp:127.0.0.1:{port}"),
        format!("tcp:localhost:{port},server=on"),
        format!("@{name}"),
        format!("unix:{name},abstract=on,server=on"),
        format!("unix:{path},server=on,wait=off"),
        format!("qemu:{path}"),
    ];
    for form in forms {
        machine.monitor = form.clone().into();
        let (out, _) = expect(0, &mut machine.audit("--rounds 1"));
        all_identical(&machine.record());
        let by_socket = out.contains("QEMU connects to a socket of Memtwin's");
        assert_eq!(by_socket, form.starts_with("tcp:"), "{form}: {out}");
        machine.is_as(&before);
    }
}

/// The connection is standard input: made by whoever starts Memtwin, greeted or not.
#[test]
fn a_connection_that_memtwin_was_started_with() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    machine.monitor = "fd:0".into();
    for is_greeted in [false, true] {
        let mut stream = UnixStream::connect(machine.qemu.qmp()).unwrap();
        if is_greeted {
            stream.write_all(b"{\"execute\": \"qmp_capabilities\"}\n").unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"{\"return\": {}}\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                said.push(byte[0]);
            }
        }
        expect(0, machine.audit("--rounds 1").stdin(Stdio::from(OwnedFd::from(stream))));
        all_identical(&machine.record());
        machine.is_as(&before);
    }
    // The control: a descriptor that is no connection.
    let null = fs::File::open("/dev/null").unwrap();
    let (_, err) = expect(3, machine.audit("--rounds 1").stdin(Stdio::from(null)));
    assert!(err.contains("fd:0 is no socket"), "{err}");
}

#[test]
fn a_twin_is_kept_over_tcp() {
    let port = free_port();
    let more = format!("-qmp tcp:127.0.0.1:{port},server=on,wait=off");
    let Some(mut machine) = BareMachine::writing(&more) else { return };
    let before = machine.setup();
    let mut command = memtwin();
    command.arg("replicate").arg(format!("qemu:tcp:127.0.0.1:{port}"));
    command.arg(format!("file:{}", machine.qemu.dir().join("twin").display()));
    command.args(["--rounds", "2", "--quiet", "--max-pause", "1m"]);
    let (out, _) = expect(0, &mut command);
    assert!(out.contains("QEMU connects to a socket"), "{out}");
    machine.is_as(&before);
}

#[test]
fn a_program_in_between_passes_no_descriptors() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let Some(between) = Between::start(&mut machine) else { return };
    let before = machine.setup();
    let mut preview = memtwin();
    let (out, _) = expect(0, preview.arg("audit").arg(&between.socket).arg("--dry-run"));
    assert!(out.contains("no descriptor passes to this monitor"), "{out}");
    machine.is_as(&before);
    let (out, _) = expect(0, &mut machine.audit("--rounds 2"));
    assert!(out.contains("no descriptor passes to this monitor"), "{out}");
    all_identical(&machine.record());
    machine.is_as(&before);
    // The control: another QEMU is not taken for the one behind it.
    let Some(other) = BareMachine::start(PC, "-M pc -accel kvm -m 16 -S") else { return };
    let wrong = format!("--pid {}", other.qemu.pid());
    let (_, err) = expect(3, &mut machine.audit(&wrong));
    assert!(err.contains("is not th"), "{err}");
    machine.is_as(&before);
}

/// As libvirt 9.0's virt-qemu-qmp-proxy: it drops the client that sends a descriptor.
#[test]
fn a_program_in_between_that_does_not_survive_a_descriptor() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let between = machine.qemu.dir().join("between");
    let listener = UnixListener::bind(&between).unwrap();
    let qmp = machine.qemu.qmp();
    let relay = thread::spawn(move || {
        let mut dropped = 0;
        for _ in 0..2 {
            let mut client = listener.accept().unwrap().0;
            let mut monitor = UnixStream::connect(&qmp).unwrap();
            let (mut from, mut to) = (monitor.try_clone().unwrap(), client.try_clone().unwrap());
            let back = thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
            });
            let mut bytes = vec![0; 1 << 16];
            while let Ok(some @ 1..) = client.read(&mut bytes) {
                if bytes[..some].windows(5).any(|word| word == b"getfd") {
                    dropped += 1;
                    break;
                }
                monitor.write_all(&bytes[..some]).unwrap();
            }
            let _ = monitor.shutdown(std::net::Shutdown::Both);
            let _ = client.shutdown(std::net::Shutdown::Both);
            back.join().unwrap();
        }
        dropped
    });
    machine.monitor = between.into();
    expect(0, &mut machine.audit("--rounds 1"));
    all_identical(&machine.record());
    assert_eq!(relay.join().unwrap(), 1);
    machine.is_as(&before);
}

/// The guardian has the stream too, though QEMU connected after it was posted.
#[test]
fn memtwin_is_killed_where_no_descriptor_passes() {
    let Some(mut machine) = BareMachine::writing("-m 64") else { return };
    let Some(_between) = Between::start(&mut machine) else { return };
    let before = machine.setup();
    for moment in Moment::ALL {
        let arguments = if moment == Moment::Stop { "--rounds 1" } else { "--seconds 1h" };
        let mut audit = machine.auditing(arguments);
        if moment.wait(&mut machine, &mut audit) {
            audit.signal(KILL);
            audit.end();
        }
        machine.is_as(&before);
        machine.writes();
    }
}

#[test]
fn memtwin_is_stopped_in_the_pause_where_no_descriptor_passes() {
    let Some(mut machine) = BareMachine::writing("-m 64") else { return };
    let Some(_between) = Between::start(&mut machine) else { return };
    let before = machine.setup();
    let mut audit = Moment::Stop.frozen(&mut machine, "--rounds 1 --max-pause 2s");
    // Its guardian ends the stream: the guest runs, and Memtwin is stopped all the time.
    machine.writes();
    assert!(audit.0.try_wait().unwrap().is_none(), "it is still stopped");
    audit.signal(CONT);
    assert_eq!(audit.end().code(), Some(11), "{:?}", machine.record());
    none_judged(&machine.record(), &["memtwin was stopped"]);
    machine.is_as(&before);
}

/// The connection dies and QEMU lives: the settings are put back over a new one.
#[test]
fn what_stands_between_is_killed() {
    let Some(mut machine) = BareMachine::writing("-m 64") else { return };
    let Some(between) = Between::start(&mut machine) else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 1h");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    let children = between.children();
    assert!(!children.is_empty());
    children.into_iter().for_each(kill);
    assert_eq!(audit.end().code(), Some(11), "{:?}", machine.record());
    none_judged(&machine.record(), &["closed the connection"]);
    machine.is_as(&before);
    machine.writes();
}
