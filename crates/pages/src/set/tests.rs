use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A capacity, some pages below it, and a bitmap that may be too long and stray past the end.
fn cases() -> impl Strategy<Value = (u64, Vec<u64>, Vec<u64>)> {
    (1u64..300).prop_flat_map(|capacity| {
        (
            Just(capacity),
            prop::collection::vec(0..capacity, 0..200),
            prop::collection::vec(any::<u64>(), 0..7),
        )
    })
}

proptest! {
    #[test]
    fn behaves_like_a_set_of_numbers((capacity, pages, bitmap) in cases()) {
        let mut set = PageSet::new(capacity);
        let mut model = BTreeSet::new();
        for &page in &pages {
            prop_assert_eq!(set.insert(page), model.insert(page));
        }
        for &page in pages.iter().step_by(3) {
            prop_assert_eq!(set.remove(page), model.remove(&page));
        }
        let named = (0..capacity).filter(|page| {
            bitmap.get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 == 1)
        });
        let new = named.map(|page| u64::from(model.insert(page))).sum::<u64>();
        prop_assert_eq!(set.insert_words(&bitmap), new);

        let mut taken = PageSet::new(capacity);
        taken.insert_run(Run { first: capacity / 3, count: capacity / 3 });
        let within = capacity / 3..capacity / 3 * 2;
        prop_assert!(taken.iter().eq(within.clone()));
        let mut both = set.clone();
        both.intersect_with(&taken);
        prop_assert!(both.iter().eq(model.iter().copied().filter(|page| within.contains(page))));
        set.subtract(&taken);
        model.retain(|page| !within.contains(page));

        prop_assert_eq!(set.count(), model.len() as u64);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
        for page in 0..capacity + 65 {
            prop_assert_eq!(set.contains(page), model.contains(&page));
        }
    }

    #[test]
    fn runs_are_the_pages_and_as_long_as_can_be((capacity, pages, bitmap) in cases()) {
        let mut set = PageSet::new(capacity);
        set.insert_words(&bitmap);
        pages.iter().for_each(|&page| { set.insert(page); });
        let runs: Vec<Run> = set.runs().collect();
        let flat: Vec<u64> = runs.iter().flat_map(|run| run.first..run.end()).collect();
        prop_assert_eq!(flat, set.iter().collect::<Vec<_>>());
        prop_assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].first));
        let pieces: Vec<u64> = runs.iter()
            .flat_map(|run| run.pieces(7))
            .inspect(|piece| assert!((1..=7).contains(&piece.count)))
            .flat_map(|piece| piece.first..piece.end())
            .collect();
        prop_assert_eq!(pieces, set.iter().collect::<Vec<_>>());
    }

    #[test]
    fn runs_go_in_and_out_like_their_pages(
        (capacity, pages, _) in cases(),
        ends in prop::collection::vec((0u64..300, 0u64..300), 1..8),
    ) {
        let mut set = PageSet::new(capacity);
        pages.iter().for_each(|&page| { set.insert(page); });
        for (i, (one, other)) in ends.into_iter().enumerate() {
            let (one, other) = (one.min(capacity), other.min(capacity));
            let run = Run { first: one.min(other), count: one.abs_diff(other) };
            let within: Vec<u64> =
                set.iter().filter(|page| (run.first..run.end()).contains(page)).collect();
            let runs: Vec<Run> = set.runs_in(run).collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].first));
            prop_assert_eq!(
                runs.iter().flat_map(|run| run.first..run.end()).collect::<Vec<_>>(),
                within.clone()
            );
            let mut model = set.clone();
            for page in run.first..run.end() {
                if i % 2 == 0 { model.insert(page) } else { model.remove(page) };
            }
            if i % 2 == 0 {
                prop_assert_eq!(set.insert_run(run), run.count - within.len() as u64);
            } else {
                set.remove_run(run);
            }
            prop_assert_eq!(&set, &model);
        }
    }

    #[test]
    fn full_means_every_page_and_no_more(capacity in 0u64..300) {
        let mut set = PageSet::new(capacity);
        set.fill();
        prop_assert_eq!(set.count(), capacity);
        prop_assert!(!set.contains(capacity));
        set.clear();
        prop_assert!(set.is_empty());
    }
}

#[test]
#[should_panic(expected = "page 256 of a region of 256 pages")]
fn a_page_past_the_end_is_a_bug_of_the_caller() {
    PageSet::new(256).insert(256);
}
