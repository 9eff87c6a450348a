//! Correcting what an event has counted as: it is taken back, or is more or less than it was.
//!
//! It is a decision of its own, step by step, at the time of the event, that charges all rules that
//! match it with the difference, whatever they say. So it is written, held against what
//! reservations hold, kept and redone as what an event costs.
//!
//! - A rate limit gives back what still counts in it, and no more.
//! - A period that is closed has no counter, and goes by the corrected events.
//! - Where a quota is the highest or the latest amount of a period, and the event's is that, or
//!   where the event may be the only one of its value, what is recorded is asked for the figure
//!   without it. Where that is not known nothing is done.

use std::cell::Cell;

use smallvec::SmallVec;

use super::charge::{Charge, UseSource};
use super::hold::Step;
use super::judge::Script;
use super::locked::Locked;
use crate::base::clock::Timestamp;
use crate::counters::algorithms::{Gauge, Policy};
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::history::{Since, Used};
use crate::counters::time::{At, HowCounted, Moment};
use crate::rules::{Cost, Units};

const NOTHING: Used = Used { units: 0, latest: Moment(0) };

/// When an event was taken of rate limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// When it was decided about.
    pub(crate) decided: Moment,
    /// When it happened, or was decided about where that was before.
    pub(crate) dated: Moment,
    pub(crate) counted: HowCounted,
}

impl Taken {
    /// The instant at which a counter of this policy has it; where that is not known, the earliest
    /// that it can be: then no more comes back than what is sure to count still.
    fn of(self, policy: &Policy) -> Moment {
        match self.counted {
            HowCounted::Asked => self.decided,
            HowCounted::Recorded if !policy.keeps_list() => self.decided,
            HowCounted::Recorded | HowCounted::Between => self.dated,
        }
    }

    /// The time of the correction for a counter that keeps when it was taken.
    pub(super) fn at(self, policy: &Policy, at: &At) -> At {
        policy.takes_at(at, self.of(policy))
    }

    /// Whether all that it has was taken at that instant.
    fn is_exact(self) -> bool {
        self.counted != HowCounted::Between
    }
}

/// A correction of an event.
#[derive(Debug)]
pub(crate) struct Correcting {
    /// The number of the event, and that of the entry of the log that has it as it is now.
    pub(crate) event: u64,
    pub(crate) current: u64,
    pub(crate) taken: Taken,
    pub(crate) taken_at: Timestamp,
    /// What it cost each rule, and what it costs from now on; nothing where it is void.
    pub(crate) costs: SmallVec<[(u32, Cost, Option<Cost>); 8]>,
    /// A rule whose figure without the event is not known: nothing was changed.
    pub(crate) unknown: Cell<Option<u32>>,
}

impl Correcting {
    fn of(&self, rule: u32) -> (Cost, Option<Cost>) {
        let found = self.costs.iter().find(|(of, ..)| *of == rule);
        found.map_or((Cost::NOTHING, None), |(_, before, after)| (*before, *after))
    }

    /// What the event has cost a rule.
    pub(super) fn before(&self, rule: u32) -> Cost {
        self.of(rule).0
    }

    /// The rules of which it is asked what was given back to the key since, and since when.
    pub(crate) fn asks_since<'c>(
        &'c self,
        counters: &'c CounterSet,
    ) -> impl Iterator<Item = (u32, Since)> + 'c {
        self.costs.iter().filter_map(|(rule, before, after)| {
            let counter = counters.counter(*rule).filter(|counter| counter.drains())?;
            let is_less = Self::difference(*before, *after).units < 0;
            is_less.then(|| (*rule, self.since(&counter.policy)))
        })
    }

    fn since(&self, policy: &Policy) -> Since {
        let (event, taken) = (self.event, self.taken.of(policy));
        Since { event, taken, is_before: !self.taken.is_exact() }
    }

    /// What a rule is asked for where it adds up.
    pub(crate) fn difference(before: Cost, after: Option<Cost>) -> Cost {
        let units = |cost: Cost| if cost.counts { cost.units } else { 0 };
        let units = units(after.unwrap_or(Cost::NOTHING)).saturating_sub(units(before));
        Cost { units, counts: units != 0 }
    }
}

impl Step<'_, '_> {
    /// When what it corrects was taken.
    pub(super) fn taken(&self) -> Option<Taken> {
        match self {
            Self::Correct(correcting, _) => Some(correcting.taken),
            _ => None,
        }
    }
}

impl Script<'_, '_> {
    /// Asks rate limits for what still counts in them.
    pub(super) fn begin_correcting(&self, step: &Step<'_, '_>, charges: &mut [Charge]) {
        let Step::Correct(correcting, _) = step else { return };
        for charge in charges {
            let (before, after) = correcting.of(charge.rule);
            let Some(counter) = self.counter(charge) else { continue };
            if counter.counts_values() || counter.is_marking() {
                // Which value it has does not change: only a void makes a difference.
                let costs = after.is_none() && before.counts;
                charge.costs(Cost { units: before.units, counts: costs });
            } else if counter.policy.gauge().is_some() {
                let counts = before.counts || after.is_some_and(|after| after.counts);
                charge.costs(Cost { units: 0, counts });
            } else {
                let Cost { units, .. } = Correcting::difference(before, after);
                let taken = correcting.taken.of(&counter.policy);
                let is_gone = units < 0 && self.has_begun_anew(charge, counter, taken);
                let units = if is_gone { 0 } else { units };
                let left = counter.policy.left_of(units, taken, self.at.now);
                let units = match left {
                    ..0 if counter.drains() => {
                        self.still_there(charge, &correcting.since(&counter.policy), left)
                    }
                    _ => left,
                };
                charge.costs(Cost { units, counts: units != 0 });
            }
        }
    }

    /// What comes back of so many units below none, where all that was given back to the key since
    /// is taken to have been of them: so nothing comes back twice.
    fn still_there(&self, charge: &Charge, since: &Since, units: Units) -> Units {
        let given_back = || {
            let address = self.request.rows.get(charge.row as usize)?;
            self.request.history?.given_back(charge.rule, address.values, since)
        };
        given_back().map_or(0, |given_back| units.saturating_add(given_back).min(0))
    }

    /// Whether a rate limit has nothing any more of what it had taken at a moment, because the key
    /// has begun anew. A quota is what is recorded and adjusted.
    fn has_begun_anew(&self, charge: &Charge, counter: &Counter, taken: Moment) -> bool {
        let known = || self.request.history.zip(self.request.rows.get(charge.row as usize));
        counter.drains()
            && known().is_some_and(|(history, address)| {
                history.has_begun_anew(charge.rule, address.values, taken)
            })
    }

    /// Works out what is charged once all have judged, and whether that makes counters. `false`
    /// where a figure is not known.
    pub(super) fn correct(
        &self,
        correcting: &Correcting,
        charges: &mut [Charge],
        locked: &impl Locked,
        grows: &mut bool,
    ) -> bool {
        let corrected = self.correct_all(correcting, charges, locked);
        let makes = |charge: &Charge| charge.cell.is_none() && self.counting(charge).is_some();
        *grows = charges.iter().any(makes);
        correcting.unknown.set(corrected.err());
        corrected.is_ok()
    }

    fn correct_all(
        &self,
        correcting: &Correcting,
        charges: &mut [Charge],
        locked: &impl Locked,
    ) -> Result<(), u32> {
        for charge in charges.iter_mut() {
            let Some(counter) = self.counter(charge) else { continue };
            if counter.policy.balance().is_some() || counter.counts_values() || counter.is_marking()
            {
                continue;
            }
            if charge.cell.is_none()
                && charge.source == UseSource::Cell
                && self.lacks_events(charge, counter)
            {
                // What it lacks is not recorded any more: it knows nothing of the event.
                charge.costs(Cost::NOTHING);
            } else if let Some(gauge) = counter.policy.gauge() {
                self.correct_gauge(correcting, charge, gauge)?;
            } else if counter.policy.keeps_list() && charge.cost().units < 0 {
                Self::correct_window(correcting, charge, counter, locked);
            } else if charge.cost().units > 0 {
                let (units, taken) = (charge.cost().units, correcting.taken.decided);
                let units = counter.policy.raise_in(&charge.reading, units, taken, &self.at);
                charge.costs(Cost { units, counts: units != 0 });
            }
        }
        self.correct_values(correcting, charges)
    }

    /// Takes back of a window that keeps instants what lies at that of the event, and nothing else:
    /// nothing leaves too early then.
    fn correct_window(
        correcting: &Correcting,
        charge: &mut Charge,
        counter: &Counter,
        locked: &impl Locked,
    ) {
        let Correcting { taken, .. } = correcting;
        let row = locked.row(charge.row);
        let cell = charge.cell.and_then(|cell| row?.cell_at(cell.get() as usize));
        let words = cell.map_or(&[][..], |cell| cell.words);
        let (units, of) = (charge.cost().units, taken.of(&counter.policy));
        let left = counter.policy.left_in(words, units, of, !taken.is_exact());
        charge.costs(Cost { units: left, counts: left != 0 });
    }

    /// Whether a counter without a cell starts from what is recorded.
    fn lacks_events(&self, charge: &Charge, counter: &Counter) -> bool {
        match counter.policy.rolling() {
            Some(policy) => counter.recounts_rolling(policy, &self.at),
            None => charge.reading.bounds().is_some_and(|it| counter.recounts_period(it.start)),
        }
    }

    /// Lets a highest or latest amount be what it is without the event, and with what the event is
    /// now.
    fn correct_gauge(
        &self,
        correcting: &Correcting,
        charge: &mut Charge,
        gauge: Gauge,
    ) -> Result<(), u32> {
        let (before, after) = correcting.of(charge.rule);
        if charge.source == UseSource::HistoryOnly {
            charge.costs(Cost::NOTHING);
            return Ok(());
        }
        let figure = charge.reading.used().unwrap_or(NOTHING);
        let is_it = before.counts
            && match gauge {
                Gauge::Highest => figure.units == before.units,
                Gauge::Latest => figure.latest == self.at.dated(),
            };
        let without = if is_it { self.without(correcting, charge)? } else { figure };
        charge.reading = charge.reading.with_use(without);
        match after.filter(|after| after.counts) {
            Some(after) => charge.costs(after),
            None if is_it => charge.seeds(),
            None => charge.costs(Cost::NOTHING),
        }
        Ok(())
    }

    /// Lets a value be unknown whose only event is voided.
    fn correct_values(&self, correcting: &Correcting, charges: &mut [Charge]) -> Result<(), u32> {
        let counters = self.request.counters;
        for at in 0..charges.len() {
            let Some(charge) = charges.get(at) else { continue };
            let Some(counting) = counters.counted_by(charge.rule) else { continue };
            if self.counter(charge).is_none_or(|counter| !counter.is_marking()) {
                continue;
            }
            let is_known = charge.is_of_known_value() && charge.source != UseSource::HistoryOnly;
            let is_only = is_known && self.without(correcting, charge)?.units == 0;
            if let Some(charge) = charges.get_mut(at) {
                let used = charge.reading.used().unwrap_or(NOTHING).units;
                let units = if is_only { used.saturating_neg() } else { 0 };
                charge.costs(Cost { units, counts: is_only });
            }
            if let Some(charge) = charges.iter_mut().find(|charge| charge.rule == counting) {
                let units = if is_only { -1 } else { 0 };
                charge.costs(Cost { units, counts: is_only });
            }
        }
        Ok(())
    }

    /// What is recorded of a charge's period without the event.
    fn without(&self, correcting: &Correcting, charge: &Charge) -> Result<Used, u32> {
        let known = || {
            let history = self.request.history?;
            let address = self.request.rows.get(charge.row as usize)?;
            let period = charge.reading.bounds()?;
            let within = (period.start, period.resets());
            history.used_without(charge.rule, within, address.values, correcting.current)
        };
        known().ok_or(charge.rule)
    }
}

impl Policy {
    /// Whether the figure is an amount of one event, and which.
    pub(super) fn gauge(&self) -> Option<Gauge> {
        match self {
            Self::GaugePeriod(policy) => Some(policy.gauge()),
            _ => None,
        }
    }
}
