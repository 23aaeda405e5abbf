//! What is checked where, known before anything is booted.

use super::{Check, Kernel};
use crate::cli;
use crate::lab::state;
use clap::Parser;
use memtwin_lab::host::Host;
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use memtwin_vmm::Granule;
use std::io::Write;

/// What is checked where.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) places: Vec<Place>,
    /// What an aarch64 machine is given, a check each.
    pub(super) parts: Vec<Part>,
    /// What any other is given.
    pub(super) elsewhere: Vec<Part>,
}

/// Where a check runs.
#[derive(Debug)]
pub(super) enum Place {
    /// On an emulated board with this kernel.
    Board(Kernel),
    /// On a machine that is there.
    Host(Box<dyn Host>),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// What it will have to say something about.
    pub(super) names: Vec<String>,
}

/// `memtwin check` as a board takes it.
#[derive(Debug, Parser)]
#[command(name = "check", no_binary_name = true, disable_help_flag = true)]
struct Words {
    #[command(flatten)]
    check: cli::Check,
}

/// How many rounds a case runs: a board is slow.
const ROUNDS: &str = "20";

impl Plan {
    /// What was asked for.
    ///
    /// Errors: a host that is none, or arguments that no check takes.
    pub(super) fn of(args: &Check) -> Result<Self, Failure> {
        let mut places = Vec::new();
        let names: Vec<&str> = args.hosts.iter().map(String::as_str).collect();
        for name in crate::values::distinct(&names) {
            if name == "emulated" {
                let mut kernels = crate::values::distinct(&args.kernel);
                if kernels.is_empty() {
                    let kernels_of_all = args.all.then_some(&Kernel::ALL[..]);
                    kernels.extend(kernels_of_all.unwrap_or(&Kernel::ALL[..1]));
                }
                places.extend(kernels.into_iter().map(Place::Board));
            } else {
                let host = state::host(name, args.state.as_deref());
                let host = host.map_err(|Failure { code, message }| match code {
                    ExitCode::Usage => Failure::usage(format!("--hosts: emulated, or {message}")),
                    code => Failure { code, message },
                })?;
                places.push(Place::Host(host));
            }
        }
        let (parts, elsewhere) = if args.arguments.is_empty() {
            let granule = |granule| Part::new(granule_arguments(granule, args.all));
            let parts = Granule::ALL.into_iter().map(granule).collect::<Result<_, _>>()?;
            let all = args.all.then_some("--all").into_iter();
            let words = ["--rounds", ROUNDS].into_iter().chain(all);
            (parts, vec![Part::new(words.map(str::to_owned).collect())?])
        } else {
            let parts = vec![Part::new(args.arguments.clone())?];
            (parts.clone(), parts)
        };
        Ok(Self { places, parts, elsewhere })
    }

    /// Whether there is a board to boot.
    pub(super) fn has_boards(&self) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Board(_)))
    }

    /// Lists the cases.
    pub(super) fn show(&self) -> Result<ExitCode, Failure> {
        let mut out = std::io::stdout().lock();
        for place in &self.places {
            for name in self.parts.iter().flat_map(|part| &part.names) {
                let name = super::merged::name(name, &place.label());
                writeln!(out, "{name}").map_err(Failure::environment)?;
            }
        }
        Ok(ExitCode::Verified)
    }
}

impl Place {
    /// What its cases' names say of it as long as nothing else is known.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Board(kernel) => kernel.to_string(),
            Self::Host(host) => named("?", host.name()),
        }
    }
}

/// The label of a machine with pages of a size.
pub(super) fn named(pages: &str, host: &str) -> String {
    // A slash parts the words of a name.
    let host = host.strip_prefix("ssh://").unwrap_or(host).replace('/', "_");
    format!("{pages},{host}")
}

fn granule_arguments(granule: Granule, all: bool) -> Vec<String> {
    let bits = match (all, granule) {
        (false, _) => "48",
        (true, Granule::K4) => "39,48,52",
        (true, Granule::K16) => "47,48,52",
        (true, Granule::K64) => "42,48,52",
    };
    let words = ["--mode", "get,clear,ring", "--rounds", ROUNDS, "--va-bits", bits, "--granule"];
    words.into_iter().chain([granule.name()]).map(str::to_owned).collect()
}

impl Part {
    fn new(arguments: Vec<String>) -> Result<Self, Failure> {
        let Words { check } = Words::try_parse_from(&arguments).map_err(|error| {
            let error = error.to_string();
            let line = error.lines().next().unwrap_or_default();
            Failure::usage(format!("after --: {}", line.trim_start_matches("error: ")))
        })?;
        let cli::Output { json, format, quiet } = &check.output;
        let ours = check.dry_run || check.pieces;
        if json.is_some() || *quiet || format != "human" || ours || check.memory.is_some() {
            return Err(Failure::usage(
                "after --: --json, --format, --quiet and --dry-run go before it, and --memory is of no use there",
            ));
        }
        Ok(Self { names: memtwin_session::check_case_names(&check.into_config()), arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        check: Check,
    }

    fn plan(line: &str) -> Result<Plan, Failure> {
        Plan::of(&Line::try_parse_from(line.split(' ')).unwrap().check)
    }

    fn boards(plan: &Plan) -> Vec<String> {
        plan.places.iter().map(Place::label).collect()
    }

    #[test]
    fn the_default_is_one_kernel_with_three_granules() {
        let plan = plan("check").unwrap();
        assert_eq!(boards(&plan), ["4k"]);
        let names: Vec<&String> = plan.parts.iter().flat_map(|part| &part.names).collect();
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
        let bits = |part: &Part| {
            let at = part.arguments.iter().position(|word| word == "--va-bits").unwrap();
            part.arguments[at + 1].clone()
        };
        let all: Vec<String> = plan.parts.iter().map(bits).collect();
        assert_eq!(all, ["39,48,52", "47,48,52", "42,48,52"]);
        assert_eq!(boards(&self::plan("check --kernel 64k,4k,64k").unwrap()), ["64k", "4k"]);
    }

    #[test]
    fn what_is_wrong_is_told_before_a_board_boots() {
        let error = |line| plan(line).unwrap_err();
        for (line, said) in [
            ("check --hosts nowhere", "--hosts: emulated, or 'nowhere'"),
            ("check -- --mode gte", "after --: invalid value 'gte'"),
            ("check -- --json x", "go before it"),
        ] {
            let Failure { code, message } = error(line);
            assert_eq!(code, ExitCode::Usage);
            assert!(message.contains(said), "{message}");
        }
        let hosts = plan("check --hosts local,ssh://pi@b,local").unwrap();
        assert_eq!(boards(&hosts), ["?,local", "?,pi@b"]);
    }
}
