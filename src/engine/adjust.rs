//! What operators give back of a rule to a key, or take.

use std::sync::Arc;

use super::history::counts_for;
use super::rules::Rules;
use super::{AdjustError, Core};
use crate::adjustments::{
    self, Adjust, Adjustment, AdjustmentPage, AdjustmentQuery, Counted, CountsFor, Problem, UpTo,
};
use crate::base::amount::{Amount, IntoAmount};
use crate::base::clock::Timestamp;
use crate::base::text::excerpt;
use crate::compiled::{CompiledRule, KeyProblem, Snapshot, row_hash};
use crate::counters::{
    Adjusting, Committed as Charged, History, Intent, Match, Moment, Reading, Request,
    RowAddresses, Undecided, Verdict, encode_charges,
};
use crate::decision::Decision;
use crate::event::Dimension;
use crate::journal::{Head, HoldsOut};
use crate::log::{QueryError, Stored};
use crate::rules::{Cost, Fold, Period, Quota, Rule, RuleKey, Units};

impl Rules {
    /// Adds an amount to what a key has used of a rule, and returns the entry of it: one below zero
    /// gives back. The note says who, and why.
    ///
    /// A quota's figure is then what its events add up to, its [meter's](crate::handles::Meters)
    /// answer, and what was adjusted in its period, which
    /// [says so](crate::decision::QuotaStatus::adjusted). It counts in the period of now; in a
    /// rolling one it leaves a whole length later, as any use. To a rate limit at most what was
    /// taken in its window comes back; what is taken may take a bucket into debt, as
    /// [`record`](crate::Engine::record) does. What reservations hold is not touched. Whoever waits
    /// for room that it makes is woken.
    ///
    /// It is one step, linearizable with every decision, counts whatever the rule says, and goes
    /// through changes of the rule: but not where the rule is removed, splits by other dimensions,
    /// or counts something else. With a store it is durable as an event is. Disabled rules are
    /// adjusted as others are.
    ///
    /// ```
    /// use limitry::keys::AdjustmentQuery;
    /// use limitry::{Amount, Engine, Event, Metric, Period, Quota};
    ///
    /// let tokens = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day);
    /// let engine = Engine::builder().quota(tokens.per("customer_id")).build()?;
    /// let event = Event::new("ann", "call").input_tokens(900);
    /// assert!(engine.track(&event)?.is_allowed());
    /// let ann = ("customer_id", "ann");
    /// engine.rules().adjust("qta_tokens", ann, -500, "ticket 7, by jo")?;
    /// let standing = engine.standing(&event)?;
    /// let status = standing.quotas().next().expect("it matches");
    /// assert_eq!((status.used, status.adjusted), (Amount::from(400), Amount::from(-500)));
    /// engine.rules().reset("qta_tokens", ann)?;
    /// let listed = engine.rules().adjustments(&AdjustmentQuery::new().key(ann))?;
    /// assert_eq!((listed.items.len(), listed.total), (2, Amount::from(-900)));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// No rule has the id; the key is none of the rule's; the amount is 0, not exact, beyond the
    /// [bounds](crate::bounds::MAX_AMOUNT) of an event's, or in smaller parts than the rule counts;
    /// the note is longer than 1 024 bytes; the rule counts what no amount is added to (a `max` or
    /// `latest`, open reservations); the key found no room for a counter of its own; the store has
    /// failed or is closed.
    pub fn adjust(
        &self,
        id: &str,
        key: impl Into<RuleKey>,
        amount: impl IntoAmount,
        note: impl Into<String>,
    ) -> Result<Adjustment, AdjustError> {
        self.apply(&Adjust::by(id, key, amount).note(note))
    }

    /// Lets a key begin anew: nothing is used of a quota's period then, and a rate limit's bucket
    /// is full, but for what reservations hold. The period stays as it is; of a rolling quota what
    /// is recorded and dated before the reset does not count any more. Else as
    /// [`adjust`](Self::adjust).
    ///
    /// # Errors
    /// As `adjust`.
    pub fn reset(&self, id: &str, key: impl Into<RuleKey>) -> Result<Adjustment, AdjustError> {
        self.apply(&Adjust::reset(id, key))
    }

    /// Adjusts as [`adjust`](Self::adjust) and [`reset`](Self::reset) do, with what [`Adjust`] says
    /// beside: an idempotency key.
    ///
    /// # Errors
    /// As `adjust`, and where the idempotency key was used for another adjustment.
    pub fn apply(&self, adjust: &Adjust) -> Result<Adjustment, AdjustError> {
        Ok(self.core.apply(adjust)?.adjustment.clone())
    }

    /// Lists adjustments, the newest first: the newest 100 000 of the engine, some 500 bytes each.
    /// Those that are listed no more count on, each with the others of its rule and key.
    /// O(those that are listed).
    ///
    /// # Errors
    /// The limit is not 1 to 100; the cursor is of no page; the range ends where it starts, or
    /// before.
    pub fn adjustments(&self, query: &AdjustmentQuery) -> Result<AdjustmentPage, QueryError> {
        self.core.adjustments.list(query)
    }
}

impl Core {
    fn apply(&self, asked: &Adjust) -> Result<Arc<Counted>, AdjustError> {
        let amount = asked.check()?;
        if let Some(pipeline) = &self.pipeline {
            pipeline.admit()?;
        }
        let now = self.read_clock().moment;
        let making = self.adjustments.make();
        let known = asked.idempotency_key.as_deref();
        let known = known.and_then(|key| self.adjustments.by_idempotency_key(key));
        let (made, by) = if let Some(known) = known {
            (again(asked, amount, known)?, None)
        } else {
            let snapshot = self.snapshot.load_full();
            let (made, compiled) = self.make(asked, amount, now, snapshot)?;
            (made, Some(compiled))
        };
        drop(making);
        if let Some(pipeline) = &self.pipeline {
            if made.seq.is_none() {
                return Err(pipeline.store.closed().into());
            }
            pipeline.acknowledge(made.seq)?;
        }
        if let Some(compiled) = by.filter(|_| made.adjustment.amount < Amount::ZERO) {
            let key = &made.adjustment.key;
            let values: Vec<&str> =
                compiled.partition.iter().filter_map(|of| key.get(of.as_str())).collect();
            self.adjusted(&compiled, &values);
        }
        Ok(made)
    }

    /// Makes an adjustment by the rules in force, from the start again where they change.
    fn make(
        &self,
        asked: &Adjust,
        amount: Option<Amount>,
        now: Moment,
        mut snapshot: Arc<Snapshot>,
    ) -> Result<(Arc<Counted>, Arc<CompiledRule>), AdjustError> {
        loop {
            let mut places = (0..).zip(snapshot.listed());
            let found = places.find(|(_, rule)| rule.id() == asked.rule_id);
            let not_found = || AdjustError::RuleNotFound { id: excerpt(&asked.rule_id) };
            let (rule, compiled) = found.ok_or_else(not_found)?;
            let units = units_of(compiled, amount)?;
            let values = compiled.values_of_key(&asked.key);
            let values = values.map_err(|why| bad_key(compiled, why))?;
            let hash = row_hash(&self.hasher, compiled.group, &values);
            let mut rows = RowAddresses::default();
            let list = rows.lists();
            values.iter().for_each(|value| list.push_value(value));
            list.push(hash, compiled.group);
            let recorded = self.known_use(&snapshot);
            let request = Request {
                counters: &snapshot.counters,
                intent: Intent::Adjust,
                rows: &rows,
                history: recorded.as_ref().map(|recorded| recorded as &dyn History),
            };
            let mut verdict = Verdict::at(self.table.timeline().at(now, None));
            let cost = Cost { units: units.unwrap_or(0), counts: true };
            let matches = [Match { rule, row: 0, judges: true }];
            verdict.ask(Intent::Adjust, &matches, |_| cost);
            let (adjusting, mut made) = (Adjusting::new(units.is_none()), None);
            let mut keep = |charged: &Charged<'_>| {
                let of = counts_for(compiled, &values);
                let added = compiled.measure.amount_of(adjusting.added.get());
                made = Some(self.keep_adjustment(asked, (added, of), charged, &snapshot));
            };
            let decided = self.table.adjust(&request, &mut verdict, &adjusting, Some(&mut keep));
            if adjusting.found_no_room.get() {
                let (rule, key) = (compiled.rule.name().into(), asked.key.clone());
                return Err(AdjustError::NoRoom { rule, key: Box::new(key) });
            }
            match (decided, made) {
                (Ok(()), Some(made)) => return Ok((made, Arc::clone(compiled))),
                (Err(Undecided::Stale), _) => {}
                (decided, _) => {
                    debug_assert!(false, "an adjustment of now is made: {decided:?}");
                }
            }
            // The rules are being changed: look again.
            std::thread::yield_now();
            snapshot = self.snapshot.load_full();
        }
    }

    /// Keeps an adjustment: in the list, and in the queue of the store where there is one. Runs
    /// under the locks of the decision.
    fn keep_adjustment(
        &self,
        asked: &Adjust,
        (amount, of): (Amount, CountsFor),
        charged: &Charged<'_>,
        rules: &Snapshot,
    ) -> Arc<Counted> {
        let at = charged.at;
        let adjustment = Adjustment {
            number: 0,
            rule_id: asked.rule_id.clone(),
            key: of.key.clone(),
            amount,
            is_reset: asked.is_reset(),
            note: asked.note.clone(),
            idempotency_key: asked.idempotency_key.clone(),
            at: self.table.timeline().timestamp(at.now),
        };
        self.adjustments.add(adjustment, of, |adjustment, of| {
            let pipeline = self.pipeline.as_ref()?;
            let revision = |rule| rules.rule(rule).map_or(0, |rule| rule.revision());
            let holds = charged.held;
            let holds = holds.map(|change| HoldsOut { settles: None, change, revision: &revision });
            let adjusted = |out: &mut Vec<u8>| adjustments::encode(adjustment, of, out);
            let head = Head::of_adjustment(at, adjusted, holds, |out| {
                encode_charges(charged, revision, out);
            });
            pipeline.put_adjustment(&head, at.now.0)
        })
    }

    /// How much of a rule's key was adjusted, of what a reading shows.
    pub(super) fn adjusted_in(
        &self,
        rule: &CompiledRule,
        values: &[&str],
        reading: &Reading,
        now: Moment,
        up_to: UpTo,
    ) -> Units {
        if !matches!(rule.rule, Rule::Quota(_)) || rule.measure.fold() != Fold::Sum {
            return 0;
        }
        let (of, timeline) = (counts_for(rule, values), self.table.timeline());
        let added = if let Some((start, end)) = reading.period() {
            let end = end.map_or(Timestamp::MAX, |end| Timestamp::new(end, 0));
            let period = Timestamp::new(start, 0).max(Timestamp::MIN)..end;
            self.adjustments.sum(&of, &period, up_to).unwrap_or(Amount::ZERO)
        } else if let Some(start) = rule.counter.policy.rolling_start(now) {
            let since = self.adjustments.since(&of, timeline.timestamp(start), up_to);
            let added = since.map_or_else(Vec::new, |since| since.added);
            added.into_iter().fold(Amount::ZERO, |sum, (_, amount)| sum.saturating_add(amount))
        } else {
            Amount::ZERO
        };
        rule.measure.units_of(added)
    }

    /// Lets a verdict say how much of quotas is adjusted.
    #[cold]
    pub(super) fn say_adjusted(
        &self,
        verdict: &mut Verdict,
        rows: &RowAddresses<'_>,
        rules: &Snapshot,
    ) {
        verdict.adjusted.clear();
        let now = verdict.at.now;
        for charge in &verdict.charges {
            if let Some(rule) = rules.rule(charge.rule)
                && let Some(row) = rows.get(charge.row as usize)
                && row.values.len() == rule.partition.len()
            {
                let units = self.adjusted_in(rule, row.values, &charge.reading, now, UpTo::Now);
                if units != 0 {
                    verdict.adjusted.push((charge.rule, units));
                }
            }
        }
    }

    /// The same of an answer that is made again by its record: what was adjusted before it.
    #[cold]
    pub(super) fn say_adjusted_before(&self, seq: u64, answer: &mut Decision, event: &Stored<'_>) {
        let now = answer.at().now;
        let adjusted = answer.judged().map(|(rule, charge)| {
            let value = |of: &Dimension| event.dimension(of).or_else(|| rule.fallback());
            let values: Vec<&str> = rule.partition.iter().filter_map(value).collect();
            let up_to = UpTo::Record(seq);
            (charge.rule, self.adjusted_in(rule, &values, &charge.reading, now, up_to))
        });
        let adjusted: Vec<(u32, Units)> = adjusted.filter(|(_, units)| *units != 0).collect();
        answer.say_adjusted(adjusted);
    }
}

/// The adjustment that an idempotency key made, where the same is asked for.
fn again(
    asked: &Adjust,
    amount: Option<Amount>,
    known: Arc<Counted>,
) -> Result<Arc<Counted>, AdjustError> {
    let first = &known.adjustment;
    let is_same = (&first.rule_id, &first.key, &first.note)
        == (&asked.rule_id, &asked.key, &asked.note)
        && first.is_reset == amount.is_none()
        && amount.is_none_or(|amount| amount == first.amount);
    if is_same {
        return Ok(known);
    }
    let key = first.idempotency_key.as_deref().unwrap_or_default();
    Err(AdjustError::IdempotencyConflict { key: key.into(), first: first.number })
}

/// An amount in the units that a rule counts; nothing of a reset.
fn units_of(compiled: &CompiledRule, amount: Option<Amount>) -> Result<Option<Units>, AdjustError> {
    let rule = || compiled.rule.name().into();
    let reason = match &compiled.rule {
        Rule::Quota(Quota { period: Period::Concurrent, .. }) => {
            Some("it counts open reservations: release them")
        }
        rule if rule.balance().is_some() => Some("it takes from a balance: credit or debit that"),
        _ if compiled.measure.fold() != Fold::Sum => {
            Some("no amount is added to a max, a latest or a count of different values")
        }
        _ => None,
    };
    if let Some(reason) = reason {
        return Err(AdjustError::NotAdjustable { rule: rule(), reason });
    }
    let Some(amount) = amount else { return Ok(None) };
    let units = compiled.measure.units_of(amount);
    if compiled.measure.amount_of(units) != amount {
        return Err(AdjustError::Invalid {
            field: "amount",
            value: amount.to_string().into(),
            rule: "must be a whole number: the rule counts no parts",
        });
    }
    Ok(Some(units))
}

fn bad_key(compiled: &CompiledRule, why: KeyProblem) -> AdjustError {
    let KeyProblem { dimension, value, rule: broken } = why;
    let (rule, value) = (compiled.rule.name().into(), excerpt(&value));
    AdjustError::Key { rule, dimension: excerpt(&dimension), value, broken }
}

impl From<Problem> for AdjustError {
    fn from(Problem { field, value, rule }: Problem) -> Self {
        Self::Invalid { field, value, rule }
    }
}
