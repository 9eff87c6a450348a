//! Making the rules match a list.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::meter::Meters;
use super::named::{Named, Paired, pairs};
use super::rule::Rule;
use super::{Meter, Metric, RuleProblem, RuleSet, RuleSetError};

/// How a [`sync`](crate::engine::Rules::sync) treats what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    pub(crate) write: bool,
    missing: Missing,
}

/// What becomes of what a list does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Removed,
    Archived,
    Kept,
}

impl SyncOptions {
    /// Writes the changes; rules and meters that the list does not name are removed.
    #[must_use]
    pub const fn apply() -> Self {
        Self { write: true, missing: Missing::Removed }
    }

    /// Reports what would change and writes nothing.
    #[must_use]
    pub const fn preview() -> Self {
        Self { write: false, missing: Missing::Removed }
    }

    /// Leaves rules and meters that the list does not name.
    #[must_use]
    pub const fn keep_missing(self) -> Self {
        Self { missing: Missing::Kept, ..self }
    }

    /// [Archives](crate::handles::Rules::archive) rules that the list does not name, and leaves
    /// such meters.
    #[must_use]
    pub const fn archive_missing(self) -> Self {
        Self { missing: Missing::Archived, ..self }
    }
}

/// What a [`sync`](crate::engine::Rules::sync) did, or would do, by the names of the rules and
/// meters as the list has them; the meters come first.
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
    /// The rules that the list does not name, where such are archived; left out of JSON where there
    /// are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub archived: Vec<String>,
    /// The rules that stay as they are, with their counters untouched.
    pub unchanged: Vec<String>,
}

/// How one rule differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuleChange {
    /// The rule's name.
    pub name: String,
    /// The fields that differ, by their name on the wire, with the id and the name; null where a
    /// field is not set.
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
    pub(crate) rules: Vec<Paired<Rule>>,
    pub(crate) meters: Vec<Paired<Arc<Meter>>>,
    pub(crate) report: SyncReport,
}

/// Compares the current rules and meters with the wanted ones. They are matched by kind and id,
/// and by name where no id finds them; they keep their age, and their id where the wanted one has
/// none.
pub(crate) fn plan(
    current: &[Rule],
    meters: &Meters,
    wanted: RuleSet,
    options: SyncOptions,
) -> Result<Plan, RuleSetError> {
    let (wanted, wanted_meters) = wanted.into_parts();
    let mut problems = ambiguities(meters.list(), wanted_meters.list());
    problems.extend(ambiguities(current, &wanted));
    RuleSetError::check(problems)?;

    let mut report = SyncReport { preview: !options.write, ..SyncReport::default() };
    let current_meters = meters.list();
    let meters = matched(current_meters, wanted_meters.list(), options, &mut report);
    let mut rules = matched(current, &wanted, options, &mut report);
    follow_meters(&mut rules, &meters, current_meters);
    Ok(Plan { rules, meters, report })
}

/// Lets rules that count a meter by the id that it had count it by the one that it has.
pub(super) fn follow_meters(
    rules: &mut [Paired<Rule>],
    meters: &[Paired<Arc<Meter>>],
    current: &[Arc<Meter>],
) {
    let changed = meters.iter().filter_map(|meter| {
        let (old, new) = (current.get(meter.before?)?.id()?, meter.new.id()?);
        (old != new).then_some((old, new))
    });
    let changed: HashMap<&str, &str> = changed.collect();
    for rule in rules {
        if let Metric::Meter(id) = rule.new.metric_mut()
            && let Some(new) = changed.get(id.as_str())
        {
            (*new).clone_into(id);
        }
    }
}

/// Says what rules and meters come to that were merged.
pub(crate) fn merge_report(
    (current, meters): (&[Rule], &Meters),
    (merged, merged_meters): (&[Paired<Rule>], &[Paired<Arc<Meter>>]),
) -> SyncReport {
    let mut report = SyncReport::default();
    add_merged(meters.list(), merged_meters, &mut report);
    add_merged(current, merged, &mut report);
    report
}

fn add_merged<T: Named>(current: &[T], merged: &[Paired<T>], report: &mut SyncReport) {
    let mut stays = vec![false; current.len()];
    for Paired { new, before } in merged {
        let name = new.name().to_owned();
        if let Some(stays) = before.and_then(|place| stays.get_mut(place)) {
            *stays = true;
        }
        match before.and_then(|place| current.get(place)) {
            None => report.created.push(name),
            Some(old) if old.says_the_same(new) && old.id() == new.id() => {
                report.unchanged.push(name);
            }
            Some(old) => {
                report.updated.push(RuleChange { name, fields: differences(old, new) });
            }
        }
    }
    let gone = current.iter().zip(stays).filter(|(_, stays)| !stays);
    report.removed.extend(gone.map(|(old, _)| old.name().to_owned()));
}

/// Those that shall be: the current ones in their order, then the new ones. What is archived stays
/// so: no list is about it.
fn matched<T: Named>(
    current: &[T],
    wanted: &[T],
    options: SyncOptions,
    report: &mut SyncReport,
) -> Vec<Paired<T>> {
    let mut all = Vec::with_capacity(wanted.len());
    let mut found = vec![None; current.len()];
    let mut created = Vec::new();
    let active = current.iter().enumerate().filter(|(_, old)| !old.is_archived());
    let (places, active): (Vec<usize>, Vec<T>) =
        active.map(|(place, old)| (place, old.clone())).unzip();
    for (new, before) in wanted.iter().zip(pairs(&active, wanted)) {
        let before = before.and_then(|place| places.get(place));
        match before.and_then(|place| found.get_mut(*place)) {
            Some(slot) => *slot = Some(new),
            None => created.push(new),
        }
    }
    for ((place, old), new) in current.iter().enumerate().zip(found) {
        let name = new.unwrap_or(old).name().to_owned();
        let new = match new {
            Some(new)
                if old.says_the_same(new) && new.id().is_none_or(|_| new.id() == old.id()) =>
            {
                report.unchanged.push(name);
                old.clone()
            }
            Some(new) => {
                report.updated.push(RuleChange { name, fields: differences(old, new) });
                new.with_identity_of(old)
            }
            None if old.is_archived() => old.clone(),
            None if options.missing == Missing::Removed => {
                report.removed.push(name);
                continue;
            }
            None if options.missing == Missing::Archived
                && let Some(archived) = old.archived() =>
            {
                report.archived.push(name);
                archived
            }
            None => {
                report.unchanged.push(name);
                old.clone()
            }
        };
        all.push(Paired { new, before: Some(place) });
    }
    for new in created {
        report.created.push(new.name().to_owned());
        all.push(Paired { new: new.clone(), before: None });
    }
    all
}

/// Where it cannot be told which of the current ones a wanted one is: an id that stands twice, or
/// a name that does where no id says which is meant.
fn ambiguities<T: Named>(current: &[T], wanted: &[T]) -> Vec<RuleProblem> {
    let current = || current.iter().filter(|one| !one.is_archived());
    let known: HashSet<_> = current().filter_map(|one| Some((one.kind(), one.id()?))).collect();
    let mut ids = HashSet::new();
    // Of each kind and name that has to be found by name: how many of the list have no id, and how
    // many of the engine no id finds.
    let mut named: BTreeMap<(&str, &str), [usize; 2]> = BTreeMap::new();
    let mut problems = Vec::new();
    for one in wanted {
        let id = one.id().map(|id| (one.kind(), id));
        if let Some((_, id)) = id.filter(|id| !ids.insert(*id)) {
            let reason = format!("{id:?} is the id of another one of the list, too");
            problems.push(problem_of(one.kind(), one.name(), "id", reason));
        }
        if id.is_none_or(|id| !known.contains(&id)) {
            let [without, _] = named.entry((one.kind(), one.name())).or_default();
            *without = without.saturating_add(id.is_none().into());
        }
    }
    for one in current() {
        if one.id().is_none_or(|id| !ids.contains(&(one.kind(), id)))
            && let Some([_, there]) = named.get_mut(&(one.kind(), one.name()))
        {
            *there = there.saturating_add(1);
        }
    }
    for ((kind, name), [without, there]) in named {
        if without > 1 {
            let reason = format!("stands {without} times in the list without an id");
            problems.push(problem_of(kind, name, "name", reason));
        } else if there > 1 {
            let reason =
                format!("stands {there} times in the engine: give the id of the one meant");
            problems.push(problem_of(kind, name, "name", reason));
        }
    }
    problems
}

fn problem_of(kind: &str, name: &str, field: &str, reason: String) -> RuleProblem {
    RuleProblem { rule: format!("{kind} {name:?}"), field: field.to_owned(), reason }
}

/// The fields in which two rules differ, but for the times that the engine sets.
fn differences<T: Named>(old: &T, new: &T) -> BTreeMap<String, FieldChange> {
    let fields = |one: &T| match one.fields() {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (fields(old), fields(new));
    // An id that is not given stays.
    let set = |name: &str| match name {
        "createdAt" | "updatedAt" => false,
        "id" => new.contains_key("id"),
        _ => true,
    };
    let names = old.keys().chain(new.keys()).filter(|name| set(name));
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
