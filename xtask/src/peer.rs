//! `cargo xtask peer`: the kernel's own dirty_log_test and `memtwin check`, one after the other on the
//! same emulated board, and what each says when a dirty bit is dropped on purpose (docs/compare.md).

use crate::interrupt::Interrupt;
use crate::shown::Shown;
use anyhow::{Context, bail};
use clap::Args;
use memtwin_lab::board::{BoardSpec, ConsoleBoard};
use memtwin_lab::cross::{self, MEMTWIN};
use memtwin_lab::image::{ImageSpec, SUITE};
use memtwin_lab::peer::{self, PeerTest};
use memtwin_lab::remote_runner::check_on_console;
use memtwin_lab::{Arch, Cache, Flavour, Progress};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// What to compare.
#[derive(Args)]
pub(crate) struct Compare {
    /// How many iterations of dirty_log_test
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(7..))]
    iterations: u32,
    /// Its guest mode, by its number in `dirty_log_test -h`; `all` is each that the CPU has, which
    /// takes many minutes [default: 48 bits of addresses and pages of 4K]
    #[arg(long, default_value = "3", value_name = "N|all")]
    guest_mode: String,
    /// How many rounds each case of ours runs
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// How often dirty_log_test is run with a bit dropped
    #[arg(long, default_value_t = 1)]
    drops: u32,
}

/// Our mode, and what the peer calls it.
const MODES: [(&str, &str); 3] =
    [("get", "dirty-log"), ("clear", "clear-log"), ("ring", "dirty-ring")];

/// A run of either.
struct ReproRun {
    took: Duration,
    passed: bool,
    said: String,
}

impl Compare {
    /// Runs both. Whether each did what it should: pass, and find what is dropped (of the peer this is
    /// told but not asked for: it can miss a bit).
    ///
    /// Errors: something can't be built, or the board dies; its console is kept then.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        let progress = &mut Shown(interrupt);
        let peer = peer::build(progress)?;
        let mut programs =
            cross::build(&cross::source(None)?, Arch::Aarch64, &[MEMTWIN], progress)?;
        programs.extend([peer.test.clone(), peer.dropping.clone()]);
        let cache = Cache::open(&Cache::place()?, progress)?;
        let (suite, kernel) = (SUITE, Flavour::Standard);
        let image = ImageSpec {
            arch: Arch::Aarch64,
            suite,
            kernel,
            modules: &[],
            programs: &programs,
            files: &[],
        };
        let image = image.build(&cache, progress)?;
        drop(cache);
        let folder = tempfile::Builder::new().prefix("memtwin-peer-").tempdir()?;
        let console = folder.path().join("console");
        // The peer's guest alone has a gigabyte that it dirties.
        let spec = BoardSpec { memory: 3072, ..BoardSpec::default() };
        let mut board = ConsoleBoard::boot(&spec, &image, &console, progress)?;
        let compared = self.compare(&mut board, &peer, progress);
        if compared.is_err() {
            let kept = folder.keep();
            eprintln!("the board's console is kept in {}", kept.display());
            return compared;
        }
        board.off(progress)?;
        compared
    }

    fn compare(
        &self,
        board: &mut ConsoleBoard,
        peer: &PeerTest,
        progress: &mut dyn Progress,
    ) -> anyhow::Result<bool> {
        println!("board: {}; dirty_log_test of linux-source {}", board.about, peer.version);
        println!("{:<6}  {:<15} {:>8}  RESULT", "LOG", "PROGRAM", "SECONDS");
        let mut good = true;
        for (ours, theirs) in MODES {
            let run = self.ours(board, ours, progress)?;
            show(ours, "memtwin check", &run);
            good &= run.passed;
            let run = self.theirs(board, &peer.test, theirs, progress)?;
            show(ours, "dirty_log_test", &run);
            good &= run.passed;
            for _ in 0..self.drops {
                let run = self.theirs(board, &peer.dropping, theirs, progress)?;
                show(ours, "  a bit dropped", &run);
            }
        }
        Ok(good)
    }

    fn ours(
        &self,
        board: &mut ConsoleBoard,
        mode: &str,
        progress: &mut dyn Progress,
    ) -> anyhow::Result<ReproRun> {
        let rounds = self.rounds.to_string();
        let arguments = ["--mode", mode, "--rounds", &rounds].map(str::to_owned);
        let began = Instant::now();
        let outcome = check_on_console(board, &arguments, LIMIT, progress)?;
        let took = began.elapsed();
        let cases = outcome.record["cases"].as_array().context("a record without cases")?;
        let of = |verdict: &str, control: bool| {
            let fits =
                |case: &&Value| case["verdict"] == verdict && case["control"].is_null() != control;
            cases.iter().filter(fits).collect::<Vec<_>>()
        };
        let found = of("differs", true).iter().filter(|case| case["passed"] == true).count();
        let controls = cases.iter().filter(|case| !case["control"].is_null()).count();
        let said = format!(
            "{} cases identical, {found} of {controls} controls found",
            of("identical", false).len()
        );
        Ok(ReproRun { took, passed: outcome.rc == 0, said })
    }

    fn theirs(
        &self,
        board: &mut ConsoleBoard,
        program: &Path,
        mode: &str,
        progress: &mut dyn Progress,
    ) -> anyhow::Result<ReproRun> {
        let Some(name) = program.file_name().and_then(|name| name.to_str()) else {
            bail!("{}: no name", program.display())
        };
        let guest = match self.guest_mode.as_str() {
            "all" => String::new(),
            number => format!("-m {} ", number.parse::<u8>().context("--guest-mode")?),
        };
        let order = format!("run /bin/{name} -M {mode} {guest}-i {} 2>&1", self.iterations);
        let began = Instant::now();
        let reply = board.machine.order(&order, LIMIT, progress)?;
        let took = began.elapsed();
        let telling =
            ["dropped the bit", "Total bits checked", "should have its dirty", "incorrect"];
        let lines = reply.output.iter().map(|line| line.trim());
        let lines: Vec<&str> =
            lines.filter(|line| telling.iter().any(|word| line.contains(word))).collect();
        let said = format!("returned {}: {}", reply.rc, lines.join("; "));
        Ok(ReproRun { took, passed: reply.rc == 0, said })
    }
}

fn show(mode: &str, program: &str, run: &ReproRun) {
    println!("{mode:<6}  {program:<15} {:>8.1}  {}", run.took.as_secs_f64(), run.said);
}
