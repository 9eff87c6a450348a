//! One rule with every use ever counted by it: what is used, what fits, and when.

use super::data::*;
use super::*;
use chrono::{DateTime, Datelike, NaiveDate, Utc, Weekday};
use limitry::time::Tz;
use std::collections::BTreeMap;

/// A use may leave a sliding window late by less than this part of its length.
pub(super) const SLOTS: Nanos = 60;

/// As many instants of use a sliding window tells apart.
pub(super) const APART: usize = 62;

/// What takes longer is never: time inside the engine ends.
const EVER: Nanos = 400 * 366 * DAY;

/// The least and the most that the contract allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range<T> {
    pub(super) lo: T,
    pub(super) hi: T,
}

impl<T: PartialOrd + Copy> Range<T> {
    pub(super) fn new(lo: T, hi: T) -> Self {
        Self { lo, hi }
    }

    pub(super) fn holds(&self, value: T) -> bool {
        self.lo <= value && value <= self.hi
    }
}

/// One line of a counter's history.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A bucket's terms hold from here on.
    Terms { at: Nanos, limit: Milli, capacity: Milli, debt: Option<Milli>, window: Nanos },
    /// An amount was counted, at the engine's time or for a quota and some records at `stamp`.
    Use { at: Nanos, stamp: Nanos, lo: Milli, hi: Milli, verb: Verb },
    /// What another kind of counter had used when the rule changed.
    CarriedOver { at: Nanos, lo: Milli, hi: Milli },
    /// A reservation took so much, until then. What of it is left once it has ended was used.
    Hold { at: Nanos, stamp: Nanos, hold: usize, until: Nanos, lo: Milli, hi: Milli },
    /// A reservation ended: so much of what it held was used.
    End { at: Nanos, hold: usize, used: Milli, verb: Verb },
    /// A rate limit that changed keeps what was held as use.
    Forgotten { at: Nanos, hold: usize },
}

impl Entry {
    /// The amount that was taken.
    pub(super) fn amount(&mut self) -> Option<(&mut Milli, &mut Milli)> {
        match self {
            Self::Use { lo, hi, .. }
            | Self::CarriedOver { lo, hi, .. }
            | Self::Hold { lo, hi, .. } => Some((lo, hi)),
            Self::Terms { .. } | Self::End { .. } | Self::Forgotten { .. } => None,
        }
    }

    pub(super) fn is_use(&self) -> bool {
        matches!(self, Self::Use { .. } | Self::CarriedOver { .. } | Self::Hold { .. })
    }

    pub(super) fn is_of(&self, reservation: usize) -> bool {
        matches!(*self, Self::Hold { hold, .. } if hold == reservation)
    }

    pub(super) fn at(&self) -> Nanos {
        match *self {
            Self::Terms { at, .. }
            | Self::Use { at, .. }
            | Self::CarriedOver { at, .. }
            | Self::Hold { at, .. }
            | Self::End { at, .. }
            | Self::Forgotten { at, .. } => at,
        }
    }
}

/// What a bucket misses, in thousandths times the window's length, after a replay.
pub(super) struct Bucket {
    pub(super) limit: Milli,
    pub(super) capacity: Milli,
    pub(super) debt: Option<Milli>,
    pub(super) window: Nanos,
    pub(super) lo: i128,
    pub(super) hi: i128,
    /// What committed use alone would have left it, while something is held.
    pub(super) alone: Option<(i128, i128)>,
    /// What is held, by the reservation.
    open: BTreeMap<usize, Milli>,
}

#[derive(Clone, Debug)]
pub(super) struct CountedRule {
    pub(super) rule: Rule,
    pub(super) logs: BTreeMap<Vec<String>, Vec<Entry>>,
    /// What a rate limit that changed has kept of holds as use, by the reservation.
    pub(super) as_use: BTreeMap<(Vec<String>, usize), Milli>,
    /// The zones and dates of customers, which cut the periods of their keys.
    pub(super) calendars: BTreeMap<String, OwnCalendar>,
    /// What was adjusted, which is in the logs, too.
    pub(super) adjusted: BTreeMap<Vec<String>, Vec<Adjusted>>,
}

impl CountedRule {
    pub(super) fn log(&self, key: &[String]) -> &[Entry] {
        self.logs.get(key).map_or(&[], Vec::as_slice)
    }

    /// The history as it will be at an instant: holds that expire by then are given back.
    fn log_at(&self, key: &[String], now: Nanos) -> Vec<Entry> {
        let mut log = self.log(key).to_vec();
        log.extend(self.expired(key, now));
        log
    }

    /// The ends of the open holds that expire by an instant, in their order.
    pub(super) fn expired(&self, key: &[String], now: Nanos) -> impl Iterator<Item = Entry> {
        let mut open = self.open(key);
        open.retain(|(until, _)| *until <= now);
        let end = |(at, hold)| Entry::End { at, hold, used: 0, verb: Verb::Commit };
        open.into_iter().map(end)
    }

    /// The open holds, in the order in which they expire.
    pub(super) fn open(&self, key: &[String]) -> Vec<(Nanos, usize)> {
        let mut open = BTreeMap::new();
        for entry in self.log(key) {
            match *entry {
                Entry::Hold { hold, until, .. } => {
                    open.insert(hold, until);
                }
                Entry::End { hold, .. } | Entry::Forgotten { hold, .. } => {
                    open.remove(&hold);
                }
                _ => {}
            }
        }
        let mut open: Vec<_> = open.into_iter().map(|(hold, until)| (until, hold)).collect();
        open.sort_unstable();
        open
    }

    /// How much an open reservation holds of it.
    pub(super) fn held_by(&self, key: &[String], reservation: usize) -> Milli {
        let is_open = self.open(key).iter().any(|(_, hold)| *hold == reservation);
        if is_open { self.taken_by(key, reservation) } else { 0 }
    }

    /// How much a reservation has taken of it, without what was kept as use.
    fn taken_by(&self, key: &[String], reservation: usize) -> Milli {
        self.log(key).iter().fold(0, |sum, entry| match *entry {
            Entry::Hold { hold, hi, .. } if hold == reservation => sum + hi,
            Entry::Forgotten { hold, .. } if hold == reservation => 0,
            _ => sum,
        })
    }

    /// What is used, in thousandths, as the rule counts it at `now` for an event of `stamp`, with
    /// what is held.
    pub(super) fn used(&self, key: &[String], now: Nanos, stamp: Nanos) -> Range<Milli> {
        if let Kind::Bucket { .. } = self.rule.kind {
            let bucket = self.bucket(key, now);
            let (lo, hi) = (bucket.lo / bucket.window, ceil_div(bucket.hi, bucket.window));
            return Range::new(lo, hi);
        }
        self.sum(key, now, stamp, |_| true)
    }

    /// How much of what is used open reservations hold: in a quota that counts in the event's
    /// period, in a rate limit all that they took.
    pub(super) fn held(&self, key: &[String], now: Nanos, stamp: Nanos) -> Range<Milli> {
        let open: Vec<usize> = self.open(key).into_iter().map(|(_, hold)| hold).collect();
        if self.rule.kind.is_rate() || self.rule.kind == Kind::Slots {
            let all = open.iter().map(|hold| self.taken_by(key, *hold)).sum();
            return Range::new(all, all);
        }
        self.sum(key, now, stamp, |entry| open.iter().any(|hold| entry.is_of(*hold)))
    }

    pub(super) fn sum(
        &self,
        key: &[String],
        now: Nanos,
        stamp: Nanos,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Range<Milli> {
        let late = self.lateness(key, now);
        let (mut least, mut most) = (0, 0);
        for mut entry in self.kept(key, now) {
            let (at, own) = (self.counted_at(&entry), self.dated(&entry));
            let (is_wanted, entry_of) = (wanted(&entry), entry.clone());
            let Some((&mut lo, &mut hi)) = entry.amount().filter(|_| is_wanted) else { continue };
            let (sure, maybe) = match self.rule.kind {
                Kind::Fixed { window } => {
                    let same = at.div_euclid(window) == now.div_euclid(window);
                    (same, same)
                }
                // What is below nothing may leave early, so that no use is said too low.
                Kind::Rolling { window } if hi < 0 => (at + window > now, at - late + window > now),
                Kind::Sliding { window } | Kind::Rolling { window } => {
                    (at + window > now, at + late + window > now)
                }
                Kind::Calendar(span) => {
                    let same = self.period(key, span, own).0 == self.period(key, span, stamp).0;
                    (same, same)
                }
                Kind::FirstUse { .. } => {
                    let counts = self.counts_since_first(key, &entry_of, now);
                    (counts, counts)
                }
                Kind::Slots => (true, true),
                Kind::Bucket { .. } => unreachable!("its history is replayed"),
                Kind::Balance { .. } => unreachable!("its account is asked"),
            };
            least += if sure { lo } else { 0 };
            most += if maybe { hi } else { 0 };
        }
        Range::new(least, most)
    }

    /// The history of a counter at an instant with what was given back: what refunds took back of a
    /// rate limit's window, and what of holds that have ended was not used. A quota counts refunds
    /// as what they are.
    pub(super) fn kept(&self, key: &[String], now: Nanos) -> Vec<Entry> {
        let is_window = matches!(self.rule.kind, Kind::Fixed { .. } | Kind::Sliding { .. });
        let mut kept: Vec<Entry> = Vec::new();
        for entry in self.log_at(key, now) {
            match entry {
                Entry::Use { at, lo: lo @ ..0, hi, .. } if is_window => {
                    self.refund(&mut kept, key, at, Range::new(-hi, -lo));
                }
                Entry::End { at, hold, used, .. } => {
                    let lost = self.end(&mut kept, key, at, hold, used);
                    // A refund took back what was held, which is given back: so it took others,
                    // those that are the next to leave.
                    if is_window {
                        self.take_oldest(&mut kept, key, at, lost);
                    }
                }
                _ => kept.push(entry),
            }
        }
        kept
    }

    /// Takes back the newest uses of a window, and nothing where there are none.
    fn refund(&self, kept: &mut [Entry], key: &[String], now: Nanos, amount: Range<Milli>) {
        let (mut sure, mut maybe) = (amount.hi, amount.lo);
        let late = self.lateness(key, now);
        let mut newest: Vec<&mut Entry> = kept.iter_mut().collect();
        newest.sort_by_key(|entry| self.counted_at(entry));
        for entry in newest.into_iter().rev() {
            let counts = self.may_count(late, self.counted_at(entry), now);
            let Some((lo, hi)) = entry.amount().filter(|_| counts) else { continue };
            let (of_lo, of_hi) = (sure.min(*lo), maybe.min(*hi));
            (*lo, *hi) = (*lo - of_lo, *hi - of_hi);
            (sure, maybe) = (sure - of_lo, maybe - of_hi);
        }
    }

    fn take_oldest(&self, kept: &mut [Entry], key: &[String], now: Nanos, amount: Milli) {
        let (mut rest, late) = (amount, self.lateness(key, now));
        let mut oldest: Vec<&mut Entry> = kept.iter_mut().collect();
        oldest.sort_by_key(|entry| self.counted_at(entry));
        for entry in oldest {
            let counts = self.may_count(late, self.counted_at(entry), now);
            let Some((lo, hi)) = entry.amount().filter(|_| counts) else { continue };
            let of_hi = rest.min(*hi);
            (*lo, *hi) = ((*lo - of_hi).max(0), *hi - of_hi);
            rest -= of_hi;
        }
    }

    /// Gives back what of a hold was not used, its newest takes first. Returns how much of what
    /// still counts a refund had taken back before.
    fn end(
        &self,
        kept: &mut [Entry],
        key: &[String],
        now: Nanos,
        hold: usize,
        used: Milli,
    ) -> Milli {
        let mut back = self.taken_by(key, hold) - used;
        let takes = self.log(key).iter().filter(|entry| entry.is_of(hold)).rev();
        let left = kept.iter_mut().filter(|entry| entry.is_of(hold)).rev();
        let (mut lost, late) = (0, self.lateness(key, now));
        for (take, left) in takes.zip(left) {
            let Entry::Hold { hi: units, .. } = *take else { continue };
            let units = units.min(back);
            back -= units;
            let counts = self.may_count(late, self.counted_at(left), now);
            let Some((lo, hi)) = left.amount() else { continue };
            lost += if counts { (units - *hi).max(0) } else { 0 };
            (*lo, *hi) = ((*lo - units).max(0), (*hi - units).max(0));
        }
        lost
    }

    /// Whether a use of a window may still count.
    pub(super) fn may_count(&self, late: Nanos, at: Nanos, now: Nanos) -> bool {
        match self.rule.kind {
            Kind::Fixed { window } => at.div_euclid(window) == now.div_euclid(window),
            Kind::Sliding { window } => at + late + window > now,
            _ => true,
        }
    }

    /// The date of a use.
    pub(super) fn dated(&self, entry: &Entry) -> Nanos {
        match *entry {
            Entry::Use { stamp, .. } | Entry::Hold { stamp, .. } => stamp,
            _ => entry.at(),
        }
    }

    /// The instant at which a use counts in a window that slides.
    pub(super) fn counted_at(&self, entry: &Entry) -> Nanos {
        match (entry, self.rule.kind) {
            (Entry::Use { stamp, .. } | Entry::Hold { stamp, .. }, Kind::Rolling { .. }) => *stamp,
            (Entry::Use { at, stamp, verb: Verb::Record, .. }, Kind::Sliding { .. }) => {
                *stamp.min(at)
            }
            _ => entry.at(),
        }
    }

    /// How late a use may leave a window that slides: not at all while there were no more instants
    /// of use than are told apart. Uses that are dated ahead wait for longer than a window, and
    /// many of those may wait until the last of them.
    pub(super) fn lateness(&self, key: &[String], now: Nanos) -> Nanos {
        let (Kind::Sliding { window } | Kind::Rolling { window }) = self.rule.kind else {
            return 0;
        };
        let slot = slot(window);
        let ahead = |entry: &Entry| self.dated(entry) > entry.at();
        // What was merged may be there for as long as it may have been late.
        let ahead = if self.log(key).iter().any(ahead) { AHEAD } else { 0 };
        let since = now - 2 * (window + slot) - ahead;
        let uses = self.log(key).iter().filter(|entry| entry.is_use());
        let mut instants: Vec<Nanos> = uses.map(|entry| self.counted_at(entry)).collect();
        instants.retain(|at| *at > since);
        instants.sort_unstable();
        instants.dedup();
        if instants.len() > APART { slot - 1 + ahead } else { 0 }
    }

    /// What is left, in thousandths, never below zero and never more than the limit.
    pub(super) fn left(&self, key: &[String], now: Nanos, stamp: Nanos) -> Range<Milli> {
        if let Kind::Bucket { .. } = self.rule.kind {
            let bucket = self.bucket(key, now);
            let level =
                |missing: i128| (bucket.capacity * bucket.window - missing).max(0) / bucket.window;
            return Range::new(level(bucket.hi), level(bucket.lo));
        }
        let used = self.used(key, now, stamp);
        let limit = self.rule.limit_milli();
        Range::new((limit - used.hi).clamp(0, limit), (limit - used.lo).clamp(0, limit))
    }

    /// Whether the amount fits, by the least use (`best_case`) or the most that is possible. What
    /// adds nothing is never refused.
    pub(super) fn fits(
        &self,
        key: &[String],
        now: Nanos,
        stamp: Nanos,
        amount: Milli,
        best_case: bool,
    ) -> bool {
        if amount <= 0 {
            return true;
        }
        if let Kind::Bucket { .. } = self.rule.kind {
            let bucket = self.bucket(key, now);
            let missing = if best_case { bucket.lo } else { bucket.hi };
            return missing + amount * bucket.window <= bucket.capacity * bucket.window;
        }
        if self.is_before_period(key, now, stamp) {
            return true;
        }
        if let Kind::Rolling { window } = self.rule.kind
            && stamp + window <= now
        {
            // It is older than the window: it adds nothing.
            return true;
        }
        let used = self.used(key, now, stamp);
        let used = if best_case { used.lo } else { used.hi };
        used + amount <= self.rule.limit_milli()
    }

    /// The earliest instant from `from` on at which an event stamped then would pass.
    pub(super) fn earliest(
        &self,
        key: &[String],
        from: Nanos,
        amount: Milli,
        best_case: bool,
    ) -> Option<Nanos> {
        let mut instant = from;
        while !self.fits(key, instant, instant, amount, best_case) {
            // More than the limit fits only where a quota has been given back more than was used.
            if amount > self.rule.capacity_milli() && !self.may_be_below_nothing(key, instant) {
                return None;
            }
            // What it is when nothing that is held expires before.
            let next = match self.rule.kind {
                Kind::Bucket { .. } => {
                    let bucket = self.bucket(key, instant);
                    let missing = if best_case { bucket.lo } else { bucket.hi };
                    let target = (bucket.capacity - amount) * bucket.window;
                    let wait = || ceil_div(missing - target, bucket.limit);
                    let wait = (bucket.limit > 0).then(wait).filter(|wait| *wait < EVER);
                    wait.map(|wait| instant + wait)
                }
                Kind::Fixed { window } => Some((instant.div_euclid(window) + 1) * window),
                Kind::Sliding { window } | Kind::Rolling { window } => {
                    let extra = if best_case { 0 } else { self.lateness(key, from) };
                    let leaves = self.uses(key, instant, false).map(|at| at + extra + window);
                    leaves.filter(|&at| at > instant).min()
                }
                Kind::Calendar(span) => self.period(key, span, instant).1,
                Kind::FirstUse { length } => Some(self.first_start(key, instant, instant) + length),
                Kind::Slots | Kind::Balance { .. } => None,
            };
            let expires = self.expiries(key, instant).min();
            instant = next.into_iter().chain(expires).min()?;
        }
        Some(instant)
    }

    /// When open holds expire after an instant.
    pub(super) fn expiries(&self, key: &[String], after: Nanos) -> impl Iterator<Item = Nanos> {
        let open = self.open(key).into_iter();
        open.map(|(until, _)| until).filter(move |until| *until > after)
    }

    /// Whether less than nothing may be used of a quota, at an instant or later.
    pub(super) fn may_be_below_nothing(&self, key: &[String], instant: Nanos) -> bool {
        if let Kind::FirstUse { .. } = self.rule.kind {
            return self.used(key, instant, instant).lo < 0;
        }
        self.log(key).iter().any(|entry| {
            let (Entry::Use { lo, .. } | Entry::CarriedOver { lo, .. }) = *entry else {
                return false;
            };
            lo < 0
                && match self.rule.kind {
                    Kind::Rolling { window } => self.counted_at(entry) + window > instant,
                    Kind::Calendar(span) => {
                        let end = self.period(key, span, self.dated(entry)).1;
                        end.is_none_or(|end| end > instant)
                    }
                    _ => false,
                }
        })
    }

    /// The instants at which something was counted that counts at `now`, for sure or perhaps. What
    /// was taken at an instant and given back at the same one is perhaps: it is as if it had never
    /// been, but the decision that does so does not look for it.
    pub(super) fn uses(
        &self,
        key: &[String],
        now: Nanos,
        sure: bool,
    ) -> impl Iterator<Item = Nanos> + Clone {
        let mut amounts = BTreeMap::<Nanos, (Milli, bool)>::new();
        for mut entry in self.kept(key, now) {
            let at = self.counted_at(&entry);
            if let Some((lo, hi)) = entry.amount() {
                let (sum, is_some) = amounts.entry(at).or_default();
                *sum += *lo;
                *is_some |= *hi != 0;
            }
        }
        let counts =
            |(_, (sum, is_some)): &(_, (Milli, bool))| if sure { *sum != 0 } else { *is_some };
        let found: Vec<Nanos> = amounts.into_iter().filter(counts).map(|(at, _)| at).collect();
        found.into_iter()
    }

    /// The ranges, in whole Unix seconds, that `reset` may lie in.
    pub(super) fn reset(
        &self,
        key: &[String],
        now: Nanos,
        stamp: Nanos,
    ) -> Vec<Option<Range<i128>>> {
        let one = |instant: Nanos| vec![Some(Range::new(seconds(instant), seconds(instant)))];
        match self.rule.kind {
            Kind::Bucket { .. } => {
                let bucket = self.bucket(key, now);
                // A bucket that is never filled stays as it is.
                let filled = |missing: i128| match (missing, bucket.limit) {
                    (0, _) => Some(now),
                    (_, 0) => None,
                    (missing, limit) => {
                        let wait = Some(ceil_div(missing, limit)).filter(|wait| *wait < EVER);
                        wait.map(|wait| now + wait)
                    }
                };
                let never = Some(Range::new(seconds(now), seconds(now)));
                match (filled(bucket.lo), filled(bucket.hi)) {
                    (Some(lo), Some(hi)) => vec![Some(Range::new(seconds(lo), seconds(hi)))],
                    (Some(lo), None) => vec![Some(Range::new(seconds(lo), i128::MAX)), never],
                    (None, _) => vec![never],
                }
            }
            Kind::Fixed { window } => one((now.div_euclid(window) + 1) * window),
            Kind::Calendar(span) => match self.period(key, span, stamp).1 {
                Some(end) => one(end),
                None => vec![None],
            },
            Kind::FirstUse { length } => one(self.first_start(key, now, stamp) + length),
            Kind::Slots | Kind::Balance { .. } => vec![None],
            Kind::Sliding { window } | Kind::Rolling { window } => {
                let unused = match self.rule.kind {
                    Kind::Sliding { .. } => Some(Range::new(seconds(now), seconds(now))),
                    _ => None,
                };
                let extra = self.lateness(key, now);
                let sure =
                    self.uses(key, now, true).map(|at| at + window).filter(|&at| at > now).min();
                let most = |at: Nanos| at + window + extra;
                let mut maybe = self.uses(key, now, false).map(most).filter(|&at| at > now);
                match (sure, maybe.clone().max()) {
                    (None, None) => vec![unused],
                    // The slots of the last uses may be over or not.
                    (None, Some(last)) => {
                        vec![unused, Some(Range::new(seconds(now), seconds(last)))]
                    }
                    // An older use than the first sure one may still be counted.
                    (Some(sure), _) => {
                        let older = maybe.any(|at| at < sure + extra);
                        let from = if older { now } else { sure };
                        vec![Some(Range::new(seconds(from), seconds(sure + extra)))]
                    }
                }
            }
        }
    }

    /// Replays a bucket from its first use.
    pub(super) fn bucket(&self, key: &[String], now: Nanos) -> Bucket {
        let mut bucket = Bucket {
            limit: self.rule.limit_milli(),
            capacity: self.rule.capacity_milli(),
            debt: self.rule.debt_milli(),
            window: match self.rule.kind {
                Kind::Bucket { window, .. } => window,
                _ => unreachable!("only a bucket is replayed"),
            },
            lo: 0,
            hi: 0,
            alone: None,
            open: BTreeMap::new(),
        };
        let mut last = None;
        for entry in self.log_at(key, now) {
            let at = entry.at();
            bucket.refill(at - last.unwrap_or(at));
            last = Some(at);
            match entry {
                Entry::Terms { limit, capacity, debt, window, .. } => {
                    bucket.debt = debt;
                    bucket.limit = limit;
                    bucket.capacity = capacity;
                    bucket.window = window;
                }
                Entry::Use { lo, hi, verb, .. } => {
                    bucket.take(lo, hi, verb);
                    if let Some(alone) = bucket.alone {
                        let taken = |missing, amount| bucket.taken(missing, amount, verb);
                        bucket.alone = Some((taken(alone.0, lo), taken(alone.1, hi)));
                    }
                }
                Entry::Hold { hold, lo, hi, .. } => {
                    bucket.alone = bucket.alone.or(Some((bucket.lo, bucket.hi)));
                    bucket.take(lo, hi, Verb::Track);
                    *bucket.open.entry(hold).or_default() += hi;
                }
                Entry::End { hold, used, verb, .. } => bucket.end(hold, used, verb),
                Entry::Forgotten { hold, .. } => bucket.forget(hold),
                Entry::CarriedOver { lo, hi, .. } => {
                    bucket.lo = lo * bucket.window;
                    bucket.hi = hi * bucket.window;
                }
            }
        }
        bucket.refill(now - last.unwrap_or(now));
        bucket
    }

    /// The history of the counter that it becomes when the rule is another kind: what was used is
    /// carried over. A quota keeps what is held where it carries over what was used, a rate limit
    /// keeps it as use.
    pub(super) fn log_as(&self, key: &[String], now: Nanos, to: &Rule) -> Vec<Entry> {
        let mut log = vec![terms(to, now)];
        log.extend(self.carried_over(key, now, to));
        if to.kind.is_rate() {
            return log;
        }
        let counts = |at: Nanos| match self.rule.kind {
            Kind::Calendar(span) => self.period(key, span, at).0 == self.period(key, span, now).0,
            Kind::Rolling { window } => at + window > now,
            _ => true,
        };
        for (until, hold) in self.open(key) {
            let takes = self.log(key).iter().filter(|entry| entry.is_of(hold));
            let (hi, mut takes) = (self.taken_by(key, hold), takes);
            let counts = match self.rule.kind {
                Kind::FirstUse { .. } => takes.all(|it| self.counts_since_first(key, it, now)),
                _ => takes.map(|it| self.dated(it)).all(counts),
            };
            if counts {
                log.push(Entry::Hold { at: now, stamp: now, hold, until, lo: hi, hi });
            }
        }
        log
    }

    /// What carries over when the counter becomes one of another kind.
    fn carried_over(&self, key: &[String], now: Nanos, to: &Rule) -> Option<Entry> {
        let mut used = self.used(key, now, now);
        if !to.kind.is_rate() {
            let held = self.held(key, now, now);
            used = Range::new(used.lo - held.hi, used.hi - held.lo);
        }
        let from_bucket = matches!(self.rule.kind, Kind::Bucket { .. });
        let to_bucket = matches!(to.kind, Kind::Bucket { .. });
        let up = |milli: Milli| ceil_div(milli, 1_000) * 1_000;
        let (lo, hi) = match (from_bucket, to_bucket) {
            // Another window of the same bucket: exact, or rounded up to whole tokens.
            (true, true) => (used.lo, up(used.hi)),
            // The least part of what has fractions is a millionth, which may be its "whole".
            (true, false) if !self.rule.measure.is_whole() => (used.lo, up(used.hi)),
            (true, false) => {
                let bucket = self.bucket(key, now);
                (up(ceil_div(bucket.lo, bucket.window)), up(used.hi))
            }
            // More than the bucket holds: owed in full, or an empty bucket.
            (false, true) => (used.lo.min(to.capacity_milli()), used.hi),
            (false, false) => (used.lo, used.hi),
        };
        ((lo, hi) != (0, 0)).then_some(Entry::CarriedOver { at: now, lo, hi })
    }
}

impl Bucket {
    pub(super) fn refill(&mut self, passed: Nanos) {
        let gain = passed * self.limit;
        let refilled = |missing: i128| (missing - gain).max(0);
        (self.lo, self.hi) = (refilled(self.lo), refilled(self.hi));
        self.alone = self.alone.map(|(lo, hi)| (refilled(lo), refilled(hi)));
    }

    fn take(&mut self, lo: Milli, hi: Milli, verb: Verb) {
        (self.lo, self.hi) = (self.taken(self.lo, lo, verb), self.taken(self.hi, hi, verb));
    }

    fn forget(&mut self, hold: usize) {
        self.open.remove(&hold);
        self.alone = self.alone.filter(|_| !self.open.is_empty());
    }

    /// Gives back what of a hold was not used: no fuller than committed use alone would have left
    /// it, less what is still held, and never emptier than it was.
    fn end(&mut self, hold: usize, used: Milli, verb: Verb) {
        let Some((held, alone)) = self.open.remove(&hold).zip(self.alone) else { return };
        let alone = (self.taken(alone.0, used, verb), self.taken(alone.1, used, verb));
        let left: Milli = self.open.values().sum();
        let back = (held - used) * self.window;
        let given = |missing: i128, alone: i128| {
            missing.min((missing - back).max(alone + left * self.window))
        };
        (self.lo, self.hi) = (given(self.lo, alone.0), given(self.hi, alone.1));
        // Without holds it is an ordinary one: a hold that was used was taken at its instant.
        self.alone = Some(alone).filter(|_| !self.open.is_empty());
    }

    /// Never below empty: what is owed already, or at most the whole capacity. What is recorded
    /// may be owed. A refund gives back what is missing, and no more.
    pub(super) fn taken(&self, missing: i128, amount: Milli, verb: Verb) -> i128 {
        let after = missing + amount * self.window;
        if amount < 0 {
            return after.max(0);
        }
        let most = match (verb, self.debt) {
            (Verb::Track, _) => self.capacity * self.window,
            // What nothing refills owes nothing.
            _ if self.limit == 0 => self.capacity * self.window,
            (_, Some(debt)) => (self.capacity + debt) * self.window,
            (_, None) => after,
        };
        missing.max(most.min(after))
    }
}

pub(super) fn terms(rule: &Rule, at: Nanos) -> Entry {
    let window = match rule.kind {
        Kind::Bucket { window, .. } => window,
        _ => 1,
    };
    let (limit, capacity) = (rule.limit_milli(), rule.capacity_milli());
    Entry::Terms { at, limit, capacity, debt: rule.debt_milli(), window }
}

/// The length of a sliding window's slot.
pub fn slot(window: Nanos) -> Nanos {
    ceil_div(window, SLOTS)
}

/// The start of a calendar period and its end, which all time has not.
pub fn period(span: Span, instant: Nanos) -> (Nanos, Option<Nanos>) {
    let even = |length: Nanos, phase: Nanos| {
        let start = (instant - phase).div_euclid(length) * length + phase;
        (start, Some(start + length))
    };
    let whole = i64::try_from(instant.div_euclid(SECOND)).expect("an instant of this era");
    let date = DateTime::<Utc>::from_timestamp(whole, 0).expect("an instant of this era");
    let midnight = |year: i32, month: u32| {
        let day = NaiveDate::from_ymd_opt(year, month, 1).expect("the first of a month");
        let start = day.and_hms_opt(0, 0, 0).expect("midnight").and_utc();
        i128::from(start.timestamp()) * SECOND
    };
    let (year, month) = (date.year(), date.month());
    match span {
        Span::Hour => even(HOUR, 0),
        Span::Day => even(DAY, 0),
        // The epoch was a Thursday, so the first Monday was its fifth day.
        Span::Week => even(7 * DAY, 4 * DAY),
        Span::Month => {
            let end = if month == 12 { midnight(year + 1, 1) } else { midnight(year, month + 1) };
            (midnight(year, month), Some(end))
        }
        Span::Year => (midnight(year, 1), Some(midnight(year + 1, 1))),
        Span::AllTime => (Nanos::MIN, None),
        Span::SixHours => even(6 * HOUR, 0),
        Span::ThreeDays => even(3 * DAY, 0),
        Span::NewYorkDay => by_dates(Tz::America__New_York, instant, |_| true),
        Span::KolkataWeek => {
            by_dates(Tz::Asia__Kolkata, instant, |date| date.weekday() == Weekday::Thu)
        }
        Span::MonthFrom31 => by_dates(Tz::UTC, instant, |date| {
            let next = date.succ_opt().expect("a date of this era");
            date.day() == 31 || next.day() == 1
        }),
        Span::Quarter => {
            by_dates(Tz::UTC, instant, |date| date.day() == 1 && date.month() % 3 == 1)
        }
    }
}

/// The period between two dates on which one begins, by the wall clock of a zone that skips no
/// midnight.
pub(super) fn by_dates(
    zone: Tz,
    instant: Nanos,
    begins: impl Fn(NaiveDate) -> bool,
) -> (Nanos, Option<Nanos>) {
    let whole = i64::try_from(instant.div_euclid(SECOND)).expect("an instant of this era");
    let utc = DateTime::<Utc>::from_timestamp(whole, 0).expect("an instant of this era");
    let mut first = utc.with_timezone(&zone).date_naive();
    while !begins(first) {
        first = first.pred_opt().expect("a date of this era");
    }
    let mut next = first.succ_opt().expect("a date of this era");
    while !begins(next) {
        next = next.succ_opt().expect("a date of this era");
    }
    let beginning = |date: NaiveDate| {
        let midnight = date.and_hms_opt(0, 0, 0).expect("midnight");
        let shown = midnight.and_local_timezone(zone).earliest().expect("a midnight of this zone");
        i128::from(shown.timestamp()) * SECOND
    };
    (beginning(first), Some(beginning(next)))
}
