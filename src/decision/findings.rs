//! What every rule found in the deciding step, and what follows from it: the statuses, the wait,
//! and the figures of headers.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use super::status::{QuotaStatus, RateLimitStatus, RetryAfter};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::compiled::{CompiledRule, Snapshot};
use crate::counters::{
    At, Charge, Charges, Figures, FundsAhead, Moment, Refusal, Timeline, UseAhead, Verdict,
};
use crate::rules::{Enforcement, Overflow, Rule, Units};

/// The state of each matching rule in the deciding step, raw: all that is shown is worked out from
/// it when it is asked for.
///
/// It owns all that it needs and is filled where it lies: its [`parts`](Self::parts), then the rest
/// by [`complete`](Self::complete).
pub(crate) struct Findings {
    /// What each rule was asked for and found: while deciding all that count, then those that
    /// judge, in the order of the rule set.
    pub(super) verdict: Verdict,
    /// What the clock showed, which is before the decision's time where it had stepped back.
    pub(super) asked: Moment,
    pub(super) timeline: Timeline,
    /// Whether events are recorded.
    pub(super) is_recorded: bool,
    pub(super) rules: Rules,
}

thread_local! {
    /// The rules of the last answer of which something was kept.
    static LAST_RULES: RefCell<Option<Arc<[Arc<CompiledRule>]>>> = const { RefCell::new(None) };
}

/// The rules that the charges are of.
#[derive(Clone)]
pub(super) enum Rules {
    /// The rule set of the decision.
    Snapshot(Arc<Snapshot>),
    /// The rules alone, one for each charge: what is stored for long must not hold a rule set.
    Own(Arc<[Arc<CompiledRule>]>),
}

impl Default for Rules {
    fn default() -> Self {
        Self::Own(Arc::default())
    }
}

/// What `exceeded` means in a status.
#[derive(Clone, Copy)]
pub(super) enum Exceeded {
    /// The event did not fit.
    Refused,
    /// Nothing is left.
    Full,
}

impl Exceeded {
    fn of(self, charge: &Charge, remaining: Units) -> bool {
        match self {
            Self::Refused => !charge.fits,
            Self::Full => remaining == 0,
        }
    }
}

impl Default for Findings {
    fn default() -> Self {
        let timeline = Timeline::with_origin(0);
        let verdict = Verdict::at(timeline.at(Moment(0), None));
        let (asked, is_recorded, rules) = (Moment(0), false, Rules::default());
        Self { verdict, asked, timeline, is_recorded, rules }
    }
}

impl Clone for Findings {
    fn clone(&self) -> Self {
        let (verdict, rules) = (self.verdict.clone(), self.rules.clone());
        Self { verdict, rules, ..*self }
    }

    fn clone_from(&mut self, other: &Self) {
        let mut charges = std::mem::take(&mut self.verdict.charges);
        charges.clone_from(&other.verdict.charges);
        let Verdict { at, allowed, ahead, held, adjusted, .. } = &other.verdict;
        let (ahead, held, adjusted) = (ahead.clone(), held.clone(), adjusted.clone());
        let verdict = Verdict { at: *at, allowed: *allowed, charges, ahead, held, adjusted };
        *self = Self { verdict, rules: other.rules.clone(), ..*other };
    }
}

impl Findings {
    /// What the deciding step works with: the verdict of any decision, and the rule set, taken over
    /// from before where it `is_current`.
    #[inline]
    pub(super) fn parts(
        &mut self,
        is_current: impl FnOnce(&Snapshot) -> bool,
        current: impl FnOnce() -> Arc<Snapshot>,
    ) -> (&mut Verdict, &Arc<Snapshot>) {
        let Self { verdict, rules, .. } = self;
        if !matches!(rules, Rules::Snapshot(snapshot) if is_current(snapshot)) {
            *rules = Rules::Snapshot(current());
        }
        let Rules::Snapshot(snapshot) = rules else { unreachable!("it was just set") };
        (verdict, snapshot)
    }

    /// Leaves the charges of the rules that judge, in the order of the rule set: as they are where
    /// they came so.
    #[inline]
    pub(super) fn complete(
        &mut self,
        asked: Moment,
        timeline: Timeline,
        is_recorded: bool,
        in_order: bool,
    ) {
        if !in_order {
            self.verdict.charges.retain(Charge::judges);
            self.verdict.charges.sort_unstable_by_key(|charge| charge.rule);
        }
        (self.asked, self.timeline, self.is_recorded) = (asked, timeline, is_recorded);
    }

    /// Those of an answer that comes back: see [`with_own_rules`](Self::with_own_rules).
    pub(super) fn restored(
        at: At,
        timeline: Timeline,
        is_recorded: bool,
        charges: Charges,
        rules: Arc<[Arc<CompiledRule>]>,
    ) -> Self {
        let verdict = Verdict { allowed: true, charges, ..Verdict::at(at) };
        Self { verdict, asked: at.now, timeline, is_recorded, rules: Rules::Own(rules) }
    }

    /// Whether it holds nothing that need not be held until the next decision: few charges, and a
    /// rule set that this may be by, too.
    #[inline]
    pub(super) fn is_light(&self, charges: usize) -> bool {
        self.verdict.ahead.is_empty()
            && self.verdict.held.is_empty()
            && self.verdict.adjusted.is_empty()
            && self.verdict.charges.capacity() <= charges
            && matches!(self.rules, Rules::Snapshot(_))
    }

    /// Lets go of what need not be held until the next decision.
    #[inline(never)]
    pub(super) fn lighten(&mut self, charges: usize) {
        self.verdict.ahead.clear();
        self.verdict.held.clear();
        self.verdict.adjusted.clear();
        if !self.is_light(charges) {
            *self = Self::default();
        }
    }

    /// The same with its rules alone, and not their whole set.
    pub(super) fn with_own_rules(&self) -> Self {
        Self { verdict: self.verdict.clone(), rules: Rules::Own(self.own_rules()), ..*self }
    }

    /// The rules that judged, one for each charge. A thread shares them among what it keeps of
    /// answers of the same rules.
    pub(super) fn own_rules(&self) -> Arc<[Arc<CompiledRule>]> {
        let rules = || self.judged().map(|(rule, _)| rule);
        let shared = LAST_RULES.try_with(|last| {
            let mut last = last.borrow_mut();
            let known = last.as_deref().unwrap_or_default();
            let is_same = known.len() == self.verdict.charges.len()
                && rules().zip(known).all(|(rule, known)| Arc::ptr_eq(rule, known));
            if !is_same {
                *last = Some(rules().cloned().collect());
            }
            last.clone()
        });
        // A thread that is ending shares none.
        shared.ok().flatten().unwrap_or_else(|| rules().cloned().collect())
    }

    /// The rules that judged, each with its charge, in the order of their definition.
    pub(super) fn judged(&self) -> impl Iterator<Item = (&Arc<CompiledRule>, &Charge)> {
        self.verdict.charges.iter().enumerate().filter_map(|(index, charge)| {
            let rule = match &self.rules {
                Rules::Snapshot(snapshot) => snapshot.rule(charge.rule),
                Rules::Own(rules) => rules.get(index),
            };
            debug_assert!(rule.is_some(), "a charge of a rule that is not there");
            rule.map(|rule| (rule, charge))
        })
    }

    /// Those of them that can refuse.
    pub(super) fn hard(&self) -> impl Iterator<Item = (&Arc<CompiledRule>, &Charge)> {
        self.judged().filter(|(rule, _)| rule.counter.enforcement == Enforcement::Hard)
    }

    /// Those of them that refused.
    pub(super) fn refusing(&self) -> impl Iterator<Item = (&Arc<CompiledRule>, &Charge)> {
        self.hard().filter(|(_, charge)| !charge.fits)
    }

    pub(super) fn figures(&self, rule: &CompiledRule, charge: &Charge) -> Figures {
        rule.counter.policy.figures(&charge.reading, self.verdict.at, self.timeline)
    }

    /// How much open reservations hold of what is used.
    fn held(&self, rule: &CompiledRule, charge: &Charge) -> Amount {
        amount_in(&self.verdict.held, rule, charge)
    }

    /// How much of what is used is adjusted.
    fn adjusted(&self, rule: &CompiledRule, charge: &Charge) -> Amount {
        amount_in(&self.verdict.adjusted, rule, charge)
    }

    /// The Unix second of the decision, rounded up: when a figure that nothing resets starts over.
    pub(super) fn second(&self) -> i64 {
        self.timeline.second_rounded_up(self.verdict.at.now)
    }

    /// The rate limits that judged, each with where it stands.
    pub(super) fn rate_limits(
        &self,
        exceeded: Exceeded,
    ) -> impl Iterator<Item = (&CompiledRule, RateLimitStatus<'_>)> {
        self.judged().filter_map(move |(compiled, charge)| {
            let Rule::RateLimit(rule) = &compiled.rule else { return None };
            let figures = self.figures(compiled, charge);
            let status = RateLimitStatus {
                id: compiled.id().into(),
                name: (&rule.name).into(),
                window: rule.window,
                limit: rule.limit_value,
                remaining: remaining(rule.limit_value, compiled, figures),
                held: self.held(compiled, charge),
                reset: timestamp(figures.reset.unwrap_or_else(|| self.second())),
                exceeded: exceeded.of(charge, figures.remaining),
            };
            Some((&**compiled, status))
        })
    }

    /// The quotas that judged, each with where it stands.
    pub(super) fn quotas(
        &self,
        exceeded: Exceeded,
    ) -> impl Iterator<Item = (&CompiledRule, QuotaStatus<'_>)> {
        self.judged().filter_map(move |(compiled, charge)| {
            let Rule::Quota(rule) = &compiled.rule else { return None };
            let figures = self.figures(compiled, charge);
            let held = self.held(compiled, charge);
            let status = QuotaStatus {
                id: compiled.id().into(),
                name: (&rule.name).into(),
                metric: Cow::Borrowed(&rule.metric),
                period: rule.period,
                limit: compiled.limit(figures),
                used: compiled.measure.amount_of(figures.used).saturating_sub(held),
                adjusted: self.adjusted(compiled, charge),
                held,
                remaining: remaining(compiled.limit(figures), compiled, figures),
                reset: figures.reset.map(timestamp),
                exceeded: exceeded.of(charge, figures.remaining),
            };
            Some((&**compiled, status))
        })
    }

    /// The moment at which every hard rule lets the event in; `None` for never.
    pub(super) fn passes_at(&self) -> Option<Moment> {
        self.passes_from(self.verdict.at.now)
    }

    /// The first such moment from one on, of the rules that have a say.
    pub(super) fn passes_from(&self, from: Moment) -> Option<Moment> {
        let now = self.verdict.at.now;
        let mut moment = from;
        // The rule that has moved it last, for which it holds.
        let mut mover = None;
        // A rule may let the event in now and not later, in a period that events dated ahead have
        // filled: the moment must hold for all.
        loop {
            let before = moment;
            let hard = self.hard().filter(|(_, charge)| charge.judges());
            for (index, (rule, charge)) in hard.enumerate() {
                if mover == Some(index) {
                    return Some(moment);
                }
                if moment == now && charge.fits {
                    continue;
                }
                let passes_at = self.rule_passes_at(rule, charge, moment)?;
                if passes_at > moment {
                    (moment, mover) = (passes_at, Some(index));
                }
            }
            if moment == before {
                return Some(moment);
            }
        }
    }

    /// The moment, at `from` or after, at which the rule alone lets the event in.
    pub(super) fn rule_passes_at(
        &self,
        rule: &CompiledRule,
        charge: &Charge,
        from: Moment,
    ) -> Option<Moment> {
        let policy = &rule.counter.policy;
        // A key without room passes, whatever it brings.
        if charge.is_crowded() && rule.rule.overflow() == Overflow::Allow {
            return Some(from);
        }
        let known = self.verdict.ahead.iter().find(|(rule, _)| *rule == charge.rule);
        let none = UseAhead::default();
        let ahead = known.map_or(&none, |(_, ahead)| ahead);
        if let Some(funds) = &ahead.funds {
            return self.covered_at(charge, funds, from);
        }
        // Where events are recorded they tell of closed periods: an event that is dated into one
        // fits then as it does now, where nothing is held that may come back.
        let is_dated = self.verdict.at.explicit && policy.periods().is_some();
        if self.is_recorded && is_dated && ahead.held() == 0 {
            return charge.fits.then_some(from);
        }
        let (cost, at, timeline) = (charge.cost(), &self.verdict.at, self.timeline);
        policy.passes_at(&charge.reading, &Refusal { cost, at, from, ahead, timeline })
    }

    /// The first moment from one on at which a balance covers what the event costs a hard rule,
    /// beside what it costs those before it that have a say then.
    fn covered_at(&self, charge: &Charge, funds: &FundsAhead, from: Moment) -> Option<Moment> {
        let asked = |charge: &Charge| {
            let cost = charge.cost();
            if cost.counts { cost.units } else { 0 }
        };
        if asked(charge) <= 0 {
            return Some(from);
        }
        let funds_of = |rule: u32| {
            let known = self.verdict.ahead.iter().find(|(of, _)| *of == rule);
            known.and_then(|(_, ahead)| ahead.funds.as_deref())
        };
        let of_account = |other: &Charge| {
            let funds_of = funds_of(other.rule).filter(|other| other.account == funds.account);
            funds_of.filter(|_| other.judges())
        };
        let before = self.hard().filter(|(_, other)| other.rule < charge.rule);
        let before = before.filter(|(_, other)| of_account(other).is_some());
        let all =
            before.fold(asked(charge), |sum: Units, (_, other)| sum.saturating_add(asked(other)));
        if funds.is_there() {
            return funds.covers_at(all, from);
        }
        // The first that states an amount opens it, for those alone that state one.
        let openings = self
            .judged()
            .filter_map(|(_, other)| of_account(other)?.opening.map(|units| (other.rule, units)));
        let opening = openings.min().map(|(_, units)| units);
        opening.filter(|units| funds.opening.is_some() && all <= *units).map(|_| from)
    }

    /// What headers may say, in the order of the definitions: of hard rules with a limit, and of
    /// those alone that are asked for.
    pub(super) fn header_figures(
        &self,
        of: impl Fn(&Rule) -> bool,
    ) -> impl Iterator<Item = HeaderFigures<'_>> {
        let asked = self.hard().filter(move |(compiled, _)| of(&compiled.rule));
        asked.filter_map(|(compiled, charge)| {
            let rule = &compiled.rule;
            let figures = self.figures(compiled, charge);
            let limit = compiled.limit(figures)?;
            let passes_at = || self.rule_passes_at(compiled, charge, self.verdict.at.now);
            let refused_until = (!charge.fits).then(|| passes_at().unwrap_or(Moment::MAX));
            let reset = figures.reset.or_else(|| rule.is_rate_limit().then(|| self.second()));
            let reset = match refused_until {
                None => reset,
                Some(Moment::MAX) => None,
                Some(until) => reset.map(|at| at.max(self.timeline.second_rounded_up(until))),
            };
            let wait = refused_until.filter(|until| *until < Moment::MAX);
            Some(HeaderFigures {
                id: compiled.id(),
                rule,
                limit,
                remaining: compiled.measure.amount_of(figures.remaining),
                reset,
                refused_until,
                wait: wait
                    .and_then(|until| RetryAfter::After(until.since(self.asked)).whole_seconds()),
            })
        })
    }
}

/// A rule as headers show it.
#[derive(Debug)]
pub(crate) struct HeaderFigures<'d> {
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

/// What a list says of a charge's rule.
fn amount_in(list: &[(u32, Units)], rule: &CompiledRule, charge: &Charge) -> Amount {
    let known = list.iter().find(|(rule, _)| *rule == charge.rule);
    known.map_or(Amount::ZERO, |(_, units)| rule.measure.amount_of(*units))
}

/// What is left of a limit; all there is where there is none.
fn remaining(limit: Option<Amount>, rule: &CompiledRule, figures: Figures) -> Amount {
    limit.map_or(Amount::MAX, |_| rule.measure.amount_of(figures.remaining))
}

fn timestamp(unix_second: i64) -> Timestamp {
    Timestamp::new(unix_second, 0)
}
