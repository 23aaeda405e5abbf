//! What a board's console is told by others than us: a socket in the lab's folder takes it. What the
//! console says stands in its file, for everybody.

use super::LabError;
use memtwin_safe_path::is_from_us;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

/// Makes the socket. Who is connected may type, side by side with all others, until he or the board
/// ends.
pub(super) fn open(socket: &Path, keyboard: File) -> Result<(), LabError> {
    let listener = UnixListener::bind(socket).map_err(LabError::file(socket))?;
    thread::spawn(move || {
        while waits(&listener, &keyboard) {
            let (Ok((stream, _)), Ok(keyboard)) = (listener.accept(), keyboard.try_clone()) else {
                return;
            };
            if is_from_us(&stream) {
                thread::spawn(move || carry(&stream, &keyboard));
            }
        }
    });
    Ok(())
}

/// Carries what one of them types. The end of the connection tells him that the board has ended.
fn carry(mut stream: &UnixStream, mut keyboard: &File) {
    let mut chunk = [0; 4096];
    while waits(stream, keyboard) {
        match stream.read(&mut chunk) {
            Ok(read @ 1..) if keyboard.write_all(&chunk[..read]).is_ok() => {}
            _ => return,
        }
    }
}

/// Waits until there is something at one end, as long as somebody has the other.
fn waits(from: &impl AsFd, keyboard: &File) -> bool {
    loop {
        // Nothing is asked of the keyboard but whether its reader is gone.
        let mut ends =
            [PollFd::new(from, PollFlags::IN), PollFd::new(keyboard, PollFlags::empty())];
        match poll(&mut ends, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return ends[1].revents().is_empty(),
        }
    }
}
