//! A machine's process: it dies with us, and its console is recorded.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::sync::mpsc::Sender;

/// The same command, under setpriv if there is one.
pub(crate) fn bound_to_us(command: &Command) -> Command {
    let setpriv = Command::new("setpriv").args(["--pdeathsig", "KILL", "--", "true"]).output();
    let mut bound = if setpriv.is_ok_and(|output| output.status.success()) {
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
        bound
    } else {
        Command::new(command.get_program())
    };
    bound.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(key, value),
            None => bound.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

/// Writes a stream to a file, as it comes, and sends its lines, from a thread that ends with the stream.
pub(super) fn record(
    mut stream: impl Read + Send + 'static,
    mut log: File,
    sender: Sender<String>,
) {
    std::thread::spawn(move || {
        let (mut chunk, mut line) = ([0; 4096], Vec::new());
        loop {
            let said = match stream.read(&mut chunk) {
                Ok(read @ 1..) => &chunk[..read],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ => break,
            };
            // A full disk must not stop the machine, which waits for us to read.
            let _ = log.write_all(said);
            for part in said.split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    send(&sender, &line);
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            send(&sender, &line);
        }
    });
}

fn send(sender: &Sender<String>, line: &[u8]) {
    let line = String::from_utf8_lossy(line).replace('\r', "");
    // Nobody may be waiting.
    let _ = sender.send(line.trim_end().to_owned());
}
