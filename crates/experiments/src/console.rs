//! A board's console: what it has said and goes on to say, and a hand at its keyboard.

mod hand;
mod keys;
mod orders;
mod raw;
mod screen;
#[cfg(test)]
mod tests;

use hand::{ConsoleHand, interrupted};
use keys::TypedKeys;
use memtwin_lab::Progress;
use memtwin_lab::board::Board;
use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use orders::PipedOrders;
use raw::RawTerminal;
use screen::ConsoleScreen;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;

/// A person's terminal, or what stands for it.
pub struct ConsoleStreams<'s> {
    /// What is typed.
    pub input: BorrowedFd<'s>,
    /// Where the console is shown.
    pub output: &'s mut dyn Write,
    /// Whether that is a terminal.
    pub is_terminal: bool,
    /// What is told to the person besides.
    pub notices: &'s mut dyn Progress,
}

/// Somebody who only looks on.
struct OnlyWatching;

impl ConsoleHand for OnlyWatching {
    fn wants(&self) -> bool {
        false
    }

    fn takes(&mut self, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn hears(&mut self, _: &[u8]) {}

    fn next(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn is_done(&self) -> bool {
        false
    }

    fn ended(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Shows it. A terminal's keys are the board's then, and what comes by a pipe are orders; `follow`: only
/// looks on.
///
/// Errors: we are told to stop, or an order can't be carried out any more.
pub fn attend_console(
    board: &Board,
    follow: bool,
    streams: ConsoleStreams<'_>,
    stop: &CancelToken,
) -> Result<(), Failure> {
    let ConsoleStreams { input, output, is_terminal, notices } = streams;
    let (name, is_typed) = (board.label(), input.is_terminal());
    let mut screen = ConsoleScreen::of(board.console(), output, notices)?;
    let Some(keyboard) = keyboard(board.keyboard())? else {
        screen.show(&mut OnlyWatching)?;
        screen.ended();
        let orders = !follow && !is_typed && rustix::io::read(input, &mut [0]) == Ok(1);
        let failure =
            || Failure::environment(format!("board {name} has ended: it takes no orders"));
        return if orders { Err(failure()) } else { Ok(()) };
    };
    if follow {
        screen.attend(&keyboard, input, &mut OnlyWatching, stop)?;
    } else if !is_typed {
        screen.attend(&keyboard, input, &mut PipedOrders::of(name), stop)?;
    } else if !is_terminal {
        // Somebody keeps what was said.
        screen.show(&mut OnlyWatching)?;
    } else {
        screen.notice(&format!(
            "board {name}: its console takes `ID run LINE` and `ID poweroff`, and is no shell (`memtwin \
             lab ssh {name}` is); Ctrl-] leaves it"
        ));
        let raw = RawTerminal::enter(input).map_err(Failure::environment)?;
        let quit = raw.quit();
        let attended = screen.attend(&keyboard, input, &mut TypedKeys::new(&quit), stop);
        drop(raw);
        screen.notice("");
        attended?;
        if quit.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
    }
    Ok(())
}

/// The way to a console's keyboard; none if the board has ended.
fn keyboard(socket: &Path) -> Result<Option<UnixStream>, Failure> {
    let gone = [ErrorKind::ConnectionRefused, ErrorKind::NotFound];
    let connected = memtwin_safe_path::connect(socket).map_err(std::io::Error::from);
    let connected = connected.and_then(|stream| {
        // A board that does not listen must not hold up who wants to leave.
        stream.set_nonblocking(true)?;
        Ok(stream)
    });
    match connected {
        Err(error) if gone.contains(&error.kind()) => Ok(None),
        Err(error) => Err(Failure::environment(format!("{}: {error}", socket.display()))),
        Ok(stream) => Ok(Some(stream)),
    }
}
