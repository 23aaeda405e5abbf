//! A real memory cgroup of the test's own, of the version that the machine has its controller in.

use memtwin_wait::wait_until;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where the memory controller may be mounted, and the file that says a group's limit there.
const PLACES: [(&str, &str); 3] = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ("/sys/fs/cgroup", "memory.max"),
    ("/sys/fs/cgroup/unified", "memory.max"),
];
/// How long a group may take to be empty once its processes were killed.
const EMPTY: Duration = Duration::from_secs(60);

/// A memory cgroup with a limit. Removed when dropped, when its processes must have ended.
#[derive(Debug)]
pub struct MemoryCgroup {
    folder: PathBuf,
}

impl MemoryCgroup {
    /// Why there can be none on this machine.
    pub fn lacks() -> Option<String> {
        Self::new(1 << 30).err().map(|error| format!("no memory cgroup: {error}"))
    }

    /// A new group, with this limit in bytes.
    ///
    /// Errors: not root, or no memory controller that takes groups.
    pub fn new(limit: u64) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("memtwin-test-{}-{number}", std::process::id());
        let mut last = io::Error::other("no memory controller is mounted");
        for (mount, file) in PLACES {
            let folder = Path::new(mount).join(&name);
            match fs::create_dir(&folder) {
                Ok(()) => {}
                Err(error) => {
                    last = error;
                    continue;
                }
            }
            // Drops, and so removes, a group without the controller.
            let group = Self { folder };
            // The file must be there: a folder of a tmpfs has none.
            let limited = File::options().write(true).open(group.folder.join(file));
            match limited.and_then(|mut file| file.write_all(limit.to_string().as_bytes())) {
                Ok(()) => return Ok(group),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The same command, run in this group from its first instruction on.
    pub fn within(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ >\"$0\"/cgroup.procs && exec \"$@\""]).arg(&self.folder);
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        shell
    }

    /// The processes in it.
    pub fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // A process that ended leaves it a moment later.
        wait_until(EMPTY, Duration::from_millis(10), || {
            fs::remove_dir(&self.folder).is_ok() || !self.folder.exists()
        });
    }
}
