//! A source from outside, which no crate of the workspace knows, is replicated and judged as any other.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

#[path = "../../replicate/tests/recorded/mod.rs"]
mod recorded;

use memtwin_mapping::host_page_size;
use memtwin_pages::PageSize;
use memtwin_replicate::CancelToken;
use memtwin_report::record::Verdict;
use memtwin_session::{Replicated, SourceReplicateConfig, TwinTarget, replicate_source};
use recorded::RecordedGuest;
use std::time::Duration;

/// What a replication to a file comes to, of a log that left these pages out; and whether the file stays.
fn replicated(unnamed: &[u64]) -> (Replicated, bool) {
    let dir = tempfile::tempdir().unwrap();
    let twin = dir.path().join("twin");
    let size = PageSize::new(host_page_size() as u64).unwrap();
    let named = [vec![3, 12], vec![3], vec![7]];
    let make = || Ok(RecordedGuest::new(size, 16, &named, unnamed));
    let config = SourceReplicateConfig {
        interval: Duration::from_millis(1),
        ..SourceReplicateConfig::new(TwinTarget::file(&twin))
    };
    let done = replicate_source(&config, make, &CancelToken::default(), &mut ()).unwrap();
    (done, twin.exists())
}

#[test]
fn its_twin_is_judged_and_kept() {
    let (Replicated { case, sums, .. }, is_kept) = replicated(&[]);
    assert_eq!((case.name(), case.verdict()), ("replicate/recorded", Verdict::Identical));
    assert!(is_kept);
    let [memory, twin] = &sums[..] else { panic!("{sums:?}") };
    assert!(memory.ends_with(" ram") && twin.ends_with("/twin"), "{sums:?}");
    assert_eq!(memory[..11], twin[..11]);
}

/// The control.
#[test]
fn what_its_log_left_out_is_found() {
    let (Replicated { case, .. }, is_kept) = replicated(&[1, 9]);
    assert_eq!(case.verdict(), Verdict::Differs);
    assert_eq!(case.lost().len(), 2);
    assert!(!is_kept);
}
