//! One rule with every use ever counted by it: what is used, what fits, and when.

use super::data::*;
use super::*;
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use std::collections::BTreeMap;

/// A use may leave a sliding window late by less than this part of its length.
pub(super) const SLOTS: Nanos = 60;

/// As many instants of use a sliding window tells apart.
pub(super) const APART: usize = 62;

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
}

/// What a bucket misses, in thousandths times the window's length, after a replay.
pub(super) struct Bucket {
    pub(super) limit: Milli,
    pub(super) capacity: Milli,
    pub(super) debt: Option<Milli>,
    pub(super) window: Nanos,
    pub(super) lo: i128,
    pub(super) hi: i128,
}

#[derive(Clone, Debug)]
pub(super) struct CountedRule {
    pub(super) rule: Rule,
    pub(super) logs: BTreeMap<Vec<String>, Vec<Entry>>,
}

impl CountedRule {
    pub(super) fn log(&self, key: &[String]) -> &[Entry] {
        self.logs.get(key).map_or(&[], Vec::as_slice)
    }

    /// What is used, in thousandths, as the rule counts it at `now` for an event of `stamp`.
    pub(super) fn used(&self, key: &[String], now: Nanos, stamp: Nanos) -> Range<Milli> {
        if let Kind::Bucket { .. } = self.rule.kind {
            let bucket = self.bucket(key, now);
            let (lo, hi) = (bucket.lo / bucket.window, ceil_div(bucket.hi, bucket.window));
            return Range::new(lo, hi);
        }
        let late = self.lateness(key, now);
        let (mut least, mut most) = (0, 0);
        for entry in self.refunded(key) {
            let (at, own, lo, hi) = match entry {
                Entry::Use { stamp, lo, hi, .. } => (self.counted_at(&entry), stamp, lo, hi),
                Entry::CarriedOver { at, lo, hi } => (at, at, lo, hi),
                Entry::Terms { .. } => continue,
            };
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
                    let same = period(span, own).0 == period(span, stamp).0;
                    (same, same)
                }
                Kind::Bucket { .. } => unreachable!("answered above"),
            };
            least += if sure { lo } else { 0 };
            most += if maybe { hi } else { 0 };
        }
        Range::new(least, most)
    }

    /// The history of a counter with what refunds took back: of a rate limit's window they cancel
    /// the newest uses, and nothing where there are none. A quota counts them as what they are.
    pub(super) fn refunded(&self, key: &[String]) -> Vec<Entry> {
        let (Kind::Fixed { window } | Kind::Sliding { window }) = self.rule.kind else {
            return self.log(key).to_vec();
        };
        let mut kept: Vec<Entry> = Vec::new();
        for entry in self.log(key) {
            let Entry::Use { at: now, lo: amount @ ..0, .. } = *entry else {
                kept.push(entry.clone());
                continue;
            };
            let late = self.lateness(key, now);
            let (mut sure, mut maybe) = (-amount, -amount);
            let mut newest: Vec<&mut Entry> = kept.iter_mut().collect();
            newest.sort_by_key(|entry| self.counted_at(entry));
            for entry in newest.into_iter().rev() {
                let at = self.counted_at(entry);
                let (Entry::Use { lo, hi, .. } | Entry::CarriedOver { lo, hi, .. }) = entry else {
                    continue;
                };
                let counts = match self.rule.kind {
                    Kind::Fixed { .. } => at.div_euclid(window) == now.div_euclid(window),
                    _ => at + late + window > now,
                };
                if counts {
                    let (of_lo, of_hi) = (sure.min(*lo), maybe.min(*hi));
                    (*lo, *hi) = (*lo - of_lo, *hi - of_hi);
                    (sure, maybe) = (sure - of_lo, maybe - of_hi);
                }
            }
        }
        kept
    }

    /// The instant at which a use counts in a window that slides.
    pub(super) fn counted_at(&self, entry: &Entry) -> Nanos {
        match (entry, self.rule.kind) {
            (Entry::Use { stamp, .. }, Kind::Rolling { .. }) => *stamp,
            (Entry::Use { at, stamp, verb: Verb::Record, .. }, Kind::Sliding { .. }) => {
                *stamp.min(at)
            }
            (
                Entry::Use { at, .. } | Entry::CarriedOver { at, .. } | Entry::Terms { at, .. },
                _,
            ) => *at,
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
        let ahead = |entry: &Entry| matches!(*entry, Entry::Use { at, stamp, .. } if stamp > at);
        // What was merged may be there for as long as it may have been late.
        let ahead = if self.log(key).iter().any(ahead) { AHEAD } else { 0 };
        let since = now - 2 * (window + slot) - ahead;
        let uses = self.log(key).iter().filter(|entry| !matches!(entry, Entry::Terms { .. }));
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
            instant = match self.rule.kind {
                Kind::Bucket { .. } => {
                    let bucket = self.bucket(key, instant);
                    let missing = if best_case { bucket.lo } else { bucket.hi };
                    let target = (bucket.capacity - amount) * bucket.window;
                    instant + ceil_div(missing - target, bucket.limit)
                }
                Kind::Fixed { window } => (instant.div_euclid(window) + 1) * window,
                Kind::Sliding { window } | Kind::Rolling { window } => {
                    let extra = if best_case { 0 } else { self.lateness(key, from) };
                    let leaves = self.uses(key, false).map(|at| at + extra + window);
                    leaves.filter(|&at| at > instant).min()?
                }
                Kind::Calendar(span) => period(span, instant).1?,
            };
        }
        Some(instant)
    }

    /// Whether less than nothing may be used of a quota, at an instant or later.
    pub(super) fn may_be_below_nothing(&self, key: &[String], instant: Nanos) -> bool {
        self.log(key).iter().any(|entry| {
            let (Entry::Use { lo, .. } | Entry::CarriedOver { lo, .. }) = *entry else {
                return false;
            };
            lo < 0
                && match self.rule.kind {
                    Kind::Rolling { window } => self.counted_at(entry) + window > instant,
                    Kind::Calendar(span) => {
                        let at = match *entry {
                            Entry::Use { stamp, .. } => stamp,
                            Entry::Terms { at, .. } | Entry::CarriedOver { at, .. } => at,
                        };
                        period(span, at).1.is_none_or(|end| end > instant)
                    }
                    _ => false,
                }
        })
    }

    /// The instants at which something was counted, for sure or perhaps.
    pub(super) fn uses(&self, key: &[String], sure: bool) -> impl Iterator<Item = Nanos> + Clone {
        self.refunded(key).into_iter().filter_map(move |entry| match entry {
            Entry::Use { lo, hi, .. } | Entry::CarriedOver { lo, hi, .. } => {
                (if sure { lo != 0 } else { hi != 0 }).then_some(self.counted_at(&entry))
            }
            Entry::Terms { .. } => None,
        })
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
                    (0, _) | (_, 0) => now,
                    (missing, limit) => now + ceil_div(missing, limit),
                };
                let full = |missing: i128| seconds(filled(missing));
                vec![Some(Range::new(full(bucket.lo), full(bucket.hi)))]
            }
            Kind::Fixed { window } => one((now.div_euclid(window) + 1) * window),
            Kind::Calendar(span) => match period(span, stamp).1 {
                Some(end) => one(end),
                None => vec![None],
            },
            Kind::Sliding { window } | Kind::Rolling { window } => {
                let unused = match self.rule.kind {
                    Kind::Sliding { .. } => Some(Range::new(seconds(now), seconds(now))),
                    _ => None,
                };
                let extra = self.lateness(key, now);
                let sure = self.uses(key, true).map(|at| at + window).filter(|&at| at > now).min();
                let most = |at: Nanos| at + window + extra;
                let mut maybe = self.uses(key, false).map(most).filter(|&at| at > now);
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
        };
        let mut last = None;
        for entry in self.log(key) {
            let at = match *entry {
                Entry::Terms { at, .. } | Entry::Use { at, .. } | Entry::CarriedOver { at, .. } => {
                    at
                }
            };
            bucket.refill(at - last.unwrap_or(at));
            last = Some(at);
            match *entry {
                Entry::Terms { limit, capacity, debt, window, .. } => {
                    bucket.debt = debt;
                    bucket.limit = limit;
                    bucket.capacity = capacity;
                    bucket.window = window;
                }
                Entry::Use { lo, hi, verb, .. } => {
                    bucket.lo = bucket.taken(bucket.lo, lo, verb);
                    bucket.hi = bucket.taken(bucket.hi, hi, verb);
                }
                Entry::CarriedOver { lo, hi, .. } => {
                    bucket.lo = lo * bucket.window;
                    bucket.hi = hi * bucket.window;
                }
            }
        }
        bucket.refill(now - last.unwrap_or(now));
        bucket
    }

    /// What carries over when the counter becomes one of another kind.
    pub(super) fn carried_over(&self, key: &[String], now: Nanos, to: &Rule) -> Option<Entry> {
        let used = self.used(key, now, now);
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
        self.lo = (self.lo - gain).max(0);
        self.hi = (self.hi - gain).max(0);
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
            (Verb::Record, Some(debt)) => (self.capacity + debt) * self.window,
            (Verb::Record, None) => after,
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
    }
}
