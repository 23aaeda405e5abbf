//! A program on a host that goes on while other things happen.

use memtwin_child::Spawn;
use memtwin_lab::Progress;
use memtwin_lab::host::{self, Host, LineEnd};
use memtwin_report::Failure;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How long a line may take there.
pub(super) const LINE: Duration = Duration::from_secs(60);

/// How long a program may take to end.
const END: Duration = Duration::from_secs(60);

/// A program on a host that speaks into a file there: its last words would not come by a connection that
/// is being closed.
#[derive(Debug)]
pub(super) struct BackgroundProgram {
    child: Child,
    host: Arc<dyn Host>,
    place: String,
}

impl BackgroundProgram {
    /// Starts the program of a line, which speaks into a file in that folder. It ends with us.
    pub(super) fn start(
        host: &Arc<dyn Host>,
        folder: &str,
        name: &str,
        line: &str,
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::environment(format!("{line}: {error}"));
        let place = format!("{folder}/memtwin.{name}");
        let line = format!("echo $$ >{place}.pid; exec {line} >{place}.log 2>&1");
        let mut command = host.command(&line);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn_on_stdin().map_err(failed)?;
        Ok(Self { child, host: Arc::clone(host), place })
    }

    /// The last that it has said.
    pub(super) fn said(&self, progress: &mut dyn Progress) -> Result<String, Failure> {
        let line = format!("if test -e {0}.log; then tail -n 3 {0}.log; fi", self.place);
        host::run(&*self.host, &line, LINE, progress).map_err(Failure::environment)
    }

    /// Whether the command here has ended: nothing more is to be waited for.
    pub(super) fn is_cut_off(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Whether the program has ended by itself, as far as its own end was told. A connection that broke
    /// off ends it too, and is no fault of its.
    pub(super) fn has_ended(&mut self) -> bool {
        let status = self.child.try_wait().ok().flatten();
        status.is_some_and(|status| LineEnd::of(self.host.name(), status) != LineEnd::Unknown)
    }

    /// Ends it, as far as it has not ended by itself; all that it has said.
    pub(super) fn end(self, progress: &mut dyn Progress) -> Result<String, Failure> {
        let line = format!(
            "p=$(cat {0}.pid); kill -s INT $p 2>/dev/null; n=0; while kill -s 0 $p 2>/dev/null && \
             [ $n -lt 400 ]; do sleep 0.1; n=$((n+1)); done; cat {0}.log",
            self.place
        );
        host::run(&*self.host, &line, END, progress).map_err(Failure::environment)
    }
}

impl Drop for BackgroundProgram {
    fn drop(&mut self) {
        if !self.is_cut_off() {
            drop(self.child.stdin.take());
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
