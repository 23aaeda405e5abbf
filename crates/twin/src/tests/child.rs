//! A test that runs itself once more in a process of its own, to be killed or starved there.

use memtwin_child::Spawn;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Names the directory to work in; set only in the child.
const DIRECTORY: &str = "MEMTWIN_TWIN_TEST_DIRECTORY";

/// The directory to work in, if this is the child.
pub(super) fn directory() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

/// A child, killed when dropped.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the test `name` (as `module::function` of these tests) in a child that works in
/// `directory`. `prelude` is shell that runs before it.
pub(super) fn start(name: &str, directory: &Path, prelude: &[&str]) -> Running {
    let (shell, before) = prelude.split_last().map_or((":", &[][..]), |(last, rest)| (*last, rest));
    let mut words = before.iter().copied().chain(["sh", "-ec"]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .arg(format!("{shell}\nexec \"$@\""))
        .arg("sh")
        .arg(env::current_exe().unwrap())
        .args([&format!("tests::{name}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Running(command.spawn_bound().unwrap())
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Returns when the child has printed a line that ends in `word`.
    pub(super) fn wait_for(&mut self, word: &str) {
        let lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        let found = lines.map(Result::unwrap).any(|line| line.ends_with(word));
        assert!(found, "the child ended before it said {word}");
    }

    /// Returns when the child has ended. Panics with what it printed if it failed.
    pub(super) fn wait(mut self) {
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        let status = self.0.wait().unwrap();
        // "1 passed": a name that is not a test's would be a success, too.
        assert!(status.success() && said.contains("1 passed"), "{status}: {said}");
    }
}

/// In the child: waits to be killed, or for the parent to end.
pub(super) fn wait_to_be_killed() {
    let _ = std::io::stdin().read(&mut [0]);
}
