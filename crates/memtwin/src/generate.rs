//! The manual pages and the shells' completions, made from the command line's own definition.

use crate::cli::{Cli, EXIT_CODES, MAN_ENVIRONMENT, MAN_NOTES};
use clap::CommandFactory;
use clap_complete::Shell;
use memtwin_manual::Manual;
use memtwin_report::Failure;
use memtwin_safe_path::Place;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// As any new file has them; the umask takes its part off.
const MODE: u32 = 0o666;

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "memtwin", &mut io::stdout().lock());
}

/// Prints the manual page of memtwin, or of one of its commands; or writes every page into a folder.
pub(crate) fn man(words: &[String], all: Option<&Path>) -> Result<(), Failure> {
    let manual = Manual::new(Cli::command(), EXIT_CODES, MAN_ENVIRONMENT, MAN_NOTES);
    let Some(folder) = all else {
        let page = manual.page(words).map_err(Failure::usage)?;
        return match io::stdout().lock().write_all(page.text().as_bytes()) {
            // A reader that has seen enough is no failure.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::environment(error))
            }
            _ => Ok(()),
        };
    };
    let wrong = |error| Failure::environment(format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(wrong)?;
    for page in manual.pages() {
        let place = Place::find(folder.join(page.file_name())).map_err(Failure::environment)?;
        let mut draft = place.draft(MODE).map_err(Failure::environment)?;
        draft.file().write_all(page.text().as_bytes()).map_err(wrong)?;
        draft.commit().map_err(Failure::environment)?;
    }
    Ok(())
}
