//! A running QEMU with one of the guests, and as much of QMP as these tests need.

use memtwin_bare::{Accelerator, BareImage, BareMachine, Report};
use memtwin_child::Spawn;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(120);

/// How often something is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A running QEMU, killed when it is dropped.
pub(crate) struct Qemu {
    image: BareImage,
    child: Child,
    folder: TempDir,
    stream: BufReader<UnixStream>,
    /// The names of the events so far.
    pub(crate) events: Vec<String>,
}

impl Qemu {
    /// Starts it. `None`, with the reason printed, if this machine lacks what it needs.
    pub(crate) fn start(machine: &BareMachine) -> Option<Self> {
        if let Some(reason) = lack(machine) {
            eprintln!("skipped: {reason}");
            // CI has all but QEMU for riscv64, which no other part of Memtwin needs.
            let required = machine.image != BareImage::Riscv64 && std::env::var_os("CI").is_some();
            assert!(!required, "missing in CI: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let mut command = machine.command(&socket, folder.path()).unwrap();
        let said = File::create(folder.path().join("said")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn_bound();
        let mut child = Killed(Some(child.unwrap()));
        let began = Instant::now();
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
            let ended = child.0.as_mut().unwrap().try_wait().unwrap();
            let said = || fs::read_to_string(folder.path().join("said")).unwrap_or_default();
            assert!(ended.is_none() && began.elapsed() < LIMIT, "no QMP: {ended:?} {}", said());
            thread::sleep(POLL_INTERVAL);
        };
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut qemu = Self {
            image: machine.image,
            child: child.0.take().unwrap(),
            folder,
            stream: BufReader::new(stream),
            events: Vec::new(),
        };
        let greeting = qemu.message();
        assert!(greeting["QMP"].is_object(), "{greeting}");
        qemu.execute("qmp_capabilities", json!({}));
        Some(qemu)
    }

    /// Executes a command; its return value.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let message = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{message}").unwrap();
        loop {
            let mut message = self.message();
            if let Some(event) = message["event"].as_str() {
                self.events.push(event.to_owned());
                continue;
            }
            assert!(message["error"].is_null(), "{command}: {message}");
            return message["return"].take();
        }
    }

    fn message(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Guest-physical memory. The whole range is read before the guest goes on.
    pub(crate) fn memory(&mut self, gpa: u64, len: u64) -> Vec<u8> {
        let file: PathBuf = self.folder.path().join("memory");
        let name = file.to_str().unwrap();
        self.execute("pmemsave", json!({ "val": gpa, "size": len, "filename": name }));
        fs::read(file).unwrap()
    }

    /// The bytes of its disk.
    pub(crate) fn disk(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("disk.img")).unwrap()
    }

    /// The bytes of its second flash's file.
    pub(crate) fn flash(&self) -> Vec<u8> {
        fs::read(BareMachine::flash_in(self.folder.path())).unwrap()
    }

    /// What the guest tells of itself.
    pub(crate) fn report(&mut self) -> Report {
        let bytes = self.memory(self.image.report(), Report::LEN as u64);
        Report::from_bytes(bytes.as_slice().try_into().unwrap())
    }

    /// Waits until the guest's report satisfies; the report.
    pub(crate) fn wait(&mut self, what: &str, until: impl Fn(&Report) -> bool) -> Report {
        let began = Instant::now();
        loop {
            let report = self.report();
            if until(&report) {
                return report;
            }
            assert!(began.elapsed() < LIMIT, "waiting for {what}: {report:?}");
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills the child unless it is taken out.
struct Killed(Option<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What this machine lacks to run such a guest.
fn lack(machine: &BareMachine) -> Option<String> {
    if let Err(error) = machine.version() {
        return Some(error.to_string());
    }
    if machine.accelerator != Accelerator::Tcg {
        let kvm = File::options().read(true).write(true).open("/dev/kvm");
        return kvm.err().map(|error| format!("/dev/kvm: {error}"));
    }
    None
}
