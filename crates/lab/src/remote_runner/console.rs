//! `memtwin check` on a board that takes orders over its console alone.

use super::{RemoteError, RunOutput, check_line, output_of_pieces};
use crate::board::ConsoleBoard;
use crate::cross::{self, MEMTWIN};
use crate::image::{Image, ImageSpec, SUITE};
use crate::pieces::{self, Pieces};
use crate::{Arch, Cache, Flavour, Progress};
use std::path::Path;
use std::time::Duration;

/// A kernel and an initramfs with Memtwin's own command, for such a board: with the program that is given, or
/// one that is built for it.
///
/// Errors: it can't be built.
pub fn check_image(
    flavour: Flavour,
    program: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Image, RemoteError> {
    let programs = match program {
        Some(program) => vec![program.to_owned()],
        None => cross::build(&cross::source(None)?, Arch::Aarch64, &[MEMTWIN], progress)?,
    };
    let cache = Cache::open(&Cache::place()?, progress)?;
    let spec = ImageSpec {
        arch: Arch::Aarch64,
        suite: SUITE,
        kernel: flavour,
        modules: &[],
        programs: &programs,
        files: &[],
    };
    Ok(spec.build(&cache, progress)?)
}

/// Runs `memtwin check` with these arguments on a board with such an image.
///
/// Errors: the board dies, or the check does not end within `limit`; [`RemoteError::Broken`] if some of its
/// cases have ended before.
pub fn check_on_console(
    board: &mut ConsoleBoard,
    arguments: &[String],
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<RunOutput, RemoteError> {
    let words = arguments.iter().map(|word| word_of(word)).collect::<Result<Vec<_>, _>>()?;
    let order = format!("run {}; exit $rc", check_line(MEMTWIN, "/run", &words.join(" ")));
    let mut pieces = Pieces::default();
    let mut heard = |line: &str| pieces.take(line);
    let reply = board.machine.order_heard(&order, limit, progress, &mut heard);
    output_of_pieces(reply.map_err(|error| error.without(pieces::is_one).into()), pieces)
}

/// A word as the board's shell takes it back.
fn word_of(word: &str) -> Result<String, RemoteError> {
    if word.contains(['\n', '\r', '\'', '"']) {
        return Err(RemoteError::Argument { argument: word.to_owned() });
    }
    Ok(format!("'{word}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_stays_one_word() {
        assert_eq!(word_of("--seconds=1 s; $(reboot)").unwrap(), "'--seconds=1 s; $(reboot)'");
        let error = word_of("it's").unwrap_err().to_string();
        assert!(error.starts_with("'it's': an argument for a board has no "), "{error}");
    }
}
