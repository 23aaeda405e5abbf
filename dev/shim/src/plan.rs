//! What the environment asks the shim to withhold, and the choice of a page by it.

#![forbid(unsafe_code)]

use std::sync::OnceLock;

/// The variable that holds the plan.
const VARIABLE: &str = "MEMTWIN_SHIM";

/// What to withhold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithholdPlan {
    /// The first page of the N-th collection that names any, counted from 1.
    Once(u64),
    /// This page, whenever it is named.
    Page(u64),
}

impl WithholdPlan {
    /// The plan of this process; none, if it is not told to lie.
    ///
    /// Panics, which ends the process, if the plan can't be read: a shim that quietly does
    /// nothing would make a test pass.
    pub(crate) fn of_environment() -> Option<Self> {
        static PLAN: OnceLock<Option<WithholdPlan>> = OnceLock::new();
        *PLAN.get_or_init(|| {
            let text = std::env::var(VARIABLE).ok()?;
            let plan = Self::parse(&text);
            assert!(plan.is_some(), "{VARIABLE}={text}: expected once:N or page:P");
            plan
        })
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("once", n) => n.parse().ok().filter(|&n| n > 0).map(Self::Once),
            ("page", page) => page.parse().ok().map(Self::Page),
            _ => None,
        }
    }
}

/// How far the plan has come with one log.
#[derive(Debug, Default)]
pub(crate) struct PlanProgress {
    collections: u64,
}

impl PlanProgress {
    /// The page to withhold of a collection that names `pages`, in rising order.
    pub(crate) fn choose(
        &mut self,
        plan: WithholdPlan,
        pages: impl Iterator<Item = u64>,
    ) -> Option<u64> {
        let mut pages = pages.peekable();
        let first = *pages.peek()?;
        self.collections += 1;
        match plan {
            WithholdPlan::Once(n) => (self.collections == n).then_some(first),
            WithholdPlan::Page(page) => pages.find(|&named| named == page),
        }
    }

    /// How many collections named a page so far.
    pub(crate) fn collections(&self) -> u64 {
        self.collections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read() {
        assert_eq!(WithholdPlan::parse("once:3"), Some(WithholdPlan::Once(3)));
        assert_eq!(WithholdPlan::parse("page:0"), Some(WithholdPlan::Page(0)));
        for wrong in ["", "once", "once:0", "once:x", "page:-1", "twice:1"] {
            assert_eq!(WithholdPlan::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn once_waits_for_its_collection_and_empty_ones_do_not_count() {
        let mut progress = PlanProgress::default();
        let mut choose =
            |pages: &[u64]| progress.choose(WithholdPlan::Once(2), pages.iter().copied());
        assert_eq!(choose(&[5]), None);
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&[7, 9]), Some(7));
        assert_eq!(choose(&[7, 9]), None);
    }

    #[test]
    fn a_page_is_kept_back_each_time_and_no_other() {
        let mut progress = PlanProgress::default();
        let mut choose =
            |pages: &[u64]| progress.choose(WithholdPlan::Page(9), pages.iter().copied());
        assert_eq!(choose(&[7, 9]), Some(9));
        assert_eq!(choose(&[7]), None);
        assert_eq!(choose(&[9]), Some(9));
    }
}
