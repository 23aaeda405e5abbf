//! A virsh that stays: it reads a command from a pipe, prints what it has to say, and then its prompt
//! (`tools/vsh.c`). It edits lines as for a terminal that can do nothing, and so prints a part of each command
//! before its answer.

use memtwin_child::Spawn;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// What it prints when it is ready.
const PROMPT: &[u8] = b"virsh # ";
/// The most that it may print for one command: libvirt itself takes 10 MiB from QEMU.
const LONGEST: usize = 16 << 20;
/// How long it may take for one command: libvirt itself waits for half a minute for its domain.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// Why virsh has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum VirshError {
    #[error(
        "virsh can't be started ({0}); install libvirt's clients (Debian: libvirt-clients), or give the path of a \
         QMP socket"
    )]
    NotThere(io::Error),
    #[error("virsh has ended: {0}")]
    Ended(String),
    #[error("libvirt says: {0}")]
    Refused(String),
}

/// A virsh that runs. Killed when dropped: told to end it would write its history to the user's file.
#[derive(Debug)]
pub(super) struct VirshShell {
    child: Child,
    commands: ChildStdin,
    said: PipeReader,
}

impl VirshShell {
    /// Starts it, on this connection of libvirt's.
    ///
    /// Errors: it is not here, or does not reach libvirt.
    pub(super) fn start(uri: Option<&str>) -> Result<Self, VirshError> {
        let (said, theirs) = io::pipe().map_err(VirshError::NotThere)?;
        let mut command = virsh(uri);
        command.stdin(Stdio::piped()).stderr(theirs.try_clone().map_err(VirshError::NotThere)?);
        command.stdout(theirs);
        let mut child = command.spawn_bound().map_err(VirshError::NotThere)?;
        // Our copies of its ends; they would keep its end from us.
        drop(command);
        let Some(commands) = child.stdin.take() else {
            return Err(VirshError::NotThere(io::ErrorKind::BrokenPipe.into()));
        };
        let mut this = Self { child, commands, said };
        this.until_prompt()?;
        Ok(this)
    }

    /// Runs a command, and returns what it prints, which must be a line.
    ///
    /// Errors: virsh prints an error, or is gone.
    pub(super) fn run(&mut self, line: &str) -> Result<String, VirshError> {
        let sent = self.commands.write_all(format!("{line}\n").as_bytes());
        sent.and_then(|()| self.commands.flush())
            .map_err(|errno| VirshError::Ended(errno.to_string()))?;
        let said = self.until_prompt()?;
        // The first line is what it shows of ours.
        let answer = said.split_once('\n').map_or("", |(_, answer)| answer);
        line_of(answer)
    }

    /// What it prints up to its next prompt.
    fn until_prompt(&mut self) -> Result<String, VirshError> {
        let until = Instant::now() + TIMEOUT;
        let mut said = Vec::new();
        let mut bytes = vec![0; CHUNK];
        loop {
            let before = said.strip_suffix(PROMPT);
            if let Some(before) =
                before.filter(|before| matches!(before.last(), None | Some(b'\n')))
            {
                return Ok(String::from_utf8_lossy(before).into_owned());
            }
            let ended = |why: String| {
                let text = String::from_utf8_lossy(&said);
                let errors = errors_in(&text);
                VirshError::Ended(if errors.is_empty() { why } else { errors })
            };
            if !self.says_something(until).unwrap_or(true) {
                return Err(ended(format!("it has not answered in {} s", TIMEOUT.as_secs())));
            }
            match self.said.read(&mut bytes) {
                Ok(0) => return Err(ended("it says nothing".to_owned())),
                Ok(_) if said.len() > LONGEST => return Err(ended("it says too much".to_owned())),
                Ok(some) => said.extend_from_slice(&bytes[..some]),
                Err(errno) if errno.kind() == io::ErrorKind::Interrupted => {}
                Err(errno) => return Err(ended(errno.to_string())),
            }
        }
    }
}

impl VirshShell {
    /// Whether there is something to read, or its end, by then.
    fn says_something(&self, until: Instant) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.said, PollFlags::IN)];
        Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left)))? > 0)
    }
}

impl Drop for VirshShell {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a virsh of its own give a command to the monitor, and a descriptor with it.
///
/// Errors: it knows no descriptors, or libvirt refuses them.
pub(super) fn run_with_descriptor(
    uri: Option<&str>,
    uuid: &str,
    json: &str,
    fd: OwnedFd,
) -> Result<serde_json::Value, VirshError> {
    let mut command = virsh(uri);
    command.args(["qemu-monitor-command", uuid, "--pass-fds", "0", json]);
    command.stdin(Stdio::from(fd)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn_bound().map_err(VirshError::NotThere)?;
    drop(command);
    let output = child.wait_with_output().map_err(|errno| VirshError::Ended(errno.to_string()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = line_of(&(text(&output.stdout) + &text(&output.stderr)))?;
    serde_json::from_str(&said).map_err(|_| VirshError::Refused(format!("not JSON: {said}")))
}

fn virsh(uri: Option<&str>) -> Command {
    let mut command = Command::new("virsh");
    command.arg("--quiet");
    if let Some(uri) = uri {
        command.args(["--connect", uri]);
    }
    // In words that we know, without a terminal and without the user's keys.
    command.env("LC_ALL", "C").env("TERM", "dumb").env("INPUTRC", "/dev/null");
    for debugging in ["VIRSH_DEBUG", "VIRSH_LOG_FILE"] {
        command.env_remove(debugging);
    }
    command
}

/// The first line that is not empty, if there is no error.
fn line_of(answer: &str) -> Result<String, VirshError> {
    let errors = errors_in(answer);
    let line = answer.lines().map(str::trim).find(|line| !line.is_empty() && !is_error(line));
    match line {
        Some(line) if errors.is_empty() => Ok(line.to_owned()),
        _ if errors.is_empty() => Err(VirshError::Refused("nothing".to_owned())),
        _ => Err(VirshError::Refused(errors)),
    }
}

fn is_error(line: &str) -> bool {
    line.starts_with("error: ")
}

fn errors_in(text: &str) -> String {
    let errors = text.lines().map(str::trim).filter_map(|line| line.strip_prefix("error: "));
    errors.collect::<Vec<_>>().join("; ")
}

/// A word as virsh reads it (`vshCommandStringGetArg()`).
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_an_error() {
        assert_eq!(line_of("{\"return\":{}}\n\n").unwrap(), "{\"return\":{}}");
        let refused = line_of("error: Requested operation is not valid: domain is not running\n");
        assert!(refused.unwrap_err().to_string().ends_with("domain is not running"));
        let both = line_of("error: failed to get domain 'x'\nerror: Domain not found\n");
        assert!(both.unwrap_err().to_string().contains("domain 'x'; Domain not found"));
        assert!(line_of("\n").is_err());
    }

    #[test]
    fn a_word_is_quoted() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("a'b"), "'a'\\''b'");
    }
}
