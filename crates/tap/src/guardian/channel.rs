//! A tap and its guardian talk by messages that stay whole, one of them with descriptors
//! (SOCK_SEQPACKET and SCM_RIGHTS, unix(7)).

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The settings of a QEMU, as JSON, take about a kilobyte.
const LONGEST: usize = 64 << 10;
/// The stream and the note.
const MOST_FDS: usize = 2;

/// One end.
#[derive(Debug)]
pub(super) struct GuardianChannel(OwnedFd);

/// What listening came to.
#[derive(Debug)]
pub(super) enum ChannelEvent {
    /// A message.
    Word(String),
    /// A message, and what came with it.
    WithFds(String, Vec<OwnedFd>),
    /// None in time.
    Nothing,
    /// The other end is closed.
    End,
}

impl GuardianChannel {
    /// Our end, and the other one for a child.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(ours), theirs))
    }

    /// The end that a child was given.
    pub(super) fn over(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends a message, perhaps with descriptors: [`MOST_FDS`] at most.
    ///
    /// Errors: the other end is closed, or does not listen.
    pub(super) fn send(&self, word: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = [IoSlice::new(word.as_bytes())];
        // A guardian that is stopped must not stop us too.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retry_on_intr(|| sendmsg(&self.0, &bytes, &mut rights, flags))?;
        Ok(())
    }

    /// Waits for a message, for this long at most.
    ///
    /// Errors: a message that nobody here sends, or the system's.
    pub(super) fn receive(&self, patience: Option<Duration>) -> io::Result<ChannelEvent> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        match poll(&mut fds, patience.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(ChannelEvent::Nothing),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let into = &mut [IoSliceMut::new(&mut bytes)];
            recvmsg(self.0.as_fd(), into, &mut rights, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match received {
            // As one that had not heard all that we said leaves it.
            Ok(received) if received.bytes == 0 => return Ok(ChannelEvent::End),
            Err(Errno::CONNRESET) => return Ok(ChannelEvent::End),
            Ok(received) => received.bytes,
            Err(errno) => return Err(errno.into()),
        };
        bytes.truncate(length);
        let word = String::from_utf8(bytes).map_err(io::Error::other)?;
        let fds: Vec<OwnedFd> = rights
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        Ok(if fds.is_empty() { ChannelEvent::Word(word) } else { ChannelEvent::WithFds(word, fds) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn words_stay_whole_and_descriptors_come_with_their_own() {
        let (ours, theirs) = GuardianChannel::pair().unwrap();
        let theirs = GuardianChannel::over(theirs);
        let (mut stream, other) = UnixStream::pair().unwrap();
        ours.send("one", &[]).unwrap();
        ours.send("two", &[other.as_fd()]).unwrap();
        drop(other);
        assert!(matches!(theirs.receive(None).unwrap(), ChannelEvent::Word(word) if word == "one"));
        let ChannelEvent::WithFds(word, fds) = theirs.receive(None).unwrap() else {
            panic!("no descriptor")
        };
        assert_eq!(word, "two");
        drop(fds);
        // It was the only one left.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn silence_is_no_end_and_an_end_is_one_even_with_words_unheard() {
        let (ours, theirs) = GuardianChannel::pair().unwrap();
        let theirs = GuardianChannel::over(theirs);
        assert!(matches!(ours.receive(Some(Duration::ZERO)).unwrap(), ChannelEvent::Nothing));
        ours.send("unheard", &[]).unwrap();
        drop(theirs);
        assert!(matches!(ours.receive(None).unwrap(), ChannelEvent::End));
        assert!(ours.send("after the end", &[]).is_err());
    }
}
