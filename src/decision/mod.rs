//! The answer of one call, and what stands where.
//!
//! An answer holds the raw state that each rule had in the deciding step; statuses, headers and
//! the wait are rendered from it when they are asked for, so that a caller who wants only a yes
//! or a no pays for nothing else.

use std::fmt;
use std::sync::Arc;

use arc_swap::Guard;

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::compiled::snapshot::{CompiledRule, Snapshot};
use crate::counters::{Ahead, At, Charge, Charges, Figures, Moment, Timeline, Verdict};
use crate::log::EventId;
use crate::rules::{Enforcement, Overflow, Rule, Units};

mod outcome;
mod saved;
mod status;

pub use self::outcome::Outcome;
pub use self::status::{QuotaStatus, RateLimitStatus, RetryAfter};

/// What all rules said, with what is needed to render it.
pub(crate) struct Sayings {
    pub(crate) at: At,
    /// What the clock showed, which is before `at` where it had stepped back.
    pub(crate) asked: Moment,
    pub(crate) timeline: Timeline,
    /// Whether events are recorded.
    recorded: bool,
    /// In the order of the rules' places.
    said: Charges,
    /// The later periods in which rules of a refused event have seen use; almost always none.
    ahead: Vec<(u32, Ahead)>,
    rules: Rules,
}

/// The rules that the statuses are of.
enum Rules {
    /// The rule set of the decision, held without counting references.
    Snapshot(Guard<Arc<Snapshot>>),
    /// The rules alone, one for each status: what is kept for long must not hold a rule set.
    Alone(Arc<[Arc<CompiledRule>]>),
    /// The decision is not made yet.
    Unset,
}

impl Clone for Sayings {
    fn clone(&self) -> Self {
        let rules = match &self.rules {
            Rules::Snapshot(snapshot) => Rules::Snapshot(Guard::from_inner(Arc::clone(snapshot))),
            Rules::Alone(rules) => Rules::Alone(Arc::clone(rules)),
            Rules::Unset => Rules::Unset,
        };
        Self { said: self.said.clone(), ahead: self.ahead.clone(), rules, ..*self }
    }
}

impl Sayings {
    /// The same without the rule set.
    fn alone(&self) -> Self {
        let rules = self.statuses().map(|(rule, _)| Arc::clone(rule)).collect();
        let (said, ahead) = (self.said.clone(), self.ahead.clone());
        Self { said, ahead, rules: Rules::Alone(rules), ..*self }
    }

    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&Arc<CompiledRule>, &Charge)> {
        self.said.iter().enumerate().filter_map(|(place, said)| {
            let rule = match &self.rules {
                Rules::Snapshot(snapshot) => snapshot.rule(said.rule),
                Rules::Alone(rules) => rules.get(place),
                Rules::Unset => None,
            };
            rule.map(|rule| (rule, said))
        })
    }

    fn figures(&self, rule: &CompiledRule, said: &Charge) -> Figures {
        rule.counter.policy.figures(&said.reading, self.at, self.timeline)
    }

    /// The second at which a figure that nothing resets stands: now.
    fn now(&self) -> i64 {
        self.timeline.second_rounded_up(self.at.now)
    }

    fn rate_limit<'d>(
        &self,
        rule: &'d CompiledRule,
        said: &Charge,
        exceeded: Exceeded,
    ) -> Option<RateLimitStatus<'d>> {
        let Rule::RateLimit(definition) = &rule.rule else { return None };
        let figures = self.figures(rule, said);
        Some(RateLimitStatus {
            id: rule.id(),
            name: &definition.name,
            window: definition.window,
            limit: definition.limit_value,
            remaining: remaining(definition.limit_value, rule, figures),
            reset: second(figures.reset.unwrap_or_else(|| self.now())),
            exceeded: exceeded.of(said.fits, figures.remaining),
        })
    }

    fn quota<'d>(
        &self,
        rule: &'d CompiledRule,
        said: &Charge,
        exceeded: Exceeded,
    ) -> Option<QuotaStatus<'d>> {
        let Rule::Quota(definition) = &rule.rule else { return None };
        let figures = self.figures(rule, said);
        Some(QuotaStatus {
            id: rule.id(),
            name: &definition.name,
            metric: &definition.metric,
            period: definition.period,
            limit: definition.limit_value,
            used: rule.measure.amount_of(figures.used),
            remaining: remaining(definition.limit_value, rule, figures),
            reset: figures.reset.map(second),
            exceeded: exceeded.of(said.fits, figures.remaining),
        })
    }

    /// What headers may say of a rule; nothing of one without a limit.
    fn tell<'d>(&self, rule: &'d CompiledRule, said: &Charge) -> Option<Told<'d>> {
        let limit = rule.rule.limit()?;
        let figures = self.figures(rule, said);
        let moment = |said| self.rule_passes_at(rule, said, self.at.now).unwrap_or(Moment::MAX);
        let refused_until = (!said.fits).then(|| moment(said));
        let second = |moment| self.timeline.second_rounded_up(moment);
        let reset = figures.reset.or_else(|| rule.rule.is_rate_limit().then(|| self.now()));
        let reset = match refused_until {
            None => reset,
            Some(Moment::MAX) => None,
            Some(moment) => reset.map(|reset| reset.max(second(moment))),
        };
        Some(Told {
            id: rule.id(),
            rule: &rule.rule,
            limit,
            remaining: rule.measure.amount_of(figures.remaining),
            reset,
            refused_until,
            wait: refused_until.and_then(|moment| {
                let wait = (moment < Moment::MAX).then(|| moment.since(self.asked))?;
                RetryAfter::After(wait).whole_seconds()
            }),
        })
    }

    /// The moment at which every hard rule lets the event in; `None` for never.
    fn passes_at(&self) -> Option<Moment> {
        let mut moment = self.at.now;
        loop {
            let mut latest = moment;
            for (rule, said) in self.refusing_kind() {
                latest = latest.max(self.rule_passes_at(rule, said, latest)?);
            }
            // A rule may let the event in now and not later, in a period that events dated
            // ahead have filled: the moment must hold for all.
            if latest == moment {
                return Some(moment);
            }
            moment = latest;
        }
    }

    fn refusing_kind(&self) -> impl Iterator<Item = (&Arc<CompiledRule>, &Charge)> {
        self.statuses().filter(|(rule, _)| rule.counter.enforcement == Enforcement::Hard)
    }

    fn rule_passes_at(&self, rule: &CompiledRule, said: &Charge, from: Moment) -> Option<Moment> {
        let policy = &rule.counter.policy;
        // A key without room passes, whatever it brings.
        if said.is_crowded() && rule.rule.overflow() == Overflow::Allow {
            return Some(from);
        }
        // Where events are recorded they tell of closed periods: an event that is dated into one
        // fits then as it does now.
        if self.recorded && self.at.explicit && policy.periods().is_some() {
            return said.fits.then_some(from);
        }
        let ahead = self.ahead.iter().find(|(rule, _)| *rule == said.rule);
        let (none, known) = (Ahead::default(), ahead.map(|(_, ahead)| ahead));
        let ahead = known.unwrap_or(&none);
        policy.passes_at(&said.reading, ahead, said.cost(), self.at, from, self.timeline)
    }
}

/// A rule as headers tell of it.
#[derive(Debug)]
pub(crate) struct Told<'d> {
    pub(crate) id: &'d str,
    pub(crate) rule: &'d Rule,
    pub(crate) limit: Amount,
    pub(crate) remaining: Amount,
    /// The Unix second at which the figures start over; of a rule that refused not before the
    /// event fits, and none where it never does.
    pub(crate) reset: Option<i64>,
    /// Of a rule that refused the event: from when on it alone would not; [`Moment::MAX`] for
    /// never.
    pub(crate) refused_until: Option<Moment>,
    /// The whole seconds until then.
    pub(crate) wait: Option<u64>,
}

/// What `exceeded` means.
#[derive(Clone, Copy)]
enum Exceeded {
    /// The event did not fit.
    Refused,
    /// Nothing is left.
    Full,
}

impl Exceeded {
    fn of(self, fits: bool, remaining: Units) -> bool {
        match self {
            Self::Refused => !fits,
            Self::Full => remaining == 0,
        }
    }
}

/// The answer of one call: its [`outcome`](Self::outcome), and where every matching rule stands.
///
/// The figures are those of the deciding step: after the event when it was admitted, without it
/// when it was refused. A decision is cheap to drop, and holds the rule set that it was made by
/// for as long as it lives.
///
/// A replay has the figures, the status code and the body of the first answer; what tells it from
/// that one is its outcome and the header `Idempotent-Replayed: true`.
///
/// It serializes in the product's shape, for 201 `{id, allowed, rateLimits, quotas}` and for 429
/// `{allowed, error, rateLimits, quotas}`.
#[must_use = "it may be a refusal or a replay: match on its `outcome`"]
#[derive(Clone)]
pub struct Decision {
    outcome: Outcome,
    event_id: Option<EventId>,
    /// Where the event's record is in the durable log.
    log_place: Option<u64>,
    sayings: Sayings,
}

/// What became of an event that was let in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// Its name, where events are recorded.
    pub(crate) event_id: Option<EventId>,
    /// The place of its record in the durable log, where there is one.
    pub(crate) log_place: Option<u64>,
}

impl Kept {
    /// An event that is kept in memory alone.
    pub(crate) fn in_memory(event_id: EventId) -> Self {
        Self { event_id: Some(event_id), log_place: None }
    }
}

impl Decision {
    /// A decision that is to be made: it is filled in where it lies, because it is large.
    pub(crate) fn pending(at: At, asked: Moment, timeline: Timeline, recorded: bool) -> Self {
        let (said, ahead, rules) = (Charges::new(), Vec::new(), Rules::Unset);
        let sayings = Sayings { at, asked, timeline, recorded, said, ahead, rules };
        Self { outcome: Outcome::Refused, event_id: None, log_place: None, sayings }
    }

    /// What the rules are asked for, and say.
    pub(crate) fn charges(&mut self) -> &mut Charges {
        &mut self.sayings.said
    }

    /// Makes the decision by what the rules have said: those that have a say.
    pub(crate) fn settle(&mut self, verdict: Verdict<Kept>, rules: Guard<Arc<Snapshot>>) {
        let sayings = &mut self.sayings;
        sayings.said.retain(|said| said.judges());
        if !sayings.said.is_sorted_by_key(|said| said.rule) {
            sayings.said.sort_unstable_by_key(|said| said.rule);
        }
        (sayings.at, sayings.ahead) = (verdict.at, verdict.ahead);
        sayings.rules = Rules::Snapshot(rules);
        let kept = verdict.committed.unwrap_or_default();
        self.outcome = if verdict.allowed { Outcome::Admitted } else { Outcome::Refused };
        self.event_id = kept.event_id;
        {
            self.log_place = kept.log_place;
        }
    }

    /// Where the event's record is in the durable log.
    pub(crate) fn log_place(&self) -> Option<u64> {
        self.log_place
    }

    /// The same decision, whose event's record is there.
    pub(crate) fn at_log_place(mut self, place: u64) -> Self {
        self.log_place = Some(place);
        self
    }

    /// What is kept to answer a retry: the same answer, which holds no rule set.
    pub(crate) fn to_replay(&self) -> Self {
        Self { outcome: Outcome::Replayed, sayings: self.sayings.alone(), ..*self }
    }

    /// The rules that matched, and what each said.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&Arc<CompiledRule>, &Charge)> {
        self.sayings.statuses()
    }

    /// The instant of the decision.
    pub(crate) fn at(&self) -> At {
        self.sayings.at
    }

    pub(crate) fn into_standing(self) -> Standing {
        Standing { sayings: self.sayings }
    }

    /// Whether the event was let in, by this call or by the one that a replay repeats.
    pub(crate) fn is_let_in(&self) -> bool {
        self.outcome != Outcome::Refused
    }

    /// Returns whether the event was admitted by this call, is the replay of one that was before,
    /// or is refused.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns whether to go ahead: the event was admitted by this call. False for a refusal, and
    /// for a replay, whose event was acted on before.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.outcome == Outcome::Admitted
    }

    /// Returns whether this is the first answer to an idempotency key, given again.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.outcome == Outcome::Replayed
    }

    /// Returns the id of the recorded event; `None` when nothing was recorded.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        self.event_id
    }

    /// Returns where each matching rate limit stands, in the order of their definition.
    pub fn rate_limits(&self) -> impl Iterator<Item = RateLimitStatus<'_>> {
        let sayings = &self.sayings;
        let status = |(rule, said)| sayings.rate_limit(rule, said, Exceeded::Refused);
        sayings.statuses().map(|(rule, said)| (&**rule, said)).filter_map(status)
    }

    /// Returns where each matching quota stands, in the order of their definition.
    pub fn quotas(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        let sayings = &self.sayings;
        let status = |(rule, said)| sayings.quota(rule, said, Exceeded::Refused);
        sayings.statuses().map(|(rule, said)| (&**rule, said)).filter_map(status)
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
        Some(match self.sayings.passes_at() {
            Some(moment) => RetryAfter::After(moment.since(self.sayings.asked)),
            None => RetryAfter::Never,
        })
    }

    /// Returns the HTTP status: 201 when admitted or replayed, 429 when refused.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        if self.is_let_in() { 201 } else { 429 }
    }

    /// The rules that callers are told of in headers, in the order of their definition: those that
    /// can refuse, and have a limit.
    pub(crate) fn told(&self) -> impl Iterator<Item = Told<'_>> {
        self.sayings.refusing_kind().filter_map(|(rule, said)| self.sayings.tell(rule, said))
    }

    /// The Unix second of the decision, rounded up.
    pub(crate) fn decided_at(&self) -> i64 {
        self.sayings.now()
    }

    pub(crate) fn error(&self) -> &'static str {
        let mut refusing = self.sayings.refusing_kind().filter(|(_, said)| !said.fits);
        if refusing.any(|(rule, _)| matches!(rule.rule, Rule::RateLimit(_))) {
            "Rate limit exceeded"
        } else {
            "Quota exceeded"
        }
    }
}

/// What is left of a limit; all there is where there is none.
fn remaining(limit: Option<Amount>, rule: &CompiledRule, figures: Figures) -> Amount {
    limit.map_or(Amount::MAX, |_| rule.measure.amount_of(figures.remaining))
}

/// A whole second.
fn second(unix_seconds: i64) -> Timestamp {
    Timestamp::new(unix_seconds, 0)
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("outcome", &self.outcome)
            .field("event_id", &self.event_id)
            .field("rate_limits", &self.rate_limits().collect::<Vec<_>>())
            .field("quotas", &self.quotas().collect::<Vec<_>>())
            .field("retry_after", &self.retry_after())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Decision {
    /// One line: the outcome, and on a refusal the rules that refused and the wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(wait) = self.retry_after() else { return self.outcome.fmt(f) };
        let refusing = self.sayings.refusing_kind().filter(|(_, said)| !said.fits);
        f.write_str("refused by ")?;
        for (place, (rule, _)) in refusing.enumerate() {
            write!(f, "{}{:?}", if place == 0 { "" } else { ", " }, rule.rule.name())?;
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
    sayings: Sayings,
}

impl Standing {
    /// Returns whether every hard rule has something left.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        let mut hard = self.sayings.refusing_kind();
        hard.all(|(rule, said)| self.sayings.figures(rule, said).remaining > 0)
    }

    /// Returns where each matching rate limit stands, in the order of their definition.
    pub fn rate_limits(&self) -> impl Iterator<Item = RateLimitStatus<'_>> {
        let status = |(rule, said)| self.sayings.rate_limit(rule, said, Exceeded::Full);
        self.sayings.statuses().map(|(rule, said)| (&**rule, said)).filter_map(status)
    }

    /// Returns where each matching quota stands, in the order of their definition.
    pub fn quotas(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        let status = |(rule, said)| self.sayings.quota(rule, said, Exceeded::Full);
        self.sayings.statuses().map(|(rule, said)| (&**rule, said)).filter_map(status)
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
