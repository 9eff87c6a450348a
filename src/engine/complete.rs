//! What an event is completed by before it is decided about: the cost that prices say, and the
//! attributes of its customer that rules name.
//!
//! Nothing is locked meanwhile: a price list is the caller's code.

use std::borrow::Cow;

use super::Core;
use super::time::ClockReading;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::event::{Event, EventError, check_amount};
use crate::reservations::Estimate;

impl Core {
    /// Whether an event may lack something that the engine knows.
    #[inline]
    pub(super) fn completes(&self) -> bool {
        self.prices.is_some() || self.attributes.are_named()
    }

    /// Goes on with the event as it is completed.
    pub(super) fn complete<T, E: From<EventError>>(
        &self,
        event: &Event<'_>,
        now: ClockReading,
        go_on: impl FnOnce(&Event<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if !self.completes() {
            return go_on(event);
        }
        let cost = self.price(event, || self.table.timeline().timestamp(now.moment))?;
        self.complete_by(event, cost, go_on)
    }

    /// The same with the cost that prices have said.
    pub(super) fn complete_by<T, E: From<EventError>>(
        &self,
        event: &Event<'_>,
        cost: Option<Amount>,
        go_on: impl FnOnce(&Event<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match cost {
            Some(cost) => self.with_attributes(&event.priced(cost), go_on),
            None => self.with_attributes(event, go_on),
        }
    }

    /// Goes on with the event that has the attributes of its customer, as they are now. What it
    /// says itself stays.
    pub(super) fn with_attributes<T, E: From<EventError>>(
        &self,
        event: &Event<'_>,
        go_on: impl FnOnce(&Event<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.as_rules_see(event, |attributed| {
            if attributed.attributes().next().is_some() {
                attributed.check_room()?;
            }
            go_on(attributed)
        })
    }

    /// The same for who asks where an event counts that was decided about.
    pub(super) fn as_rules_see<T>(
        &self,
        event: &Event<'_>,
        look: impl FnOnce(&Event<'_>) -> T,
    ) -> T {
        if !self.attributes.are_named() {
            return look(event);
        }
        let snapshot = self.snapshot.load();
        let mut attributed: Option<Event<'_>> = None;
        self.attributes.each(event.customer_id(), &snapshot.attributes, |name, value| {
            let so_far = attributed.as_ref();
            if so_far.map_or_else(|| event.has_property(name), |it| it.has_property(name)) {
                return;
            }
            attributed.get_or_insert_with(|| event.lent()).add_attribute(name.into(), value);
        });
        match &attributed {
            Some(attributed) => look(attributed),
            None => look(event),
        }
    }

    /// What happened has the attributes that its customer had at the reserve, as far as it does not
    /// say them itself.
    pub(super) fn with_attributes_of<'e, 'a: 'e>(
        &self,
        estimate: &Estimate,
        mut actual: Cow<'e, Event<'a>>,
    ) -> Result<Cow<'e, Event<'a>>, EventError> {
        if self.attributes.are_named() {
            let (estimate, snapshot) = (estimate.event(), self.snapshot.load());
            for name in self.attributes.names(&snapshot.attributes) {
                let value = estimate.text_property(name).filter(|_| !actual.has_property(name));
                if let Some(value) = value {
                    actual.to_mut().add_attribute(name.to_owned().into(), value.into());
                }
            }
            actual.check_room()?;
        }
        Ok(actual)
    }

    /// What an event costs that does not say so, where the engine has prices.
    #[inline]
    pub(super) fn price(
        &self,
        event: &Event<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Option<Amount>, EventError> {
        let Some(prices) = self.prices.as_deref().filter(|_| event.cost_cents.is_none()) else {
            return Ok(None);
        };
        let cost = prices.price(event, event.happened_at().unwrap_or_else(now))?;
        cost.map_or(Ok(()), |cost| check_amount("cost_cents", cost))?;
        Ok(cost)
    }
}
