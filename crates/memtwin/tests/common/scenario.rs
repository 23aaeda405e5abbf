//! A test that has a scenario of `memtwin-bare` run.

use memtwin_repro::ReproCaller;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A test: it shows no command, and never gives up.
pub(crate) struct TestCaller;

impl ReproCaller for TestCaller {
    fn announce(&mut self, _: &Command) {}

    fn complete(&mut self, command: &mut Command, _: Duration) -> Result<String, String> {
        // Its limit is the same for every command of a test.
        let output = super::run(command.stdin(Stdio::null()));
        Ok(super::text(&output.stderr))
    }

    fn go_on(&self) -> bool {
        true
    }
}
