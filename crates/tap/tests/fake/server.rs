//! A QMP server that has a migration's settings and a recorded stream, and does what a test says.

use memtwin_stream::{BlockEntry, Decoder, StreamLimits, StreamPhase, StreamVisitor};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// A whole stream of a machine of 1 MiB (crates/stream/tests/fixtures).
const STREAM: &[u8] = include_bytes!("../../../stream/tests/fixtures/none-x86_64-10.0.bin");

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}"#;

/// What goes wrong, each time by the command and how often it came before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Refused.
    pub(crate) refuse: Vec<(&'static str, usize)>,
    /// Not answered: the monitor closes.
    pub(crate) close: Option<(&'static str, usize)>,
    /// Its end is the connection's alone: QEMU lives, and takes another one.
    pub(crate) lives: bool,
    /// The migration fails at once, with this reason.
    pub(crate) fail: Option<&'static str>,
    /// Its version, if not 10.0.
    pub(crate) version: Option<(u32, u32)>,
    /// Its last pass has this many pages more, and until they are taken it answers nobody, as QEMU, which
    /// sends it with its big lock held.
    pub(crate) long_last_pass: u64,
    /// How long it takes to close the stream of a migration that was ended.
    pub(crate) slow_end: Duration,
    /// It does not wait for the acknowledgement.
    pub(crate) unheld: bool,
    /// Whether the guest has a dirty bitmap of its own.
    pub(crate) own_bitmap: bool,
}

/// How QEMU is.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) capabilities: BTreeMap<String, bool>,
    pub(crate) parameters: Map<String, Value>,
    /// Of the migration.
    pub(crate) status: &'static str,
    pub(crate) reason: Option<&'static str>,
    pub(crate) running: bool,
    /// Whether it runs when the migration has failed.
    pub(crate) runs_after: bool,
    /// Events that come before the next answer.
    pub(crate) events: Vec<&'static str>,
    /// The commands that it was given.
    pub(crate) commands: Vec<String>,
    /// The socket that it was given.
    pub(crate) socket: Option<OwnedFd>,
    /// How many pages it says that it has sent.
    pub(crate) sent: u64,
    /// The block node that was added.
    pub(crate) node: Option<String>,
}

/// A fake QEMU that serves one client.
pub(crate) struct Server {
    dir: TempDir,
    pub(crate) state: Arc<Mutex<State>>,
    thread: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(faults: Faults) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("qmp")).unwrap();
        let capabilities = ["return-path", "switchover-ack", "dirty-bitmaps", "xbzrle", "multifd"];
        let parameters = json!({
            "max-bandwidth": 134217728, "downtime-limit": 300, "avail-switchover-bandwidth": 0,
            "tls-creds": "other", "mode": "cpr-reboot",
        });
        let state = Arc::new(Mutex::new(State {
            capabilities: capabilities.map(|name| (name.to_owned(), name == "xbzrle")).into(),
            parameters: parameters.as_object().unwrap().clone(),
            status: "none",
            reason: None,
            running: true,
            runs_after: true,
            events: Vec::new(),
            commands: Vec::new(),
            socket: None,
            sent: pages_of(STREAM),
            node: None,
        }));
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            serve(&listener.accept().unwrap().0, &faults, &shared);
            if faults.lives {
                let faults = Faults::default();
                serve(&listener.accept().unwrap().0, &faults, &shared);
            }
        });
        Self { dir, state, thread }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    /// Ends the test if the server saw something wrong. Its client is gone.
    pub(crate) fn done(self) -> Arc<Mutex<State>> {
        self.thread.join().unwrap();
        self.state
    }
}

fn serve(mut socket: &UnixStream, faults: &Faults, shared: &Arc<Mutex<State>>) {
    socket.write_all(format!("{GREETING}\n").as_bytes()).unwrap();
    let mut fd = None;
    while let Some(command) = hear(socket, &mut fd) {
        let mut state = shared.lock().unwrap();
        let name = command["execute"].as_str().unwrap().to_owned();
        let before = state.commands.iter().filter(|other| **other == name).count();
        state.commands.push(name.clone());
        let now = |fault: &(&str, usize)| *fault == (&*name, before);
        if faults.close.as_ref().is_some_and(now) {
            if !faults.lives {
                state.socket = None;
            }
            return;
        }
        let mut said = String::new();
        for event in std::mem::take(&mut state.events) {
            let at = json!({"seconds": state.commands.len(), "microseconds": 0});
            said += &format!("{}\n", json!({"event": event, "timestamp": at}));
        }
        let answer = if faults.refuse.iter().any(now) {
            // What came with a command that is refused is closed.
            fd = None;
            json!({"error": {"class": "GenericError", "desc": format!("no {name} today")}})
        } else {
            json!({"return": state.execute(&name, &command["arguments"], &mut fd, faults, shared)})
        };
        let mut answer = answer;
        answer["id"] = command["id"].clone();
        said += &format!("{answer}\n");
        // A client may be gone before it has its answer.
        if socket.write_all(said.as_bytes()).is_err() {
            return;
        }
    }
}

/// A command, and what came with it. `None` at the end.
fn hear(socket: &UnixStream, fd: &mut Option<OwnedFd>) -> Option<Value> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut byte)];
        let received = recvmsg(socket, into, &mut rights, RecvFlags::CMSG_CLOEXEC).ok()?;
        for message in rights.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                *fd = fds.next();
            }
        }
        if received.bytes == 0 {
            return None;
        }
        line.push(byte[0]);
    }
    Some(serde_json::from_slice(&line).unwrap())
}

impl State {
    fn execute(
        &mut self,
        name: &str,
        arguments: &Value,
        fd: &mut Option<OwnedFd>,
        faults: &Faults,
        shared: &Arc<Mutex<Self>>,
    ) -> Value {
        match name {
            "qmp_capabilities" => {}
            // What is known to end QEMU, or to keep pages from the stream, it has not.
            "query-target" => return json!({"arch": "x86_64"}),
            "query-kvm" => return json!({"enabled": true, "present": true}),
            "query-balloon" | "query-block" | "query-memory-devices" | "qom-list" => {
                return json!([]);
            }
            "query-version" => {
                let (major, minor) = faults.version.unwrap_or((10, 0));
                let numbers = json!({"micro": 2, "minor": minor, "major": major});
                return json!({"qemu": numbers, "package": ""});
            }
            "qom-get" => return json!("pc-i440fx-10.0-machine"),
            "device-list-properties" => {
                return json!([{"name": "of-tomorrow", "type": "int", "default-value": 7}]);
            }
            "query-named-block-nodes" => {
                let bitmap = json!([{"name": "b0", "granularity": 65536, "count": 0}]);
                let own = faults
                    .own_bitmap
                    .then(|| json!({"node-name": "disk0", "dirty-bitmaps": bitmap}));
                let ours = self
                    .node
                    .iter()
                    .map(|name| json!({"node-name": name, "dirty-bitmaps": [{"name": name}]}));
                return own.into_iter().chain(ours).collect();
            }
            "blockdev-add" => self.node = arguments["node-name"].as_str().map(str::to_owned),
            "block-dirty-bitmap-add" | "block-dirty-bitmap-remove" => {}
            "blockdev-del" => self.node = None,
            "query-migrate" if self.status == "none" => {}
            "query-migrate" => {
                let looks = self.commands.len();
                let ram = json!({
                    "page-size": 4096, "normal": self.sent, "duplicate": 0, "dirty-sync-count": looks,
                });
                let mut now = json!({ "status": self.status, "ram": ram });
                if let Some(reason) = self.reason {
                    now["error-desc"] = reason.into();
                }
                return now;
            }
            "query-migrate-capabilities" => {
                let each = self.capabilities.iter();
                return each.map(|(name, on)| json!({"capability": name, "state": on})).collect();
            }
            "query-migrate-parameters" => return self.parameters.clone().into(),
            "query-status" => {
                let status = match (self.running, self.status) {
                    (true, _) => "running",
                    // Somebody else has paused it.
                    (false, "failed") => "paused",
                    (false, _) => "finish-migrate",
                };
                return json!({"running": self.running, "status": status});
            }
            "migrate-set-capabilities" => {
                for set in arguments["capabilities"].as_array().unwrap() {
                    let name = set["capability"].as_str().unwrap().to_owned();
                    self.capabilities.insert(name, set["state"].as_bool().unwrap());
                }
            }
            "migrate-set-parameters" => {
                self.parameters.extend(arguments.as_object().unwrap().clone());
            }
            "getfd" => self.socket = fd.take(),
            "closefd" => self.socket = None,
            "migrate" if faults.fail.is_some() => {
                (self.status, self.reason, self.socket) = ("failed", faults.fail, None);
            }
            "migrate" => {
                self.status = "active";
                let socket = UnixStream::from(self.socket.as_ref().unwrap().try_clone().unwrap());
                let (shared, faults) = (Arc::clone(shared), faults.clone());
                thread::spawn(move || migrate(socket, &faults, &shared));
            }
            other => panic!("an unexpected {other}"),
        }
        json!({})
    }
}

/// As QEMU's migration. Held, it says now and then that nothing is pending, until it has its
/// acknowledgement. It fails when its destination says so or is gone, and the guest runs on.
fn migrate(mut socket: UnixStream, faults: &Faults, shared: &Mutex<State>) {
    let (pre_copy, rest) = STREAM.split_at(end_of_pre_copy());
    let unheld = faults.unheld;
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    // Whoever has ended it reads no more.
    let _ = socket.write_all(if unheld { STREAM } else { pre_copy });
    let ram = &rest[1..5];
    let empty = [&[2], ram, &[0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e], ram].concat();
    let mut held = !unheld;
    let mut word = [0; 64];
    let ended = loop {
        match socket.read(&mut word) {
            Ok(4..) if word[..2] == [0, 7] => {
                held = false;
                // Nobody is answered while this is locked.
                let mut state = shared.lock().unwrap();
                state.sent += faults.long_last_pass;
                state.running = false;
                let _ = send_last_pass(&mut socket, rest, faults.long_last_pass);
            }
            Ok(_) => break true,
            Err(error) if error.kind() != ErrorKind::WouldBlock => break false,
            Err(_) if held => drop(socket.write_all(&empty)),
            Err(_) => {}
        }
    };
    thread::sleep(faults.slow_end);
    let mut state = shared.lock().unwrap();
    if ended && state.status == "active" {
        (state.status, state.running, state.socket) = ("failed", state.runs_after, None);
    }
}

/// The rest of the stream, with so many pages more behind the head of its last section.
fn send_last_pass(socket: &mut UnixStream, rest: &[u8], more: u64) -> std::io::Result<()> {
    let (head, tail) = rest.split_at(5);
    socket.write_all(head)?;
    // Page 0 of the block that the last record before was of, whole.
    let page = [&0x28_u64.to_be_bytes()[..], &[7; 4096]].concat();
    let many = page.repeat(256);
    for at in (0..more).step_by(256) {
        let pages = usize::try_from((more - at).min(256)).unwrap();
        socket.write_all(&many[..pages * page.len()])?;
    }
    socket.write_all(tail)
}

/// Where the last section of RAM begins.
fn end_of_pre_copy() -> usize {
    struct Nothing;
    impl StreamVisitor for Nothing {
        type Error = std::convert::Infallible;

        fn blocks(&mut self, _: &[BlockEntry]) -> Result<(), Self::Error> {
            Ok(())
        }

        fn page(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), Self::Error> {
            Ok(())
        }

        fn fill(&mut self, _: usize, _: u64, _: u8) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    let mut decoder = Decoder::new(StreamLimits::default(), 4096);
    let in_last = |byte: &u8| {
        decoder.feed(&[*byte], &mut Nothing).unwrap();
        decoder.phase() == StreamPhase::LastPass
    };
    // Its head has five bytes.
    STREAM.iter().position(in_last).unwrap() - 4
}

fn pages_of(stream: &[u8]) -> u64 {
    struct Count(u64);
    impl StreamVisitor for Count {
        type Error = std::convert::Infallible;

        fn blocks(&mut self, _: &[BlockEntry]) -> Result<(), Self::Error> {
            Ok(())
        }

        fn page(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), Self::Error> {
            self.0 += 1;
            Ok(())
        }

        fn fill(&mut self, _: usize, _: u64, _: u8) -> Result<(), Self::Error> {
            self.0 += 1;
            Ok(())
        }
    }
    let mut count = Count(0);
    Decoder::new(StreamLimits::default(), 4096).feed(stream, &mut count).unwrap();
    count.0
}
