//! What is seen on a terminal, in a log file, and with `--quiet`.

use super::*;
use crate::record::CaseBuilder;
use indicatif::InMemoryTerm;
use memtwin_pages::Layout;
use memtwin_replicate::{Round, RoundKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A log file that the test can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}

fn round(n: u32, dirty_pages: u64) -> Round {
    Round {
        n,
        kind: if n == 0 { RoundKind::PreCopy } else { RoundKind::Delta },
        dirty_pages,
        sent_pages: dirty_pages,
        false_dirty_pages: 0,
        zero_pages: 0,
        bytes: 0,
        collect: Duration::ZERO,
        copy: Duration::ZERO,
        total: Duration::from_millis(2),
    }
}

fn identical(name: &str, rounds: &[Round]) -> Case {
    CaseBuilder::new(name, "kvm", &Layout::default())
        .rounds(rounds)
        .judged(Vec::new(), BTreeMap::new())
}

fn on_terminal(cases: usize) -> (Progress, InMemoryTerm) {
    let term = InMemoryTerm::new(10, 100);
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 255);
    (Progress::live(target, cases), term)
}

#[test]
fn a_terminal_has_one_live_line() {
    let (mut progress, term) = on_terminal(2);
    progress.case("kvm/get/shm/vcpus=1/random");
    assert!(term.contents().ends_with("[1/2] kvm/get/shm/vcpus=1/random  pre-copy"));
    progress.event(&ReplicationEvent::Round(&round(1, 300)));
    let line = term.contents();
    assert!(line.ends_with("round 1  300 dirty █"), "{line:?}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn dropped_it_leaves_the_terminal_as_it_was() {
    let (mut progress, term) = on_terminal(2);
    progress.case("kvm/get/shm/vcpus=1/random");
    progress.note("KVM: the ring is not supported");
    progress.event(&ReplicationEvent::Paused);
    assert!(term.contents().contains("pre-copy"), "nothing is there that could be cleared");
    drop(progress);
    assert_eq!(term.contents(), "KVM: the ring is not supported");
}

#[test]
fn a_log_file_has_a_line_for_each_case() {
    let log = Log::default();
    let mut progress = Progress::plain(Box::new(log.clone()), 2);
    let rounds = [round(0, 0), round(1, 300)];
    for name in ["kvm/get\n", "kvm/clear"] {
        progress.case(name);
        rounds.iter().for_each(|round| progress.event(&ReplicationEvent::Round(round)));
        progress.finish_case(&identical(name, &rounds));
    }
    assert_eq!(
        log.lines(),
        [
            "[1/2] kvm/get: identical: 2 rounds, 300 dirty pages, 4.0 ms in rounds",
            "[2/2] kvm/clear: identical: 2 rounds, 300 dirty pages, 4.0 ms in rounds",
        ]
    );
}

#[test]
fn a_lone_case_says_at_most_a_line_a_second() {
    let log = Log::default();
    let mut progress = Progress::plain(Box::new(log.clone()), 1);
    progress.case("replicate/process");
    let began = Instant::now();
    for n in 0..250 {
        let now = || began + Duration::from_millis(10) * n;
        progress.hear(&ReplicationEvent::Copied { pages: 1, of: 100 }, || {
            unreachable!("nothing to show")
        });
        progress.hear(&ReplicationEvent::Round(&round(n, 100)), now);
    }
    assert_eq!(
        log.lines(),
        [
            "replicate/process: pre-copy",
            "replicate/process: round 100, 100 dirty pages, 10000 pages/s",
            "replicate/process: round 200, 100 dirty pages, 10000 pages/s",
        ]
    );
}

#[test]
fn quiet_is_quiet_and_does_not_even_ask_for_the_time() {
    let mut progress = Progress::new(ProgressMode::Quiet, 1);
    progress.case("kvm/get");
    progress.hear(&ReplicationEvent::Round(&round(0, 1)), || unreachable!("nothing to show"));
    assert!(matches!(progress.view, View::Quiet));
}
