//! A machine's process: it dies with us, and its console is recorded.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
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

/// Writes a stream to a file and sends its lines, from a thread that ends with the stream.
pub(super) fn record(stream: impl Read + Send + 'static, mut log: File, sender: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(mut line) = line else { return };
            line.push(b'\n');
            // A full disk must not stop the machine, which waits for us to read.
            let _ = log.write_all(&line);
            let line = String::from_utf8_lossy(&line).replace('\r', "");
            // Nobody may be waiting.
            let _ = sender.send(line.trim_end().to_owned());
        }
    });
}
