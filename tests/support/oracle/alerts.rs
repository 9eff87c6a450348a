//! What fires: each threshold once for a rule, a key and a period, when what is used reaches it; of
//! a balance once between two credits that raise it above, when it falls to it.

use super::accounts::{Account, By};
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainThreshold {
    /// Of the limit.
    Percent(u32),
    Amount(Milli),
}

/// What the engine said that has fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainAlert {
    pub rule: String,
    pub name: String,
    pub key: Vec<(String, String)>,
    pub customer: Option<String>,
    pub threshold: PlainThreshold,
    pub at: Nanos,
    pub limit: Option<Milli>,
    pub used: Milli,
    pub remaining: Option<Milli>,
    pub percentage: Option<u64>,
    pub window: (Option<Nanos>, Option<Nanos>),
    pub is_low: bool,
}

/// In which period a threshold fires once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Once {
    Period(Nanos, Option<Nanos>),
    /// It may fire again as long after the instant as the window is.
    Rolling {
        at: Nanos,
        window: Nanos,
    },
    /// The ledger of the balance had so many entries.
    Low {
        entries: usize,
    },
}

/// A threshold that has fired.
#[derive(Clone, Debug)]
pub(super) struct Fired {
    rule: String,
    key: Vec<String>,
    threshold: PlainThreshold,
    once: Once,
    /// Whose balance it is.
    account: Option<AccountKey>,
}

/// What may fire with a call, or must.
#[derive(Clone, Debug)]
pub(super) struct Due {
    fired: Fired,
    must: bool,
    at: Nanos,
    used: Range<Milli>,
    rule: Rule,
    /// What is left of a balance.
    current: Option<Milli>,
}

impl Fired {
    fn is_of(&self, other: &Self) -> bool {
        (&self.rule, &self.key, self.threshold) == (&other.rule, &other.key, other.threshold)
    }
}

impl PlainThreshold {
    /// Whether what is used reaches it.
    fn is_reached(self, used: Milli, limit: Milli) -> bool {
        used > 0
            && match self {
                Self::Percent(percent) => used * 100 >= limit * i128::from(percent),
                Self::Amount(amount) => used >= amount,
            }
    }

    /// Hundredths of thousandths.
    fn level(self, limit: Milli) -> i128 {
        match self {
            Self::Percent(percent) => limit * i128::from(percent),
            Self::Amount(amount) => amount * 100,
        }
    }
}

impl Oracle {
    /// Notes what an act that was counted fires, of these rules that judge.
    pub(super) fn note_alerts(&mut self, act: &Act<'_>, live: &[usize]) {
        for &at in live {
            let rule = &self.rules[at].rule;
            let is_watched = !rule.alerts.is_empty() && rule.enforce != Enforce::Shadow;
            if !is_watched || self.full(act, at) <= 0 {
                continue;
            }
            let due = if self.is_of_balance(at) {
                self.low(at, act.plain)
            } else {
                self.reached(at, act.plain)
            };
            for due in due {
                // Nothing is credited within one call.
                let is_it = |known: &&mut Due| {
                    let is_once = known.fired.once == due.fired.once || due.current.is_some();
                    known.fired.is_of(&due.fired) && is_once
                };
                match self.due.iter_mut().find(is_it) {
                    Some(known) => known.must |= due.must,
                    None => self.due.push(due),
                }
            }
        }
    }

    fn due(&self, at: usize, key: Vec<String>, threshold: PlainThreshold, once: Once) -> Due {
        let rule = self.rules[at].rule.clone();
        let account = match rule.kind {
            Kind::Balance { name, .. } => Some((name, key.concat())),
            _ => None,
        };
        let fired = Fired { rule: rule.id.clone(), key, threshold, once, account };
        let used = Range::new(0, 0);
        Due { fired, must: true, at: self.now, used, rule, current: None }
    }

    /// The thresholds of a quota that are reached in the period of now, if the event falls there.
    fn reached(&self, at: usize, plain: &PlainEvent) -> Vec<Due> {
        let (counted, now) = (&self.rules[at], self.now);
        let (stamp, key) = (plain.stamp.unwrap_or(now), self.key(at, plain));
        let once = match counted.rule.kind {
            Kind::Calendar(span) => {
                let (start, end) = counted.period(&key, span, stamp);
                if now < start || end.is_some_and(|end| end <= now) {
                    return Vec::new();
                }
                Once::Period(start, end)
            }
            Kind::FirstUse { length } => {
                if counted.is_before_period(&key, now, stamp) {
                    return Vec::new();
                }
                let start = counted.first_start(&key, now, stamp);
                Once::Period(start, Some(start + length))
            }
            Kind::Rolling { window } => Once::Rolling { at: now, window },
            _ => return Vec::new(),
        };
        let (both, held) = (counted.used(&key, now, stamp), counted.held(&key, now, stamp));
        let used = Range::new(both.lo - held.hi, both.hi - held.lo);
        let limit = counted.rule.limit_milli();
        let mut thresholds = counted.rule.alerts.clone();
        thresholds.sort_by_key(|threshold| threshold.level(limit));
        let mut due = Vec::new();
        for threshold in thresholds.into_iter().filter(|it| it.is_reached(used.hi, limit)) {
            let mut one = Due { used, ..self.due(at, key.clone(), threshold, once) };
            one.must = threshold.is_reached(used.lo, limit);
            let known = self.fired.iter().filter(|known| known.is_of(&one.fired));
            let mut is_over = false;
            for known in known {
                match (known.once, once) {
                    (a, b) if a == b => is_over = true,
                    // To the second.
                    (Once::Rolling { at, .. }, Once::Rolling { window, .. }) => {
                        is_over |= now + SECOND <= at + window;
                        one.must &= at + window + SECOND <= now;
                    }
                    // Of a rule that became another kind meanwhile a mark may be of either.
                    (Once::Rolling { .. }, _) | (_, Once::Rolling { .. }) => one.must = false,
                    _ => {}
                }
            }
            due.extend(Some(one).filter(|_| !is_over));
        }
        due
    }

    /// The thresholds that a balance is at or below, the highest first.
    fn low(&self, at: usize, plain: &PlainEvent) -> Vec<Due> {
        let key = self.key(at, plain);
        let Kind::Balance { name, .. } = self.rules[at].rule.kind else { return Vec::new() };
        let Some(account) = self.accounts.get(&(name, key.concat())) else { return Vec::new() };
        let mut thresholds = self.rules[at].rule.alerts.clone();
        thresholds.sort_by_key(|threshold| -threshold.level(0));
        let current = account.current();
        let low = thresholds.into_iter().filter(|it| it.level(0) >= current * 100);
        let due = low.map(|threshold| {
            let once = Once::Low { entries: account.entries.len() };
            let used = Range::new(account.used(), account.used());
            let current = Some(current);
            Due { used, current, ..self.due(at, key.clone(), threshold, once) }
        });
        due.filter(|due| {
            let mut known = self.fired.iter().filter(|known| known.is_of(&due.fired));
            let raised = raised_above(account, due.fired.threshold);
            known.all(|known| match known.once {
                Once::Low { entries } => raised.is_some_and(|raised| raised >= entries),
                _ => true,
            })
        })
        .collect()
    }

    /// Judges what has fired since it was asked last, and follows it.
    pub fn alerts(&mut self, found: &[PlainAlert]) -> Result<(), String> {
        let due = std::mem::take(&mut self.due);
        let mut left = due.clone();
        let mut last: Vec<(&PlainAlert, i128)> = Vec::new();
        for alert in found {
            let place = left.iter().position(|due| due.is(alert));
            let Some(place) = place else {
                return Err(format!("{alert:?} fired, and not one of {left:#?}"));
            };
            let Due { fired, rule, .. } = left.remove(place);
            // Ascending, of a balance falling.
            let level = fired.threshold.level(rule.limit_milli());
            let level = if alert.is_low { -level } else { level };
            let is_same =
                |(it, _): &&(&PlainAlert, i128)| (&it.rule, &it.key) == (&alert.rule, &alert.key);
            if last.iter().rev().find(is_same).is_some_and(|(_, before)| *before > level) {
                return Err(format!("{alert:?} fired late: {found:#?}"));
            }
            last.push((alert, level));
            self.fired.push(fired);
        }
        match left.iter().find(|due| due.must) {
            None => Ok(()),
            Some(due) => Err(format!("{due:#?} did not fire")),
        }
    }

    /// How often a balance was low.
    pub fn low_alerts(&self) -> usize {
        self.fired.iter().filter(|fired| matches!(fired.once, Once::Low { .. })).count()
    }

    /// Forgets what fired for a balance that is removed.
    pub(super) fn forget_fired_of(&mut self, account: &AccountKey) {
        self.fired.retain(|fired| fired.account.as_ref() != Some(account));
    }
}

impl Due {
    /// Whether an alert is this.
    fn is(&self, alert: &PlainAlert) -> bool {
        let Self { fired, at, used, rule, current, .. } = self;
        let key: Vec<_> = rule.per.iter().cloned().zip(fired.key.iter().cloned()).collect();
        let limit = Some(rule.limit_milli()).filter(|_| current.is_none());
        let left = limit.map(|limit| (limit - alert.used).max(0));
        let share = limit.filter(|limit| *limit > 0);
        let share = share.and_then(|limit| u64::try_from(alert.used * 100 / limit).ok());
        let window = match (fired.once, rule.kind) {
            (Once::Period(..), Kind::Calendar(Span::AllTime)) | (Once::Low { .. }, _) => {
                (None, None)
            }
            (Once::Period(start, end), _) => (Some(start), end),
            (Once::Rolling { at, window }, _) => (Some(at - window), Some(at)),
        };
        (&alert.rule, &alert.name, &alert.key) == (&fired.rule, &rule.name, &key)
            && alert.customer.as_deref() == rule.customer_of(&fired.key)
            && (alert.threshold, alert.at) == (fired.threshold, *at)
            && used.holds(alert.used)
            && (alert.limit, alert.remaining) == (limit, current.or(left))
            && (alert.percentage, alert.window) == (share, window)
            && alert.is_low == current.is_some()
    }
}

/// The place of the latest entry by which a call raised a balance above a threshold.
fn raised_above(account: &Account, threshold: PlainThreshold) -> Option<usize> {
    let (mut sum, mut raised) = (0, None);
    for (place, entry) in account.entries.iter().enumerate() {
        sum += entry.adds;
        if entry.by == By::Call && entry.adds > 0 && sum * 100 > threshold.level(0) {
            raised = Some(place);
        }
    }
    raised
}
