//! The injector between the real engine and a guest whose every write is known: what it says it has
//! withheld is exactly what the twin lacks.

use super::guest::{Guest, PAGE, PAGES, Page};
use crate::{Injector, MemoryTwin, offset_of};
use memtwin_pages::RegionId;
use memtwin_replicate::{CancelToken, Collector, PausedGuest, Replication, Source};
use proptest::prelude::*;
use std::os::unix::fs::FileExt;

type Run = Replication<Injector<Guest>, MemoryTwin, ()>;

/// A guest of which `pages` are withheld, pre-copy behind it.
fn started(pages: u64, seed: u64) -> Run {
    let source = Injector::new(Guest::new(), pages, seed);
    let mut run = Replication::start(source, MemoryTwin::new(), ()).unwrap();
    run.round(&CancelToken::default()).unwrap();
    run
}

/// A judge who reads the guest through the injector, as any judge of a source does.
fn lost(still: &mut PausedGuest<'_, Injector<Guest>, MemoryTwin, ()>) -> Vec<Page> {
    let twin = still.sink().reader().unwrap();
    let layout = still.layout().clone();
    let mut lost = Vec::new();
    for (id, region) in layout.iter() {
        for page in 0..region.pages() {
            let (mut here, mut there) = ([0; PAGE as usize], [0; PAGE as usize]);
            still.source().read(id, page * PAGE, &mut here).unwrap();
            twin.read_exact_at(&mut there, offset_of(&layout, id) + page * PAGE).unwrap();
            if here != there {
                lost.push((id, page));
            }
        }
    }
    lost
}

/// What a judge finds, and what the injector says before and after.
fn judged(run: &mut Run) -> Vec<Page> {
    let mut still = run.pause_and_settle(&CancelToken::default()).unwrap();
    let injected = still.source().injected().unwrap();
    assert_eq!(lost(&mut still), injected);
    assert_eq!(still.source().injected().unwrap(), injected, "a judge's reading changes nothing");
    injected
}

#[derive(Clone, Debug)]
enum Step {
    Write(Page, u8),
    Round,
    FailingCollection,
    FailingRead(u32),
    Judge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few values, so that pages often change back.
    let write = (0..2usize, 0..1000u64, 6..9u8).prop_map(|(region, page, value)| {
        Step::Write((RegionId(region), page % PAGES[region]), value)
    });
    let step = prop_oneof![
        12 => write, 3 => Just(Step::Round), 1 => Just(Step::FailingCollection),
        1 => (0..4u32).prop_map(Step::FailingRead), 1 => Just(Step::Judge)
    ];
    prop::collection::vec(step, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_it_kept_back_is_what_the_twin_lacks(
        steps in steps(), pages in 0..6u64, seed in any::<u64>(),
    ) {
        let mut run = started(pages, seed);
        let stop = CancelToken::default();
        for step in steps {
            match step {
                Step::Write(page, value) => run.source_mut().inner_mut().write(page, value),
                Step::Round => drop(run.round(&stop).unwrap()),
                Step::FailingCollection => {
                    run.source_mut().inner_mut().fails = true;
                    prop_assert!(run.round(&stop).is_err());
                }
                Step::FailingRead(reads) => {
                    run.source_mut().inner_mut().reads = Some(reads);
                    // Fails unless nothing that is read comes so late.
                    let _ = run.round(&stop);
                    run.source_mut().inner_mut().reads = None;
                }
                Step::Judge => prop_assert!(judged(&mut run).len() as u64 <= pages),
            }
        }
        prop_assert!(judged(&mut run).len() as u64 <= pages);
    }
}

#[test]
fn as_many_as_asked_for_and_none_that_did_not_change() {
    let stop = CancelToken::default();
    let mut run = started(3, 1);
    let dirty = |run: &mut Run, pages: std::ops::Range<u64>, value| {
        let guest = run.source_mut().inner_mut();
        pages.for_each(|page| guest.write((RegionId(0), page), value));
    };
    // Logged, and yet as they were: no page to pick.
    dirty(&mut run, 0..40, 7);
    assert_eq!(run.round(&stop).unwrap().dirty_pages, 40);
    // Two to pick, then more than enough.
    dirty(&mut run, 4..6, 1);
    assert_eq!(run.round(&stop).unwrap().dirty_pages, 0);
    dirty(&mut run, 0..40, 2);
    assert_eq!(run.round(&stop).unwrap().dirty_pages, 37);
    let injected = judged(&mut run);
    assert_eq!(injected.len(), 3);
    assert!(injected.contains(&(RegionId(0), 4)) && injected.contains(&(RegionId(0), 5)));
    // The same ones to the end, and no others.
    dirty(&mut run, 0..40, 3);
    assert_eq!(run.round(&stop).unwrap().dirty_pages, 37);
    assert_eq!(judged(&mut run), injected);
}

#[test]
fn a_page_that_changed_back_is_not_counted() {
    let mut run = started(2, 1);
    let (one, two) = ((RegionId(0), 3), (RegionId(1), 6));
    for page in [one, two] {
        run.source_mut().inner_mut().write(page, 1);
    }
    run.round(&CancelToken::default()).unwrap();
    assert_eq!(judged(&mut run), [one, two]);
    run.source_mut().inner_mut().write(one, 7);
    assert_eq!(judged(&mut run), [two]);
}

/// The engine will read it whatever is named, so keeping its name back would keep nothing back.
#[test]
fn a_page_that_is_owed_is_no_victim() {
    let mut run = started(1, 1);
    let page = (RegionId(0), 3);
    let guest = run.source_mut().inner_mut();
    guest.write(page, 7);
    guest.fails = true;
    run.round(&CancelToken::default()).unwrap_err();
    run.source_mut().inner_mut().write(page, 1);
    assert_eq!(judged(&mut run), []);
    run.source_mut().inner_mut().write(page, 2);
    assert_eq!(judged(&mut run), [page]);
}

#[test]
fn the_seed_decides() {
    let picked = |seed| {
        let mut run = started(2, seed);
        (0..40).for_each(|page| run.source_mut().inner_mut().write((RegionId(0), page), 1));
        judged(&mut run)
    };
    assert_eq!(picked(1), picked(1));
    assert!((2..20).any(|seed| picked(seed) != picked(1)));
}

#[test]
fn bytes_that_are_no_whole_page_are_not_remembered() {
    let mut source = Injector::new(Guest::new(), 1, 1);
    // Pages 1 and 2 whole; 0 and 3 in part.
    source.read(RegionId(0), PAGE - 8, &mut [0; 2 * PAGE as usize + 16]).unwrap();
    struct Nothing;
    impl Collector for Nothing {
        fn pages(&mut self, _: RegionId, _: &[u64]) {}
        fn page(&mut self, _: RegionId, _: u64) {}
    }
    for page in [0, 3] {
        source.inner_mut().write((RegionId(0), page), 1);
    }
    source.collect(&mut Nothing).unwrap();
    assert_eq!(source.injected().unwrap(), []);
    source.inner_mut().write((RegionId(0), 2), 1);
    source.collect(&mut Nothing).unwrap();
    assert_eq!(source.injected().unwrap(), [(RegionId(0), 2)]);
}
