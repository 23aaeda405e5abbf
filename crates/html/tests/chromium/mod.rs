//! Debian's Chromium without a window, steered over a pipe by the DevTools protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>). It asks no network, and ends with the test.

use base64::Engine;
use memtwin_child::{GroupWatch, Spawn};
use memtwin_testbed::program;
use memtwin_wait::{Deadline, wait_for};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Far longer than a page takes.
const LIMIT: Duration = Duration::from_secs(120);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The protocol is spoken on descriptors 3 and 4, which a shell makes of standard input and output.
const ON_PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

const OPTIONS: [&str; 12] = [
    "--headless",
    // The sandbox is not to be had in a container of root's; all that is opened is our own page.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub(crate) struct Chromium {
    child: Child,
    watch: Option<GroupWatch>,
    commands: Option<ChildStdin>,
    messages: Receiver<Value>,
    events: Vec<Value>,
    next: u64,
    session: Option<String>,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", ON_PIPES]).arg(program("chromium")).args(OPTIONS);
        let mut data = std::ffi::OsString::from("--user-data-dir=");
        data.push(profile.path());
        command.arg(data).env("HOME", profile.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let (mut child, watch) = command.spawn_bound_group().unwrap();
        let (commands, said) = (child.stdin.take(), child.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in BufReader::new(said).split(0) {
                let Ok(message) = message else { return };
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            watch: Some(watch),
            commands,
            messages,
            events: Vec::new(),
            next: 0,
            session: None,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", target);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method, and waits for what it returns.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let pipe = self.commands.as_mut().unwrap();
        write!(pipe, "{message}\0").unwrap();
        pipe.flush().unwrap();
        let answer = self.wait(method, |message| message["id"] == id);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Waits for a message; the events that come before it are kept.
    fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Deadline::after(LIMIT);
        loop {
            let message = self.messages.recv_timeout(deadline.left());
            let message = message.unwrap_or_else(|error| panic!("{what}: {error}"));
            if message["id"].is_null() {
                self.events.push(message.clone());
            }
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Opens a file with scripts switched off, and waits until it is there. Whatever an earlier page said is
    /// forgotten.
    pub(crate) fn open(&mut self, file: &Path) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
        self.call("Page.navigate", json!({ "url": "about:blank" }));
        self.call("Log.clear", json!({}));
        self.events.clear();
        let url = format!("file://{}", file.display());
        self.call("Page.navigate", json!({ "url": url }));
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        if !self.events.iter().any(loaded) {
            self.wait("load", loaded);
        }
    }

    /// Lays the page out for a window of this width.
    pub(crate) fn width(&mut self, width: u64) {
        let metrics =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// How the page is shown: on `screen` or `print`, `light` or `dark`.
    pub(crate) fn media(&mut self, media: &str, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "media": media, "features": features }));
    }

    /// What an expression comes to in the page: the tools look, no script of the page runs.
    pub(crate) fn look(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let found = self.call("Runtime.evaluate", asked);
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].clone()
    }

    /// Waits until an expression is true: a change of how the page is shown takes the browser a moment.
    pub(crate) fn until(&mut self, expression: &str) {
        let found =
            wait_for(LIMIT, POLL_INTERVAL, || (self.look(expression) == true).then_some(()));
        assert!(found.is_some(), "{expression} did not become true");
    }

    /// What the console has of errors and warnings, and each request but the one for the page.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // An answer comes after the events before it.
        self.look("1");
        let mut complaints = Vec::new();
        let mut requests = 0;
        for event in &self.events {
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => complaints.push(event.to_string()),
                "Runtime.consoleAPICalled" => complaints.push(event.to_string()),
                "Log.entryAdded" if event["params"]["entry"]["level"] != "verbose" => {
                    complaints.push(event.to_string());
                }
                "Network.requestWillBeSent" => {
                    requests += 1;
                    if requests > 1 {
                        complaints.push(event.to_string());
                    }
                }
                _ => {}
            }
        }
        complaints
    }

    /// A picture of the window: its width, and the bytes of the PNG.
    pub(crate) fn screenshot(&mut self) -> (u64, Vec<u8>) {
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let png = decoded(&taken);
        assert_eq!(png[1..4], *b"PNG");
        let width = png[16..20].iter().fold(0, |width, byte| width << 8 | u64::from(*byte));
        (width, png)
    }

    /// The page as it would be printed.
    pub(crate) fn pdf(&mut self) -> Vec<u8> {
        let printed = self.call("Page.printToPDF", json!({ "printBackground": true }));
        decoded(&printed)
    }
}

fn decoded(answer: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It ends at the end of the pipe; if it does not, with all that it has started.
        self.commands = None;
        let ended = wait_for(Duration::from_secs(10), POLL_INTERVAL, || {
            self.child.try_wait().ok().flatten()
        });
        if ended.is_none() {
            let group = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            self.watch = None;
            let _ = self.child.wait();
        }
    }
}
