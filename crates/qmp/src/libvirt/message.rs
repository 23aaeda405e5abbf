//! What our client sends to the thread that speaks with libvirt: lines, one of them perhaps with a
//! descriptor.

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// How much is read at once.
const CHUNK: usize = 16 << 10;
/// The longest command.
const LONGEST: usize = 1 << 20;

/// What was received and is no whole line yet.
#[derive(Debug, Default)]
pub(super) struct CommandReader {
    held: Vec<u8>,
    fd: Option<OwnedFd>,
}

impl CommandReader {
    /// The next line, and the descriptor that came with it. `None` at the end.
    pub(super) fn next(&mut self, socket: BorrowedFd<'_>) -> Option<(Vec<u8>, Option<OwnedFd>)> {
        loop {
            if let Some(at) = self.held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.held.drain(..=at).collect();
                return Some((line, self.fd.take()));
            }
            if self.held.len() > LONGEST {
                return None;
            }
            self.receive(socket)?;
        }
    }

    fn receive(&mut self, socket: BorrowedFd<'_>) -> Option<()> {
        let mut bytes = [0; CHUNK];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let into = &mut [IoSliceMut::new(&mut bytes)];
            match recvmsg(socket, into, &mut rights, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(_) => return None,
                Ok(received) if received.bytes == 0 => return None,
                Ok(received) => break received.bytes,
            }
        };
        for message in rights.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                self.fd = fds.next();
            }
        }
        self.held.extend_from_slice(&bytes[..received]);
        Some(())
    }
}
