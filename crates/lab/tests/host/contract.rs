//! What every machine keeps.

use memtwin_child::Spawn;
use memtwin_lab::host::{Host, HostError, Ssh, run};
use memtwin_lab::{Progress, Silent};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(120);

/// Does not want the work any more.
struct Unwilling;

impl Progress for Unwilling {
    fn say(&mut self, _line: &str) {}

    fn is_cancelled(&self) -> bool {
        true
    }
}

pub(crate) fn kept(host: &dyn Host) {
    lines(host);
    ends(host);
    files(host);
}

/// What runs there reaches a port here, by one there that is gone with what it was given by.
pub(crate) fn reached_from_there(host: &dyn Host) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = listener.local_addr().unwrap().port();
    let reverse = host.reverse(ours, &mut Silent).unwrap();
    let theirs = reverse.port();
    let greet = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"here\n").unwrap();
    });
    let line = format!("exec 3<>/dev/tcp/127.0.0.1/{theirs} && cat <&3");
    let said = run(host, &format!("bash -c '{line}'"), LONG, &mut Silent).unwrap();
    assert_eq!(said, "here\n");
    greet.join().unwrap();
    drop(reverse);
    let refused = run(host, &format!("bash -c '{line}' 2>&1"), LONG, &mut Silent).unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
}

fn lines(host: &dyn Host) {
    let said = |line: &str| run(host, line, LONG, &mut Silent).unwrap();
    assert_eq!(said("echo one; echo no >&2; echo 'it''s' \"two\""), "one\nits two\n");
    assert_eq!(said("cat | wc -c"), "0\n", "the line's own input is empty");
    let error = run(host, "echo why >&2; exit 7", LONG, &mut Silent).unwrap_err();
    let HostError::Failed { rc: 7, last, .. } = &error else { panic!("{error}") };
    assert_eq!(last, &["why"]);
    assert!(error.to_string().starts_with(&format!("{}: 'echo why", host.name())), "{error}");
}

/// The process of a number is gone, sooner or later.
fn gone(pid: &str) {
    let stat = format!("/proc/{}/stat", pid.trim());
    let alive = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    let began = Instant::now();
    while alive() {
        assert!(began.elapsed() < LONG, "{} lives on", pid.trim());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Nothing outlives the line, its standard input, the wait for it, or who waits.
fn ends(host: &dyn Host) {
    gone(&run(host, "sleep 1000 & echo $!", LONG, &mut Silent).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let line = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", path.display());
    let pid = |path: &Path| {
        let began = Instant::now();
        loop {
            match fs::read_to_string(path) {
                Ok(pid) => break pid,
                Err(_) => assert!(began.elapsed() < LONG, "it does not begin"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // Its input ends.
    let mut child = host.command(&line).stdin(Stdio::piped()).spawn_on_stdin().unwrap();
    let began = pid(&path);
    drop(child.stdin.take());
    gone(&began);
    assert!(!child.wait().unwrap().success());
    // Whoever speaks to the other side is killed.
    fs::remove_file(&path).unwrap();
    let mut child = host.command(&line).stdin(Stdio::piped()).spawn_on_stdin().unwrap();
    let began = pid(&path);
    child.kill().unwrap();
    child.wait().unwrap();
    gone(&began);
    // What does not hear SIGTERM is killed.
    fs::remove_file(&path).unwrap();
    let deaf = format!("trap '' TERM; {line}");
    let limit = Duration::from_secs(3);
    let error = run(host, &deaf, limit, &mut Silent).unwrap_err();
    assert!(matches!(error, HostError::TimedOut { .. }), "{error}");
    gone(&pid(&path));

    let error = run(host, "sleep 1000", LONG, &mut Unwilling).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
}

fn files(host: &dyn Host) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    fs::write(path("here"), &bytes).unwrap();
    let there = path("it's there").display().to_string();
    host.put(&path("here"), &there, 0o750).unwrap();
    assert_eq!(fs::read(&there).unwrap(), bytes);
    assert_eq!(fs::metadata(&there).unwrap().permissions().mode() & 0o777, 0o750);
    host.get(&there, &path("back")).unwrap();
    assert_eq!(fs::read(path("back")).unwrap(), bytes);
    fs::write(path("none"), "").unwrap();
    host.put(&path("none"), &there, 0o600).unwrap();
    host.get(&there, &path("back")).unwrap();
    assert_eq!(fs::read(path("back")).unwrap(), b"");

    // What can't be copied leaves nothing, and what was there.
    let error = host.put(&path("here"), "/no/such/folder/file", 0o600).unwrap_err();
    assert!(error.to_string().contains("/no/such/folder/file"), "{error}");
    let error = host.get("/no/such/file", &path("back")).unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
    let error = host.put(&path("no such file"), &there, 0o600).unwrap_err();
    assert!(matches!(error, HostError::File { .. }), "{error}");
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["back", "here", "it's there", "none"]);
}

/// A machine that is not reached says so.
pub(crate) fn nobody() {
    // A port that nobody has: it was ours a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = Ssh::parse(&format!("ssh://127.0.0.1:{port}")).unwrap();
    let options = ["-F", "none", "-o", "StrictHostKeyChecking=no"].map(Into::into);
    let host = host.with_options(options);
    let error = run(&host, "true", LONG, &mut Silent).unwrap_err();
    assert!(matches!(error, HostError::Unreachable { .. }), "{error}");
    let error = host.put(Path::new("/etc/hostname"), "/dev/null", 0o600).unwrap_err();
    assert!(matches!(error, HostError::Unreachable { .. }), "{error}");
    let error = host.connect("/no/such/socket").unwrap_err();
    assert!(matches!(error, HostError::Connect { .. }), "{error}");
    let missing = host.with_program("/no/such/ssh");
    let error = run(&missing, "true", LONG, &mut Silent).unwrap_err();
    assert!(matches!(error, HostError::Start { .. }), "{error}");
}
