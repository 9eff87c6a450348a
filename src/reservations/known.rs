//! Which reservations are known, by their numbers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Entry;
use crate::counters::Moment;

/// Into how many shelves many are put, by the lowest bits of their numbers.
const SHELVES: usize = 16;
/// Fewer than this are on one.
const MANY: usize = 1_024;
/// How many reservations a call looks at that makes one, to forget them: more than one, so that
/// those become fewer whose time is over.
const LOOKS: usize = 2;

/// Numbers are given out one after the other, so that one lies on its shelf about where they say:
/// nothing is hashed, and those that are made and forgotten together lie side by side.
#[derive(Debug)]
pub(super) struct Known {
    shelves: Box<[Mutex<Shelf>]>,
    /// For a number that is of no shelf: none is.
    rest: Mutex<Shelf>,
    /// The most that are known, but for those that are open.
    most: usize,
    /// How many are.
    count: AtomicUsize,
    /// The number of the one that is forgotten next.
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Shelf {
    /// In the order of their numbers, which is that in which they were made.
    rows: VecDeque<Slot>,
    /// Those that were open still when their turn was to be forgotten.
    late: BTreeMap<u64, Slot>,
    /// The one of these that was looked at last.
    looked_at: u64,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    /// When it may be forgotten.
    due: Moment,
    entry: Arc<Entry>,
}

/// Whether it was a number's turn to be forgotten.
enum Turn {
    Over,
    NotYet,
    /// There is none of it; of its shelf this one is the oldest.
    Missing(Option<u64>),
}

/// What becomes of a reservation whose turn it is to be forgotten.
pub(super) enum Fate {
    Forgotten,
    /// It is to be kept until then.
    Kept(Moment),
}

impl Known {
    pub(super) fn new(most: usize) -> Self {
        let shelves = if most < MANY { 1 } else { SHELVES };
        Self {
            shelves: (0..shelves).map(|_| Mutex::default()).collect(),
            rest: Mutex::default(),
            most,
            count: AtomicUsize::new(0),
            next: AtomicU64::new(0),
        }
    }

    fn shelf(&self, number: u64) -> &Mutex<Shelf> {
        let last = self.shelves.len().saturating_sub(1);
        let index = usize::try_from(number).unwrap_or(usize::MAX) & last;
        self.shelves.get(index).unwrap_or(&self.rest)
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Entry>> {
        let slots = self.shelf(number).lock();
        let found = slots.place_of(number, self.stride()).ok();
        let slot = match found {
            Some(place) => slots.rows.get(place),
            None => slots.late.get(&number),
        };
        slot.map(|slot| Arc::clone(&slot.entry))
    }

    /// How far the numbers of a shelf lie apart where it has them all.
    fn stride(&self) -> usize {
        self.shelves.len().max(1)
    }

    /// Keeps a new one, and has the oldest forgotten whose time is over or who are too many.
    pub(super) fn keep(
        &self,
        number: u64,
        due: Moment,
        entry: Arc<Entry>,
        now: Moment,
        mut forget: impl FnMut(&Entry, bool) -> Fate,
    ) {
        let mut slots = self.shelf(number).lock();
        let slot = Slot { number, due, entry };
        if slots.rows.back().is_none_or(|last| last.number < number) {
            slots.rows.push_back(slot);
        } else {
            let place = slots.place_of(number, self.stride()).unwrap_or_else(|place| place);
            slots.rows.insert(place, slot);
        }
        drop(slots);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.forget_some(number, now, &mut forget);
    }

    /// Goes on to forget before a number.
    fn forget_some(&self, number: u64, now: Moment, forget: &mut impl FnMut(&Entry, bool) -> Fate) {
        let (mut looks, mut missing, mut lowest) = (0, 0, number);
        while looks < LOOKS {
            let next = self.next.load(Ordering::Relaxed);
            if next > number {
                return;
            }
            let after = match self.forget(next, now, forget) {
                Turn::NotYet => return,
                Turn::Over => {
                    (looks, missing, lowest) = (looks.saturating_add(1), 0, number);
                    next.saturating_add(1)
                }
                Turn::Missing(oldest) => {
                    missing = usize::saturating_add(missing, 1);
                    lowest = lowest.min(oldest.unwrap_or(number));
                    // Once all shelves were asked, nothing is left before the lowest.
                    let is_all = missing >= self.stride();
                    if is_all { lowest.max(next.saturating_add(1)) } else { next.saturating_add(1) }
                }
            };
            // Of two calls that came here one steps on.
            let _ = self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Looks at the oldest of the shelf of a number, whether it may be forgotten: one that is not
    /// behind that number.
    fn forget(
        &self,
        number: u64,
        now: Moment,
        forget: &mut impl FnMut(&Entry, bool) -> Fate,
    ) -> Turn {
        let mut slots = self.shelf(number).lock();
        let crowded = self.count.load(Ordering::Relaxed) > self.most;
        let mut forget = |entry: &Entry, crowded| {
            let fate = forget(entry, crowded);
            if matches!(fate, Fate::Forgotten) {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            fate
        };
        slots.look_at_late(crowded, now, &mut forget);
        let oldest = slots.rows.front().map(|slot| (slot.number, slot.due));
        let Some((_, due)) = oldest.filter(|(oldest, _)| *oldest <= number) else {
            // The number is of one that was refused, or is made right now.
            return Turn::Missing(oldest.map(|(oldest, _)| oldest));
        };
        if !crowded && due > now {
            return Turn::NotYet;
        }
        if let Some(slot) = slots.rows.pop_front()
            && let Fate::Kept(due) = forget(&slot.entry, crowded)
        {
            slots.late.insert(slot.number, Slot { due, ..slot });
        }
        Turn::Over
    }

    /// Forgets those of these numbers, which are over.
    pub(super) fn erase(&self, is_it: impl Fn(u64) -> bool) {
        for shelf in &self.shelves {
            let slots = &mut *shelf.lock();
            let before = slots.rows.len().saturating_add(slots.late.len());
            slots.rows.retain(|slot| !is_it(slot.number));
            slots.late.retain(|number, _| !is_it(*number));
            let after = slots.rows.len().saturating_add(slots.late.len());
            self.count.fetch_sub(before.saturating_sub(after), Ordering::Relaxed);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all = Vec::new();
        for shelf in &self.shelves {
            let locked = shelf.lock();
            let slots = locked.late.values().chain(&locked.rows);
            all.extend(slots.map(|slot| Arc::clone(&slot.entry)));
        }
        all
    }
}

impl Shelf {
    /// Where a number lies, or would. Between the first and the last of a shelf are as many as
    /// their numbers say or fewer, so that it lies not before where it would be counted from the
    /// last, and not behind where it would be counted from the first.
    fn place_of(&self, number: u64, stride: usize) -> Result<usize, usize> {
        let (Some(first), Some(last)) = (self.rows.front(), self.rows.back()) else {
            return Err(0);
        };
        let len = self.rows.len();
        if number > last.number {
            return Err(len);
        }
        let steps = |from: u64, to: u64| {
            let steps = to.saturating_sub(from).checked_div(stride as u64).unwrap_or(0);
            usize::try_from(steps).unwrap_or(usize::MAX)
        };
        let back = steps(number, last.number).saturating_add(1);
        let mut low = len.saturating_sub(back);
        let mut high = steps(first.number, number).saturating_add(1).min(len);
        while low < high {
            let middle = low.midpoint(high);
            let Some(slot) = self.rows.get(middle) else { break };
            match slot.number.cmp(&number) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle.saturating_add(1),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Looks at the next of those that were open when their turn was.
    fn look_at_late(
        &mut self,
        crowded: bool,
        now: Moment,
        forget: &mut impl FnMut(&Entry, bool) -> Fate,
    ) {
        if self.late.is_empty() {
            return;
        }
        let after = (Bound::Excluded(self.looked_at), Bound::Unbounded);
        let Some((number, slot)) = self.late.range_mut(after).next() else {
            self.looked_at = 0;
            return;
        };
        let number = *number;
        self.looked_at = number;
        if crowded || slot.due <= now {
            match forget(&slot.entry, crowded) {
                Fate::Kept(due) => slot.due = due,
                Fate::Forgotten => drop(self.late.remove(&number)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::Event;
    use crate::base::clock::Timestamp;
    use crate::decision::ReservationId;
    use crate::reservations::{Estimate, Phase, State};

    fn entry(number: u64) -> Arc<Entry> {
        let timestamp = Timestamp::new(1, 0);
        let estimate = Estimate::new(&Event::new("c", "call"), timestamp);
        let state = State { estimate, until: Moment(0), phase: Phase::Released };
        let id = ReservationId::new(0, number);
        Arc::new(Entry { id, made_at: Moment(0), timestamp, customer: 0, state: state.into() })
    }

    /// Numbers come with gaps and a little out of order, some are open for longer, and the oldest
    /// are forgotten.
    #[test]
    fn the_oldest_are_forgotten_and_the_others_found() {
        for (seed, most) in (0..4).zip([1, 100, 2_000, 1_000_000]) {
            let dice = &mut ChaCha8Rng::seed_from_u64(seed);
            let known = Known::new(most);
            let (mut number, mut kept, mut open) = (1, BTreeSet::new(), BTreeSet::new());
            for step in 0..10_000_u64 {
                let gap = if dice.random_range(0..50) == 0 { 500 } else { 1 };
                number += dice.random_range(1..=gap) + u64::from(kept.contains(&(number + 1)));
                let late = if dice.random_bool(0.1) { number + 1 } else { number };
                if !kept.insert(late) {
                    continue;
                }
                if dice.random_range(0..100) == 0 {
                    open.insert(late);
                }
                let due = Moment(step + 3_000);
                known.keep(late, due, entry(late), Moment(step), |entry, _| {
                    let number = entry.id.number();
                    if open.contains(&number) {
                        return Fate::Kept(Moment(step + 1));
                    }
                    assert!(kept.remove(&number), "{number} was forgotten before");
                    Fate::Forgotten
                });
                let most = most + open.len() + 1;
                assert!(kept.len() <= most, "{step}: {}", kept.len());
                assert!(kept.len() <= 3_100 + open.len(), "{step}: {}", kept.len());
                if step % 1_000 == 0 {
                    let found: BTreeSet<_> = known.all().iter().map(|it| it.id.number()).collect();
                    assert_eq!(found, kept);
                    for number in 0..number + 3 {
                        let found = known.get(number).map(|it| it.id.number());
                        assert_eq!(found, kept.get(&number).copied(), "{number}");
                    }
                }
            }
        }
    }
}
