//! `memtwin lab up --detach`: the same command in the background.

use memtwin_child::Spawn;
use memtwin_lab::boards::LabError;
use memtwin_lab::running_lab::{self, RunningLab};
use memtwin_report::Failure;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts it, and shows what it says until the lab is up in this folder.
///
/// Errors: one is up there already, or it does not come up.
pub(super) fn detach(folder: &Path) -> Result<(), Failure> {
    if RunningLab::find(folder).is_ok() {
        return Err(Failure::environment(LabError::Taken { path: folder.to_owned() }));
    }
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach");
    let mut child = Command::new("/proc/self/exe")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn_outliving("`memtwin lab down` ends it")
        .map_err(Failure::environment)?;
    let stream = child.stderr.take().map(BufReader::new);
    let mut said = String::new();
    for line in stream.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        said = line;
        // To this process's own standard error, which is the user's.
        crate::output::say(&said);
        if running_lab::is_published(folder) {
            return Ok(());
        }
    }
    let status = child.wait().map_err(Failure::environment)?;
    Err(Failure::environment(format!("the lab did not come up ({status}): {said}")))
}
