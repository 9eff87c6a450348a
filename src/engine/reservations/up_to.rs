//! Reserving what is left, where not all that is asked for is.

use std::time::Duration;

use super::{Asking, Made, ReservationError, Reserved};
use crate::base::amount::{Amount, IntoAmount};
use crate::counters::Intent;
use crate::decision::{Decision, Outcome, RetryAfter};
use crate::engine::{Core, Engine, TrackError};
use crate::event::{Event, EventError};
use crate::reservations::{Grant, Hold};
use crate::rules::Metric;

/// How often what is left is asked for, where others take it meanwhile, before it is the least.
const TRIES: usize = 8;

/// What of an event is not held as it stands.
#[derive(Clone, Copy)]
pub(super) enum Less<'m> {
    Nothing,
    /// What may be less than it was asked for.
    UpTo(UpTo<'m>),
    /// What is held of a value, whatever was asked for.
    To(Grant<'m>),
}

/// What may be less than it was asked for.
#[derive(Clone, Copy)]
pub(super) struct UpTo<'m> {
    pub(super) metric: &'m Metric,
    /// The name of the value that the metric counts.
    pub(super) name: &'m str,
    pub(super) at_least: Amount,
}

impl Engine {
    /// Reserves as [`reserve`](Self::reserve) does, and where the rules on `metric` have less left
    /// than the event brings, what is left: `at_least` that much, or it is refused. So a caller can
    /// lower `max_tokens` to what it was [granted](super::Reservation::granted).
    ///
    /// Only rules on that very metric shrink the grant. All others judge the event as it stands,
    /// and are then charged for what was granted: of `total_tokens` the output is lowered, and the
    /// input stays.
    ///
    /// The refusal is that of `at_least`, and so is its wait.
    ///
    /// ```
    /// use limitry::{Engine, Event, Hold, Metric, Period, Quota, Reserved};
    ///
    /// let engine = Engine::builder()
    ///     .quota(Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day))
    ///     .build()?;
    /// let call = Event::new("cust_123", "model_call").input_tokens(150).output_tokens(4_096);
    /// let hold = Hold::default();
    /// let Reserved::Held(reservation) =
    ///     engine.reserve_up_to(&call, &Metric::TotalTokens, 200, hold)?
    /// else {
    ///     panic!("there are 200 left")
    /// };
    /// assert_eq!(reservation.granted(), Some(1_000.into())); // 850 of them for the output
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `reserve`; the metric is one of events or of a meter, which no grant can lower; the event
    /// brings nothing of it, or less than `at_least`, or that is below zero or no exact amount.
    pub fn reserve_up_to(
        &self,
        event: &Event<'_>,
        metric: &Metric,
        at_least: impl IntoAmount,
        hold: Hold,
    ) -> Result<Reserved, ReservationError> {
        let (name, at_least) = asked(event, metric, "at_least", at_least)?;
        let asked = event.amount(name).unwrap_or(Amount::ZERO);
        if at_least < Amount::ZERO || at_least > asked || asked == Amount::ZERO {
            let rule = "must be from 0 to what the event brings of the metric, which is above 0";
            return Err(EventError::invalid("at_least", &at_least.to_string(), rule).into());
        }
        self.reserve_by(event, hold, Less::UpTo(UpTo { metric, name, at_least }))
    }

    /// Reserves as [`reserve`](Self::reserve) does, but holds `amount` of `metric` in place of what
    /// the event brings: an estimate that is below the maximum. Where the output is lowered, so is
    /// a total that the event states; prices are asked for what is held.
    ///
    /// By its idempotency key it is a retry whose event is the same, whatever amount is held: an
    /// estimate may have changed between the two.
    ///
    /// ```
    /// use limitry::{Engine, Event, Hold, Metric, Period, Quota, Reserved};
    ///
    /// let engine = Engine::builder()
    ///     .quota(Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day))
    ///     .build()?;
    /// let call = Event::new("cust_123", "model_call").input_tokens(150).output_tokens(4_096);
    /// let output = Metric::value("output_tokens");
    /// let reserved = engine.reserve_amount(&call, &output, 600, Hold::default())?;
    /// assert!(matches!(reserved, Reserved::Held(_))); // 750 are held
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `reserve`; the metric is one of events or of a meter; the amount is below zero, no exact
    /// amount, none that an event can bring, or more than the event brings where it brings any.
    pub fn reserve_amount(
        &self,
        event: &Event<'_>,
        metric: &Metric,
        amount: impl IntoAmount,
        hold: Hold,
    ) -> Result<Reserved, ReservationError> {
        let (name, amount) = Self::amount_of(event, metric, amount)?;
        self.reserve_by(event, hold, Less::To(Grant { name, amount }))
    }

    /// What is held of a value in place of what an event brings.
    pub(in crate::engine) fn amount_of<'m>(
        event: &Event<'_>,
        metric: &'m Metric,
        amount: impl IntoAmount,
    ) -> Result<(&'m str, Amount), ReservationError> {
        let (name, amount) = asked(event, metric, "amount", amount)?;
        if amount < Amount::ZERO || event.amount(name).is_some_and(|brought| amount > brought) {
            let rule = "must be from 0 to what the event brings of the metric";
            return Err(EventError::invalid("amount", &amount.to_string(), rule).into());
        }
        Grant { name, amount }.lowered(event).validate()?;
        Ok((name, amount))
    }
}

/// The name of the value that a metric counts, and the amount that is asked for by a field.
fn asked<'m>(
    event: &Event<'_>,
    metric: &'m Metric,
    field: &str,
    amount: impl IntoAmount,
) -> Result<(&'m str, Amount), EventError> {
    event.validate()?;
    let rule = "must be a metric of a value, which can be lowered";
    let name = metric.value_name();
    let name = name.ok_or_else(|| EventError::invalid("metric", &metric.to_string(), rule))?;
    let amount = amount.into_amount();
    let amount = amount.map_err(|source| EventError::Amount { field: field.into(), source })?;
    Ok((name, amount))
}

impl Core {
    /// Holds so much of a value in place of what the event brings.
    pub(super) fn hold_amount(
        &self,
        event: &Event<'_>,
        grant: Grant<'_>,
        asking: Asking,
        made: &mut Option<Made>,
    ) -> Result<Decision, TrackError> {
        let decision = self.hold(&grant.lowered(event), asking, Some((event, grant)), made)?;
        Ok(grants(decision, grant.amount, made))
    }

    /// Holds an event, or what is left of it.
    pub(super) fn hold_up_to(
        &self,
        event: &Event<'_>,
        up_to: UpTo<'_>,
        asking: Asking,
        made: &mut Option<Made>,
    ) -> Result<Decision, TrackError> {
        let mut grant = event.amount(up_to.name).unwrap_or(Amount::ZERO);
        let hold = |amount, made: &mut Option<Made>| {
            let grant = Grant { name: up_to.name, amount };
            self.hold(&grant.lowered(event), asking, Some((event, grant)), made)
        };
        for _ in 0..TRIES {
            let decision = hold(grant, made)?;
            if decision.outcome() != Outcome::Refused || decision.has_too_many_reservations() {
                return Ok(grants(decision, grant, made));
            }
            match decision.left_of(up_to.metric) {
                // Less than before, or another one refuses.
                Some(left) if left < grant && left >= up_to.at_least => grant = left,
                Some(left) if left < up_to.at_least => break,
                _ => return self.refusal_of_least(event, up_to, decision, asking),
            }
        }
        let least = up_to.at_least;
        let decision = hold(least, made)?;
        Ok(grants(decision, least, made))
    }

    /// The refusal of an event by rules that no grant helps with. The least may pass before it:
    /// then the refusal is that of the least.
    fn refusal_of_least(
        &self,
        event: &Event<'_>,
        up_to: UpTo<'_>,
        refusal: Decision,
        asking: Asking,
    ) -> Result<Decision, TrackError> {
        let least = Grant { name: up_to.name, amount: up_to.at_least }.lowered(event);
        let least = self.decide(&least, Intent::Check, asking.now, None)?;
        let wait = |decision: &Decision| match decision.retry_after() {
            Some(RetryAfter::After(wait)) => wait,
            Some(RetryAfter::Never) | None => Duration::MAX,
        };
        let is_sooner = !least.is_allowed() && wait(&least) < wait(&refusal);
        Ok(if is_sooner { least } else { refusal })
    }
}

fn grants(decision: Decision, grant: Amount, made: &mut Option<Made>) -> Decision {
    if let Some(made) = made {
        made.granted = Some(grant);
    }
    decision
}
