//! Counting what becomes of replayed calls, by rule and key.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::past::Past;
use super::report::{
    Demand, OtherKeys, SimulatedCalls, SimulatedKey, SimulatedRule, SimulationReport, StartsFrom,
};
use super::traffic::Attempt;
use crate::base::clock::Timestamp;
use crate::compiled::{CompiledRule, Snapshot};
use crate::decision::Decision;
use crate::engine::TrackError;
use crate::event::{Dimension, DimensionHashes, Event, mix};
use crate::rules::{Fold, Units};

/// The most keys that are told apart, over all rules, and with them customers.
const MAX_KEYS: usize = 1_000_000;
/// What stands for the rule where it is counted by customer.
const CUSTOMERS: u32 = u32::MAX;

/// What became of the calls so far.
#[derive(Debug)]
pub(super) struct Tally {
    hasher: ahash::RandomState,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    calls: SimulatedCalls,
    unjudged: u64,
    unjudged_because: Option<String>,
    customers: u64,
    refused_customers: u64,
    is_cut_short: bool,
    /// By their places in the rule set.
    rules: Vec<RuleTally>,
    /// By the hash of rule and values. Two keys of one hash are counted as one: of a million,
    /// that happens once in 36 million simulations.
    keys: HashMap<u64, Counts, ahash::RandomState>,
    /// The keys of which a call did not fit.
    named: HashMap<u64, Named, ahash::RandomState>,
}

/// The values of a key of a rule, in the order of its partition.
type Values = Box<[Box<str>]>;

/// A key by its values.
#[derive(Debug)]
struct Named {
    rule: u32,
    values: Values,
}

/// What became of the calls of a key.
type OfKey<'t> = (Counts, &'t [Box<str>]);

/// What became of the calls of a rule, or of one of its keys.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u64,
    exceeded: u64,
    newly_exceeded: u64,
    was_refused: u64,
    exceeded_units: Units,
}

#[derive(Clone, Debug, Default)]
struct RuleTally {
    /// Which of the partitions of the set it has: rules of one share the hashes.
    partition: u32,
    counts: Counts,
    units: Units,
    keys: u64,
    exceeded_keys: u64,
}

impl Counts {
    #[inline]
    fn add(&mut self, call: &Call) {
        let add = |count: &mut u64, is_so: bool| *count = count.saturating_add(u64::from(is_so));
        add(&mut self.calls, true);
        add(&mut self.exceeded, call.exceeds);
        add(&mut self.newly_exceeded, call.exceeds && call.was_let_in == Some(true));
        add(&mut self.was_refused, call.was_let_in == Some(false));
        if call.exceeds {
            self.exceeded_units = self.exceeded_units.saturating_add(call.units);
        }
    }
}

/// A call as one rule sees it.
struct Call {
    exceeds: bool,
    units: Units,
    was_let_in: Option<bool>,
}

impl Tally {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut partitions: HashMap<&[Dimension], u32> = HashMap::new();
        let rules = snapshot.rules.iter().map(|compiled| {
            let next = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
            let partition = *partitions.entry(&compiled.partition).or_insert(next);
            RuleTally { partition, ..RuleTally::default() }
        });
        let rules = rules.collect();
        let hasher = ahash::RandomState::new();
        Self {
            first: None,
            last: None,
            calls: SimulatedCalls::default(),
            unjudged: 0,
            unjudged_because: None,
            customers: 0,
            refused_customers: 0,
            is_cut_short: false,
            rules,
            keys: HashMap::with_hasher(hasher.clone()),
            named: HashMap::with_hasher(hasher.clone()),
            hasher,
        }
    }

    /// Counts a call, and what it was answered.
    pub(super) fn add(&mut self, attempt: &Attempt<'_>, decided: &Result<Decision, TrackError>) {
        self.first = self.first.or(Some(attempt.at));
        self.last = self.last.max(Some(attempt.at));
        match decided {
            Ok(decision) => self.add_decision(attempt, decision),
            Err(why) => {
                self.unjudged = self.unjudged.saturating_add(1);
                self.unjudged_because.get_or_insert_with(|| why.to_string());
            }
        }
    }

    fn add_decision(&mut self, attempt: &Attempt<'_>, decision: &Decision) {
        let Attempt { event, was_let_in, .. } = attempt;
        let (was_let_in, is_refused) = (*was_let_in, !decision.is_allowed());
        self.calls.add(is_refused, was_let_in);
        let random = self.hasher.clone();
        let hashes = DimensionHashes::new(event, &random);
        let mut last = None;
        for (compiled, charge) in decision.judged() {
            let Some(rule) = self.rules.get_mut(charge.rule as usize) else { continue };
            let hash = match last {
                Some((partition, hash)) if partition == rule.partition => hash,
                _ => {
                    let (hash, is_whole) = hash_of(compiled, &hashes);
                    last = is_whole.then_some((rule.partition, hash));
                    hash
                }
            };
            let call = Call { exceeds: !charge.fits, units: charge.cost().units, was_let_in };
            rule.counts.add(&call);
            rule.units = rule.units.saturating_add(call.units);
            self.add_key(charge.rule, hash, &call, || values_of(compiled, event));
        }
        if decision.judged().next().is_some()
            && let Some((_, hash)) = hashes.of(&Dimension::CustomerId)
        {
            let call = Call { exceeds: is_refused, units: 0, was_let_in };
            self.add_key(CUSTOMERS, hash, &call, Box::default);
        }
    }

    /// Counts a call of a key.
    #[inline]
    fn add_key(&mut self, rule: u32, hash: u64, call: &Call, values: impl FnOnce() -> Values) {
        let (keys, exceeded_keys) = match self.rules.get_mut(rule as usize) {
            Some(rule) => (&mut rule.keys, &mut rule.exceeded_keys),
            None => (&mut self.customers, &mut self.refused_customers),
        };
        let hash = mix(hash, u64::from(rule));
        let is_full = self.keys.len() >= MAX_KEYS;
        let counts = match self.keys.get_mut(&hash) {
            Some(counts) => counts,
            None if is_full => {
                self.is_cut_short = true;
                return;
            }
            None => {
                *keys = keys.saturating_add(1);
                self.keys.entry(hash).or_default()
            }
        };
        if call.exceeds && counts.exceeded == 0 {
            *exceeded_keys = exceeded_keys.saturating_add(1);
            if rule != CUSTOMERS {
                self.named.insert(hash, Named { rule, values: values() });
            }
        }
        counts.add(call);
    }

    pub(super) fn report(
        &self,
        snapshot: &Snapshot,
        past: Option<&Past>,
        (demand, since, refused_since): (Demand, Option<Timestamp>, Option<Timestamp>),
        keys: usize,
    ) -> SimulationReport {
        let mut worst = self.worst(keys);
        let rules =
            (0_u32..).zip(snapshot.listed()).zip(&self.rules).map(|((place, rule), tally)| {
                let worst = worst.get_mut(place as usize).map(std::mem::take).unwrap_or_default();
                let starts_from = match past {
                    Some(past) if rule.counter.policy.recounts() => {
                        if past.is_unknown(place) {
                            StartsFrom::Partial
                        } else {
                            StartsFrom::Recorded
                        }
                    }
                    _ => StartsFrom::Nothing,
                };
                tally.report(rule, worst, starts_from)
            });
        SimulationReport {
            first: self.first,
            last: self.last,
            demand,
            refused_since,
            since,
            calls: self.calls,
            unjudged: self.unjudged,
            unjudged_because: self.unjudged_because.clone(),
            customers: self.customers,
            refused_customers: self.refused_customers,
            is_cut_short: self.is_cut_short,
            rules: rules.collect(),
        }
    }

    /// Of each rule at most so many keys, the most refused first, then by their values.
    fn worst(&self, most: usize) -> Vec<Vec<OfKey<'_>>> {
        let mut worst = vec![Vec::new(); self.rules.len()];
        for (hash, Named { rule, values }) in &self.named {
            if let (Some(counts), Some(of_rule)) =
                (self.keys.get(hash), worst.get_mut(*rule as usize))
            {
                of_rule.push((*counts, &**values));
            }
        }
        for of_rule in &mut worst {
            of_rule.sort_by_key(|(counts, values)| (Reverse(counts.exceeded), *values));
            of_rule.truncate(most);
        }
        worst
    }
}

impl SimulatedCalls {
    fn add(&mut self, is_refused: bool, was_let_in: Option<bool>) {
        let add = |count: &mut u64, is_so: bool| *count = count.saturating_add(u64::from(is_so));
        add(&mut self.calls, true);
        add(&mut self.refused, is_refused);
        match was_let_in {
            Some(true) => add(&mut self.newly_refused, is_refused),
            Some(false) => {
                add(&mut self.was_refused, true);
                add(&mut self.newly_let_in, !is_refused);
            }
            None => add(&mut self.unknown, true),
        }
    }
}

impl RuleTally {
    fn report(
        &self,
        compiled: &CompiledRule,
        worst: Vec<OfKey<'_>>,
        starts_from: StartsFrom,
    ) -> SimulatedRule {
        let adds_up = compiled.measure.fold() == Fold::Sum;
        let amount = |units| adds_up.then(|| compiled.measure.amount_of(units));
        let Counts { calls, exceeded, newly_exceeded, was_refused, exceeded_units } = self.counts;
        let sum = |count: fn(&Counts) -> u64| {
            worst.iter().fold(0_u64, |sum, (counts, _)| sum.saturating_add(count(counts)))
        };
        let units = worst.iter().map(|(counts, _)| counts.exceeded_units);
        let units = units.fold(0, Units::saturating_add);
        let listed = u64::try_from(worst.len()).unwrap_or(u64::MAX);
        let others = OtherKeys {
            keys: self.keys.saturating_sub(listed),
            calls: calls.saturating_sub(sum(|counts| counts.calls)),
            exceeded: exceeded.saturating_sub(sum(|counts| counts.exceeded)),
            exceeded_amount: amount(exceeded_units.saturating_sub(units)),
        };
        let worst = worst.into_iter().map(|(counts, values)| SimulatedKey {
            key: compiled.key_of_values(values.iter().map(|value| &**value)),
            calls: counts.calls,
            exceeded: counts.exceeded,
            newly_exceeded: counts.newly_exceeded,
            was_refused: counts.was_refused,
            exceeded_amount: amount(counts.exceeded_units),
        });
        SimulatedRule {
            id: compiled.id().to_owned(),
            name: compiled.rule.name().to_owned(),
            kind: compiled.rule.kind().as_str().to_owned(),
            enforcement: compiled.rule.enforcement(),
            limit: compiled.rule.limit(),
            calls,
            exceeded,
            newly_exceeded,
            was_refused,
            amount: amount(self.units),
            exceeded_amount: amount(exceeded_units),
            keys: self.keys,
            exceeded_keys: self.exceeded_keys,
            worst: worst.collect(),
            others,
            starts_from,
            left_out: compiled.rule.is_concurrent() || compiled.rule.balance().is_some(),
        }
    }
}

/// The hash of the values by which a rule counts an event apart, and whether they are all the
/// event's own.
fn hash_of(compiled: &CompiledRule, hashes: &DimensionHashes<'_, '_>) -> (u64, bool) {
    let mut is_whole = true;
    let hash = compiled.partition.iter().fold(0, |hash, dimension| {
        let Some((_, of_value)) = hashes.of(dimension) else {
            is_whole = false;
            return mix(hash, hashes.of_other(compiled.fallback().unwrap_or_default()));
        };
        mix(hash, of_value)
    });
    (hash, is_whole)
}

/// The values themselves.
#[cold]
fn values_of(compiled: &CompiledRule, event: &Event<'_>) -> Values {
    let value = |dimension: &Dimension| {
        dimension.of(event).or(compiled.fallback()).unwrap_or_default().into()
    };
    compiled.partition.iter().map(value).collect()
}
