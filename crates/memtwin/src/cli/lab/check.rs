//! The words of `memtwin lab run check`.

use crate::cli::{Check, OutputArgs};
use crate::values::{Time, distinct};
use clap::{Args, Parser, ValueEnum};
use memtwin_experiments::{CheckExperimentConfig, CheckPart};
use memtwin_lab::Flavour;
use memtwin_lab::board::BoardSpec;
use memtwin_report::Failure;
use std::path::PathBuf;

/// `memtwin lab run check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabCheck {
    /// Where: on emulated boards that are booted for it, on one of `memtwin lab up`, on this machine, on
    /// others through ssh
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "emulated",
        value_name = "emulated[:NAME]|local|ssh://[USER@]HOST,…"
    )]
    hosts: Vec<String>,
    /// Every size of addresses for each granule, and every kernel that there is
    #[arg(long)]
    all: bool,
    /// The page sizes of the boards' kernels [default: 4k, with --all each; 64k is skipped unless
    /// `memtwin lab build --kernel 64k` has built it]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "4k|16k|64k,…")]
    kernel: Vec<PageKernel>,
    /// The boards' CPU, by QEMU's name: max, neoverse-n1, cortex-a76, …
    #[arg(long, default_value = "max", value_name = "CPU")]
    cpu: String,
    /// How many CPUs a board has
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    cpus: u16,
    /// A board's memory in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u32).range(512..))]
    memory: u32,
    /// Where `emulated:NAME` is up, if it was started with --state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// A directory with Memtwin for the machines that are checked, built before (`cargo xtask guest
    /// --memtwin`) [default: it is built from the source tree]
    #[arg(long, value_name = "DIR")]
    board_programs: Option<PathBuf>,
    /// How long the check of a granule may take
    #[arg(long, default_value = "10m", value_name = "TIME")]
    timeout: Time,
    /// List the cases and run none
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Arguments of `memtwin check` there [default: modes get, clear and ring, each granule]
    #[arg(last = true, conflicts_with = "all")]
    arguments: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}

/// A board's kernel, by the size of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum PageKernel {
    /// Debian's, with pages of 4 KiB
    #[value(name = "4k")]
    K4,
    /// Debian's, with pages of 16 KiB
    #[value(name = "16k")]
    K16,
    /// Built from Debian's source, with pages of 64 KiB
    #[value(name = "64k")]
    K64,
}

impl PageKernel {
    /// What the lab calls it.
    pub(crate) fn flavour(self) -> Flavour {
        match self {
            Self::K4 => Flavour::Standard,
            Self::K16 => Flavour::Pages16K,
            Self::K64 => Flavour::Pages64K,
        }
    }
}

/// What a person wants `memtwin check` to be given on each machine.
#[derive(Debug, Parser)]
#[command(name = "check", no_binary_name = true, disable_help_flag = true)]
struct CheckWords {
    #[command(flatten)]
    check: Check,
}

/// The check that these words ask for.
///
/// Errors: no check takes them, or not there.
fn part(arguments: Vec<String>) -> Result<CheckPart, Failure> {
    let CheckWords { check } = CheckWords::try_parse_from(&arguments).map_err(|error| {
        let error = error.to_string();
        let line = error.lines().next().unwrap_or_default();
        Failure::usage(format!("after --: {}", line.trim_start_matches("error: ")))
    })?;
    let OutputArgs { json, report, metrics, format, quiet } = &check.output;
    let ours = check.dry_run || check.pieces;
    let saved = json.is_some() || report.is_some() || metrics.is_some();
    if saved || *quiet || format != "human" || ours || check.memory.is_some() {
        return Err(Failure::usage(
            "after --: --json, --report, --metrics, --format, --quiet and --dry-run go before it, and --memory is of no use there",
        ));
    }
    Ok(CheckPart::new(arguments, &check.into_config()))
}

impl LabCheck {
    /// What is asked for.
    ///
    /// Errors: no check takes the words behind `--`.
    pub(crate) fn into_config(self) -> Result<CheckExperimentConfig, Failure> {
        let names: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let hosts = distinct(&names).into_iter().map(str::to_owned).collect();
        let part = match self.arguments.is_empty() {
            true => None,
            false => Some(part(self.arguments)?),
        };
        let (cpu, cpus, memory) = (self.cpu, self.cpus, self.memory);
        Ok(CheckExperimentConfig {
            hosts,
            all: self.all,
            kernels: distinct(&self.kernel).into_iter().map(PageKernel::flavour).collect(),
            board: BoardSpec { cpu, cpus, memory, append: String::new() },
            state: self.state,
            board_programs: self.board_programs,
            timeout: self.timeout.0,
            part,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_experiments::CheckExperiment as RoundPlan;
    use memtwin_report::ExitCode;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        check: LabCheck,
    }

    fn plan(line: &str) -> Result<RoundPlan, Failure> {
        RoundPlan::new(Line::try_parse_from(line.split(' ')).unwrap().check.into_config()?)
    }

    fn boards(plan: &RoundPlan) -> Vec<String> {
        plan.labels()
    }

    #[test]
    fn the_default_is_one_kernel_with_three_granules() {
        let plan = plan("check").unwrap();
        assert_eq!(boards(&plan), ["4k"]);
        let names: Vec<&String> = plan.parts().iter().flat_map(|part| &part.names).collect();
        for word in [
            "kvm/get/",
            "kvm/clear/",
            "kvm/ring/",
            "/anon/",
            "/shm/",
            "/thp/",
            "/hugetlb/",
            "vcpus=1",
            "vcpus=2",
            "/zero/",
            "/atomic/",
            "/walker/",
            "/granule=4k/va=48",
            "/granule=16k/va=48",
            "/granule=64k/va=48",
            "/control",
        ] {
            assert!(names.iter().any(|name| name.contains(word)), "{word}");
        }
        assert!(names.len() < 120, "{}", names.len());
    }

    #[test]
    fn all_is_every_kernel_and_every_size_that_exists() {
        let plan = plan("check --all").unwrap();
        assert_eq!(boards(&plan), ["4k", "16k", "64k"]);
        let bits = |part: &CheckPart| {
            let at = part.arguments.iter().position(|word| word == "--va-bits").unwrap();
            part.arguments[at + 1].clone()
        };
        let all: Vec<String> = plan.parts().iter().map(bits).collect();
        assert_eq!(all, ["39,48,52", "47,48,52", "42,48,52"]);
        assert_eq!(boards(&self::plan("check --kernel 64k,4k,64k").unwrap()), ["64k", "4k"]);
    }

    /// The words are parsed on the other machine, and the cases' names are made here.
    #[test]
    fn what_is_typed_there_comes_to_the_cases_that_are_expected_here() {
        for line in ["check", "check --all", "check -- --mode get --granule 16k"] {
            let plan = plan(line).unwrap();
            for expected in plan.parts().iter().chain(plan.other_parts()) {
                assert_eq!(part(expected.arguments.clone()).unwrap(), *expected, "{line}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_before_a_board_boots() {
        let error = |line| plan(line).unwrap_err();
        for (line, said) in [
            ("check --hosts nowhere", "--hosts: emulated, or 'nowhere'"),
            ("check -- --mode gte", "after --: invalid value 'gte'"),
            ("check -- --json x", "go before it"),
            ("check -- --report x", "go before it"),
        ] {
            let Failure { code, message } = error(line);
            assert_eq!(code, ExitCode::Usage);
            assert!(message.contains(said), "{message}");
        }
        let hosts = plan("check --hosts local,ssh://pi@b,local").unwrap();
        assert_eq!(boards(&hosts), ["?,local", "?,pi@b"]);
    }
}
