//! Every prefix of a recording, and what may be there after each.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_powerloss::{CrashDisk, Op, Recording, State, make_files, record};
use memtwin_twin::ImageValidity;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Names the directory to work in; set only in the program that is recorded.
pub(crate) const DIRECTORY: &str = "MEMTWIN_POWERLOSS_DIRECTORY";

/// The directory to work in, if this is the program that is recorded.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// How long to look.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    losses: u64,
    first: bool,
}

/// This many power losses at each moment: more in a soak.
pub(crate) fn losses(few: u64) -> Limits {
    let asked = std::env::var("MEMTWIN_POWERLOSS_LOSSES");
    Limits { losses: asked.map_or(few, |text| text.parse().unwrap()), first: false }
}

impl Limits {
    /// Only until something is found.
    pub(crate) fn first(self) -> Self {
        Self { first: true, ..self }
    }
}

/// A directory that is a disk's: what lies in memory is written through a mapping, which no recorder
/// sees.
pub(crate) fn on_disk() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Records a test of this program, run once more by its name.
pub(crate) fn recorded(test: &str, directory: &Path, variables: &[(&str, &str)]) -> Recording {
    let me = std::env::current_exe().unwrap();
    let arguments = ["--exact", test, "--nocapture", "--test-threads=1"];
    let mut all = variables.to_vec();
    all.push((DIRECTORY, directory.to_str().unwrap()));
    record(&me, &arguments, &all, directory).unwrap()
}

/// What was found wrong, each kind once, and in how many states it was looked for.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) states: u64,
    pub(crate) wrong: BTreeSet<String>,
    /// How many states were wrong.
    pub(crate) count: u64,
}

/// Looks at what may be there after every prefix: `check` is given the directory, and how many
/// operations were done.
pub(crate) fn crash_everywhere(
    recording: &Recording,
    limits: Limits,
    mut check: impl FnMut(&Path, &State, usize) -> Result<(), String>,
) -> Findings {
    let mut findings = Findings::default();
    let mut disk = CrashDisk::new(recording);
    // The same ones each time, unless it is a soak.
    let seed = std::env::var("MEMTWIN_POWERLOSS_SEED").map_or(11, |text| text.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    for done in 0..=recording.ops.len() {
        let mut seen = BTreeSet::new();
        for _ in 0..limits.losses {
            let state = disk.crash(&mut rng);
            if !seen.insert(state.clone()) {
                continue;
            }
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            make_files(&state, dir.path()).unwrap();
            findings.states += 1;
            if let Err(wrong) = check(dir.path(), &state, done) {
                findings.count += 1;
                findings.wrong.insert(wrong);
                if limits.first {
                    return findings;
                }
            }
        }
        if let Some(op) = recording.ops.get(done) {
            disk.apply(op);
        }
    }
    findings
}

/// What `memtwin verify` would make of the image of this name. `None`: there is none, or it is
/// refused (an empty one is, too).
pub(crate) fn taken_for_whole(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let bytes = fs::read(path).unwrap();
    match ImageValidity::of(&file, path).unwrap() {
        ImageValidity::Whole if !bytes.is_empty() => Some(bytes),
        _ => None,
    }
}

/// Where the program said this, on its standard output.
pub(crate) fn said(recording: &Recording, word: &str) -> usize {
    let says = |op: &Op| matches!(op, Op::Sent { fd: 1, bytes } if String::from_utf8_lossy(bytes).contains(word));
    recording.ops.iter().position(says).unwrap_or_else(|| panic!("it did not say {word}"))
}
