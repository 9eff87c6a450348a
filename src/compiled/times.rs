//! From when on rules judge, and until when.
//!
//! A rule counts all that it matches, whatever its times say: so its figure is right from the first
//! instant at which it judges, and nothing has to run to begin or to end it. What its times decide
//! is its role, at the instant of each decision: outside of them another rule of its policy judges,
//! or none.

use smallvec::SmallVec;

use super::index::Entry;
use crate::counters::{At, Charge, Moment, Roles};
use crate::rules::OnMissing;

/// The instants at which a rule judges: from the first to before the second, as
/// [dated](crate::counters::Timeline::dated).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Moment,
    pub(crate) end: Moment,
    /// They are instants of the event, as quotas go by; else of the engine's time.
    pub(crate) is_of_event: bool,
}

impl Span {
    /// Whether the rule judges at an instant.
    pub(crate) fn holds(&self, at: &At) -> bool {
        let instant = self.instant(at);
        self.start <= instant && instant < self.end
    }

    fn instant(&self, at: &At) -> Moment {
        if self.is_of_event { at.dated() } else { Moment(at.now.0.saturating_sub(at.shift)) }
    }

    /// The first moment after that of an instant at which it begins or ends to hold.
    fn next_change(&self, at: &At) -> Option<Moment> {
        if self.is_of_event && at.explicit {
            return None;
        }
        let instant = self.instant(at);
        let next = [self.start, self.end].into_iter().find(|edge| *edge > instant)?;
        (next < Moment::MAX).then(|| Moment(next.0.saturating_add(at.shift)))
    }
}

/// The roles of the rules of a set of which some have times.
#[derive(Debug)]
pub(crate) struct Times {
    rules: Box<[Timed]>,
}

/// A rule of it.
#[derive(Clone, Copy, Debug)]
struct Timed {
    /// Its policy, and its place among all rules by rank.
    policy: Option<u32>,
    place: u32,
    span: Option<Span>,
    /// It insists on its dimensions: an event that is recorded and lacks one leaves it out, and
    /// still no other of its policy judges.
    insists: bool,
    is_marking: bool,
}

impl Times {
    /// `None` where no rule has times. The policies and places are those of the rules in the index.
    pub(super) fn new(
        entries: &[Option<Entry>],
        of_rule: impl Fn(u32) -> (Option<u32>, u32),
    ) -> Option<Self> {
        let has_times = |entry: &Entry| entry.span.is_some();
        if !entries.iter().flatten().any(has_times) {
            return None;
        }
        let rules = (0_u32..).zip(entries).map(|(rule, entry)| {
            let (policy, place) = of_rule(rule);
            let span = entry.as_ref().and_then(|entry| entry.span);
            let is_strict = |entry: &Entry| entry.on_missing == OnMissing::Refuse;
            let insists = entry.as_ref().is_some_and(is_strict);
            let is_marking = entry.as_ref().is_some_and(|entry| entry.is_marking);
            Timed { policy, place, span, insists, is_marking }
        });
        Some(Self { rules: rules.collect() })
    }

    fn span(&self, rule: u32) -> Option<&Span> {
        self.rules.get(rule as usize)?.span.as_ref()
    }

    /// Whether it hangs on the time which of these rules judge.
    pub(crate) fn bear_on(&self, mut rules: impl Iterator<Item = u32>) -> bool {
        rules.any(|rule| self.span(rule).is_some())
    }

    /// Says of each of the rules whether it judges at an instant: it is in its time, and of those
    /// of its policy that are the one with the highest rank.
    pub(super) fn judging(
        &self,
        at: &At,
        rules: impl Iterator<Item = u32> + Clone,
        mut say: impl FnMut(usize, bool),
    ) {
        let timed = |rule: u32| {
            let timed = self.rules.get(rule as usize).filter(|timed| !timed.is_marking)?;
            timed.span.is_none_or(|span| span.holds(at)).then_some(timed)
        };
        let in_policy = rules.clone().filter_map(timed);
        let mut ranks: SmallVec<[(u32, u32); 8]> =
            in_policy.filter_map(|it| Some((it.policy?, it.place))).collect();
        ranks.sort_unstable();
        for (index, rule) in rules.enumerate() {
            let judges = timed(rule).is_some_and(|it| {
                it.policy.is_none_or(|policy| {
                    let end = ranks.partition_point(|(other, _)| *other <= policy);
                    let best = end.checked_sub(1).and_then(|last| ranks.get(last));
                    best == Some(&(policy, it.place))
                })
            });
            say(index, judges);
        }
    }
}

impl Times {
    /// Whether a rule judges because another of its policy that outranks it is no charge: the
    /// event is recorded, and lacks a dimension that the other insists on. None of the policy was
    /// to judge then when the rules were found, which knows of both.
    fn is_outranked(&self, rule: u32, at: &At, charges: &[Charge]) -> bool {
        let Some(own) = self.rules.get(rule as usize).filter(|it| at.owes && it.policy.is_some())
        else {
            return false;
        };
        let is_charge = |rule: u32| charges.iter().any(|charge| charge.rule == rule);
        let policy_of = |rule: u32| self.rules.get(rule as usize).and_then(|it| it.policy);
        let was_judged =
            charges.iter().any(|charge| charge.judges() && policy_of(charge.rule) == own.policy);
        let outranks = |(rule, it): (u32, &Timed)| {
            let is_in_time = it.span.is_none_or(|span| span.holds(at));
            it.insists
                && it.policy == own.policy
                && it.place > own.place
                && is_in_time
                && !is_charge(rule)
        };
        !was_judged && (0_u32..).zip(&self.rules).any(outranks)
    }

    /// Whether one of the rules that insist on what the event lacks, and so are no charges, judges
    /// at an instant: then it is no event.
    pub(crate) fn is_refused(&self, at: &At, charges: &[Charge], insisting: &[u32]) -> bool {
        let all = charges.iter().map(|charge| charge.rule).chain(insisting.iter().copied());
        let mut is_refused = false;
        self.judging(at, all, |index, judges| is_refused |= judges && index >= charges.len());
        is_refused
    }

    /// The first moment after that of an instant at which others of the rules may judge;
    /// [`Moment::MAX`] for none.
    pub(crate) fn next_change(&self, at: &At, rules: impl Iterator<Item = u32>) -> Moment {
        let spans = rules.filter_map(|rule| self.span(rule));
        spans.filter_map(|span| span.next_change(at)).min().unwrap_or(Moment::MAX)
    }
}

impl Roles for Times {
    fn assign(&self, at: &At, charges: &mut [Charge]) {
        let rules: SmallVec<[u32; 8]> = charges.iter().map(|charge| charge.rule).collect();
        if !self.bear_on(rules.iter().copied()) {
            return;
        }
        let mut judging: SmallVec<[bool; 8]> = SmallVec::from_elem(false, rules.len());
        self.judging(at, rules.iter().copied(), |index, judges| {
            if let Some(judging) = judging.get_mut(index) {
                *judging = judges;
            }
        });
        for (rule, judges) in rules.iter().zip(&mut judging) {
            *judges = *judges && !self.is_outranked(*rule, at, charges);
        }
        for (charge, judges) in charges.iter_mut().zip(judging) {
            charge.set_judges(judges);
        }
    }
}
