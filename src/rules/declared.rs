//! Rules that the application's code defines, and rules that were changed at run time.

use std::collections::{HashMap, HashSet};

use super::{Meter, Quota, RateLimit, RuleSet};

/// Brings what the code defines into what is stored, both by kind and name. What the code says
/// otherwise than `before`, the last time, is as it says now: new, changed or gone. Of the rest the
/// stored rules are the newer word: changed, removed or added while the application ran.
pub(crate) fn merge_declared(before: &RuleSet, code: RuleSet, mut stored: RuleSet) -> RuleSet {
    merge(&before.meters, code.meters, &mut stored.meters, |meter: &Meter| &meter.name);
    merge(&before.rate_limits, code.rate_limits, &mut stored.rate_limits, |rule: &RateLimit| {
        &rule.name
    });
    merge(&before.quotas, code.quotas, &mut stored.quotas, |rule: &Quota| &rule.name);
    stored
}

fn merge<T: PartialEq>(before: &[T], code: Vec<T>, stored: &mut Vec<T>, name: impl Fn(&T) -> &str) {
    let before: HashMap<&str, &T> = before.iter().map(|rule| (name(rule), rule)).collect();
    let defined: HashSet<&str> = code.iter().map(&name).collect();
    stored.retain(|rule| {
        let name = name(rule);
        defined.contains(name) || !before.contains_key(name)
    });
    drop(defined);
    let places = stored.iter().enumerate().map(|(place, rule)| (name(rule).to_owned(), place));
    let places: HashMap<String, usize> = places.collect();
    for rule in code {
        if before.get(name(&rule)) == Some(&&rule) {
            continue;
        }
        match places.get(name(&rule)).and_then(|place| stored.get_mut(*place)) {
            Some(known) => *known = rule,
            None => stored.push(rule),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Window;

    fn set(rules: &[(&str, u64)]) -> RuleSet {
        let mut set = RuleSet::new();
        let rule = |(name, limit): &(&str, u64)| RateLimit::new(*name, *limit, Window::Minute);
        set.rate_limits = rules.iter().map(rule).collect();
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
        let merged = merge_declared(&before, code, stored);
        let expected = set(&[
            ("same", 1),
            ("raised at run time", 5),
            ("raised in the code", 9),
            ("added at run time", 1),
            ("new in the code", 1),
        ]);
        assert_eq!(merged, expected);
    }
}
