//! The answer of one call, and what stands where.
//!
//! An answer holds the raw state that each rule had in the deciding step; statuses, headers and
//! the wait are worked out from it when they are asked for, so that a caller who wants only a yes
//! or a no pays for nothing else.

use std::fmt;
use std::sync::Arc;

use crate::compiled::{CompiledRule, Snapshot};
use crate::counters::{At, Charge, Moment, Timeline, Verdict};
use crate::log::EventId;
use crate::rules::{Rule, Units};

mod findings;
mod foresight;
mod kept;
mod outcome;
mod pool;
mod reservation_id;
mod status;
mod stored;
mod wait;

use self::findings::Exceeded;
pub(crate) use self::findings::{Findings, HeaderFigures};
use self::foresight::Foresight;
pub(crate) use self::kept::Kept;
pub use self::outcome::Outcome;
use self::pool::Pooled;
pub use self::reservation_id::{ReservationId, ReservationIdParseError};
pub use self::status::{QuotaStatus, RateLimitStatus, RetryAfter};

/// The answer of one call: its [`outcome`](Self::outcome), and where every matching rule stands.
///
/// The figures are those of the deciding step: after the event when it was admitted, without it
/// when it was refused. A decision is cheap to drop, and holds the rule set that it was made by
/// for as long as it lives; its thread holds it for longer, until it decides again or ends.
///
/// A replay has the figures, the status code and the body of the first answer; what tells it from
/// that one is its outcome and the header `Idempotent-Replayed: true`.
///
/// It serializes in the product's shape, for 201 `{id, allowed, rateLimits, quotas}` and for 429
/// `{allowed, error, rateLimits, quotas}`.
/// It is a pointer to what it says, which lies in a box that its thread uses again: a decision that
/// is dropped before the next one is made costs no allocation.
#[must_use = "it may be a refusal or a replay: match on its `outcome`"]
#[derive(Clone)]
pub struct Decision {
    body: Pooled,
}

/// What a decision says.
struct Body {
    outcome: Outcome,
    event_id: Option<EventId>,
    /// The sequence number of the event's record in the journal.
    seq: Option<u64>,
    /// What is said beside what rules say; nothing in a box that is to be used.
    held: Said,
    findings: Findings,
}

/// What an answer says beside what its rules do: about a reservation, and of later times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeldAnswer {
    /// The reservation that was made, or ended, if one was.
    pub(crate) id: Option<ReservationId>,
    /// A rule was charged more than was held of it.
    pub(crate) is_overrun: bool,
    /// The customer has as many reservations as may be: when the first of them expires.
    pub(crate) too_many: Option<Moment>,
    /// Of a refusal, where it hangs on the time which rules judge.
    pub(crate) foresight: Option<Foresight>,
}

/// What is said beside, where something is. Its box is used again, as the decision's.
#[derive(Default)]
struct Said {
    is_said: bool,
    answer: Option<Box<HeldAnswer>>,
}

impl Said {
    fn say(&mut self, answer: HeldAnswer) {
        match &mut self.answer {
            Some(known) => **known = answer,
            None => self.answer = Some(Box::new(answer)),
        }
        self.is_said = true;
    }

    fn answer(&self) -> Option<HeldAnswer> {
        self.answer.as_deref().copied().filter(|_| self.is_said)
    }

    #[inline]
    fn foresight(&self) -> Option<Foresight> {
        self.answer.as_deref().filter(|_| self.is_said)?.foresight
    }

    fn clone_from(&mut self, other: &Self) {
        match other.answer() {
            Some(answer) => self.say(answer),
            None => self.is_said = false,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        let (outcome, findings) = (Outcome::Refused, Findings::default());
        Self { outcome, event_id: None, seq: None, held: Said::default(), findings }
    }
}

impl Clone for Body {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, other: &Self) {
        (self.outcome, self.event_id, self.seq) = (other.outcome, other.event_id, other.seq);
        self.held.clone_from(&other.held);
        self.findings.clone_from(&other.findings);
    }
}

/// Where an event that was let in is recorded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Receipt {
    /// Its name, where events are recorded.
    pub(crate) event_id: Option<EventId>,
    /// The sequence number of its record in the journal, where there is one.
    pub(crate) seq: Option<u64>,
}

impl Decision {
    /// A decision that is to be made: its [`parts`](Self::parts) are filled, then it is
    /// [completed](Self::complete).
    #[inline]
    pub(crate) fn pending() -> Self {
        Self { body: Pooled::take() }
    }

    /// What the deciding step works with: the verdict of any decision, to be filled in, and the
    /// rule set, which is the one of the last decision in this box where that `is_current`.
    #[inline]
    pub(crate) fn parts(
        &mut self,
        is_current: impl FnOnce(&Snapshot) -> bool,
        current: impl FnOnce() -> Arc<Snapshot>,
    ) -> (&mut Verdict, &Arc<Snapshot>) {
        self.body.findings.parts(is_current, current)
    }

    /// Makes the decision out of the verdict, whose charges may be all of rules that judge and in
    /// their order.
    #[inline]
    pub(crate) fn complete(
        &mut self,
        Receipt { event_id, seq }: Receipt,
        asked: Moment,
        timeline: Timeline,
        is_recorded: bool,
        in_order: bool,
    ) {
        let body = &mut *self.body;
        let allowed = body.findings.verdict.allowed;
        body.outcome = if allowed { Outcome::Admitted } else { Outcome::Refused };
        (body.event_id, body.seq) = (event_id, seq);
        body.findings.complete(asked, timeline, is_recorded, in_order);
    }

    /// Lets the answer say how much of quotas was adjusted.
    pub(crate) fn say_adjusted(&mut self, adjusted: Vec<(u32, Units)>) {
        self.body.findings.verdict.adjusted = adjusted;
    }

    fn findings(&self) -> &Findings {
        &self.body.findings
    }

    /// Lets the answer say what it says about a reservation.
    pub(crate) fn say(&mut self, held: HeldAnswer) {
        if held.too_many.is_some() {
            self.body.outcome = Outcome::Refused;
        }
        let foresight = held.foresight.or_else(|| self.body.held.foresight());
        self.body.held.say(HeldAnswer { foresight, ..held });
    }

    fn held_answer(&self) -> HeldAnswer {
        self.body.held.answer().unwrap_or_default()
    }

    /// The sequence number of the event's record in the journal.
    pub(crate) fn seq(&self) -> Option<u64> {
        self.body.seq
    }

    /// The same decision, whose event's record has this sequence number.
    pub(crate) fn with_seq(mut self, seq: u64) -> Self {
        self.body.seq = Some(seq);
        self
    }

    /// What is stored to answer a retry: the same answer, which holds no rule set.
    pub(crate) fn to_replay(&self) -> Self {
        let Body { event_id, seq, held, findings, .. } = &*self.body;
        let (event_id, seq, findings) = (*event_id, *seq, findings.with_own_rules());
        let (outcome, mut said) = (Outcome::Replayed, Said::default());
        said.clone_from(held);
        Self { body: Pooled::new(Body { outcome, event_id, seq, held: said, findings }) }
    }

    /// The rules that judged, each with its charge.
    pub(crate) fn judged(&self) -> impl Iterator<Item = (&Arc<CompiledRule>, &Charge)> {
        self.findings().judged()
    }

    /// What is used of one of them, in counted units.
    pub(crate) fn used_of(&self, rule: &CompiledRule, charge: &Charge) -> Units {
        self.findings().figures(rule, charge).used
    }

    /// The instant of the decision.
    pub(crate) fn at(&self) -> At {
        self.findings().verdict.at
    }

    pub(crate) fn into_standing(self) -> Standing {
        Standing { body: self.body }
    }

    /// Whether the event was let in, by this call or by the one that a replay repeats.
    pub(crate) fn is_let_in(&self) -> bool {
        self.body.outcome != Outcome::Refused
    }

    /// Returns whether the event was admitted by this call, is the replay of one that was before,
    /// or is refused.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.body.outcome
    }

    /// Returns whether to go ahead: the event was admitted by this call. False for a refusal, and
    /// for a replay, whose event was acted on before.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.body.outcome == Outcome::Admitted
    }

    /// Returns whether this is the first answer to an idempotency key, given again.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.body.outcome == Outcome::Replayed
    }

    /// Returns the id of the recorded event; `None` when nothing was recorded.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        self.body.event_id
    }

    /// Returns the reservation that the call was about: the one that was made, grew or was
    /// committed; of the replay of one that was made for the idempotency key, that one.
    #[must_use]
    pub fn reservation_id(&self) -> Option<ReservationId> {
        self.held_answer().id
    }

    /// Returns whether a commit charged a rule more than was held of it. It is charged in full.
    #[must_use]
    pub fn is_overrun(&self) -> bool {
        self.held_answer().is_overrun
    }

    /// Returns whether a reservation was refused because the customer has as many as may be open at
    /// once ([`max_reservations`](crate::EngineBuilder::max_reservations)).
    #[must_use]
    pub fn has_too_many_reservations(&self) -> bool {
        self.held_answer().too_many.is_some()
    }

    /// Returns where each matching rate limit stands, in the order of their definition.
    pub fn rate_limits(&self) -> impl Iterator<Item = RateLimitStatus<'_>> {
        self.rate_limits_of().map(|(_, status)| status)
    }

    /// Returns where each matching quota stands, in the order of their definition.
    pub fn quotas(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        self.quotas_of().map(|(_, status)| status)
    }

    /// The same, each with its rule.
    pub(crate) fn rate_limits_of(
        &self,
    ) -> impl Iterator<Item = (&CompiledRule, RateLimitStatus<'_>)> {
        self.findings().rate_limits(Exceeded::Refused)
    }

    /// The same of quotas.
    pub(crate) fn quotas_of(&self) -> impl Iterator<Item = (&CompiledRule, QuotaStatus<'_>)> {
        self.findings().quotas(Exceeded::Refused)
    }

    /// Returns how long to wait before the same event passes; `None` unless it was refused.
    ///
    /// The wait is exact over all matching rules together. It counts from what the clock showed
    /// at the decision. O(rules), worked out when asked.
    #[must_use]
    pub fn retry_after(&self) -> Option<RetryAfter> {
        if self.is_let_in() {
            return None;
        }
        Some(match self.passes_at() {
            Some(moment) => RetryAfter::After(moment.since(self.findings().asked)),
            None => RetryAfter::Never,
        })
    }

    /// Returns the HTTP status: 201 when admitted or replayed, 429 when refused.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        if self.is_let_in() { 201 } else { 429 }
    }

    /// The figures of the rules that headers tell of, of those that are asked for.
    pub(crate) fn header_figures(
        &self,
        of: impl Fn(&Rule) -> bool,
    ) -> impl Iterator<Item = HeaderFigures<'_>> {
        self.findings().header_figures(of)
    }

    /// The Unix second of the decision, rounded up.
    pub(crate) fn second(&self) -> i64 {
        self.findings().second()
    }

    /// The rules that refused the event.
    pub(crate) fn refusing(&self) -> impl Iterator<Item = &Arc<CompiledRule>> {
        self.findings().refusing().map(|(rule, _)| rule)
    }

    /// What a refusal says in its body.
    pub(crate) fn error(&self) -> &'static str {
        if self.has_too_many_reservations() {
            return "Too many reservations";
        }
        let mut refusing = self.findings().refusing();
        if refusing.any(|(rule, _)| matches!(rule.rule, Rule::RateLimit(_))) {
            "Rate limit exceeded"
        } else {
            "Quota exceeded"
        }
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("outcome", &self.body.outcome)
            .field("event_id", &self.body.event_id)
            .field("rate_limits", &self.rate_limits().collect::<Vec<_>>())
            .field("quotas", &self.quotas().collect::<Vec<_>>())
            .field("retry_after", &self.retry_after())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Decision {
    /// One line: the outcome, and on a refusal the rules that refused and the wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(wait) = self.retry_after() else { return self.body.outcome.fmt(f) };
        let refusing = self.findings().refusing();
        f.write_str("refused by ")?;
        let too_many = self.has_too_many_reservations();
        if too_many {
            f.write_str("too many reservations")?;
        }
        for (index, (rule, _)) in refusing.enumerate() {
            let is_first = index == 0 && !too_many;
            write!(f, "{}{:?}", if is_first { "" } else { ", " }, rule.rule.name())?;
        }
        match wait {
            RetryAfter::After(wait) => write!(f, "; passes in {wait:?}"),
            RetryAfter::Never => f.write_str("; never passes"),
        }
    }
}

/// Where a set of dimensions stands on every rule that matches; nothing was taken.
#[must_use = "asking changes nothing: the answer is all that it is for"]
#[derive(Clone)]
pub struct Standing {
    body: Pooled,
}

impl Standing {
    /// Returns whether every hard rule has something left.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        let mut hard = self.body.findings.hard();
        hard.all(|(rule, charge)| self.body.findings.figures(rule, charge).remaining > 0)
    }

    /// Returns where each matching rate limit stands, in the order of their definition.
    pub fn rate_limits(&self) -> impl Iterator<Item = RateLimitStatus<'_>> {
        self.body.findings.rate_limits(Exceeded::Full).map(|(_, status)| status)
    }

    /// Returns where each matching quota stands, in the order of their definition.
    pub fn quotas(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        self.body.findings.quotas(Exceeded::Full).map(|(_, status)| status)
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("rate_limits", &self.rate_limits().collect::<Vec<_>>())
            .field("quotas", &self.quotas().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
