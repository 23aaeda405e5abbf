//! The client against servers that do everything wrong that a server can.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod addresses;
mod answers;
mod floods;
mod greetings;
mod pretty;
mod resumed;

use memtwin_qmp::{Qmp, QmpError};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// Enough for a machine that does much else; nothing waits for it if all goes well.
const TIMEOUT: Duration = Duration::from_secs(60);

/// For what is not going to happen.
const SHORT: Duration = Duration::from_millis(100);

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}"#;

/// A server that serves one client, by a script.
struct Server {
    dir: TempDir,
    script: JoinHandle<()>,
}

impl Server {
    fn new(script: impl FnOnce(Peer) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("qmp")).unwrap();
        let script = thread::spawn(move || script(Peer::new(listener.accept().unwrap().0)));
        Self { dir, script }
    }

    /// One that has greeted, and taken the first command.
    fn ready(script: impl FnOnce(Peer) + Send + 'static) -> (Self, Qmp) {
        let server = Self::new(|mut peer| {
            peer.greet();
            script(peer);
        });
        let qmp = server.connect().unwrap();
        (server, qmp)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    fn connect(&self) -> Result<Qmp, QmpError> {
        Qmp::connect(&self.path(), TIMEOUT)
    }

    /// Ends the test if the server saw something wrong.
    fn done(self) {
        self.script.join().unwrap();
    }
}

/// The server's end of the connection.
struct Peer {
    lines: BufReader<UnixStream>,
}

impl Peer {
    fn new(stream: UnixStream) -> Self {
        Self { lines: BufReader::new(stream) }
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.lines.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// As `say`, to a client that may be gone.
    fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.lines.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn answer(&mut self, to: &Value, returned: Value) {
        self.say(format!("{}\n", json!({ "return": returned, "id": to["id"] })));
    }

    fn greet(&mut self) {
        self.say(format!("{GREETING}\r\n"));
        let command = self.hear();
        assert_eq!(command["execute"], "qmp_capabilities");
        assert_eq!(command.get("arguments"), None);
        self.answer(&command, json!({}));
    }

    /// Hears the line that ends whatever was sent before, and says what QEMU's parser says of it.
    fn begin_anew(&mut self) {
        let mut again = Vec::new();
        self.lines.read_until(b'\n', &mut again).unwrap();
        assert_eq!(again, b"\xff\n");
        self.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n");
    }

    /// Waits until the client hangs up.
    fn wait_for_end(&mut self) {
        let _ = self.lines.read_to_end(&mut Vec::new());
    }
}

/// One line, and a way out in it.
fn reads_well(error: &QmpError, facts: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.contains("  "), "{text:?}");
    for fact in facts {
        assert!(text.contains(fact), "{text:?} lacks {fact:?}");
    }
}
