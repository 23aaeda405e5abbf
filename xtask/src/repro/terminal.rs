//! A developer at a terminal, who has a scenario run.

use crate::interrupt::Interrupt;
use crate::run::{ProgramEnd, run};
use crate::steps::shown;
use memtwin_repro::ReproCaller;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A developer at a terminal.
pub(crate) struct Terminal<'i> {
    pub(crate) interrupt: &'i Interrupt,
    /// Whether commands, and what they say, are kept from them.
    pub(crate) quiet: bool,
}

impl ReproCaller for Terminal<'_> {
    fn announce(&mut self, command: &Command) {
        if !self.quiet {
            println!("$ {}", shown(command));
        }
    }

    fn complete(&mut self, command: &mut Command, limit: Duration) -> Result<String, String> {
        let file = |error: std::io::Error| format!("can't keep what it says: {error}");
        let mut said = tempfile::tempfile().map_err(file)?;
        command.stderr(said.try_clone().map_err(file)?);
        if self.quiet {
            command.stdout(Stdio::null());
        }
        let ended = run(command, limit, self.interrupt);
        let mut text = String::new();
        said.rewind().and_then(|()| said.read_to_string(&mut text)).map_err(file)?;
        if !self.quiet {
            eprint!("{text}");
        }
        match ended {
            Ok(ProgramEnd::By(_)) => Ok(text),
            Ok(other) => Err(other.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    fn go_on(&self) -> bool {
        !self.interrupt.is_set()
    }
}
