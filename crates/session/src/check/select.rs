//! Which cases to run: few that touch everything, what was asked for, or all there are.

use memtwin_kvm::{LogStorage, Mode};
use memtwin_stressor::Stressor;
use memtwin_vmm::{Backing, Translation};
use std::fmt;

/// Whose dirty log, asked how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CheckedLog {
    /// KVM's, in this mode.
    Kvm(Mode),
    /// The kernel's log of a plain process.
    Process,
}

impl CheckedLog {
    /// Where it is kept until it is collected.
    pub(crate) fn storage(self) -> LogStorage {
        match self {
            Self::Kvm(mode) => mode.storage(),
            // A bit in each page table entry.
            Self::Process => LogStorage::Bitmap,
        }
    }
}

impl CheckedLog {
    /// The source that has it, as in a record.
    pub(crate) fn source_name(self) -> &'static str {
        match self {
            Self::Kvm(_) => "kvm",
            Self::Process => "process",
        }
    }
}

impl fmt::Display for CheckedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kvm(mode) => write!(f, "kvm/{mode}"),
            Self::Process => f.write_str("process/uffd"),
        }
    }
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaseSpec {
    /// Whose dirty log.
    pub(crate) log: CheckedLog,
    /// What the window's memory is.
    pub(crate) backing: Backing,
    /// How many write.
    pub(crate) vcpus: u16,
    /// What they do.
    pub(crate) stressor: Stressor,
    /// How the guest's own page tables are made, if told.
    pub(crate) translation: Option<Translation>,
    /// Whether pages are withheld, which must be found.
    pub(crate) control: bool,
}

impl CaseSpec {
    /// Random pages, no control, and the guest's usual page tables.
    fn plain(log: CheckedLog, backing: Backing, vcpus: u16) -> Self {
        let stressor = Stressor::Random;
        Self { log, backing, vcpus, stressor, translation: None, control: false }
    }
}

impl fmt::Display for CaseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, backing, vcpus, stressor, translation, control } = self;
        write!(f, "{log}/{backing}/vcpus={vcpus}/{stressor}")?;
        if let Some(translation) = translation {
            write!(f, "/{translation}")?;
        }
        if *control { f.write_str("/control") } else { Ok(()) }
    }
}

/// What the user asked for; an empty list is "whatever is telling".
#[derive(Clone, Debug, Default)]
pub(crate) struct CaseSelection {
    /// The backings.
    pub(crate) backings: Vec<Backing>,
    /// The numbers of vCPUs.
    pub(crate) vcpus: Vec<u16>,
    /// The stressors.
    pub(crate) stressors: Vec<Stressor>,
    /// The translations; none leaves the choice to the guest.
    pub(crate) translations: Vec<Translation>,
    /// The full product.
    pub(crate) all: bool,
}

impl CaseSelection {
    /// The cases for a log, for each translation with its controls at the end.
    pub(crate) fn cases(&self, log: CheckedLog) -> Vec<CaseSpec> {
        let with = |translation| {
            let set = move |case| CaseSpec { translation, ..case };
            self.usual_cases(log).into_iter().map(set)
        };
        each_or_none(&self.translations).into_iter().flat_map(with).collect()
    }

    fn usual_cases(&self, log: CheckedLog) -> Vec<CaseSpec> {
        let mut cases = if self.all { self.product(log) } else { self.telling(log) };
        let controls: Vec<_> = if self.all {
            cases.clone()
        } else {
            // `once` shows a single lost write for certain; the first of the others shows that a
            // page which is written again and again is found just as well.
            let once = cases.iter().find(|case| case.stressor == Stressor::Once);
            let other = cases.iter().find(|case| case.stressor != Stressor::Once);
            once.into_iter().chain(other).copied().collect()
        };
        cases.extend(controls.into_iter().map(|case| CaseSpec { control: true, ..case }));
        cases
    }

    fn product(&self, log: CheckedLog) -> Vec<CaseSpec> {
        let mut cases = Vec::new();
        for &backing in or_all(&self.backings, backings(log)) {
            for &vcpus in or_all(&self.vcpus, &[1, 2]) {
                for &stressor in or_all(&self.stressors, &Stressor::ALL) {
                    cases.push(CaseSpec { stressor, ..CaseSpec::plain(log, backing, vcpus) });
                }
            }
        }
        cases
    }

    /// The product of what was asked for; what was not is gone through in turn, so that each of
    /// its values comes up.
    fn telling(&self, log: CheckedLog) -> Vec<CaseSpec> {
        // The pool of hugetlb is empty on most hosts, so no stressor hangs on it alone.
        let (common, scarce): (Vec<_>, Vec<_>) =
            backings(log).iter().copied().partition(|&backing| backing != Backing::Hugetlb);
        let mut asked = Vec::new();
        for backing in each_or_none(&self.backings) {
            for vcpus in each_or_none(&self.vcpus) {
                for stressor in each_or_none(&self.stressors) {
                    asked.push((backing, vcpus, stressor));
                }
            }
        }
        let turns = [
            if self.backings.is_empty() { common.len() } else { 1 },
            if self.vcpus.is_empty() { VCPUS.len() } else { 1 },
            if self.stressors.is_empty() { Stressor::ALL.len() } else { 1 },
        ];
        let turns = turns.into_iter().fold(asked.len(), usize::max);
        let mut cases: Vec<CaseSpec> = (0..turns)
            .map(|n| {
                let (backing, vcpus, stressor) = asked[n % asked.len()];
                let backing = backing.unwrap_or(common[n % common.len()]);
                // Not in step with the stressors, so that `--backing shm` sees both of each.
                let vcpus = vcpus.unwrap_or(VCPUS[(n + n / 4) % VCPUS.len()]);
                let stressor = stressor.unwrap_or(Stressor::ALL[n % Stressor::ALL.len()]);
                CaseSpec { stressor, ..CaseSpec::plain(log, backing, vcpus) }
            })
            .collect();
        if self.backings.is_empty() {
            let stressor = self.stressors.first().copied().unwrap_or(Stressor::Random);
            let vcpus = self.vcpus.last().copied().unwrap_or(2);
            let plain = |backing| CaseSpec { stressor, ..CaseSpec::plain(log, backing, vcpus) };
            cases.extend(scarce.into_iter().map(plain));
        }
        cases
    }
}

/// How many vCPUs write, unless told.
const VCPUS: [u16; 2] = [1, 2];

/// The backings that a log can see: a child process shares files only.
fn backings(log: CheckedLog) -> &'static [Backing] {
    match log {
        CheckedLog::Kvm(_) => &Backing::ALL,
        CheckedLog::Process => &[Backing::Shm],
    }
}

fn or_all<'a, T>(asked: &'a [T], all: &'a [T]) -> &'a [T] {
    if asked.is_empty() { all } else { asked }
}

fn each_or_none<T: Copy>(asked: &[T]) -> Vec<Option<T>> {
    if asked.is_empty() { vec![None] } else { asked.iter().copied().map(Some).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_vmm::Granule;
    use std::collections::BTreeSet;

    const GET: CheckedLog = CheckedLog::Kvm(Mode::Get);

    fn names(wanted: &CaseSelection) -> Vec<String> {
        wanted.cases(GET).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_touches_everything_and_has_controls() {
        let cases = CaseSelection::default().cases(GET);
        assert!(cases.len() <= 12, "{} cases", cases.len());
        let touched = |of: fn(&CaseSpec) -> String| cases.iter().map(of).collect::<BTreeSet<_>>();
        assert_eq!(touched(|case| case.backing.to_string()).len(), Backing::ALL.len());
        assert_eq!(touched(|case| case.stressor.to_string()).len(), Stressor::ALL.len());
        assert_eq!(touched(|case| case.vcpus.to_string()).len(), 2);
        assert_eq!(cases.iter().filter(|case| case.control).count(), 2);
        let sure = cases.iter().filter(|case| case.backing != Backing::Hugetlb);
        let sure: BTreeSet<_> = sure.map(|case| case.stressor).collect();
        assert_eq!(sure.len(), Stressor::ALL.len(), "a stressor hangs on hugetlb alone");
        let unique: BTreeSet<_> = cases.iter().map(ToString::to_string).collect();
        assert_eq!(unique.len(), cases.len());
    }

    #[test]
    fn what_is_asked_for_is_what_is_run() {
        let wanted = CaseSelection {
            backings: vec![Backing::Shm],
            vcpus: vec![1],
            stressors: vec![Stressor::Once],
            ..CaseSelection::default()
        };
        assert_eq!(
            names(&wanted),
            ["kvm/get/shm/vcpus=1/once", "kvm/get/shm/vcpus=1/once/control"]
        );
        let two = CaseSelection { stressors: vec![Stressor::Random, Stressor::Zero], ..wanted };
        assert_eq!(
            names(&two),
            [
                "kvm/get/shm/vcpus=1/random",
                "kvm/get/shm/vcpus=1/zero",
                "kvm/get/shm/vcpus=1/random/control",
            ]
        );
    }

    #[test]
    fn each_translation_has_its_own_cases_and_controls() {
        let translation = |granule, va_bits| Translation { granule, va_bits };
        let wanted = CaseSelection {
            backings: vec![Backing::Shm],
            vcpus: vec![1],
            stressors: vec![Stressor::Once],
            translations: vec![translation(Granule::K16, 47), translation(Granule::K64, 42)],
            all: false,
        };
        assert_eq!(
            names(&wanted),
            [
                "kvm/get/shm/vcpus=1/once/granule=16k/va=47",
                "kvm/get/shm/vcpus=1/once/granule=16k/va=47/control",
                "kvm/get/shm/vcpus=1/once/granule=64k/va=42",
                "kvm/get/shm/vcpus=1/once/granule=64k/va=42/control",
            ]
        );
    }

    #[test]
    fn all_is_the_product_with_a_control_each() {
        let cases = CaseSelection { all: true, ..CaseSelection::default() }.cases(GET);
        assert_eq!(cases.len(), 4 * 2 * 8 * 2);
        assert_eq!(cases.iter().filter(|case| case.control).count(), cases.len() / 2);
        let process =
            CaseSelection { all: true, ..CaseSelection::default() }.cases(CheckedLog::Process);
        assert!(process.iter().all(|case| case.backing == Backing::Shm));
    }
}
