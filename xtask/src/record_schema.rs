//! `cargo xtask record-schema`: writes docs/record.schema.json from the record's types.

use crate::interrupt::Interrupt;
use crate::run::run;
use crate::workspace::cargo;
use std::time::Duration;

/// How long a build of the record's crate may take.
const LIMIT: Duration = Duration::from_secs(1200);

/// Writes it. Whether that could be done.
///
/// Errors: cargo can't be run.
pub(crate) fn write(interrupt: &Interrupt) -> anyhow::Result<bool> {
    let mut command = cargo(&["test", "--package", "memtwin-report", "--lib", "schema_file"]);
    command.env("MEMTWIN_UPDATE_SCHEMA", "1");
    Ok(run(&mut command, LIMIT, interrupt)?.is_success())
}
