//! A tap and its guardian talk by messages that stay whole, one of them with a descriptor
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

/// One end.
#[derive(Debug)]
pub(super) struct Talk(OwnedFd);

/// What listening came to.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message.
    Word(String),
    /// A message, and what came with it.
    WithFd(String, OwnedFd),
    /// None in time.
    Nothing,
    /// The other end is closed.
    End,
}

impl Talk {
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

    /// Sends a message, perhaps with a descriptor. Errors: the other end is closed.
    pub(super) fn say(&self, word: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = fd.into_iter().collect();
        if !fds.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = [IoSlice::new(word.as_bytes())];
        retry_on_intr(|| sendmsg(&self.0, &bytes, &mut rights, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Waits for a message, for so long at most.
    ///
    /// Errors: a message that nobody here sends, or the system's.
    pub(super) fn hear(&self, patience: Option<Duration>) -> io::Result<Heard> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        match poll(&mut fds, patience.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(Heard::Nothing),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let into = &mut [IoSliceMut::new(&mut bytes)];
            recvmsg(self.0.as_fd(), into, &mut rights, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match received {
            // As one that had not heard all that we said leaves it.
            Ok(received) if received.bytes == 0 => return Ok(Heard::End),
            Err(Errno::CONNRESET) => return Ok(Heard::End),
            Ok(received) => received.bytes,
            Err(errno) => return Err(errno.into()),
        };
        bytes.truncate(length);
        let word = String::from_utf8(bytes).map_err(io::Error::other)?;
        let fd = rights.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok(fd.map_or(Heard::Word(word.clone()), |fd| Heard::WithFd(word, fd)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn words_stay_whole_and_a_descriptor_comes_with_its_own() {
        let (ours, theirs) = Talk::pair().unwrap();
        let theirs = Talk::over(theirs);
        let (mut stream, other) = UnixStream::pair().unwrap();
        ours.say("one", None).unwrap();
        ours.say("two", Some(other.as_fd())).unwrap();
        drop(other);
        assert!(matches!(theirs.hear(None).unwrap(), Heard::Word(word) if word == "one"));
        let Heard::WithFd(word, fd) = theirs.hear(None).unwrap() else { panic!("no descriptor") };
        assert_eq!(word, "two");
        drop(fd);
        // It was the only one left.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn silence_is_no_end_and_an_end_is_one_even_with_words_unheard() {
        let (ours, theirs) = Talk::pair().unwrap();
        let theirs = Talk::over(theirs);
        assert!(matches!(ours.hear(Some(Duration::ZERO)).unwrap(), Heard::Nothing));
        ours.say("unheard", None).unwrap();
        drop(theirs);
        assert!(matches!(ours.hear(None).unwrap(), Heard::End));
        assert!(ours.say("to nobody", None).is_err());
    }
}
