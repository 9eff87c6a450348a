//! Making the rules match a list.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::meter::Meters;
use super::rule::Rule;
use super::{Meter, Metric, Quota, RateLimit, RuleSet};
use crate::error::{RuleProblem, RuleSetError};

/// How a [`sync`](crate::Engine::sync) treats what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    pub(crate) write: bool,
    remove_missing: bool,
}

impl SyncOptions {
    /// Writes the changes; rules and meters that the list does not name are removed.
    #[must_use]
    pub const fn apply() -> Self {
        Self { write: true, remove_missing: true }
    }

    /// Reports what would change and writes nothing.
    #[must_use]
    pub const fn preview() -> Self {
        Self { write: false, remove_missing: true }
    }

    /// Leaves rules and meters that the list does not name.
    #[must_use]
    pub const fn keep_missing(self) -> Self {
        Self { remove_missing: false, ..self }
    }
}

/// What a [`sync`](crate::Engine::sync) did, or would do, by the names of the rules and meters;
/// the meters come first.
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

/// What a sync comes to: the rules and meters as they shall be, and the report.
pub(crate) struct Plan {
    pub(crate) rules: Vec<Rule>,
    pub(crate) meters: Vec<Arc<Meter>>,
    pub(crate) report: SyncReport,
}

/// Compares the current rules and meters with the wanted ones. They are matched by kind and name,
/// and keep their ids and their age.
pub(crate) fn plan(
    current: &[Rule],
    meters: &Meters,
    wanted: RuleSet,
    options: SyncOptions,
) -> Result<Plan, RuleSetError> {
    let (mut wanted, wanted_meters) = wanted.into_parts();
    let mut problems = duplicates(wanted_meters.list(), "in the list");
    problems.extend(duplicates(&wanted, "in the list"));
    problems.extend(duplicates(meters.list(), "in the engine"));
    problems.extend(duplicates(current, "in the engine"));
    RuleSetError::check(problems)?;

    let mut report = SyncReport { preview: !options.write, ..SyncReport::default() };
    keep_meter_ids(&mut wanted, &wanted_meters, meters);
    let meters = matched(meters.list(), wanted_meters.list(), options, &mut report);
    let rules = matched(current, &wanted, options, &mut report);
    Ok(Plan { rules, meters, report })
}

/// What is matched by name.
pub(super) trait Named: Clone {
    fn kind(&self) -> &'static str;
    fn name(&self) -> &str;
    #[cfg(feature = "durable")]
    fn id(&self) -> Option<&str>;
    /// The two differ only in what the engine sets.
    fn says_the_same(&self, other: &Self) -> bool;
    /// The same with the id and age of another.
    fn with_identity_of(&self, old: &Self) -> Self;
    /// The fields by their names on the wire.
    fn fields(&self) -> serde_json::Result<Value>;
}

/// Those that shall be: the current ones in their order, then the new ones.
fn matched<T: Named>(
    current: &[T],
    wanted: &[T],
    options: SyncOptions,
    report: &mut SyncReport,
) -> Vec<T> {
    let mut wanted_by_name: HashMap<(&str, &str), &T> =
        wanted.iter().map(|new| ((new.kind(), new.name()), new)).collect();
    let mut all = Vec::with_capacity(wanted.len());
    for old in current {
        let name = old.name().to_owned();
        match wanted_by_name.remove(&(old.kind(), old.name())) {
            Some(new) if old.says_the_same(new) => {
                report.unchanged.push(name);
                all.push(old.clone());
            }
            Some(new) => {
                report.updated.push(RuleChange { name, fields: differences(old, new) });
                all.push(new.with_identity_of(old));
            }
            None if options.remove_missing => report.removed.push(name),
            None => {
                report.unchanged.push(name);
                all.push(old.clone());
            }
        }
    }
    for new in wanted {
        if wanted_by_name.contains_key(&(new.kind(), new.name())) {
            report.created.push(new.name().to_owned());
            all.push(new.clone());
        }
    }
    all
}

/// Lets the wanted rules name meters by the ids that those keep.
pub(super) fn keep_meter_ids(wanted: &mut [Rule], wanted_meters: &Meters, current: &Meters) {
    let kept: HashMap<&str, &Meter> =
        current.list().iter().map(|meter| (meter.name.as_str(), &**meter)).collect();
    for rule in wanted {
        let metric = match rule {
            Rule::RateLimit(rule) => &mut rule.metric,
            Rule::Quota(rule) => &mut rule.metric,
        };
        let Metric::Meter(id) = metric else { continue };
        let meter = wanted_meters.get(id).and_then(|meter| kept.get(meter.name.as_str()));
        if let Some(meter) = meter {
            meter.known_id().clone_into(id);
        }
    }
}

fn duplicates<T: Named>(all: &[T], place: &str) -> Vec<RuleProblem> {
    let mut seen: HashMap<(&str, &str), u32> = HashMap::new();
    for one in all {
        let count = seen.entry((one.kind(), one.name())).or_default();
        *count = count.saturating_add(1);
    }
    let mut problems: Vec<RuleProblem> = seen
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|((kind, name), count)| RuleProblem {
            rule: format!("{kind} {name:?}"),
            field: "name".to_owned(),
            reason: format!("stands {count} times {place}, and a sync goes by names"),
        })
        .collect();
    problems.sort_by(|a, b| a.rule.cmp(&b.rule));
    problems
}

impl Named for Rule {
    fn kind(&self) -> &'static str {
        self.kind().as_str()
    }

    fn name(&self) -> &str {
        self.name()
    }

    #[cfg(feature = "durable")]
    fn id(&self) -> Option<&str> {
        self.id()
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.says_the_same(other)
    }

    fn with_identity_of(&self, old: &Self) -> Self {
        match (old, self.clone()) {
            (Self::RateLimit(old), Self::RateLimit(new)) => {
                Self::RateLimit(RateLimit { id: old.id.clone(), created_at: old.created_at, ..new })
            }
            (Self::Quota(old), Self::Quota(new)) => {
                Self::Quota(Quota { id: old.id.clone(), created_at: old.created_at, ..new })
            }
            (_, new) => new,
        }
    }

    fn fields(&self) -> serde_json::Result<Value> {
        match self {
            Self::RateLimit(rule) => serde_json::to_value(rule),
            Self::Quota(rule) => serde_json::to_value(rule),
        }
    }
}

impl Named for Arc<Meter> {
    fn kind(&self) -> &'static str {
        "meter"
    }

    fn name(&self) -> &str {
        &self.name
    }

    #[cfg(feature = "durable")]
    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn says_the_same(&self, other: &Self) -> bool {
        Meter::says_the_same(self, other)
    }

    fn with_identity_of(&self, old: &Self) -> Self {
        let (id, created_at) = (old.id.clone(), old.created_at);
        Self::new(Meter { id, created_at, ..(**self).clone() })
    }

    fn fields(&self) -> serde_json::Result<Value> {
        serde_json::to_value(&**self)
    }
}

/// The fields in which two rules differ, but for those that the engine sets.
fn differences<T: Named>(old: &T, new: &T) -> BTreeMap<String, FieldChange> {
    let fields = |one: &T| match one.fields() {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
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
