//! This machine.

use super::line_end::LOCAL_NAME;
use super::{Host, HostError, Reverse, shell, transfer};
use crate::Progress;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Host for Local {
    fn name(&self) -> &str {
        LOCAL_NAME
    }

    fn command(&self, line: &str) -> Command {
        command(&shell::watched(line))
    }

    fn put(&self, from: &Path, to: &str, mode: u32) -> Result<(), HostError> {
        transfer::put(LOCAL_NAME, &|line| command(&shell::plain(line)), from, to, mode)
    }

    fn get(&self, from: &str, to: &Path) -> Result<(), HostError> {
        transfer::get(LOCAL_NAME, &|line| command(&shell::plain(line)), from, to)
    }

    fn connect(&self, socket: &str) -> Result<UnixStream, HostError> {
        UnixStream::connect(socket).map_err(|error| HostError::Connect {
            host: LOCAL_NAME.to_owned(),
            socket: socket.to_owned(),
            why: error.to_string(),
        })
    }

    fn reverse(&self, port: u16, _: &mut dyn Progress) -> Result<Reverse, HostError> {
        Ok(Reverse::own(port))
    }
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}
