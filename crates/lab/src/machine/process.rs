//! A machine's console is recorded.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::Sender;

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
