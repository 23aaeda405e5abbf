//! The child's side: map what the parent gives, hand over the userfaultfd, and write.

use crate::handshake::{receive, send};
use crate::stress::PageWriter;
use crate::{WriterError, uffd};
use memtwin_mapping::Mapping;
use memtwin_stressor::{Controls, control};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

/// What the writer process runs, and nothing else: the program that a
/// [`ProcessGuest`](crate::ProcessGuest) starts calls this with the standard input that it got.
///
/// Returns when the parent is done with it. Then, or on an error, the process has to end.
pub fn writer_main() -> Result<(), WriterError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| WriterError::DeathSignal(errno.into()))?;
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    let (task, files) = receive(socket).map_err(WriterError::NoTask)?;
    let [bytes, align, threads, parent] = task.map(|word| usize::try_from(word).unwrap_or(0));
    let [window, controls] = files.try_into().map_err(|files: Vec<_>| {
        let found = files.len();
        WriterError::NoTask(io::Error::other(format!("{found} descriptors, expected 2")))
    })?;
    // If it died before the signal was asked for, none will come.
    if getppid().map(Pid::as_raw_nonzero).map(|pid| pid.get() as usize) != Some(parent) {
        return Err(WriterError::Orphan);
    }
    let window = Arc::new(Mapping::shared(window.as_fd(), bytes, align)?);
    let controls = Arc::new(Mapping::shared(controls.as_fd(), Controls::bytes(threads), 1)?);

    let answer = match uffd::create() {
        Ok(uffd) => send(socket, [0, window.address(), 0, 0], &[uffd.as_fd()]),
        Err(error) => {
            send(socket, [u64::from(error.raw_os_error().unwrap_or(-1) as u32), 0, 0, 0], &[])
        }
    };
    answer.map_err(WriterError::NoAnswer)?;
    // The end of the socket instead of a message: the parent is not content, or gone.
    if receive(socket).is_ok() {
        for writer in 0..threads {
            let mut writes = PageWriter::new(
                Arc::clone(&window),
                Arc::clone(&controls),
                writer * control::BLOCK,
            );
            thread::Builder::new()
                .name(format!("writer-{writer}"))
                .spawn(move || writes.run())
                .map_err(|errno| WriterError::Thread { writer, errno })?;
        }
        // Nothing more is ever sent. The threads end with the process.
        let _ = receive(socket);
    }
    Ok(())
}
