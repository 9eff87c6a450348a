//! A rule's counter, as the table knows it.

use crate::counters::Roles;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::algorithms::SlidingWindow;
use super::algorithms::periods::{KeyCalendar, UseAhead};
use super::algorithms::{Judged, KeyRow, Part, Passed, Policy, Reading};
use super::cell::{CarriedUse, CellState};
use super::row::Row;
use super::time::{At, Moment};
use crate::customers::Calendars;
use crate::event::Dimension;
use crate::rules::{Cost, Enforcement, Kind, Overflow, Rule, Threshold, Units};

mod calendars;
mod stored;
mod values;

pub(crate) use self::stored::StoredCounter;
use self::values::Values;

/// How far ahead of the engine's clock an event may be dated.
pub(crate) const MAX_AHEAD_SECONDS: i64 = 24 * 60 * 60;

/// What a rule counts by. Its number is never used again for another counter.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    number: u32,
    /// The number of the first counter of the chain of takeovers, which this one is the end of.
    lineage: u32,
    pub(crate) policy: Policy,
    pub(crate) enforcement: Enforcement,
    pub(super) overflow: Overflow,
    pub(super) max_keys: Option<u64>,
    /// What a rate limit counts drains: where it has lost to another rule it counts no more than
    /// it has left, so that nobody waits for what it did not allow.
    drains: bool,
    /// Events may be let in that it does not count, because it found no room or had no say.
    may_miss: bool,
    /// The counter that this one took over from, while that one's cells are about.
    carry: Option<Arc<Carry>>,
    /// When it came into being, where that was after events that it counts.
    since: Option<Arc<ChangeTime>>,
    /// At which figures alerts fire, where some do.
    watch: Option<Arc<Watch>>,
    /// What it is to a rule that counts different values.
    values: Values,
    uses: Arc<Uses>,
}

/// How many rows hold a counter's cells.
///
/// Each is changed in one atomic step, so that the cap on keys holds whatever shards they lie in.
/// What a key has done to them is seen by its next call: both hold the lock of its row's shard, and
/// the first has released it. Of other keys a call may see a little more or less than there is,
/// which decides no more than who comes first.
#[derive(Debug, Default)]
struct Uses {
    /// Rows of keys of their own; what the cap is on.
    keys: AtomicU64,
    /// The row that keys without room share.
    shared: AtomicU64,
    /// The latest second of an event that the counter of its key does not know of, because there
    /// was no room for it: it starts from what is recorded, where it counts by the calendar.
    missed: Missed,
}

/// The latest second of an event that was not counted; the earliest there is of none.
#[derive(Debug)]
struct Missed(AtomicI64);

impl Default for Missed {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

/// From whom a counter took over, and when.
#[derive(Clone, Debug)]
pub(crate) struct Carry {
    from: Counter,
    at: Arc<ChangeTime>,
    /// How many of this counter's units one of its units is.
    units: Units,
    /// How many checkpoints had begun when it was first seen that nothing holds a cell of it.
    spent: Arc<OnceLock<u64>>,
}

/// How far the engine's state is durable without the log: what a checkpoint may hold cells of
/// must be known until another one is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checkpoints {
    /// How many have begun.
    pub(crate) begun: u64,
    /// Which of them is the newest that is complete.
    pub(crate) complete: u64,
}

impl Checkpoints {
    /// Those of an engine that keeps nothing.
    pub(crate) const NONE: Self = Self { begun: 0, complete: u64::MAX };

    /// Whether the newest complete one began after nothing held a cell of a counter any more.
    fn are_without(self, carry: &Carry) -> bool {
        self.complete > *carry.spent.get_or_init(|| self.begun)
    }
}

/// The instant of a change of the rules: not before any decision by the old ones, which is known
/// only once those have ended, and set before the first decision by the new ones.
pub(crate) type ChangeTime = OnceLock<At>;

impl Counter {
    /// Makes a counter of its own number, which is below 2^30.
    pub(crate) fn new(number: u32, policy: Policy) -> Self {
        Self {
            number,
            lineage: number,
            policy,
            enforcement: Enforcement::Hard,
            overflow: Overflow::Share,
            max_keys: None,
            drains: false,
            may_miss: false,
            carry: None,
            since: None,
            watch: None,
            values: Values::None,
            uses: Arc::default(),
        }
    }

    /// The same counter with the modes of its rule.
    pub(crate) fn of_rule(mut self, rule: &Rule) -> Self {
        (self.enforcement, self.overflow) = (rule.enforcement(), rule.overflow());
        (self.max_keys, self.drains) = (rule.max_keys(), rule.kind() == Kind::RateLimit);
        {
            self.may_miss = rule.max_keys().is_some() || rule.policy().is_some();
        }
        self
    }

    /// The same counter with other limits.
    pub(crate) fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Goes on from the use of a counter each of whose units is so many of this one's.
    pub(crate) fn taking_over(mut self, from: Self, at: Arc<ChangeTime>, units: Units) -> Self {
        self.lineage = from.lineage;
        self.carry = Some(Arc::new(Carry { from, at, units, spent: Arc::default() }));
        self
    }

    /// Starts from what is recorded of use before the instant.
    pub(crate) fn recounting(mut self, since: Arc<ChangeTime>) -> Self {
        self.since = Some(since);
        self
    }

    /// The same counter, of which it is noted when it reaches a figure.
    pub(crate) fn watched(mut self, watch: Option<Watch>) -> Self {
        self.watch = watch.map(Arc::new);
        self
    }

    /// At which figures alerts fire, if some do.
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.as_deref()
    }

    /// Whether new cells are seeded from the event history; the predecessor's cells are the
    /// fallback where history is incomplete.
    pub(super) fn recounts(&self) -> bool {
        self.since.is_some()
    }

    /// Whether events of a period may have been recorded before the counter came into being.
    pub(super) fn recounts_period(&self, start: i64) -> bool {
        let since = self.since.as_ref().and_then(|since| since.get());
        since.is_some_and(|since| start <= since.now_second.saturating_add(MAX_AHEAD_SECONDS))
            // All time begins where a counter that has missed nothing says it has.
            || (self.missed() > i64::MIN && start <= self.missed())
    }

    /// Whether events within a rolling period that ends now may have been recorded before the
    /// counter came into being.
    pub(super) fn recounts_rolling(&self, policy: &SlidingWindow, at: &At) -> bool {
        let since = self.since.as_ref().and_then(|since| since.get());
        since.is_some_and(|since| !self.policy.forgets(at.now.since(since.now)))
            || self.missed() >= at.now_second.saturating_sub_unsigned(policy.seconds())
    }

    /// Whether there may be a period of which something was recorded that it did not count.
    pub(super) fn may_recount(&self) -> bool {
        self.recounts() || self.missed() > i64::MIN
    }

    fn missed(&self) -> i64 {
        self.uses.missed.0.load(Ordering::Acquire)
    }

    /// Keeps in mind that it knows nothing of an event of this second, whose key found no room.
    pub(super) fn misses(&self, second: i64) {
        if self.policy.recounts() && self.missed() < second {
            self.uses.missed.0.fetch_max(second, Ordering::AcqRel);
        }
    }

    /// What it counts of a cost where another rule of its policy judges.
    #[cold]
    pub(super) fn lost_cost(&self, reading: &Reading, cost: Cost, at: &At) -> Cost {
        let left = if self.drains { self.policy.most_unasked(reading, at) } else { None };
        Cost { units: left.map_or(cost.units, |left| cost.units.min(left)), ..cost }
    }

    /// Forgets whom it took over from once there are no cells of those any more, here or in what
    /// is durable. Where it took over only in the change under way, decisions by the old rules may
    /// still make some.
    pub(crate) fn without_spent_carry(mut self, checkpoints: Checkpoints) -> Self {
        if let Some(carry) = self.carry.take() {
            let from = carry.from.clone().without_spent_carry(checkpoints);
            let under_way = carry.at.get().is_none();
            let spent = !under_way && !from.is_used() && checkpoints.are_without(&carry);
            if !spent || from.carry.is_some() {
                self.carry = Some(Arc::new(Carry { from, ..(*carry).clone() }));
            }
        }
        self
    }

    /// Whether what it counts drains.
    #[inline]
    pub(super) fn drains(&self) -> bool {
        self.drains
    }

    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The first counter of the chain of takeovers, which keeps its number while rules change.
    #[inline]
    pub(crate) fn lineage(&self) -> u32 {
        self.lineage
    }

    fn is_used(&self) -> bool {
        let Uses { keys, shared, .. } = &*self.uses;
        keys.load(Ordering::Acquire) > 0 || shared.load(Ordering::Acquire) > 0
    }

    /// Whether the row that keys without room share holds a cell of this counter, or of one that
    /// it took over from.
    pub(super) fn is_shared(&self) -> bool {
        self.uses.shared.load(Ordering::Acquire) > 0
            || self.carry.as_ref().is_some_and(|carry| carry.from.is_shared())
    }

    /// How many keys have a cell of this counter, or of one that it took over from.
    fn keys(&self) -> u64 {
        let carried = self.carry.as_ref().map_or(0, |carry| carry.from.keys());
        self.uses.keys.load(Ordering::Acquire).saturating_add(carried)
    }

    pub(super) fn has_room(&self) -> bool {
        self.max_keys.is_none_or(|most| self.keys() < most)
    }

    /// Counts one more key; `false`, and nothing counted, at the rule's cap.
    pub(super) fn reserve(&self) -> bool {
        let most = self.max_keys.unwrap_or(u64::MAX);
        let carried = self.carry.as_ref().map_or(0, |carry| carry.from.keys());
        let more =
            |keys: u64| (keys.saturating_add(carried) < most).then(|| keys.saturating_add(1));
        self.uses.keys.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Counts a row that the cap does not speak of: one that a predecessor had, or a shared one.
    pub(super) fn entered(&self, shared: bool) {
        self.uses.of(shared).fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a row of `number`, which is this counter's or that of one before it.
    pub(super) fn entered_as(&self, number: u32, shared: bool) {
        if let Some(counter) = self.of_number(number) {
            counter.entered(shared);
        }
    }

    /// This counter or one before it.
    pub(super) fn of_number(&self, number: u32) -> Option<&Self> {
        if self.number == number { Some(self) } else { self.predecessor(number) }
    }

    /// Whether the row holds a cell of a counter of this chain after the one of `number`: what
    /// that one said is in it.
    pub(super) fn is_converted(&self, row: Row<'_>, number: u32) -> bool {
        self.number != number
            && (self.has_cell(row)
                || self.carry.as_ref().is_some_and(|carry| carry.from.is_converted(row, number)))
    }

    /// Whether the row holds a cell of a counter that this one took over from.
    pub(super) fn is_after_one_in(&self, row: Row<'_>) -> bool {
        self.carry.as_ref().is_some_and(|carry| carry.from.is_in(row))
    }

    /// When it came into being, as far as that is known: the earliest moment there is of one that
    /// took over from nobody.
    pub(super) fn changed(&self) -> Option<Moment> {
        match &self.carry {
            Some(carry) => carry.at.get().map(|at| at.now),
            None => (self.lineage == self.number).then_some(Moment(0)),
        }
    }

    /// Uncounts a row of `number`, which is this counter's or that of one before it.
    pub(super) fn left(&self, number: u32, shared: bool) {
        let mut counter = self;
        while counter.number != number {
            match &counter.carry {
                Some(carry) => counter = &carry.from,
                None => return,
            }
        }
        counter.uses.of(shared).fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether the row holds a cell of this counter, or of one that it took over from.
    pub(super) fn is_in(&self, row: Row<'_>) -> bool {
        self.has_cell(row) || self.carry.as_ref().is_some_and(|carry| carry.from.is_in(row))
    }

    /// Whether this counter took over from the one of `number`.
    pub(super) fn follows(&self, number: u32) -> bool {
        self.predecessor(number).is_some()
    }

    /// The counter of `number`, if this one took over from it.
    pub(super) fn predecessor(&self, number: u32) -> Option<&Self> {
        let from = &self.carry.as_ref()?.from;
        if from.number == number { Some(from) } else { from.predecessor(number) }
    }

    pub(crate) fn took_over(&self) -> bool {
        self.carry.is_some()
    }

    /// The instant at which it took over from the one before it.
    pub(super) fn took_over_at(&self) -> Option<&At> {
        self.carry.as_ref()?.at.get()
    }

    /// Reads and judges what the row holds of this counter, or of the ones before it. A cell of
    /// this counter may be at `hint`. The calendar is the key's.
    #[inline]
    pub(super) fn judge(
        &self,
        row: Option<Row<'_>>,
        hint: usize,
        calendar: KeyCalendar<'_>,
        at: &At,
        cost: Cost,
    ) -> Judged {
        let Some(row) = row else {
            return self.policy.judge(std::iter::empty(), calendar, at, cost);
        };
        let cells = row.cells_of(self.number, hint);
        if self.carry.is_some()
            && cells.clone().next().is_none()
            && let Some(image) = self.carried(row, calendar)
        {
            let judged = self.policy.judge(std::iter::once(image.as_cell()), calendar, at, cost);
            return Judged { cell: None, spare: None, ..judged };
        }
        self.policy.judge(cells, calendar, at, cost)
    }

    /// Reads, judges and counts in one go what the row holds of this very counter: see
    /// [`Policy::pass`].
    #[inline]
    pub(super) fn pass(
        &self,
        key: &KeyRow<'_>,
        at: &At,
        cost: Cost,
        part: Part,
        reading: &mut Reading,
    ) -> Option<Passed> {
        self.policy.pass(self.number, key, at, cost, part, reading)
    }

    /// The later periods of this counter that the row knows of.
    pub(super) fn ahead(&self, row: Option<Row<'_>>, at: &At) -> UseAhead {
        let known = row.map_or_else(UseAhead::default, |row| {
            self.policy.ahead(row.cells_of(self.number, 0), at)
        });
        let is_dated_ahead = at.explicit && at.second > at.now_second;
        let begins_with_event = is_dated_ahead
            && self.policy.begins_with_use()
            && !row.is_some_and(|row| self.has_cell(row));
        UseAhead { begins_with_event, ..known }
    }

    /// Whether the row holds a cell of this very counter.
    pub(super) fn has_cell(&self, row: Row<'_>) -> bool {
        row.cells_of(self.number, 0).next().is_some()
    }

    /// The state that this counter starts from in a row of the counter before it.
    pub(super) fn carried(&self, row: Row<'_>, calendar: KeyCalendar<'_>) -> Option<CellState> {
        let carry = self.carry.as_deref()?;
        let at = carry.at.get()?;
        let carried = carry.from.to_carry(row, calendar, at).in_units(carry.units);
        (!carried.is_zero()).then(|| self.policy.adopt(carried, calendar, at))
    }

    /// All that a row holds of this counter and still says something, as it is for a key of this
    /// calendar: several periods of a quota.
    pub(super) fn images(
        &self,
        row: Row<'_>,
        calendar: KeyCalendar<'_>,
        at: &At,
    ) -> SmallVec<[CellState; 1]> {
        if !self.has_cell(row) {
            return self.carried(row, calendar).into_iter().collect();
        }
        let (cells, is_list) = (row.cells_of(self.number, 0), self.policy.keeps_list());
        let cells = cells.filter(|cell| !self.policy.is_idle(*cell, at));
        let images =
            cells.map(|cell| CellState { is_list, ..CellState::of(cell.extra, cell.words) });
        images.filter_map(|image| self.policy.recut(&image, calendar, at)).collect()
    }

    fn to_carry(&self, row: Row<'_>, calendar: KeyCalendar<'_>, at: &At) -> CarriedUse {
        if !self.has_cell(row)
            && let Some(image) = self.carried(row, calendar)
        {
            return self.policy.to_carry(std::iter::once(image.as_cell()), at);
        }
        self.policy.to_carry(row.cells_of(self.number, 0), at)
    }
}

/// At which figures of a counter alerts fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch(Box<[(Units, Threshold)]>);

impl Watch {
    /// Thresholds with the use that reaches each, in counted units; `None` of none.
    pub(crate) fn of(thresholds: impl Iterator<Item = (Units, Threshold)>) -> Option<Self> {
        let mut thresholds: Vec<_> = thresholds.collect();
        thresholds.sort_unstable();
        (!thresholds.is_empty()).then(|| Self(thresholds.into()))
    }

    /// Those that so much is not above, the highest first: of a balance.
    pub(super) fn not_above(&self, current: Units) -> impl Iterator<Item = (Units, Threshold)> {
        self.0.iter().rev().take_while(move |(units, _)| *units >= current).copied()
    }

    /// Those that so much use has reached, in ascending order.
    pub(super) fn reached(&self, used: Units) -> impl Iterator<Item = Threshold> {
        let reached = self.0.iter().take_while(move |(units, _)| *units <= used);
        reached.map(|(_, threshold)| *threshold)
    }
}

/// The counters of one rule set, by number, with those that they took over from.
#[derive(Debug)]
pub(crate) struct CounterSet {
    pub(super) version: u64,
    /// When the rule set came into force: no decision by it goes by an earlier time.
    since: Arc<ChangeTime>,
    /// In the order of the rules, and side by side: a decision reads a few of them.
    current: Box<[Counter]>,
    /// The index of the counter that answers for a number.
    by_number: HashMap<u32, u32, ahash::RandomState>,
    /// Some counter is watched.
    watches: bool,
    /// Which rules judge, where that hangs on the time.
    roles: Option<Arc<dyn Roles>>,
    /// The rules that mark values, each with the one that counts them: in ascending order.
    marks: Box<[(u32, u32)]>,
    /// Whose midnights periods go by, where their rule does not say it.
    calendars: Arc<Calendars>,
    /// Calendars have changed: it guards nothing, and is told before anybody asks.
    cut_anew: AtomicBool,
    /// The dimensions of the groups of rows, of those whose rules leave that open.
    partitions: HashMap<u32, Box<[Dimension]>, ahash::RandomState>,
}

impl CounterSet {
    pub(crate) fn new<'c>(
        version: u64,
        since: Arc<ChangeTime>,
        current: impl Iterator<Item = &'c Counter>,
    ) -> Self {
        let current: Box<[Counter]> = current.cloned().collect();
        let mut by_number: HashMap<_, _, ahash::RandomState> = HashMap::default();
        for (place, counter) in (0..).zip(&current) {
            let mut before = counter.carry.as_deref();
            while let Some(carry) = before {
                by_number.insert(carry.from.number, place);
                before = carry.from.carry.as_deref();
            }
            by_number.insert(counter.number, place);
        }
        let watches = current.iter().any(|counter| counter.watch.is_some());
        let (calendars, partitions) = Default::default();
        Self {
            version,
            since,
            current,
            by_number,
            watches,
            roles: None,
            marks: Box::default(),
            calendars,
            cut_anew: AtomicBool::new(false),
            partitions,
        }
    }

    /// The same set, of which rules judge at times.
    pub(crate) fn with_roles(self, roles: Option<Arc<dyn Roles>>) -> Self {
        Self { roles, ..self }
    }

    pub(super) fn roles(&self) -> Option<&dyn Roles> {
        self.roles.as_deref()
    }

    #[inline]
    pub(super) fn not_before(&self, now: Moment) -> Moment {
        self.since.get().map_or(now, |since| since.now.max(now))
    }

    /// Whether some counter is watched.
    #[inline]
    pub(crate) fn watches(&self) -> bool {
        self.watches
    }

    /// The counter of the rule with this index.
    #[inline]
    pub(super) fn counter(&self, rule: u32) -> Option<&Counter> {
        self.current.get(rule as usize)
    }

    /// Keeps in mind that a counter knows nothing of an event of this second, as decisions did.
    pub(crate) fn misses(&self, counter: &Counter, second: i64) {
        if let Some(current) = self.answering(counter.number) {
            current.misses(second);
        }
    }

    /// Lets rules ask what is recorded up to a second where it is not known whether their counters
    /// had room for all that was let in: those with a cap of their own, or a policy.
    pub(crate) fn may_have_missed(&self, second: i64) {
        for counter in self.current.iter().filter(|counter| counter.may_miss) {
            counter.misses(second);
        }
    }

    /// Lets all rules ask what is recorded of a period that they have no cell of. The clock was set
    /// back while no engine ran: cells of periods that were over by then may be gone, and what was
    /// dated by it lies further ahead than events may be dated: at `latest` at the most, a second.
    pub(crate) fn was_set_back(&self, latest: i64) {
        self.current.iter().for_each(|counter| counter.misses(latest));
    }

    /// The counter that answers for cells of this number now.
    pub(super) fn answering(&self, number: u32) -> Option<&Counter> {
        self.place_of(number).map(|(_, counter)| counter)
    }

    /// The same, and the index of its rule.
    pub(super) fn place_of(&self, number: u32) -> Option<(u32, &Counter)> {
        let place = *self.by_number.get(&number)?;
        Some((place, self.counter(place)?))
    }
}

impl Uses {
    fn of(&self, shared: bool) -> &AtomicU64 {
        if shared { &self.shared } else { &self.keys }
    }
}
