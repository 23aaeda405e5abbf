//! A process group that ends with us: a program, and all that it has started in turn.
//!
//! The kernel kills only a child at its parent's death, and not the compilers of a `cargo`. So a shell
//! watches beside it: the end of its standard input without a word is our death.

use crate::Spawn;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// What watches: the first line is the group, the second its dismissal.
const WATCH: &str = r#"read -r group || exit; read -r _ && exit; kill -s KILL -- "-$group""#;

/// Kills a process group when this process ends. Dismissed when dropped.
#[derive(Debug)]
pub struct GroupWatch {
    shell: Child,
    /// `None`: it is dismissed.
    words: Option<ChildStdin>,
}

/// Starts a program as the leader of a process group.
pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, GroupWatch)> {
    // First, so that there is no moment without one.
    let mut shell = Command::new("sh");
    // In a group of its own: what interrupts us is not for it.
    shell.args(["-c", WATCH]).process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut shell = shell.spawn_on_stdin()?;
    let words = shell.stdin.take();
    let mut watch = GroupWatch { shell, words };
    let mut leader = command.process_group(0).spawn_bound()?;
    if let Err(error) = watch.say(&leader.id().to_string()) {
        let _ = leader.kill();
        let _ = leader.wait();
        return Err(error);
    }
    Ok((leader, watch))
}

impl GroupWatch {
    fn say(&mut self, word: &str) -> io::Result<()> {
        let words = self.words.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(words, "{word}")
    }
}

impl Drop for GroupWatch {
    fn drop(&mut self) {
        // One that was killed needs no word.
        let _ = self.say("dismissed");
        self.words = None;
        let _ = self.shell.wait();
    }
}
