//! A port of the loopback interface of another machine that leads to one of this machine's: how what
//! runs there reaches us, whatever lies between.

use super::HostError;
use crate::Progress;
use memtwin_child::Spawn;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long ssh may take to say which port it is.
const CONNECT: Duration = Duration::from_secs(60);
/// How often it is seen whether the wait is still wanted.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// What it says of it.
const ALLOCATED: &str = "Allocated port ";

/// A port there that leads here, until this is dropped.
#[derive(Debug)]
pub struct Reverse {
    port: u16,
    /// What carries it; nothing on this machine.
    ssh: Option<Child>,
}

impl Reverse {
    /// This machine's own port.
    pub(super) fn own(port: u16) -> Self {
        Self { port, ssh: None }
    }

    /// The port that an ssh carries, which says on standard error which it is. It ends once its
    /// standard input does, so it does not outlive us.
    pub(super) fn through(
        host: &str,
        mut command: Command,
        progress: &mut dyn Progress,
    ) -> Result<Self, HostError> {
        let program = command.get_program().display().to_string();
        let started = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn_on_stdin();
        let mut ssh = started.map_err(|error| {
            let host = host.to_owned();
            HostError::Start { host, program, error }
        })?;
        let unreachable = |last| HostError::Unreachable { host: host.to_owned(), last };
        let told = ssh.stderr.take().map(listen);
        let mut reverse = Self { port: 0, ssh: Some(ssh) };
        let Some(told) = told else { return Err(unreachable(Vec::new())) };
        let began = Instant::now();
        loop {
            match told.recv_timeout(POLL_INTERVAL) {
                Ok(Ok(port)) => {
                    reverse.port = port;
                    return Ok(reverse);
                }
                Ok(Err(last)) => return Err(unreachable(last)),
                Err(RecvTimeoutError::Disconnected) => return Err(unreachable(Vec::new())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if progress.is_cancelled() {
                return Err(HostError::Cancelled);
            }
            if began.elapsed() >= CONNECT {
                return Err(unreachable(vec![format!("no port after {} s", CONNECT.as_secs())]));
            }
        }
    }

    /// Its number there.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Reverse {
    fn drop(&mut self) {
        if let Some(mut ssh) = self.ssh.take() {
            let _ = ssh.kill();
            let _ = ssh.wait();
        }
    }
}

/// Hears of the port, or what is said in its place; then goes on listening, so that ssh is never held
/// up.
fn listen(stderr: ChildStderr) -> mpsc::Receiver<Result<u16, Vec<String>>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stderr).take(1 << 20);
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            if !matches!(lines.read_line(&mut line), Ok(1..)) {
                let _ = tell.send(Err(said));
                return;
            }
            if let Some(port) = allocated(&line) {
                let _ = tell.send(Ok(port));
                let _ = std::io::copy(&mut lines.into_inner(), &mut std::io::sink());
                return;
            }
            said.push(line.trim_end().to_owned());
        }
    });
    told
}

/// The port in a line of ssh's.
fn allocated(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once(ALLOCATED)?;
    rest.split_once(' ')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    #[test]
    fn the_port_is_what_ssh_says() {
        let line = "Allocated port 43211 for remote forward to 127.0.0.1:5000\r\n";
        assert_eq!(allocated(line), Some(43211));
        for other in ["", "Allocated port", "Allocated port x for", "Allocated port 70000 for "] {
            assert_eq!(allocated(other), None, "{other}");
        }
    }

    #[test]
    fn one_that_refuses_is_told_with_what_it_said() {
        let shell = |line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            Reverse::through("there", command, &mut Silent)
        };
        let error = shell("echo 'remote port forwarding failed' >&2; exit 255").unwrap_err();
        assert!(error.to_string().contains("remote port forwarding failed"), "{error}");
        let held = shell("echo 'Allocated port 7 for it' >&2; exec cat").unwrap();
        assert_eq!(held.port(), 7);
        let pid = held.ssh.as_ref().unwrap().id();
        drop(held);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    /// Nobody wants it any more.
    struct Over;

    impl Progress for Over {
        fn say(&mut self, _: &str) {}

        fn is_cancelled(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_wait_that_is_not_wanted_ends_with_its_ssh() {
        let place = tempfile::tempdir().unwrap();
        let pid = place.path().join("pid");
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >$0; exec sleep 1000"]).arg(&pid);
        let began = Instant::now();
        let error = Reverse::through("there", command, &mut Over).unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert!(began.elapsed() < CONNECT, "it waited all the same");
        // It may have been killed before it said who it was.
        if let Ok(pid) = std::fs::read_to_string(pid) {
            assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).exists());
        }
    }
}
