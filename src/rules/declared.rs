//! Rules that the application's code defines, and rules that were changed at run time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::meter::{Meter, Meters};
use super::named::{Named, Paired, fill_ids, pairs};
use super::rule::Rule;
use super::sync::follow_meters;
use super::{Metric, RuleSet};

/// Merges what the code defines into what is stored. What the code says otherwise than `before`,
/// the last time, is as it says now: new, changed or gone. Of the rest the stored rules are the
/// newer word: changed, removed or added while the application ran. They are matched by kind and
/// id, then by name, of which the first is the first; what was renamed at run time is known by the
/// id that its name in the code makes. A meter stays as long as a rule counts it.
pub(crate) fn merge_declared(
    before: RuleSet,
    code: RuleSet,
    (rules, meters): (&[Rule], &Meters),
) -> (Vec<Paired<Rule>>, Vec<Paired<Arc<Meter>>>) {
    let [(old_rules, old_meters), (new_rules, new_meters)] =
        [before, code].map(RuleSet::into_parts);
    let mut merged = merge(&old_rules, &new_rules, rules, |_| false);
    let is_counted = |meter: &Arc<Meter>| {
        let id = meter.known_id();
        merged.iter().any(|rule| matches!(rule.new.metric(), Metric::Meter(of) if of == id))
    };
    let merged_meters = merge(old_meters.list(), new_meters.list(), meters.list(), is_counted);
    follow_meters(&mut merged, &merged_meters, meters.list());
    (merged, merged_meters)
}

/// What the code says of one.
#[derive(Clone, Copy)]
enum Word {
    /// What it said before.
    Again,
    /// Something new.
    Otherwise,
    /// Nothing any more.
    Gone,
}

/// What `is_needed` stays, whoever has removed it.
fn merge<T: Named>(
    before: &[T],
    code: &[T],
    stored: &[T],
    is_needed: impl Fn(&T) -> bool,
) -> Vec<Paired<T>> {
    let in_before = pairs(before, code);
    let mut said = Vec::with_capacity(code.len());
    for (new, old) in code.iter().zip(&in_before) {
        let old = old.and_then(|place| before.get(place));
        let is_same = old.is_some_and(|old| old.says_the_same(new) && old.id() == new.id());
        said.push((new, if is_same { Word::Again } else { Word::Otherwise }));
    }
    let kept: HashSet<usize> = in_before.into_iter().flatten().collect();
    let gone = before.iter().enumerate().filter(|(place, _)| !kept.contains(place));
    said.extend(gone.map(|(_, old)| (old, Word::Gone)));

    let mut of_stored = vec![None; stored.len()];
    let mut added = Vec::new();
    for (one, place) in said.iter().zip(stored_places(stored, &said)) {
        match place.and_then(|place| of_stored.get_mut(place)) {
            Some(slot) => *slot = Some(one),
            None => added.push(one),
        }
    }
    let mut merged = Vec::with_capacity(stored.len());
    for ((place, known), said) in stored.iter().enumerate().zip(of_stored) {
        let new = match said {
            Some((_, Word::Gone)) if !is_needed(known) => continue,
            Some((new, Word::Otherwise)) => new.with_identity_of(known),
            _ => known.clone(),
        };
        merged.push(Paired { new, before: Some(place) });
    }
    for (new, word) in added {
        match word {
            Word::Otherwise => {}
            Word::Again if is_needed(new) => {}
            Word::Again | Word::Gone => continue,
        }
        merged.push(Paired { new: (*new).clone(), before: None });
    }
    merged
}

/// Where the ones that the code says, or said, are stored: by id and name, and else by the id that
/// the name makes, which stays where the name was changed at run time.
fn stored_places<T: Named>(stored: &[T], said: &[(&T, Word)]) -> Vec<Option<usize>> {
    let mut said: Vec<T> = said.iter().map(|(one, _)| (*one).clone()).collect();
    let mut places = pairs(stored, &said);
    fill_ids(&mut said, &[]);
    let found: HashSet<usize> = places.iter().copied().flatten().collect();
    let left = stored.iter().enumerate().filter(|(place, _)| !found.contains(place));
    let mut by_id: HashMap<_, usize> =
        left.filter_map(|(place, one)| Some(((one.kind(), one.id()?), place))).collect();
    for (one, place) in said.iter().zip(&mut places).filter(|(_, place)| place.is_none()) {
        *place = one.id().and_then(|id| by_id.remove(&(one.kind(), id)));
    }
    places
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
        let mut set: RuleSet = rules.into_iter().map(|rule| rule.new).collect();
        set.meters = meters.iter().map(|meter| (*meter.new).clone()).collect();
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
