//! What the end-to-end tests share: the built binary, run in a directory of its own.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

pub(crate) mod disk;
pub(crate) mod scenario;

use memtwin_child::Spawn;
use memtwin_wait::{wait_for, wait_until};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

/// No command of a test takes longer; one that does is killed, and the test fails.
const LIMIT: Duration = Duration::from_secs(180);
/// How often what is waited for is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A directory on tmpfs, gone when the test is over.
pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What lies there, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(crate) fn memtwin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtwin"));
    command.stdin(Stdio::null());
    command
}

/// A child that does not outlive the test.
pub(crate) struct Held(pub(crate) Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Held {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn_bound().unwrap())
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end, within the limit.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.end_within(LIMIT)
    }

    /// Waits for its end, within this limit.
    pub(crate) fn end_within(&mut self, limit: Duration) -> ExitStatus {
        let ended = wait_for(limit, POLL_INTERVAL, || self.0.try_wait().unwrap());
        ended.unwrap_or_else(|| panic!("the command did not end"))
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    run_within(LIMIT, command)
}

/// Runs a command to its end, within this limit.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Output {
    let mut held = Held::spawn(command);
    let out = read_all(held.0.stdout.take().unwrap());
    let err = read_all(held.0.stderr.take().unwrap());
    let status = held.end_within(limit);
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must exit with this code; returns what it said on both outputs.
pub(crate) fn expect(code: i32, command: &mut Command) -> (String, String) {
    let output = run(command);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{command:?}\nstdout: {out}\nstderr: {err}");
    (out, err)
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Holds records against docs/record.schema.json; where there is no validator, that is said.
pub(crate) fn conform(records: &[&Path]) {
    if !memtwin_testbed::lacks(&[memtwin_testbed::Need::Program("jsonschema")]) {
        let output = validated(records);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

/// What the validator says of records.
pub(crate) fn validated(records: &[&Path]) -> Output {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/record.schema.json");
    let mut command = Command::new("jsonschema");
    records.iter().for_each(|record| _ = command.arg("-i").arg(record));
    run(command.arg(schema))
}

/// The cases of a record: name, verdict, passed.
pub(crate) fn verdicts(record: &Value) -> Vec<(String, String, bool)> {
    let cases = record["cases"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    cases
        .iter()
        .map(|case| {
            (text(&case["name"]), text(&case["verdict"]), case["passed"].as_bool().unwrap())
        })
        .collect()
}

/// Waits until something is so, within the limit.
pub(crate) fn until(what: &str, so: impl FnMut() -> bool) {
    assert!(wait_until(LIMIT, POLL_INTERVAL, so), "never: {what}");
}

/// Whether the tests run as root, which some faults need.
pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}
