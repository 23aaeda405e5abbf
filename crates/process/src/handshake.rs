//! What parent and child say to each other before the first write: messages of four words, some
//! with descriptors (SCM_RIGHTS, unix(7)).
//!
//! ```text
//! parent -> child   window bytes, alignment, threads, parent's pid   + window file, control file
//! child -> parent   errno of userfaultfd(2) or 0, window's address   + userfaultfd
//! parent -> child   nothing: the control page is filled in, the threads may begin
//! ```
//!
//! After that the socket only tells, by its end, that the other side is gone.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// How many words a message has.
const WORDS: usize = 4;

/// A message's words; what a message does not need is 0.
pub(crate) type Words = [u64; WORDS];

/// Two connected sockets that keep messages whole.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends a message, with at most two descriptors.
pub(crate) fn send(socket: BorrowedFd<'_>, words: Words, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than two descriptors"));
    }
    // A peer that is gone is an error, not a signal.
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&bytes)], &mut rights, flags))?;
    Ok(())
}

/// Waits for a message. Errors with `UnexpectedEof` when the peer is gone.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<(Words, Vec<OwnedFd>)> {
    let mut bytes = [0; WORDS * 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut rights, flags)
    })?;
    let fds = rights
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    match received.bytes {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        whole if whole == bytes.len() => {
            let mut words = Words::default();
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_ne_bytes(*bytes);
            }
            Ok((words, fds))
        }
        part => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {part} bytes, expected {}", WORDS * 8),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fstat;
    use std::os::fd::AsFd;

    #[test]
    fn words_and_descriptors_arrive() {
        let (here, there) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(here.as_fd(), [1, 2, 3, u64::MAX], &[file.as_fd(), here.as_fd()]).unwrap();
        send(here.as_fd(), [5; 4], &[]).unwrap();
        let (words, fds) = receive(there.as_fd()).unwrap();
        assert_eq!((words, fds.len()), ([1, 2, 3, u64::MAX], 2));
        assert_eq!(fstat(&fds[0]).unwrap().st_ino, fstat(&file).unwrap().st_ino);
        assert_eq!(receive(there.as_fd()).unwrap().0, [5; 4]);
    }

    #[test]
    fn a_peer_that_is_gone_or_talks_otherwise_is_an_error() {
        let (here, there) = pair().unwrap();
        rustix::io::write(&here, b"short").unwrap();
        assert_eq!(receive(there.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(here);
        assert_eq!(receive(there.as_fd()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(send(there.as_fd(), [0; 4], &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
