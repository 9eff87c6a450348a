//! Erasing a person.
//!
//! In memory all is erased in one step, while the table is closed: decisions are before it or after
//! it. With a store the journal follows ([`Erasure`]). Open reservations are given back before, so
//! that what they hold of counters that stay goes back there; whoever has made another one is found
//! while the table is closed, and then it is begun again. Nothing is waited for while it is closed:
//! whoever holds another lock may be waiting for the table.
//!
//! Idempotency keys in memory are forgotten when the table is open again: whoever decides holds one
//! key's entry. By their times only those go that were stored before.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{Customers, CustomersError};
use crate::compiled::{CompiledRule, Snapshot};
use crate::counters::{At, ErasedKeys, Moment};
use crate::customers::{CustomerError, OwnCalendar, row_of};
use crate::decision::ReservationId;
use crate::engine::rules::Change;
use crate::engine::{Core, RulesError};
use crate::event::{Dimension, text_rule};
use crate::journal::store::SpaceChange;
use crate::journal::{Erasure, Pipeline};
use crate::log::Erased;
use crate::reservations::{Entry, ReservationState};
use crate::rules::Condition;
use crate::telemetry;

/// What was erased of a customer, or of a value of another dimension: [`Customers::erase`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EraseReport {
    /// How many recorded events were about it, in the store or, without one, in memory.
    pub events: u64,
    /// How many idempotency keys were forgotten.
    pub idempotency_keys: u64,
    /// How many keys of counters: one for all rules that are split by the same dimensions.
    pub keys: u64,
    /// How many reservations, open or over.
    pub reservations: u64,
    /// How many balances.
    pub balances: u64,
    /// How many adjustments that were listed.
    pub adjustments: u64,
    /// How many alerts of the history.
    pub alerts: u64,
    /// Whether something was set of it: a name, a zone, an anchor or metadata.
    pub was_set: bool,
    /// The ids of rules whose filter names it. They stay, and count from nothing.
    pub rules: Vec<String>,
}

impl Customers {
    /// Erases a customer, or the value of another dimension: for a person who asks to be forgotten.
    ///
    /// What goes, in memory and in the store, in one step that is before or after each other call:
    /// - of its events whom they are about, their idempotency keys, what is attached to them, and
    ///   all properties that are no dimensions of rules, meters or roll-ups. Without a customer an
    ///   event is not listed, found, exported or replayed any more;
    /// - its counters, in all rules that are split by the dimension, and those of rules whose
    ///   filter asks for exactly this value, with what has fired for them; adjustments, alerts of
    ///   the history, and how often its calls were refused;
    /// - its reservations, of which the open ones are given back first; its balances, which of
    ///   another dimension are those that rules take from by that alone;
    /// - what was [set](Self::upsert) of it.
    ///
    /// What stays is nobody's: sums over all, and by other dimensions, of what it used (its team's,
    /// its model's), in counters and in usage. There its events count among those that have no
    /// value of the dimension. Rules stay as they are defined, also where a filter names it:
    /// [`rules`](EraseReport::rules) says which. Counters that are split by something else stay
    /// too, as do those of keys that shared one because they found no room. A person who is named
    /// by other dimensions is erased by these, too: see [`of`](Self::of). Answers that the HTTP
    /// face keeps for retries, for a day, stay, and so do backups and rows of spaces.
    ///
    /// A later call is that of a new customer, to which nothing counts.
    ///
    /// With a store it returns when all is durable: the checkpoint is written anew and each older
    /// record that names the value, in one transaction, so that a crash leaves all or nothing.
    /// Pages of the file that are free then may have old bytes until
    /// [`compact`](crate::handles::Store::compact) returns. What changed in counters before is not
    /// [verified](crate::handles::Store::verify) any more.
    ///
    /// It costs O(keys + kept events + rows of roll-ups) while decisions wait, some milliseconds
    /// for 100 000 events; with a store, then, O(the store) on the writer's thread, in which other
    /// commits wait; and memory for a checkpoint.
    ///
    /// ```
    /// use limitry::{Engine, Event, Metric, Period, Quota};
    ///
    /// let calls = Quota::new("Calls", Metric::TotalEvents, 1, Period::Day).per("customer_id");
    /// let engine = Engine::builder().quota(calls).build()?;
    /// let call = Event::new("cust_123", "call").property("note", "by Jo Doe");
    /// assert!(engine.track(&call)?.is_allowed());
    ///
    /// let erased = engine.customers().erase("cust_123")?;
    /// assert_eq!((erased.events, erased.keys), (1, 1));
    /// assert!(engine.customers().get("cust_123").is_none());
    /// // It is a new one.
    /// assert!(engine.track(&call)?.is_allowed());
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// It is not 1 to 256 bytes without control characters; the dimension is `event_type`, whose
    /// values are nobody; the store does not take it: in memory it is gone then, and what is in the
    /// store shows when that is opened again.
    pub fn erase(&self, id: &str) -> Result<EraseReport, CustomersError> {
        let wrong = |field: &str, value: &str, rule| {
            CustomersError::Invalid(CustomerError {
                customer: crate::base::text::excerpt(id),
                field: field.into(),
                value: crate::base::text::excerpt(value),
                rule,
            })
        };
        if let Some(rule) = text_rule(id) {
            return Err(wrong("id", id, rule));
        }
        if self.dimension == Dimension::EventType {
            let rule = "has no values that can be erased";
            return Err(wrong("dimension", self.dimension.as_str(), rule));
        }
        // No id in spans: it is what is to be forgotten.
        let span = telemetry::span!("erase_customer");
        span.run(|| self.core.erase(&self.dimension, id))
    }
}

/// The reservations that were looked at before the step.
struct GivenBack {
    /// All with a lower number.
    seen: u64,
    /// The numbers of those that name the value.
    own: HashSet<u64>,
    /// By this time.
    now: Moment,
}

/// What is done in one step.
struct Done {
    report: EraseReport,
    at: Moment,
    /// The entry of the queue with which it is durable, and what that erases.
    stored: Option<(u64, Erasure)>,
}

impl Core {
    fn erase(&self, dimension: &Dimension, id: &str) -> Result<EraseReport, CustomersError> {
        loop {
            let seen = self.reservations.next_number();
            let now = self.read_clock().moment;
            let own = self.give_back_all(dimension, id, now)?;
            let (given, mut done) = (GivenBack { seen, own, now }, None);
            self.changed(|change| self.erase_in(change, (dimension, id), &given, &mut done))?;
            let Some(Done { mut report, at, stored }) = done else {
                std::thread::yield_now();
                continue;
            };
            if *dimension == Dimension::CustomerId {
                report.idempotency_keys = self.keys.erase(id, at);
            }
            if let (Some(pipeline), Some((entry, erasure))) = (&self.pipeline, stored) {
                pipeline.wait_for_erasure(entry).map_err(RulesError::Store)?;
                report.events = erasure.events.load(Ordering::Relaxed);
                report.idempotency_keys = erasure.keys.load(Ordering::Relaxed);
            }
            return Ok(report);
        }
    }

    /// Gives back what the reservations hold that name a value and are open at a moment; returns
    /// the numbers of all that name it.
    fn give_back_all(
        &self,
        dimension: &Dimension,
        id: &str,
        now: Moment,
    ) -> Result<HashSet<u64>, CustomersError> {
        let mut own = HashSet::new();
        for entry in self.reservations.list() {
            let is_open = {
                let state = entry.state.lock();
                if state.estimate.value(dimension) != Some(id) {
                    continue;
                }
                state.at(now) == ReservationState::Held
            };
            own.insert(entry.id.number());
            if is_open {
                self.give_back(entry.id)?;
            }
        }
        Ok(own)
    }

    fn give_back(&self, id: ReservationId) -> Result<(), CustomersError> {
        match self.release(id) {
            Err(crate::engine::ReservationError::Track(crate::engine::TrackError::Store(why))) => {
                Err(RulesError::Store(why).into())
            }
            // Somebody else has ended it meanwhile.
            _ => Ok(()),
        }
    }

    /// Whether no reservation that names the value is open or is being made: asked while the table
    /// is closed, by the latest time that it or giving back has gone by. The clock may say less by
    /// then, and would call one open that can be given back no more.
    fn has_none_open(
        &self,
        (dimension, id): (&Dimension, &str),
        GivenBack { seen, own, now }: &GivenBack,
        at: &At,
    ) -> bool {
        let (seen, now) = (*seen, at.now.max(*now));
        let customer = Some(id).filter(|_| *dimension == Dimension::CustomerId);
        let is_over = |entry: &Entry| {
            let number = entry.id.number();
            if number < seen && !own.contains(&number) {
                return true;
            }
            let Some(state) = entry.state.try_lock() else { return false };
            state.estimate.value(dimension) != Some(id) || state.at(now) != ReservationState::Held
        };
        self.reservations.knows_all_of(customer, seen)
            && self.reservations.list().iter().all(|entry| is_over(entry))
    }

    /// Erases in memory, and puts it into the queue; nothing where a reservation is in the way.
    fn erase_in(
        &self,
        mut change: Change<'_>,
        (dimension, id): (&Dimension, &str),
        given: &GivenBack,
        done: &mut Option<Done>,
    ) -> Result<(), RulesError> {
        let before = std::sync::Arc::clone(&change.current);
        let is_its = |rule: &CompiledRule| {
            let condition = rule.rule.filters().get(dimension.as_str());
            condition.is_some_and(|condition| condition.simplified() == Condition::from(id))
        };
        let named: Vec<String> = before
            .listed()
            .iter()
            .filter(|rule| is_its(rule))
            .map(|rule| rule.id().to_owned())
            .collect();
        let erased = Erased {
            dimension: dimension.clone(),
            value: id.into(),
            keeps: self.kept_properties(&before, dimension),
        };
        let groups = change.groups_of(dimension);
        // Rules that filter the value are compiled without its calendar.
        let calendar = self.calendars.own(dimension, id);
        self.calendars.set(dimension, id, OwnCalendar::default());
        let published = change.publish_anew(&is_its, |at| {
            if !self.has_none_open((dimension, id), given, at) {
                return false;
            }
            let mut report = EraseReport { rules: named.clone(), ..EraseReport::default() };
            self.rules_change();
            let end = self.pipeline.as_ref().map_or(0, Pipeline::end);
            let erasure = Erasure::new(erased, named.iter().map(|id| (**id).into()).collect(), end);
            let has_key = |group: u32, values: &[&str]| {
                let place = groups.iter().find(|(known, _)| *known == group);
                place.and_then(|(_, place)| values.get(*place)) == Some(&id)
            };
            let balances: HashSet<&str> = before
                .listed()
                .iter()
                .filter(|rule| *rule.partition == [dimension.clone()])
                .filter_map(|rule| rule.rule.balance())
                .collect();
            let is_customer = *dimension == Dimension::CustomerId;
            let has_account =
                |name: &str, owner: &str| owner == id && (is_customer || balances.contains(name));
            let erased_keys = ErasedKeys { has_key: &has_key, has_account: &has_account };
            (report.keys, report.balances) = self.table.erase(&before.counters, &erased_keys);
            if let Some(ledger) = &self.ledger {
                report.events = ledger.erase(&erasure.erased);
            }
            self.erase_beside(&mut report, (dimension, id), &named);
            report.reservations = given.own.len().try_into().unwrap_or(u64::MAX);
            self.reservations.erase(&given.own);
            let stored = self.pipeline.as_ref().map(|pipeline| {
                let entry = self.put_erasure(pipeline, &erasure, row_of(dimension, id, None));
                (entry, erasure)
            });
            *done = Some(Done { report, at: at.now, stored });
            true
        });
        if done.is_none() {
            self.calendars.set(dimension, id, calendar);
        }
        published
    }

    /// Puts it into the queue, with the row of the customer and those of refusals that are gone.
    fn put_erasure(
        &self,
        pipeline: &Pipeline,
        erasure: &Erasure,
        (key, value): (Box<[u8]>, Option<Vec<u8>>),
    ) -> u64 {
        let (own, mut entry) = (SpaceChange { key, value }, None);
        if let Some(log) = &self.refusals {
            log.put(|rows| {
                let rows = rows.into_iter().map(|(key, value)| SpaceChange { key, value });
                let rows = rows.chain([own.clone()]).collect();
                entry = Some(pipeline.put_erasure(erasure.clone(), rows));
            });
        }
        entry.unwrap_or_else(|| pipeline.put_erasure(erasure.clone(), vec![own]))
    }

    /// Erases what is known beside counters and events.
    fn erase_beside(
        &self,
        report: &mut EraseReport,
        (dimension, id): (&Dimension, &str),
        rules: &[String],
    ) {
        let name = dimension.as_str();
        let is_named = |rule: &str| rules.iter().any(|named| named == rule);
        report.adjustments = self
            .adjustments
            .erase(|rule, key| is_named(rule) || key.get(name).is_some_and(|value| value == id));
        report.alerts = self.alerts.outbox.erase(|alert| {
            let is_of_key = |(of, value): &(String, String)| of == name && value == id;
            let is_customer = *dimension == Dimension::CustomerId;
            let is_of_filter = is_customer && alert.customer_id.as_deref() == Some(id);
            is_named(&alert.rule_id) || is_of_filter || alert.key.iter().any(is_of_key)
        });
        if let Some(log) = &self.refusals {
            log.forget(name, id);
        }
        self.attributes.set(dimension, id, None);
        report.was_set = self.directory.remove(dimension, id).is_some();
    }

    /// The properties that are dimensions of something, but for one.
    fn kept_properties(&self, snapshot: &Snapshot, but: &Dimension) -> HashSet<Box<str>> {
        let of_rollups = self.ledger.as_ref().map(|ledger| ledger.dimensions()).unwrap_or_default();
        let all = snapshot.dimensions().chain(of_rollups.iter().map(Dimension::as_str));
        all.filter(|name| *name != but.as_str()).map(Box::from).collect()
    }
}
