//! A terminal whose keys are another machine's for a while.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::SIGQUIT;
use signal_hook::{SigId, flag, low_level};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A raw terminal (termios(3)); as it was when this is dropped. Who is killed by SIGKILL can't put it
/// back: shells do, and stty(1) does (`stty sane`).
pub(super) struct RawTerminal<'t> {
    terminal: BorrowedFd<'t>,
    before: Termios,
    quit: Arc<AtomicBool>,
    signal: SigId,
}

impl<'t> RawTerminal<'t> {
    /// Every key comes at once, and none does anything here; what is shown is shown as before.
    ///
    /// Errors: it is no terminal.
    pub(super) fn enter(terminal: BorrowedFd<'t>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let quit = Arc::new(AtomicBool::new(false));
        // SIGINT, SIGTERM and SIGHUP are asked to wait until we are through (the command line sees to that).
        let signal = flag::register(SIGQUIT, Arc::clone(&quit))?;
        let raw = Self { terminal, before, quit, signal };
        let mut modes = raw.before.clone();
        modes.make_raw();
        modes.output_modes = raw.before.output_modes;
        tcsetattr(terminal, OptionalActions::Now, &modes)?;
        Ok(raw)
    }

    /// Set when a signal asks us to quit.
    pub(super) fn quit(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.quit)
    }
}

impl Drop for RawTerminal<'_> {
    fn drop(&mut self) {
        // A terminal that is gone has no modes.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
        low_level::unregister(self.signal);
    }
}
