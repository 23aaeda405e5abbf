//! The manual pages and the shells' completions, made from the command line's own definition.

use crate::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use memtwin_report::Failure;
use std::io;

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "memtwin", &mut io::stdout().lock());
}

/// Prints the manual page of memtwin, or of one of its commands.
pub(crate) fn man(of: Option<&str>) -> Result<(), Failure> {
    let mut root = Cli::command();
    root.build();
    let page = match of {
        None => clap_mangen::Man::new(root),
        Some(name) => {
            let command = root
                .find_subcommand(name)
                .filter(|command| !command.is_hide_set())
                .ok_or_else(|| Failure::usage(format!("unknown command '{name}'")))?;
            clap_mangen::Man::new(command.clone()).title(format!("memtwin-{name}"))
        }
    };
    page.render(&mut io::stdout().lock()).map_err(Failure::environment)
}
