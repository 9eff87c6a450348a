//! What the ledger knows of the rules' use.

use std::ops::Range;

use super::correct::Refunds;
use super::simulate::Past;
use crate::adjustments::{Adjustments, CountsFor, InWindow, UpTo};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::compiled::{CompiledRule, Snapshot};
use crate::counters::{FIRST, History, MAX_AHEAD_SECONDS, Moment, Since, Timeline, Used};
use crate::event::{Dimension, ValueName};
use crate::recording::Ledger;
use crate::rules::{Condition, Filter, Units};
use crate::usage::{Figure, Question};

/// In nanoseconds.
const MINUTE: i128 = 60_000_000_000;
const HOUR: i128 = 60 * MINUTE;
/// How far ahead events may be dated, and the pieces that those are asked for in.
const AHEAD: i128 = (MAX_AHEAD_SECONDS as i128 + 1) * 1_000_000_000;
const AHEAD_PIECE: i128 = 24 * MINUTE;

/// The recorded events, asked for what they have used of the rules of a snapshot.
#[derive(Debug)]
pub(super) struct Recorded<'e> {
    pub(super) ledger: &'e Ledger,
    /// None where a replay asks: it is about calls alone.
    pub(super) adjustments: Option<&'e Adjustments>,
    pub(super) snapshot: &'e Snapshot,
    pub(super) timeline: Timeline,
    /// What is asked for is what was before the calls of a replay.
    pub(super) past: Option<&'e Past>,
    /// The refunds that a correction has looked for.
    pub(super) refunds: Option<&'e Refunds>,
}

impl History for Recorded<'_> {
    /// The same question as the rule's meter is asked, about one key: there is no answer where
    /// retention has taken some of the period.
    fn used(&self, rule: u32, start: i64, end: Option<i64>, values: &[&str]) -> Option<Used> {
        match self.past {
            Some(past) => {
                past.used(rule, start, end, |end| self.used_of(rule, (start, end), values, None))
            }
            None => self.used_of(rule, (start, end), values, None),
        }
    }

    fn used_without(
        &self,
        rule: u32,
        within: (i64, Option<i64>),
        values: &[&str],
        ordinal: u64,
    ) -> Option<Used> {
        self.used_of(rule, within, values, Some(ordinal))
    }

    fn has_begun_anew(&self, rule: u32, values: &[&str], taken: Moment) -> bool {
        let Some(rule) = self.snapshot.rule(rule) else { return false };
        let since = self.adjusted_since(rule, taken, values);
        since.is_none_or(|since| since.reset.is_some())
    }

    /// O(the events that are recorded since, but for those that were looked through), and none
    /// where no amount can be below zero.
    fn given_back(&self, rule: u32, values: &[&str], since: &Since) -> Option<Units> {
        let compiled = self.snapshot.rule(rule)?;
        let adjusted = self.adjusted_since(compiled, since.taken, values)?.added;
        let below = |amount: &Amount| *amount < Amount::ZERO;
        let adjusted = adjusted.into_iter().map(|(_, amount)| amount).filter(below);
        let adjusted = adjusted.fold(Amount::ZERO, Amount::saturating_add);
        let known = self.refunds.and_then(|known| known.of(rule));
        let (known, until) = known.unwrap_or((Amount::ZERO, 0));
        let new = since.first().max(until)..u64::MAX;
        let refunds = known.saturating_add(self.refunds(rule, values, since, new));
        let sum = adjusted.saturating_add(refunds);
        Some(compiled.measure.units_of(sum).saturating_neg())
    }

    /// Pieces are whole minutes or hours where they are as long, so that the roll-ups tell. Where
    /// the first of them is known no more in part, all of its minute or hour counts.
    fn uses(
        &self,
        rule: u32,
        start: Moment,
        now: Moment,
        piece: u64,
        values: &[&str],
    ) -> Option<Vec<(Moment, Units)>> {
        if let Some(past) = self.past {
            let uses = |last| self.uses_until(rule, start, last, piece, values);
            return past.uses(rule, (start, now), self.timeline, uses);
        }
        let mut uses = self.uses_until(rule, start, now, piece, values)?;
        let rule = self.snapshot.rule(rule)?;
        let now = self.timeline.timestamp(now).unix_nanos();
        let ahead = now.saturating_add(1)..now.saturating_add(AHEAD);
        let length = AHEAD.saturating_mul(2);
        if !self.pieces(rule, ahead.clone(), length, values)?.is_empty() {
            uses.extend(self.pieces(rule, ahead, AHEAD_PIECE, values)?);
        }
        Some(uses)
    }
}

impl Recorded<'_> {
    /// What refunds of these ordinals have given back to a key since a use of it was taken. Where
    /// events that lack a dimension count for the key, those of all keys may be its own.
    pub(super) fn refunds(
        &self,
        rule: u32,
        values: &[&str],
        since: &Since,
        within: Range<u64>,
    ) -> Amount {
        let Some(rule) = self.snapshot.rule(rule) else { return Amount::ZERO };
        let Some(value @ (ValueName::CostCents | ValueName::Other(_))) = rule.measure.value()
        else {
            return Amount::ZERO;
        };
        let is_shared = shares_a_value(rule, values);
        let filter = if is_shared { Filter::default() } else { of_key(rule, values) };
        let from = self.timeline.timestamp(since.taken);
        self.ledger.refunds(value, &filter, (within, since.event), from)
    }

    fn used_of(
        &self,
        rule: u32,
        (start, end): (i64, Option<i64>),
        values: &[&str],
        without: Option<u64>,
    ) -> Option<Used> {
        let rule = self.snapshot.rule(rule)?;
        if shares_a_value(rule, values) {
            return None;
        }
        let figure = Figure::of_measure(&rule.measure);
        let selector = figure.selector(of_key(rule, values), Vec::new());
        let end = end.map_or(Timestamp::MAX, |end| Timestamp::new(end, 0));
        let asked = Timestamp::new(start, 0).max(Timestamp::MIN)..end;
        let answer = self.ledger.ask(&Question {
            selector: &selector,
            ranges: std::slice::from_ref(&asked),
            folds: &figure.folds(),
            tells_all_apart: figure.is_unique(),
            without,
            held: None,
        });
        if !answer.coverage(&asked).is_complete {
            return None;
        }
        let units = rule.measure.units_of(figure.value(&answer)?.ok()?);
        let units = units.saturating_add(self.adjusted(rule, &asked, values)?);
        let latest = figure.latest(&answer);
        let latest = latest.map_or(Moment(0), |latest| {
            self.timeline.dated(self.timeline.moment(latest)).max(FIRST)
        });
        Some(Used { units, latest })
    }

    /// The uses but for what is dated ahead of now.
    fn uses_until(
        &self,
        rule: u32,
        start: Moment,
        now: Moment,
        piece: u64,
        values: &[&str],
    ) -> Option<Vec<(Moment, Units)>> {
        let rule = self.snapshot.rule(rule)?;
        let InWindow { reset, added } = self.adjusted_since(rule, start, values)?;
        let start = reset.map_or(start, |reset| self.timeline.moment(reset).max(start));
        let [start, now] = [start, now].map(|moment| self.timeline.timestamp(moment).unix_nanos());
        let piece = i128::from(piece.max(1));
        let bucket = [HOUR, MINUTE].into_iter().find(|bucket| *bucket <= piece).unwrap_or(1);
        let piece = floor(piece, bucket);
        let uses = self.pieces(rule, start..now.saturating_add(1), piece, values);
        let mut uses = uses.or_else(|| {
            let whole = floor(start, bucket)..now.saturating_add(1);
            self.pieces(rule, whole, piece, values)
        })?;
        let added = added.into_iter();
        uses.extend(
            added.map(|(at, amount)| (self.timeline.moment(at), rule.measure.units_of(amount))),
        );
        Some(uses)
    }

    /// How much of a rule's key was adjusted within a time.
    fn adjusted(
        &self,
        rule: &CompiledRule,
        within: &Range<Timestamp>,
        values: &[&str],
    ) -> Option<Units> {
        let Some(adjustments) = self.adjustments.filter(|known| !known.is_empty()) else {
            return Some(0);
        };
        let of = counts_for(rule, values);
        let added = adjustments.sum(&of, within, UpTo::Now)?;
        Some(rule.measure.units_of(added))
    }

    /// The same since a moment, of a rolling period.
    fn adjusted_since(
        &self,
        rule: &CompiledRule,
        start: Moment,
        values: &[&str],
    ) -> Option<InWindow> {
        let Some(adjustments) = self.adjustments.filter(|known| !known.is_empty()) else {
            return Some(InWindow::default());
        };
        let start = self.timeline.timestamp(start);
        adjustments.since(&counts_for(rule, values), start, UpTo::Now)
    }

    /// What events from one Unix nanosecond to before another have used, in pieces that begin at
    /// whole multiples of their length: each that has any, with its last nanosecond.
    fn pieces(
        &self,
        rule: &CompiledRule,
        span: Range<i128>,
        length: i128,
        values: &[&str],
    ) -> Option<Vec<(Moment, Units)>> {
        let mut ranges = Vec::new();
        let mut start = span.start;
        while start < span.end {
            let end = floor(start, length).saturating_add(length).min(span.end);
            ranges.push(Timestamp::from_unix_nanos(start)..Timestamp::from_unix_nanos(end));
            start = end;
        }
        let figure = Figure::of_measure(&rule.measure);
        let selector = figure.selector(of_key(rule, values), Vec::new());
        let answer = self.ledger.ask(&Question {
            selector: &selector,
            ranges: &ranges,
            folds: &figure.folds(),
            tells_all_apart: false,
            without: None,
            held: None,
        });
        if !answer.coverage_of(&ranges).is_complete {
            return None;
        }
        let last = |range: &Range<Timestamp>| {
            let last = range.end.unix_nanos().saturating_sub(1);
            self.timeline.moment(Timestamp::from_unix_nanos(last))
        };
        let sums = figure.sums(&answer)?.into_iter();
        let sums = sums.filter_map(|(index, sum)| Some((ranges.get(index)?, sum)));
        let uses = sums.map(|(range, sum)| (last(range), rule.measure.units_of(sum)));
        Some(uses.filter(|(_, units)| *units != 0).collect())
    }
}

/// Whose figures an adjustment of a rule's key counts in.
pub(super) fn counts_for(rule: &CompiledRule, values: &[&str]) -> CountsFor {
    let key = rule.key_of_values(values.iter().copied());
    CountsFor { age: rule.age, metric: rule.rule.metric().to_string().into(), key }
}

/// The greatest multiple of a length that is not above a number.
fn floor(number: i128, length: i128) -> i128 {
    number.saturating_sub(number.checked_rem_euclid(length).unwrap_or(0))
}

/// Whether events that lack a dimension count for the key as well: the question for its value would
/// not find them.
fn shares_a_value(rule: &CompiledRule, values: &[&str]) -> bool {
    let Some(fallback) = rule.fallback() else { return false };
    let may_lack =
        |dimension: &Dimension| !matches!(dimension, Dimension::CustomerId | Dimension::EventType);
    let key = rule.partition.iter().zip(values);
    let own = rule.rule.filters().iter();
    key.filter(|(dimension, _)| may_lack(dimension)).any(|(_, value)| *value == fallback)
        || own
            .filter(|(key, _)| may_lack(&Dimension::parse(key)))
            .any(|(_, condition)| condition.is_met_by(Some(fallback)))
}

/// What holds of the events that a rule counts for the key with these values of its partition. What
/// the key's own values meet needs no asking: the roll-ups know values best.
fn of_key(rule: &CompiledRule, values: &[&str]) -> Filter {
    let key = rule.partition.iter().zip(values);
    let is_met = |(dimension, condition): &&(Dimension, Condition)| {
        key.clone().any(|(of_key, value)| of_key == dimension && condition.is_met_by(Some(value)))
    };
    let mut asked: Filter = rule.filter.iter().filter(|asked| !is_met(asked)).cloned().collect();
    asked
        .extend(key.clone().map(|(dimension, value)| (dimension.clone(), Condition::from(*value))));
    asked.sort();
    asked
}
