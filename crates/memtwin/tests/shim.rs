//! A lie between the kernel and Memtwin: the shim keeps a page of the log back, and `memtwin check`
//! must end 1 and name exactly that page. The same run without the lie is the control.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may end, and may talk")]

use memtwin_child::Spawn;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

/// Where the judged window lies.
const WINDOW: u64 = 0x2000_0000;

/// Far longer than a case takes.
const LIMIT: Duration = Duration::from_secs(120);

/// The case that is run, asked for in one source's words: each page is written once, so that no
/// later write can hide the lost one.
const GET: &[&str] = &["--mode", "get", "--backing", "shm"];
const CLEAR: &[&str] = &["--mode", "clear", "--backing", "shm"];
const PROCESS: &[&str] = &["--source", "process"];

#[test]
fn a_page_that_kvm_s_log_drops_once_is_named() {
    if missing_kvm() {
        return;
    }
    for source in [GET, CLEAR] {
        let record = check(source, None);
        assert_eq!(record.exit, Some(0), "{source:?} without a lie: {}", record.json);
        assert!(record.dropped.is_empty() && record.lost().is_empty());

        let record = check(source, Some("once:1"));
        assert_eq!(record.exit, Some(1), "{source:?}: {}", record.json);
        let lost = record.lost();
        assert_eq!(lost.len(), 1, "{source:?}: {lost:?}");
        let dropped = record.dropped_gpas();
        assert!(lost.is_subset(&dropped), "{source:?}: lost {lost:x?}, dropped {dropped:x?}");
    }
}

#[test]
fn a_page_that_kvm_s_log_never_names_is_named() {
    if missing_kvm() {
        return;
    }
    for source in [GET, CLEAR] {
        let record = check(source, Some("page:77"));
        assert_eq!(record.exit, Some(1), "{source:?}: {}", record.json);
        let expected = BTreeSet::from([WINDOW + 77 * record.page_size()]);
        assert_eq!(record.dropped_gpas(), expected, "{source:?}");
        assert_eq!(record.lost(), expected, "{source:?}");
    }
}

#[test]
fn a_page_that_the_process_log_drops_is_named() {
    let record = check(PROCESS, None);
    if let Some(3 | 4) = record.exit {
        skip("the source process", &record.json.to_string());
        return;
    }
    assert_eq!(record.exit, Some(0), "without a lie: {}", record.json);
    assert!(record.dropped.is_empty() && record.lost().is_empty());

    for lie in ["once:1", "page:77"] {
        let record = check(PROCESS, Some(lie));
        assert_eq!(record.exit, Some(1), "{lie}: {}", record.json);
        let lost = record.lost();
        assert_eq!(lost.len(), 1, "{lie}: {lost:x?}");
        let dropped = record.dropped_gpas();
        assert!(lost.is_subset(&dropped), "{lie}: lost {lost:x?}, dropped {dropped:x?}");
    }
}

/// What a run left behind.
struct Record {
    exit: Option<i32>,
    json: Value,
    /// The pages that the shim noted, from the window's first.
    dropped: BTreeSet<u64>,
}

impl Record {
    /// The cases that are no controls of Memtwin's own. There is at least one.
    fn cases(&self) -> impl Iterator<Item = &Value> {
        let cases = self.json["cases"].as_array();
        let cases = cases.unwrap_or_else(|| panic!("no run record: exit {:?}", self.exit));
        let judged = |case: &&Value| !case["name"].as_str().unwrap().ends_with("/control");
        assert!(cases.iter().any(|case| judged(&case)), "only controls: {}", self.json);
        cases.iter().filter(judged)
    }

    /// The addresses of the pages that those cases name as lost.
    fn lost(&self) -> BTreeSet<u64> {
        let lost = self.cases().flat_map(|case| case["lost"].as_array().unwrap());
        lost.map(|page| address(&page["gpa"])).collect()
    }

    /// The addresses of the pages that the shim withheld.
    fn dropped_gpas(&self) -> BTreeSet<u64> {
        let case = self.cases().next().unwrap();
        let base = address(&case["regions"][0]["gpa"]);
        self.dropped.iter().map(|page| base + page * self.page_size()).collect()
    }

    fn page_size(&self) -> u64 {
        self.cases().next().unwrap()["page_size"].as_u64().unwrap()
    }
}

fn address(gpa: &Value) -> u64 {
    u64::from_str_radix(gpa.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Runs the check of a source, preloaded with the shim in any case, which lies only if told to.
fn check(source: &[&str], lie: Option<&str>) -> Record {
    let folder = tempfile::tempdir().unwrap();
    let (json, log) = (folder.path().join("record.json"), folder.path().join("shim.log"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtwin"));
    command.args(["check", "--quiet", "--stressor", "once", "--vcpus", "1"]).args(source);
    command.arg("--json").arg(&json);
    command.env("LD_PRELOAD", shim()).env("MEMTWIN_SHIM_LOG", &log).env_remove("MEMTWIN_SHIM");
    command.envs(lie.map(|lie| ("MEMTWIN_SHIM", lie)));
    let exit = bounded(&mut command);
    // Where the source can't be used there is none.
    let json =
        fs::read_to_string(&json).map_or(Value::Null, |json| serde_json::from_str(&json).unwrap());
    Record { exit, json, dropped: dropped(&log) }
}

/// The pages of the shim's log, of which each line is made of `key=value` words.
fn dropped(log: &Path) -> BTreeSet<u64> {
    let lines = match fs::read_to_string(log) {
        // The shim makes it with the first page that it withholds.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.unwrap(),
    };
    let page =
        |line: &str| line.split(' ').find_map(|word| word.strip_prefix("page=")?.parse().ok());
    lines.lines().map(|line| page(line).unwrap_or_else(|| panic!("no page in '{line}'"))).collect()
}

/// Builds the shim where everything else is built; where it lies then.
fn shim() -> &'static Path {
    static SHIM: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "memtwin-shim"])
            .arg("--message-format=json-render-diagnostics")
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the shim can't be built");
        let messages = String::from_utf8(output.stdout).unwrap();
        let built = messages
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|message| message["target"]["name"] == "memtwin_shim")
            .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from));
        built.unwrap_or_else(|| panic!("cargo did not say where the shim is: {messages}"))
    });
    &SHIM
}

/// Runs a program to its end; what it exited with.
fn bounded(command: &mut Command) -> Option<i32> {
    /// Ended with the test, however that ends.
    struct Held(Child);
    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut child = Held(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn_bound().unwrap());
    let began = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            return status.code();
        }
        assert!(began.elapsed() < LIMIT, "{command:?} does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the tests of KVM must be skipped; in CI nothing is.
fn missing_kvm() -> bool {
    let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") else {
        return false;
    };
    skip("/dev/kvm", &error.to_string());
    true
}

fn skip(what: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} can't be used in CI: {reason}");
    eprintln!("skipped: {what} can't be used: {reason}");
}
