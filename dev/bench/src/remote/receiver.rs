//! A `memtwin receive` of its own process.

use anyhow::{Context, Result, bail, ensure};
use memtwin_child::Spawn;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A `memtwin receive`, ended with this, and by the kernel when we die.
pub(super) struct ReceiverProcess {
    child: Child,
    pub(super) address: SocketAddr,
}

impl ReceiverProcess {
    /// Starts it by a command that runs memtwin.
    pub(super) fn start(
        command: &Command,
        listen: &str,
        dir: &Path,
        more: &[&str],
    ) -> Result<Self> {
        let mut kept = Command::new(command.get_program());
        kept.args(command.get_args());
        kept.args(["receive", listen]).arg(dir.join("twin")).args(more);
        let mut child = kept.stdout(Stdio::null()).stderr(Stdio::piped()).spawn_bound()?;
        let mut said = BufReader::new(child.stderr.take().context("its standard error")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let address = line.split_whitespace().find_map(|word| word.parse().ok());
        // Nobody else reads it, and it must not fill up.
        thread::spawn(move || said.read_to_end(&mut Vec::new()));
        match address {
            Some(address) => Ok(Self { child, address }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the receiver said: {line}")
            }
        }
    }

    /// Waits for its end, whatever it is.
    pub(super) fn end(&mut self) -> Result<()> {
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(began.elapsed() < Duration::from_secs(60), "the receiver does not end");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for ReceiverProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
