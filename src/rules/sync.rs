//! Making the rules match a list.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;

use super::rule::{Kind, Rule};
use super::{Quota, RateLimit, RuleSet};
use crate::error::{RuleProblem, RuleSetError};

/// How a [`sync`](crate::Engine::sync) treats what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    pub(crate) write: bool,
    remove_missing: bool,
}

impl SyncOptions {
    /// Writes the changes; rules that the list does not name are removed.
    #[must_use]
    pub const fn apply() -> Self {
        Self { write: true, remove_missing: true }
    }

    /// Reports what would change and writes nothing.
    #[must_use]
    pub const fn preview() -> Self {
        Self { write: false, remove_missing: true }
    }

    /// Leaves rules that the list does not name.
    #[must_use]
    pub const fn keep_missing(self) -> Self {
        Self { remove_missing: false, ..self }
    }
}

/// What a [`sync`](crate::Engine::sync) did, or would do, by the names of the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SyncReport {
    /// Whether nothing was written.
    pub preview: bool,
    /// The rules that were not there.
    pub created: Vec<String>,
    /// The rules that differed, field by field.
    pub updated: Vec<RuleChange>,
    /// The rules that the list does not name.
    pub removed: Vec<String>,
    /// The rules that stay as they are, with their counters untouched.
    pub unchanged: Vec<String>,
}

/// How one rule differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuleChange {
    /// The rule's name.
    pub name: String,
    /// The fields that differ, by their name on the wire; null where a field is not set.
    pub fields: BTreeMap<String, FieldChange>,
}

/// The two values of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FieldChange {
    /// As it was.
    pub from: Value,
    /// As it is, or would be.
    pub to: Value,
}

/// What a sync comes to: the rules as they shall be, and the report.
pub(crate) struct Plan {
    pub(crate) rules: Vec<Rule>,
    pub(crate) report: SyncReport,
}

/// Compares the current rules with the wanted ones. Rules are matched by kind and name, and keep
/// their ids and their age.
pub(crate) fn plan(
    current: &[Rule],
    wanted: RuleSet,
    options: SyncOptions,
) -> Result<Plan, RuleSetError> {
    let wanted: Vec<Rule> = wanted.into_rules().collect();
    let mut problems = duplicates(&wanted, "in the list");
    problems.extend(duplicates(current, "in the engine"));
    RuleSetError::check(problems)?;

    let mut wanted_by_name: HashMap<(Kind, String), &Rule> =
        wanted.iter().map(|rule| ((rule.kind(), rule.name().to_owned()), rule)).collect();
    let mut report = SyncReport { preview: !options.write, ..SyncReport::default() };
    let mut rules = Vec::with_capacity(wanted.len());
    for old in current {
        let name = old.name().to_owned();
        match wanted_by_name.remove(&(old.kind(), name.clone())) {
            Some(new) if old.says_the_same(new) => {
                report.unchanged.push(name);
                rules.push(old.clone());
            }
            Some(new) => {
                report.updated.push(RuleChange { name, fields: differences(old, new) });
                rules.push(with_identity_of(old, new));
            }
            None if options.remove_missing => report.removed.push(name),
            None => {
                report.unchanged.push(name);
                rules.push(old.clone());
            }
        }
    }
    for new in &wanted {
        if wanted_by_name.contains_key(&(new.kind(), new.name().to_owned())) {
            report.created.push(new.name().to_owned());
            rules.push(new.clone());
        }
    }
    Ok(Plan { rules, report })
}

fn duplicates(rules: &[Rule], place: &str) -> Vec<RuleProblem> {
    let mut seen: HashMap<(Kind, &str), u32> = HashMap::new();
    for rule in rules {
        let count = seen.entry((rule.kind(), rule.name())).or_default();
        *count = count.saturating_add(1);
    }
    let mut problems: Vec<RuleProblem> = seen
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|((kind, name), count)| RuleProblem {
            rule: format!("{} {name:?}", kind.as_str()),
            field: "name".to_owned(),
            reason: format!("stands {count} times {place}, and a sync goes by names"),
        })
        .collect();
    problems.sort_by(|a, b| a.rule.cmp(&b.rule));
    problems
}

fn with_identity_of(old: &Rule, new: &Rule) -> Rule {
    match (old, new.clone()) {
        (Rule::RateLimit(old), Rule::RateLimit(new)) => {
            Rule::RateLimit(RateLimit { id: old.id.clone(), created_at: old.created_at, ..new })
        }
        (Rule::Quota(old), Rule::Quota(new)) => {
            Rule::Quota(Quota { id: old.id.clone(), created_at: old.created_at, ..new })
        }
        (_, new) => new,
    }
}

/// The fields in which two rules differ, but for those that the engine sets.
fn differences(old: &Rule, new: &Rule) -> BTreeMap<String, FieldChange> {
    let fields = |rule: &Rule| {
        let json = match rule {
            Rule::RateLimit(rule) => serde_json::to_value(rule),
            Rule::Quota(rule) => serde_json::to_value(rule),
        };
        match json {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        }
    };
    let (old, new) = (fields(old), fields(new));
    let names = old
        .keys()
        .chain(new.keys())
        .filter(|name| !["id", "createdAt", "updatedAt"].contains(&name.as_str()));
    names
        .filter_map(|name| {
            let of = |fields: &serde_json::Map<String, Value>| {
                fields.get(name).cloned().unwrap_or(Value::Null)
            };
            let (from, to) = (of(&old), of(&new));
            (from != to).then(|| (name.clone(), FieldChange { from, to }))
        })
        .collect()
}
