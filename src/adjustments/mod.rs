//! What operators gave back and took: the entries, and what they add up to for a rule and a key.
//!
//! A counter has an adjustment in its state, as it has the events. What is known here beside it is
//! the list, and the sums by which a figure is shown and recounted: those of a rule's key are its
//! meter's answer and what was adjusted.
//!
//! Locks: whoever makes an adjustment holds `making` from before its idempotency key is looked for
//! until it is known, and takes the shards of the decision under it. `known` is taken under the
//! shards, and under it the journal's queue, to put the record in and to ask for its end; nobody
//! waits for anything under it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::rules::RuleKey;

mod entry;
mod query;
mod request;
mod stored;

pub use self::entry::Adjustment;
pub(crate) use self::entry::{Counted, CountsFor};
pub use self::query::{AdjustmentPage, AdjustmentQuery};
pub use self::request::Adjust;
pub(crate) use self::request::Problem;
pub(crate) use self::stored::{Copied, decode, encode};

/// How many adjustments are listed.
const MOST_LISTED: usize = 100_000;

/// The adjustments of an engine.
#[derive(Debug, Default)]
pub(crate) struct Adjustments {
    making: Mutex<()>,
    known: RwLock<Known>,
    /// Whether there is one. It guards nothing: who finds none has come before the first.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// The number of the next one.
    next: u64,
    /// The newest, the oldest of them first.
    listed: VecDeque<Arc<Counted>>,
    /// Those that have idempotency keys, by them.
    by_idempotency_key: HashMap<Box<str>, Arc<Counted>>,
    sums: HashMap<CountsFor, Sums>,
}

/// What was adjusted of a rule and a key.
#[derive(Debug, Default)]
struct Sums {
    /// Those that are listed no more.
    earlier: Option<Earlier>,
    /// Those that are, the oldest first.
    listed: VecDeque<Arc<Counted>>,
}

/// Adjustments that are listed no more, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Earlier {
    first: Timestamp,
    last: Timestamp,
    amount: Amount,
}

/// Up to which adjustment a sum goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UpTo {
    /// All that there are.
    Now,
    /// All whose records are before this sequence number.
    Record(u64),
}

/// What was adjusted within a rolling period.
#[derive(Debug, Default)]
pub(crate) struct InWindow {
    /// When the key began anew the last time, where it has.
    pub(crate) reset: Option<Timestamp>,
    /// What was added since.
    pub(crate) added: Vec<(Timestamp, Amount)>,
}

impl Adjustments {
    /// Whether nothing was ever adjusted.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Lets nobody else make an adjustment until what this returns is dropped.
    pub(crate) fn make(&self) -> MutexGuard<'_, ()> {
        self.making.lock()
    }

    /// The adjustment that an idempotency key made, where it is listed still.
    pub(crate) fn by_idempotency_key(&self, key: &str) -> Option<Arc<Counted>> {
        self.known.read().by_idempotency_key.get(key).cloned()
    }

    /// Adds an adjustment, which is given its number and is put into the journal under the lock.
    pub(crate) fn add(
        &self,
        mut adjustment: Adjustment,
        of: CountsFor,
        put: impl FnOnce(&Adjustment, &CountsFor) -> Option<u64>,
    ) -> Arc<Counted> {
        let mut known = self.known.write();
        adjustment.number = known.next;
        let seq = put(&adjustment, &of);
        let added = Arc::new(Counted { adjustment, of, seq });
        known.add(Arc::clone(&added));
        self.any.store(true, Ordering::Relaxed);
        added
    }

    /// Forgets what was adjusted of rules that are gone.
    pub(crate) fn forget(&self, is_there: impl Fn(u64) -> bool) {
        if !self.is_empty() {
            self.known.write().sums.retain(|of, _| is_there(of.age));
        }
    }

    /// Erases the adjustments that `is_it` is told of, and returns how many are listed of them.
    pub(crate) fn erase(&self, is_it: impl Fn(&str, &RuleKey) -> bool) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let known = &mut *self.known.write();
        let before = known.listed.len();
        let has = |one: &Arc<Counted>| is_it(&one.adjustment.rule_id, &one.adjustment.key);
        let gone: HashSet<CountsFor> =
            known.listed.iter().filter(|one| has(one)).map(|one| one.of.clone()).collect();
        known.listed.retain(|one| !has(one));
        known.by_idempotency_key.retain(|_, one| !has(one));
        // Of sums without a listed one the key alone says it.
        known.sums.retain(|of, _| !gone.contains(of) && !is_it("", &of.key));
        u64::try_from(before.saturating_sub(known.listed.len())).unwrap_or(u64::MAX)
    }

    /// What was added to a rule and a key within a time; `None` where it is not known apart from
    /// what was added before or after.
    pub(crate) fn sum(
        &self,
        of: &CountsFor,
        within: &Range<Timestamp>,
        up_to: UpTo,
    ) -> Option<Amount> {
        let known = self.known.read();
        let sums = known.sums.get(of);
        let mut sum = match sums.and_then(|sums| sums.earlier) {
            Some(Earlier { last, .. }) if last < within.start => Amount::ZERO,
            Some(Earlier { first, last, amount })
                if within.contains(&first) && within.contains(&last) =>
            {
                amount
            }
            Some(_) => return None,
            None => Amount::ZERO,
        };
        for one in known.listed_of(of, sums, up_to) {
            let adjustment = &one.adjustment;
            if within.contains(&adjustment.at) {
                sum = sum.saturating_add(adjustment.amount);
            }
        }
        Some(sum)
    }

    /// What was added to a rule and a key since an instant, and the last reset since; `None` where
    /// that is not known.
    pub(crate) fn since(&self, of: &CountsFor, start: Timestamp, up_to: UpTo) -> Option<InWindow> {
        let known = self.known.read();
        let mut found = InWindow::default();
        let sums = known.sums.get(of);
        if sums.and_then(|sums| sums.earlier).is_some_and(|earlier| earlier.last >= start) {
            return None;
        }
        for one in known.listed_of(of, sums, up_to) {
            let adjustment = &one.adjustment;
            if adjustment.at < start {
                continue;
            }
            if adjustment.is_reset {
                found = InWindow { reset: Some(adjustment.at), added: Vec::new() };
            } else {
                found.added.push((adjustment.at, adjustment.amount));
            }
        }
        Some(found)
    }
}

impl UpTo {
    fn has(self, one: &Counted) -> bool {
        match self {
            Self::Now => true,
            Self::Record(end) => one.seq.is_none_or(|seq| seq < end),
        }
    }
}

impl Known {
    /// The listed ones of a rule and a key, which have these sums. Of a rule that is gone, and so
    /// has none, the list of all is looked through, for an answer that was given while it was
    /// there.
    fn listed_of<'k>(
        &'k self,
        of: &'k CountsFor,
        sums: Option<&'k Sums>,
        up_to: UpTo,
    ) -> impl Iterator<Item = &'k Counted> + 'k {
        let is_gone = sums.is_none() && matches!(up_to, UpTo::Record(_));
        let all = is_gone.then_some(&self.listed).into_iter().flatten();
        let own = sums.into_iter().flat_map(|sums| &sums.listed);
        let listed = own.chain(all.filter(|one| one.of == *of));
        listed.map(|one| &**one).filter(move |one| up_to.has(one))
    }

    fn add(&mut self, added: Arc<Counted>) {
        self.next = added.adjustment.number.saturating_add(1);
        if let Some(key) = &added.adjustment.idempotency_key {
            self.by_idempotency_key.insert(key.as_str().into(), Arc::clone(&added));
        }
        let sums = self.sums.entry(added.of.clone()).or_default();
        sums.listed.push_back(Arc::clone(&added));
        self.listed.push_back(added);
        while self.listed.len() > MOST_LISTED {
            self.drop_oldest();
        }
    }

    /// Drops the oldest of the list. It stays in the sums.
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.listed.pop_front() else { return };
        let Counted { adjustment, of, .. } = &*oldest;
        if let Some(key) = &adjustment.idempotency_key {
            self.by_idempotency_key.remove(key.as_str());
        }
        let Some(sums) = self.sums.get_mut(of) else { return };
        // The sums of a rule that is gone may have been forgotten, and begun anew.
        if sums.listed.front().is_some_and(|first| first.adjustment.number == adjustment.number) {
            sums.listed.pop_front();
            let (at, amount) = (adjustment.at, adjustment.amount);
            sums.earlier = Some(match sums.earlier {
                None => Earlier { first: at, last: at, amount },
                Some(before) => Earlier {
                    first: before.first,
                    last: at,
                    amount: before.amount.saturating_add(amount),
                },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> CountsFor {
        CountsFor { age: 1, metric: "total_events".into(), key: ("customer_id", key).into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 0)
    }

    fn amount(amount: i64) -> Amount {
        amount.into()
    }

    fn add(adjustments: &Adjustments, key: &str, second: i64, added: i64, is_reset: bool) {
        let adjustment = Adjustment {
            number: 0,
            rule_id: "rule".into(),
            key: of(key).key,
            amount: amount(added),
            is_reset,
            note: None,
            idempotency_key: None,
            at: at(second),
        };
        adjustments.add(adjustment, of(key), |one, _| Some(one.number));
    }

    #[test]
    fn sums_are_of_a_key_and_a_time() {
        let adjustments = Adjustments::default();
        assert!(adjustments.is_empty());
        for (key, second, added) in [("a", 10, -5), ("b", 11, 7), ("a", 20, -3), ("a", 30, 4)] {
            add(&adjustments, key, second, added, false);
        }
        let sum = |key, from, to| {
            adjustments.sum(&of(key), &(at(from)..at(to)), UpTo::Now).expect("known")
        };
        assert_eq!(sum("a", 0, 100), amount(-4));
        assert_eq!(sum("a", 10, 20), amount(-5));
        assert_eq!(sum("a", 11, 30), amount(-3));
        assert_eq!((sum("b", 0, 100), sum("c", 0, 100)), (amount(7), Amount::ZERO));
        let up_to = |up_to| adjustments.sum(&of("a"), &(at(0)..at(100)), up_to);
        assert_eq!(up_to(UpTo::Now), Some(amount(-4)));
        assert_eq!(up_to(UpTo::Record(2)), Some(amount(-5)));
    }

    #[test]
    fn what_is_listed_no_more_counts_where_it_is_known_apart() {
        let adjustments = Adjustments::default();
        add(&adjustments, "a", 10, -1, false);
        add(&adjustments, "a", 20, -2, false);
        for number in 0..MOST_LISTED {
            add(&adjustments, "b", 100 + number as i64, 1, false);
        }
        add(&adjustments, "a", 300_000, -4, false);
        let sum = |from, to| adjustments.sum(&of("a"), &(at(from)..at(to)), UpTo::Now);
        assert_eq!(sum(0, 400_000), Some(amount(-7)));
        assert_eq!(sum(21, 400_000), Some(amount(-4)));
        assert_eq!((sum(15, 400_000), sum(0, 15)), (None, None));
        assert!(adjustments.since(&of("a"), at(15), UpTo::Now).is_none());
        assert_eq!(adjustments.since(&of("a"), at(21), UpTo::Now).expect("known").added.len(), 1);
    }

    #[test]
    fn a_window_knows_the_last_reset_and_what_came_after() {
        let adjustments = Adjustments::default();
        add(&adjustments, "a", 10, -1, false);
        add(&adjustments, "a", 20, -9, true);
        add(&adjustments, "a", 30, 5, false);
        let InWindow { reset, added } =
            adjustments.since(&of("a"), at(0), UpTo::Now).expect("known");
        assert_eq!((reset, added), (Some(at(20)), vec![(at(30), amount(5))]));
        let InWindow { reset, added } =
            adjustments.since(&of("a"), at(25), UpTo::Now).expect("known");
        assert_eq!((reset, added), (None, vec![(at(30), amount(5))]));
    }
}
