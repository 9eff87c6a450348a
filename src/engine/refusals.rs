//! What was refused, as the engine notes and shows it.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Core, Engine, TrackError};
use crate::compiled::CompiledRule;
use crate::decision::{Decision, Outcome};
use crate::event::Event;
use crate::journal::store::{Contents, StoreError};
use crate::log::{Packed, QueryError};
use crate::refusals::{
    RefusalHour, RefusalLog, RefusalPage, RefusalQuery, RefusedAttemptPage, Refusing, first_key,
};

/// The calls that an engine has refused.
///
/// An engine that [records](crate::EngineBuilder::recording) counts them, by rule, key and hour of
/// UTC: what `track`, `reserve`, `grow` and a [wait](crate::Engine::wait) answered with a refusal,
/// once for each rule that refused it, in the hour of the decision. A check asks and attempts
/// nothing, and one who stops waiting had no answer: these are not counted. With
/// [`Recording::refusals(n)`](crate::events::Recording::refusals) the newest `n` calls themselves
/// are kept beside.
///
/// **Bounds.** An hour tells 10 000 keys apart, over all rules; what other keys were refused is in
/// the sums of their rules, as [`other`](RefusalPage::other). Hours are kept for 31 days, and at
/// most 100 000 numbers of rules and keys in all of them, some 130 bytes each: beyond that the
/// oldest hour loses its keys, then itself. Where more than 100 000 rules have refused something in
/// the life of an engine, those behind are in the sums of hours alone.
///
/// **Consistency.** A refusal is counted when its call returns, after its decision and not in one
/// step with it. With a store it waits for nothing: what has changed is put there once a second,
/// before a [flush](crate::handles::Store::flush) or a backup, and when the engine is closed or
/// dropped. What a crash loses is the newest of it; what is there is right.
#[derive(Clone, Debug)]
pub struct Refusals {
    log: Option<Arc<RefusalLog>>,
}

impl Engine {
    /// Returns the refused calls.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        Refusals { log: self.core.refusals.clone() }
    }
}

impl Refusals {
    /// Returns how often keys were refused, the most refused first, a page at a time. O(numbers of
    /// the hours that are asked for); refused calls wait meanwhile.
    ///
    /// ```
    /// use limitry::refusals::RefusalQuery;
    /// use limitry::{Engine, Event, RateLimit, Window};
    ///
    /// let calls = RateLimit::new("Calls", 1, Window::Minute).per("customer_id");
    /// let engine = Engine::builder().rate_limit(calls).build()?;
    /// for customer in ["ann", "bob", "ann", "ann", "bob"] {
    ///     let _ = engine.track(&Event::new(customer, "call"))?;
    /// }
    /// let page = engine.refusals().counts(&RefusalQuery::new().rule("rl_calls"))?;
    /// let most = &page.items[0];
    /// assert_eq!((most.key.get("customer_id"), most.refused, page.total), (Some("ann"), 2, 3));
    /// let hours = engine.refusals().hours(&RefusalQuery::new())?;
    /// assert_eq!(hours.iter().map(|hour| hour.refused).sum::<u64>(), 3);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// Recording is off; the range ends where it starts, or before; the limit is not 1 to 1 000;
    /// the cursor is of no such page.
    pub fn counts(&self, query: &RefusalQuery) -> Result<RefusalPage, QueryError> {
        self.log()?.page(query)
    }

    /// Returns how much was refused in each hour of UTC, the earliest first; hours without a
    /// refusal are left out. Of a query without a rule and a key these are calls, each counted
    /// once.
    ///
    /// # Errors
    /// Recording is off; the range ends where it starts, or before.
    pub fn hours(&self, query: &RefusalQuery) -> Result<Vec<RefusalHour>, QueryError> {
        self.log()?.hours(query)
    }

    /// Returns the refused calls that are kept, the newest first, a page at a time: none where
    /// [`Recording::refusals`](crate::events::Recording::refusals) does not say so. Calls that come
    /// meanwhile move no page. O(calls that are kept).
    ///
    /// # Errors
    /// As [`counts`](Self::counts).
    pub fn list(&self, query: &RefusalQuery) -> Result<RefusedAttemptPage, QueryError> {
        self.log()?.list(query)
    }

    fn log(&self) -> Result<&RefusalLog, QueryError> {
        self.log.as_deref().ok_or(QueryError::RecordingOff)
    }
}

impl Core {
    /// Notes that a call was refused, if it was. No lock is held.
    #[inline]
    pub(super) fn note_refusal_in(&self, event: &Event<'_>, answer: &Result<Decision, TrackError>) {
        if let Ok(decision) = answer
            && decision.outcome() == Outcome::Refused
        {
            self.note_refusal(event, decision);
        }
    }

    /// Notes a refused call. No lock is held.
    pub(super) fn note_refusal(&self, event: &Event<'_>, decision: &Decision) {
        if self.refusals.is_some() {
            self.as_rules_see(event, |event| self.note_refusal_of(event, decision));
        }
    }

    /// Notes a refused call of an event that has all that its rules see.
    pub(super) fn note_refusal_of(&self, event: &Event<'_>, decision: &Decision) {
        let Some(log) = &self.refusals else { return };
        let at = self.table.timeline().timestamp(decision.at().now);
        let refusing: SmallVec<[Refusing<'_>; 4]> =
            decision.refusing().map(|rule| (&**rule, values_of(rule, event))).collect();
        let packed = log
            .keeps_attempts()
            .then(|| Packed::unsigned(event, event.happened_at().unwrap_or(at), at));
        let is_first = log.note(at, &refusing, packed.as_ref());
        if let Some(pipeline) = self.pipeline.as_ref().filter(|_| is_first) {
            pipeline.expect_rows();
        }
    }
}

/// The values of a rule's key that an event goes to.
fn values_of<'e>(rule: &'e CompiledRule, event: &'e Event<'_>) -> SmallVec<[&'e str; 2]> {
    let values = rule.partition.iter();
    values
        .map(|dimension| dimension.of(event).or_else(|| rule.fallback()).unwrap_or_default())
        .collect()
}

/// Reads what a store knows of refusals.
pub(super) fn read_refusals(log: &RefusalLog, store: &dyn Contents) -> Result<(), StoreError> {
    let mut wrong = None;
    store.space_rows(
        Bound::Included(first_key()),
        &mut |key, value| match log.load(key, value) {
            Some(Ok(())) => ControlFlow::Continue(()),
            Some(Err(why)) => {
                wrong = Some(why);
                ControlFlow::Break(())
            }
            None => ControlFlow::Break(()),
        },
    )?;
    wrong.map_or(Ok(()), |why| Err(store.damaged("a row of refusals", &why.to_string())))
}
