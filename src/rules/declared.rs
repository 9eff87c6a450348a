//! Rules that the application's code defines, and rules that were changed at run time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::meter::{Meter, Meters};
use super::rule::Rule;
use super::sync::{Named, keep_meter_ids};
use super::{Metric, RuleSet};

/// Merges what the code defines into what is stored, both by kind and name; of several of one name
/// the first is the first. What the code says otherwise than `before`, the last time, is as it says
/// now: new, changed or gone. Of the rest the stored rules are the newer word: changed, removed or
/// added while the application ran. What has got another name, in the code or at run time, is known
/// by its id, where the code gives it one. A meter stays as long as a rule counts it.
pub(crate) fn merge_declared(
    before: RuleSet,
    code: RuleSet,
    (rules, meters): (&[Rule], &Meters),
) -> (Vec<Rule>, Meters) {
    let [(old_rules, old_meters), (new_rules, new_meters)] = [before, code].map(|set| {
        let (mut rules, own) = set.into_parts();
        keep_meter_ids(&mut rules, &own, meters);
        (rules, own)
    });
    let rules = merge(&old_rules, &new_rules, rules, |_| false);
    let is_counted = |meter: &Arc<Meter>| {
        rules
            .iter()
            .any(|rule| matches!(rule.metric(), Metric::Meter(id) if id == meter.known_id()))
    };
    let meters = merge(old_meters.list(), new_meters.list(), meters.list(), is_counted);
    (rules, Meters::new(meters))
}

/// What `is_needed` stays, whoever has removed it.
fn merge<T: Named>(
    before: &[T],
    code: &[T],
    stored: &[T],
    is_needed: impl Fn(&T) -> bool,
) -> Vec<T> {
    let before: HashMap<_, _> = named(before).collect();
    let mut defined: HashMap<_, _> = named(code).collect();
    let mut merged = Vec::with_capacity(stored.len());
    for (name, known) in named(stored) {
        match (before.get(&name), defined.remove(&name)) {
            (Some(_), None) if !is_needed(known) => {}
            (Some(old), Some(new)) if old.says_the_same(new) => merged.push(known.clone()),
            (_, Some(new)) => merged.push(new.with_identity_of(known)),
            (_, None) => merged.push(known.clone()),
        }
    }
    let in_code: HashSet<_> = code.iter().map(|one| (one.kind(), one.name())).collect();
    for (name, new) in named(code).filter(|(name, _)| defined.contains_key(name)) {
        let is_old = before.get(&name).is_some_and(|old| old.says_the_same(new));
        let is_it = |known: &&mut T| {
            let is_named = in_code.contains(&(known.kind(), known.name()));
            known.kind() == new.kind() && known.id() == new.id() && !is_named
        };
        let renamed = new.id().and_then(|_| merged.iter_mut().find(is_it));
        match renamed {
            Some(known) if !is_old => *known = new.with_identity_of(known),
            None if !is_old || is_needed(new) => merged.push(new.clone()),
            Some(_) | None => {}
        }
    }
    merged
}

/// A kind and a name, and how many there are before it.
type Name<'n> = (&'n str, &'n str, u32);

fn named<T: Named>(all: &[T]) -> impl Iterator<Item = (Name<'_>, &T)> {
    let mut counts: HashMap<(&str, &str), u32> = HashMap::new();
    all.iter().map(move |one| {
        let count = counts.entry((one.kind(), one.name())).or_default();
        let name = (one.kind(), one.name(), *count);
        *count = count.saturating_add(1);
        (name, one)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Period, Quota, RateLimit, Window};

    fn set(rules: &[(&str, u64)]) -> RuleSet {
        let mut set = RuleSet::new();
        let rule = |(name, limit): &(&str, u64)| RateLimit::new(*name, *limit, Window::Minute);
        set.rate_limits = rules.iter().map(rule).collect();
        set
    }

    fn merged(before: RuleSet, code: RuleSet, stored: RuleSet) -> RuleSet {
        let (rules, meters) = stored.into_parts();
        let (rules, meters) = merge_declared(before, code, (&rules, &meters));
        let mut set = RuleSet::new();
        for rule in rules {
            match rule {
                Rule::RateLimit(rule) => set.rate_limits.push(rule),
                Rule::Quota(rule) => set.quotas.push(rule),
            }
        }
        set.meters = meters.list().iter().map(|meter| (**meter).clone()).collect();
        set
    }

    #[test]
    fn what_changed_last_holds() {
        let before = set(&[("same", 1), ("raised at run time", 1), ("raised in the code", 1)]);
        let before = RuleSet {
            rate_limits: [
                before.rate_limits,
                set(&[("removed at run time", 1), ("removed from the code", 1)]).rate_limits,
            ]
            .concat(),
            ..before
        };
        let code = set(&[
            ("same", 1),
            ("raised at run time", 1),
            ("raised in the code", 9),
            ("removed at run time", 1),
            ("new in the code", 1),
        ]);
        let stored = set(&[
            ("same", 1),
            ("raised at run time", 5),
            ("raised in the code", 3),
            ("removed from the code", 1),
            ("added at run time", 1),
        ]);
        let merged = merged(before, code, stored);
        let expected = set(&[
            ("same", 1),
            ("raised at run time", 5),
            ("raised in the code", 9),
            ("added at run time", 1),
            ("new in the code", 1),
        ]);
        assert_eq!(merged, expected);
    }

    #[test]
    fn of_one_name_each_is_one() {
        let before = set(&[("a", 1), ("a", 2)]);
        // A third was added at run time, and the first was changed.
        let stored = set(&[("a", 9), ("a", 2), ("a", 3)]);
        let more = set(&[("a", 1), ("a", 5)]);
        let expected = set(&[("a", 9), ("a", 5), ("a", 3)]);
        assert_eq!(merged(before.clone(), more, stored.clone()), expected);
        let fewer = merged(before, set(&[("a", 1)]), stored);
        assert_eq!(fewer, set(&[("a", 9), ("a", 3)]));
    }

    #[test]
    fn a_meter_stays_while_a_rule_counts_it() {
        let meter = |id: &str| Meter::sum("gpu", "gpu_seconds").id(id);
        let quota = |id: &str| Quota::new("gpu", Metric::Meter(id.into()), 1, Period::Day);
        let (mut before, mut stored) = (RuleSet::new(), RuleSet::new());
        before.meters = vec![meter("in code")];
        stored.meters = vec![meter("stored")];
        stored.quotas = vec![quota("stored")];
        // The code has given up a meter that a rule of run time counts.
        assert_eq!(merged(before.clone(), RuleSet::new(), stored.clone()), stored);
        stored.quotas.clear();
        assert_eq!(merged(before.clone(), RuleSet::new(), stored.clone()), RuleSet::new());
        // A new rule of the code counts a meter that was removed at run time.
        let mut code = before.clone();
        code.quotas = vec![quota("in code")];
        assert_eq!(merged(before, code.clone(), RuleSet::new()), code);
    }
}
