//! A socket of ours to which a QEMU connects because it was told to, over its monitor: where no descriptor
//! passes, its stream comes this way, and the kernel says which process it is that connects (SO_PEERCRED,
//! unix(7)).
//!
//! The socket lies in a directory to which nobody but the user of that QEMU has access.

use memtwin_safe_path::{new_private_dir, runtime_dir};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A socket that waits for a QEMU. Removed when dropped.
#[derive(Debug)]
pub struct CallbackSocket {
    listener: UnixListener,
    dir: PathBuf,
    path: PathBuf,
}

impl CallbackSocket {
    /// One to which the user of this process may connect.
    ///
    /// Errors: the process has other files than we do, or is gone; or there is no place for a socket.
    pub fn new(pid: u32) -> io::Result<Self> {
        let owner = ProcessOwner::of(pid)?;
        let own = if owner.is_us() { runtime_dir().ok() } else { None };
        for parent in own.into_iter().chain([std::env::temp_dir()]) {
            let socket = Self::below(&parent, &owner)?;
            if sees(pid, &socket.dir) {
                return Ok(socket);
            }
        }
        Err(io::Error::other(format!(
            "process {pid} has another file system than we do (a container), and can't connect to a socket of \
             ours; give it a monitor that passes descriptors (-qmp unix:PATH,server=on,wait=off)"
        )))
    }

    fn below(parent: &Path, owner: &ProcessOwner) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let name = format!("memtwin-stream-{:016x}", u64::from_ne_bytes(random));
        let dir = new_private_dir(&parent.join(name)).map_err(io::Error::other)?;
        let path = dir.join("socket");
        let made = UnixListener::bind(&path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            // Nobody else gets to it: its directory is private.
            fs::set_permissions(&path, Permissions::from_mode(0o666))?;
            if !owner.is_us() {
                let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
                chownat(CWD, &dir, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok(listener)
        });
        match made {
            Ok(listener) => Ok(Self { listener, dir, path }),
            Err(errno) => {
                remove(&path, &dir);
                Err(errno)
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a connection, for this long at most, and says who made it, if that can be seen.
    ///
    /// Errors: the socket does not work.
    pub fn accept(&self, timeout: Duration) -> io::Result<Option<(OwnedFd, Option<u32>)>> {
        let until = Instant::now() + timeout;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    // Not rustix's: its pid can't be 0, as it is for a process outside of our PID namespace.
                    let peer = getsockopt(&stream, PeerCredentials)?;
                    let pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0);
                    return Ok(Some((stream.into(), pid)));
                }
                Err(errno) if errno.kind() == io::ErrorKind::WouldBlock => {}
                Err(errno) if errno.kind() == io::ErrorKind::Interrupted => continue,
                Err(errno) => return Err(errno),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut fds = [PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN)];
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut fds, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for CallbackSocket {
    fn drop(&mut self) {
        remove(&self.path, &self.dir);
    }
}

fn remove(path: &Path, dir: &Path) {
    // Either may be gone; nothing else is in it.
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir(dir);
}

/// Whether a process has this directory at the same path, as far as may be seen.
fn sees(pid: u32, dir: &Path) -> bool {
    let below = dir.strip_prefix("/").unwrap_or(dir);
    let theirs = fs::metadata(Path::new("/proc").join(pid.to_string()).join("root").join(below));
    let file = |about: fs::Metadata| (about.dev(), about.ino());
    match (theirs, fs::metadata(dir)) {
        (Ok(theirs), Ok(ours)) => file(theirs) == file(ours),
        (Err(errno), _) => errno.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    }
}

/// The user and the group by whose rights a process opens files.
struct ProcessOwner {
    user: u32,
    group: u32,
}

impl ProcessOwner {
    /// The fourth of each (proc_pid_status(5)). The owner of /proc/PID is root's for one that may not be
    /// dumped.
    fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let fourth = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().nth(3)?.parse().ok()
        };
        let both = fourth("Uid:").zip(fourth("Gid:"));
        let (user, group) = both.ok_or_else(|| io::Error::other("its user is not known"))?;
        Ok(Self { user, group })
    }

    fn is_us(&self) -> bool {
        self.user == geteuid().as_raw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_testbed::{NOBODY, Need, as_nobody, lacks};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn who_connects_is_known_and_nothing_is_left() {
        let socket = CallbackSocket::new(std::process::id()).unwrap();
        assert!(socket.accept(SHORT).unwrap().is_none());
        let _client = UnixStream::connect(socket.path()).unwrap();
        let (_stream, pid) = socket.accept(SHORT).unwrap().unwrap();
        assert_eq!(pid, Some(std::process::id()));
        let dir = socket.path().parent().unwrap().to_owned();
        assert!(dir.exists());
        drop(socket);
        assert!(!dir.exists());
    }

    /// One in a container that has another /tmp and /run, or whose root is another directory.
    #[test]
    fn who_does_not_see_it_is_told_so() {
        use memtwin_child::Spawn;
        if lacks(&[Need::Root, Need::Program("unshare")]) {
            return;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg("mount -t tmpfs t /tmp && mount -t tmpfs t /run && echo ready && exec cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn_on_stdin().unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let why = CallbackSocket::new(child.id()).unwrap_err().to_string();
        assert!(why.contains("another file system") && why.contains("-qmp unix:PATH"), "{why}");
        drop(child.stdin.take());
        child.wait().unwrap();
        // The control: one that has our files.
        CallbackSocket::new(std::process::id()).unwrap();
    }

    /// A QEMU of another user can connect, and no third user can.
    #[test]
    fn the_user_of_the_process_gets_to_it() {
        use memtwin_child::Spawn;
        if lacks(&[Need::Root, Need::Program("setpriv")]) {
            return;
        }
        let start = |user: u32| {
            let user = format!("--reuid={user}");
            let mut command = Command::new("setpriv");
            command
                .args([&user, "--clear-groups", "cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null());
            command.spawn_on_stdin().unwrap()
        };
        for (user, gets_there) in [(NOBODY, true), (NOBODY - 1, false)] {
            let mut child = start(user);
            let since = Instant::now();
            while ProcessOwner::of(child.id()).map(|owner| owner.user).ok() != Some(user) {
                assert!(since.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(2));
            }
            let socket = CallbackSocket::new(child.id()).unwrap();
            let connected = as_nobody(|| UnixStream::connect(socket.path()).is_ok());
            assert_eq!(connected, gets_there, "{user}");
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}
