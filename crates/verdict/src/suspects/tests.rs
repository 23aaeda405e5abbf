use super::*;
use memtwin_pages::{Gpa, PageSize, Region};
use proptest::prelude::*;

const PAGES: u64 = 8;
const RAM: RegionId = RegionId(0);

fn layout() -> Layout {
    let size = PageSize::new(512).unwrap();
    Layout::new(vec![Region::new("ram", Gpa(0), 512 * PAGES, size).unwrap()])
}

fn named(pages: &[u64]) -> Vec<PageSet> {
    let mut set = PageSet::new(PAGES);
    pages.iter().for_each(|&page| {
        set.insert(page);
    });
    vec![set]
}

fn one(page: u64) -> Run {
    Run { first: page, count: 1 }
}

#[test]
fn a_page_that_is_not_named_by_the_second_collection_is_unexplained() {
    let mut tracker = SuspectTracker::new(&layout());
    tracker.differs(RAM, 3);
    tracker.close(7);
    tracker.delivered(8);
    assert!(
        tracker.is_waiting() && tracker.unexplained(RAM).is_empty(),
        "one collection is not enough"
    );
    tracker.delivered(9);
    assert!(!tracker.is_waiting());
    assert_eq!(tracker.unexplained(RAM).iter().collect::<Vec<_>>(), [3]);
    assert_eq!(tracker.counts(RAM), SuspectCounts { suspects: 1, dismissed: 0 });
}

#[test]
fn what_is_named_or_equal_again_is_dismissed_also_when_it_is_late() {
    let mut tracker = SuspectTracker::new(&layout());
    for page in [1, 2, 3] {
        tracker.differs(RAM, page);
    }
    tracker.close(1);
    tracker.named(&named(&[1, 6]));
    tracker.delivered(3);
    assert_eq!(tracker.unexplained(RAM).count(), 2);
    tracker.named(&named(&[2]));
    tracker.equal(RAM, one(3));
    assert!(tracker.unexplained(RAM).is_empty());
    assert_eq!(tracker.counts(RAM), SuspectCounts { suspects: 3, dismissed: 3 });
}

#[test]
fn a_page_counts_from_when_it_differed_first() {
    let mut tracker = SuspectTracker::new(&layout());
    tracker.differs(RAM, 5);
    tracker.close(1);
    tracker.differs(RAM, 5);
    tracker.close(2);
    tracker.delivered(3);
    assert_eq!(tracker.unexplained(RAM).count(), 1);
    assert_eq!(tracker.counts(RAM).suspects, 1);
}

/// What happens to a guest, its log, its twin or its judge.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The guest stores, and the log is told.
    Store(u64),
    /// It stores, and the log is told before the second collection from then.
    StoreLate(u64),
    /// It stores what the twin has, and the log is told.
    StoreOld(u64),
    /// The judge reads a page.
    Read(u64),
    /// The log is collected; its pages are on the way.
    Collect,
    /// What is on the way comes to the twin.
    Deliver,
}

fn step() -> impl Strategy<Value = Step> {
    let page = 0..PAGES;
    prop_oneof![
        page.clone().prop_map(Step::Store),
        page.clone().prop_map(Step::StoreLate),
        page.clone().prop_map(Step::StoreOld),
        page.prop_map(Step::Read),
        Just(Step::Collect),
        Just(Step::Deliver),
    ]
}

/// A guest, its log, its twin and its judge, in one place.
struct Model {
    memory: [u64; PAGES as usize],
    twin: [u64; PAGES as usize],
    log: PageSet,
    /// Pages whose store the log is told of later: after how many more collections.
    late: Vec<(u64, u64)>,
    on_the_way: PageSet,
    begun: u64,
    tracker: SuspectTracker,
    stores: u64,
    /// The page whose stores the log never names.
    lied_about: Option<u64>,
}

impl Model {
    fn new(lied_about: Option<u64>) -> Self {
        Self {
            memory: [0; PAGES as usize],
            twin: [0; PAGES as usize],
            log: PageSet::new(PAGES),
            late: Vec::new(),
            on_the_way: PageSet::new(PAGES),
            begun: 0,
            tracker: SuspectTracker::new(&layout()),
            stores: 0,
            lied_about,
        }
    }

    fn mark(&mut self, page: u64) {
        if self.lied_about != Some(page) {
            self.log.insert(page);
        }
    }

    fn store(&mut self, page: u64) {
        self.stores += 1;
        self.memory[page as usize] = self.stores;
    }

    fn read(&mut self, page: u64) {
        match self.memory[page as usize] == self.twin[page as usize] {
            true => self.tracker.equal(RAM, one(page)),
            false => self.tracker.differs(RAM, page),
        }
    }

    /// Marks that are due come before the log is taken.
    fn collect(&mut self) {
        self.deliver();
        self.tracker.close(self.begun);
        self.begun += 1;
        let due: Vec<u64> =
            self.late.extract_if(.., |(_, left)| *left == 0).map(|(page, _)| page).collect();
        due.into_iter().for_each(|page| self.mark(page));
        self.late.iter_mut().for_each(|(_, left)| *left -= 1);
        let log = std::mem::replace(&mut self.log, PageSet::new(PAGES));
        self.on_the_way.union_with(&log);
    }

    /// A page is copied when it is sent, as it is then.
    fn deliver(&mut self) {
        let come = std::mem::replace(&mut self.on_the_way, PageSet::new(PAGES));
        for page in &come {
            self.twin[page as usize] = self.memory[page as usize];
        }
        self.tracker.named(&[come]);
        self.tracker.delivered(self.begun);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Store(page) => {
                self.store(page);
                self.mark(page);
            }
            Step::StoreLate(page) => {
                self.store(page);
                self.late.push((page, 1));
            }
            Step::StoreOld(page) => {
                self.memory[page as usize] = self.twin[page as usize];
                self.mark(page);
            }
            Step::Read(page) => self.read(page),
            Step::Collect => self.collect(),
            Step::Deliver => self.deliver(),
        }
    }

    /// Reads every page, and collects until nothing is waited for.
    fn sweep(&mut self) {
        (0..PAGES).for_each(|page| self.read(page));
        for _ in 0..=COLLECTIONS {
            self.collect();
        }
        self.deliver();
    }
}

proptest! {
    #[test]
    fn an_honest_log_is_never_accused(steps in prop::collection::vec(step(), 0..200)) {
        let mut model = Model::new(None);
        for step in steps {
            model.take(step);
            prop_assert!(model.tracker.unexplained(RAM).is_empty(), "after {step:?}");
        }
        model.sweep();
        prop_assert!(model.tracker.unexplained(RAM).is_empty() && !model.tracker.is_waiting());
    }

    #[test]
    fn a_page_that_the_log_never_names_is_always_found(
        steps in prop::collection::vec(step(), 0..200),
        lied_about in 0..PAGES,
    ) {
        let mut model = Model::new(Some(lied_about));
        steps.into_iter().for_each(|step| model.take(step));
        // It differs for good: nothing stores there any more.
        let late = std::mem::take(&mut model.late);
        late.into_iter().for_each(|(page, _)| model.mark(page));
        model.store(lied_about);
        model.sweep();
        let found: Vec<u64> = model.tracker.unexplained(RAM).iter().collect();
        prop_assert_eq!(found, [lied_about]);
    }
}
