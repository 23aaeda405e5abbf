//! What a console says, shown as it comes, while a hand types.

use super::hand::{ConsoleHand, interrupted};
use memtwin_lab::Progress;
use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How often it is looked for what the console says.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many looks the last words of a board that has ended may take.
const LAST_LOOKS: u32 = 10;

/// A console, by the file in which it is kept.
pub(super) struct ConsoleScreen<'s> {
    log: File,
    out: &'s mut dyn Write,
    /// What is no part of what the console says.
    notices: &'s mut dyn Progress,
    /// Whether somebody still takes what is shown.
    seen: bool,
}

/// What happened in a tick.
struct ConsoleEvents {
    /// The board is gone.
    gone: bool,
    /// There is input.
    input: bool,
}

impl<'s> ConsoleScreen<'s> {
    pub(super) fn of(
        log: &Path,
        out: &'s mut dyn Write,
        notices: &'s mut dyn Progress,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::environment(format!("{}: {error}", log.display()));
        Ok(Self { log: File::open(log).map_err(failed)?, out, notices, seen: true })
    }

    /// Tells the person something.
    pub(super) fn notice(&mut self, line: &str) {
        self.notices.say(line);
    }

    /// Tells the person that the board has.
    pub(super) fn ended(&mut self) {
        self.notice("the board has ended, or its lab has");
    }

    /// Shows what it says until the hand is done, or nobody looks any more, or the board ends.
    ///
    /// Errors: we are told to stop, or the hand has something left that the board can't do any more.
    pub(super) fn attend(
        &mut self,
        keyboard: &UnixStream,
        input: BorrowedFd<'_>,
        hand: &mut dyn ConsoleHand,
        stop: &CancelToken,
    ) -> Result<(), Failure> {
        let mut typed = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            self.show(hand)?;
            if typed.is_empty() {
                typed = hand.next();
            }
            write(keyboard, &mut typed);
            if hand.is_done() || !self.seen {
                return Ok(());
            }
            if stop.is_set() {
                return Err(interrupted());
            }
            let input = hand.wants().then_some(input);
            let happened = wait(keyboard, !typed.is_empty(), input)?;
            if let (true, Some(input)) = (happened.input, input) {
                match rustix::io::read(input, &mut chunk) {
                    Ok(read) => hand.takes(&chunk[..read])?,
                    // A terminal that is gone.
                    Err(Errno::IO) => hand.takes(&[])?,
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(errno) => return Err(Failure::environment(errno)),
                }
            }
            if happened.gone {
                return self.last_words(hand);
            }
        }
    }

    /// Shows what is new; whether there was anything.
    pub(super) fn show(&mut self, hand: &mut dyn ConsoleHand) -> Result<bool, Failure> {
        let mut chunk = [0; 1 << 13];
        let mut news = false;
        loop {
            let read = match self.log.read(&mut chunk) {
                Ok(0) => return Ok(news),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.map_err(Failure::environment)?,
            };
            news = true;
            hand.hears(&chunk[..read]);
            match self.out.write_all(&chunk[..read]).and_then(|()| self.out.flush()) {
                // A reader that has seen enough is no failure.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => self.seen = false,
                written => written.map_err(Failure::environment)?,
            }
        }
    }

    /// What it said last is written by the lab, which may take a moment.
    fn last_words(&mut self, hand: &mut dyn ConsoleHand) -> Result<(), Failure> {
        let mut looks = 0;
        while looks < LAST_LOOKS && !hand.is_done() {
            looks = if self.show(hand)? { 0 } else { looks + 1 };
            thread::sleep(POLL_INTERVAL);
        }
        self.ended();
        if hand.is_done() { Ok(()) } else { hand.ended() }
    }
}

/// Waits for something to do, for the time until the next look at most.
fn wait(
    keyboard: &UnixStream,
    typing: bool,
    input: Option<BorrowedFd<'_>>,
) -> Result<ConsoleEvents, Failure> {
    let flags = if typing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let mut ends = vec![PollFd::new(keyboard, flags)];
    ends.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
    let look = Timespec { tv_sec: 0, tv_nsec: POLL_INTERVAL.subsec_nanos().into() };
    match poll(&mut ends, Some(&look)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(ConsoleEvents { gone: false, input: false }),
        Err(errno) => return Err(Failure::environment(errno)),
    }
    // Nothing is ever said by that way but the end.
    let gone = ends[0].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
    let input = ends.get(1).is_some_and(|input| !input.revents().is_empty());
    Ok(ConsoleEvents { gone, input })
}

/// Types as much as the board takes. That it is gone is seen by the wait.
fn write(mut keyboard: &UnixStream, typed: &mut Vec<u8>) {
    if !typed.is_empty()
        && let Ok(written) = keyboard.write(typed)
    {
        typed.drain(..written);
    }
}
