//! Named steps, each under a heading, and the summary at their end.

use crate::interrupt::Interrupt;
use crate::run::{ProgramEnd, run};
use std::process::Command;
use std::time::{Duration, Instant};

/// The steps that were taken.
pub(crate) struct Steps<'a> {
    interrupt: &'a Interrupt,
    taken: Vec<StepTaken>,
}

struct StepTaken {
    name: &'static str,
    /// Why it failed, if it did.
    failure: Option<String>,
    took: Duration,
}

impl<'a> Steps<'a> {
    /// None yet.
    pub(crate) fn new(interrupt: &'a Interrupt) -> Self {
        Self { interrupt, taken: Vec::new() }
    }

    /// Does some work as a step; an error ends the steps.
    pub(crate) fn work<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        heading(name);
        let began = Instant::now();
        let done = work()?;
        self.taken.push(StepTaken { name, failure: None, took: began.elapsed() });
        Ok(done)
    }

    /// Runs a program as a step, for this long at most. One that fails is noted, and the next steps
    /// are taken all the same: they may have more to tell. After an interrupt no step is taken.
    pub(crate) fn command(
        &mut self,
        name: &'static str,
        limit: Duration,
        command: &mut Command,
    ) -> anyhow::Result<()> {
        if self.interrupt.is_set() {
            return Ok(());
        }
        heading(name);
        eprintln!("$ {}", shown(command));
        let began = Instant::now();
        let ended = run(command, limit, self.interrupt)?;
        let failure = (!ended.is_success()).then(|| ended.to_string());
        if let Some(failure) = &failure
            && ended != ProgramEnd::Interrupted
        {
            eprintln!("step '{name}' failed: {failure}");
        }
        self.taken.push(StepTaken { name, failure, took: began.elapsed() });
        Ok(())
    }

    /// Prints the summary. Whether every step passed.
    pub(crate) fn summary(&self) -> bool {
        heading("summary");
        for StepTaken { name, failure, took } in &self.taken {
            let word = if failure.is_some() { "FAILED" } else { "ok" };
            let why = failure.as_deref().map(|why| format!("  {why}")).unwrap_or_default();
            println!("{word:<7} {name:<24} {:>6.1} s{why}", took.as_secs_f64());
        }
        self.passed()
    }

    fn passed(&self) -> bool {
        self.taken.iter().all(|step| step.failure.is_none())
    }
}

fn heading(name: &str) {
    eprintln!("\n==== {name} ====");
}

/// A command as one could type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(key, value)| Some((key, value?)))
        .map(|(key, value)| format!("{}={}", key.display(), value.display()))
        .collect();
    let program = std::path::Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(program.as_os_str()).display().to_string());
    words.extend(command.get_args().map(|argument| argument.display().to_string()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn one_failed_step_fails_the_whole_and_hides_no_other() {
        let interrupt = Interrupt::default();
        let mut steps = Steps::new(&interrupt);
        steps.command("good", LONG, &mut Command::new("true")).unwrap();
        assert!(steps.summary());
        steps.command("bad", LONG, &mut Command::new("false")).unwrap();
        steps.command("good again", LONG, &mut Command::new("true")).unwrap();
        assert!(!steps.summary());
        let failed: Vec<_> = steps.taken.iter().map(|step| step.failure.is_some()).collect();
        assert_eq!(failed, [false, true, false]);
    }

    #[test]
    fn after_an_interrupt_no_step_is_taken() {
        let interrupt = Interrupt::default();
        let mut steps = Steps::new(&interrupt);
        interrupt.set();
        steps.command("late", LONG, &mut Command::new("true")).unwrap();
        assert!(steps.taken.is_empty());
    }
}
