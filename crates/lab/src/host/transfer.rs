//! Files to another machine and back, with a shell's own means. A connection that dies looks like a
//! file's end, so both sides count.

use super::{HostError, quoted};
use memtwin_child::Spawn;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// A line on the machine, whose standard streams are ours.
type Line<'l> = &'l dyn Fn(&str) -> Command;

/// Copies a file there.
pub(super) fn put(
    host: &str,
    line: Line<'_>,
    from: &Path,
    to: &str,
    mode: u32,
) -> Result<(), HostError> {
    let mut file = File::open(from).map_err(HostError::at(from))?;
    let bytes = file.metadata().map_err(HostError::at(from))?.len();
    let to = quoted(to);
    let script = format!(
        "t={to}.unfinished.$$; trap 'rm -f \"$t\"' EXIT; cat >\"$t\" && n=$(wc -c <\"$t\") && \
         {{ [ \"$n\" -eq {bytes} ] || {{ echo \"expected {bytes} bytes, got $n\" >&2; exit 1; }}; }} && \
         chmod {mode:o} \"$t\" && mv -f \"$t\" {to}"
    );
    let mut command = line(&script);
    // A terminal's interrupt is for us.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn_on_stdin().map_err(HostError::starting(host, &command))?;
    let complaints = collect(&mut child);
    // Who ends early says why; a pipe that breaks says nothing.
    let copied = child.stdin.take().map(|mut stdin| io::copy(&mut file, &mut stdin));
    end(host, &format!("cat >{to}"), child, complaints)?;
    match copied {
        Some(Err(error)) => Err(HostError::File { path: from.to_owned(), error }),
        _ => Ok(()),
    }
}

/// Copies a file here.
pub(super) fn get(host: &str, line: Line<'_>, from: &str, to: &Path) -> Result<(), HostError> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(HostError::at(folder))?;
    let word = quoted(from);
    let script = format!("n=$(wc -c <{word}) && echo \"$n\" && exec head -c \"$n\" {word}");
    let mut command = line(&script);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn_bound().map_err(HostError::starting(host, &command))?;
    let complaints = collect(&mut child);
    let copied = child.stdout.take().map(|stdout| {
        let mut stdout = BufReader::new(stdout);
        let mut first = String::new();
        // A number, and no more of a line than that needs.
        stdout.by_ref().take(32).read_line(&mut first)?;
        let expected = first.trim().parse::<u64>().unwrap_or(0);
        io::copy(&mut stdout, file.as_file_mut()).map(|got| (expected, got))
    });
    end(host, &format!("cat {word}"), child, complaints)?;
    let (expected, got) = match copied {
        Some(copied) => copied.map_err(HostError::at(to))?,
        None => (0, 0),
    };
    if expected != got {
        let (host, path) = (host.to_owned(), from.to_owned());
        return Err(HostError::Short { host, path, expected, got });
    }
    // What is temporary is for its owner alone; a file that was asked for is an ordinary one.
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(HostError::at(to))?;
    file.persist(to).map(drop).map_err(|error| HostError::at(to)(error.error))
}

/// What it complains of, read while it goes on.
fn collect(child: &mut Child) -> thread::JoinHandle<Vec<String>> {
    let stream = child.stderr.take();
    thread::spawn(move || {
        let lines = stream.into_iter().flat_map(|stream| BufReader::new(stream).lines());
        lines.map_while(Result::ok).collect()
    })
}

fn end(
    host: &str,
    line: &str,
    mut child: Child,
    complaints: thread::JoinHandle<Vec<String>>,
) -> Result<(), HostError> {
    let program = || host.to_owned();
    let status = child.wait().map_err(|error| HostError::Start {
        host: host.to_owned(),
        program: program(),
        error,
    })?;
    if status.success() {
        return Ok(());
    }
    let last = complaints.join().unwrap_or_default();
    Err(HostError::returned(host.to_owned(), line.to_owned(), status, last))
}
