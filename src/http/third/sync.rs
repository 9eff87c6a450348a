//! Limits made to match a list, all of them or none.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json as value};
use utoipa::ToSchema;

use super::fields::Fields;
use super::limit::{Counts, Described, Limit, NewLimit};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::{Detail, Failure};
use crate::http::fresh;
use crate::rules::SyncOptions;
use crate::{Engine, Rule, RuleSet};

/// What was done, or would be, by the names of the limits.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = LimitSyncResult)]
pub(super) struct Report {
    preview: bool,
    created: Vec<String>,
    updated: Vec<Updated>,
    archived: Vec<String>,
    unchanged: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LimitUpdated)]
struct Updated {
    name: String,
    /// By the names of fields.
    changes: BTreeMap<&'static str, Changed>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LimitChanged)]
struct Changed {
    from: Value,
    to: Value,
}

/// A list of limits, as a body has it.
#[derive(ToSchema)]
#[schema(as = LimitSync, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct AskedShape {
    limits: Vec<NewLimit>,
    /// Whether to archive what the list does not name.
    archive_missing: Option<bool>,
    /// Whether only to say what would be done.
    preview: Option<bool>,
}

/// What is asked for.
struct Asked {
    /// Each with its path in the list.
    limits: Vec<(String, Described)>,
    archive_missing: bool,
    preview: bool,
}

impl Asked {
    /// Reads all of the list, to say all that is wrong with it.
    fn read(body: &Bytes) -> Result<Self, Failure> {
        let mut fields = Fields::of_body(body)?;
        let list = fields.list("limits");
        let list = fields.need("limits", list);
        let archive_missing = fields.word("archiveMissing", "true or false").unwrap_or(false);
        let preview = fields.word("preview", "true or false").unwrap_or(false);
        let mut limits = Vec::new();
        for (path, entry) in list.unwrap_or_default() {
            let mut entry = Fields::of(path.clone(), entry);
            let limit = Described::read(&mut entry);
            entry.check_rest();
            fields.join(entry);
            limits.extend(limit.map(|limit| (path, limit)));
        }
        fields.end(Some(Self { limits, archive_missing, preview }))
    }

    /// What is wrong with the list as a whole, beside the rules that there are.
    fn problems(&self, current: &[Limit], others: &[String]) -> Vec<Detail> {
        let mut problems = Vec::new();
        for (place, (path, limit)) in self.limits.iter().enumerate() {
            let mut wrong = |field: &str, message: String| {
                problems.push(Detail { path: format!("{path}.{field}"), message });
            };
            let Described { name, counts, .. } = limit;
            for (other_path, other) in self.limits.iter().take(place) {
                if other.name == *name {
                    wrong("name", format!("{name:?} is that of {other_path}: names are unique"));
                } else if other.counts == *counts {
                    wrong("subject", format!("the same is counted of the same as by {other_path}"));
                }
            }
            if others.contains(name) {
                wrong("name", format!("{name:?} is that of a rule of another kind"));
            }
            for known in current {
                if known.says.name == *name {
                    for field in differences_of(&known.says.counts, counts) {
                        let rule = "is fixed: give the entry another name";
                        wrong(field, rule.to_owned());
                    }
                } else if known.says.counts == *counts && !self.archives(known) {
                    let other = &known.says.name;
                    wrong("subject", format!("the same is counted of the same as by {other:?}"));
                }
            }
        }
        problems
    }

    fn named(&self, name: &str) -> Option<&Described> {
        self.limits.iter().map(|(_, limit)| limit).find(|limit| limit.name == name)
    }

    fn archives(&self, known: &Limit) -> bool {
        self.archive_missing && self.named(&known.says.name).is_none()
    }
}

/// The fields in which two limits count something else.
fn differences_of(known: &Counts, wanted: &Counts) -> Vec<&'static str> {
    let fields = [
        ("subject", known.kind == wanted.kind && known.id == wanted.id),
        ("action", known.action == wanted.action),
        ("unit", known.unit == wanted.unit),
        ("window", known.window == wanted.window),
        ("every", known.every == wanted.every),
        ("start", known.start == wanted.start),
        ("rolling", known.rolling == wanted.rolling),
    ];
    fields.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect()
}

/// `POST /limits/sync`
pub(super) async fn sync(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let own = project.clone();
    let sync = move |engine: &Engine| {
        let asked = Asked::read(&body)?;
        let _one_at_a_time = own.changes();
        synced(engine, &asked)
    };
    project.ask(sync).await
}

fn synced(engine: &Engine, asked: &Asked) -> Result<Response, Failure> {
    let mut rules = engine.rules().list();
    rules.sort_by_key(|rule| Limit::of(rule).and_then(|limit| limit.created_at));
    let (limits, others): (Vec<_>, Vec<_>) =
        rules.iter().map(|rule| (rule, Limit::of(rule))).partition(|(_, limit)| limit.is_some());
    let current: Vec<Limit> = limits.iter().filter_map(|(_, limit)| limit.clone()).collect();
    let others: Vec<String> = others.iter().map(|(rule, _)| rule.name().to_owned()).collect();
    let problems = asked.problems(&current, &others);
    if !problems.is_empty() {
        return Err(Failure::invalid(problems));
    }
    let mut report = Report { preview: asked.preview, ..Report::default() };
    // Only what changes is in the list: others may change their rules at the same time.
    let mut changed = RuleSet::new();
    for (limit, (rule, _)) in current.iter().zip(&limits) {
        let name = || limit.says.name.clone();
        match asked.named(&limit.says.name) {
            None if asked.archives(limit) => {
                report.archived.push(name());
                changed = changed.rule(archived((*rule).clone(), engine));
            }
            None => {}
            Some(wanted) if *wanted == limit.says => report.unchanged.push(name()),
            Some(wanted) => {
                report
                    .updated
                    .push(Updated { name: name(), changes: changes(&limit.says, wanted) });
                changed = changed.rule(wanted.applied_to(rule));
            }
        }
    }
    for (_, limit) in &asked.limits {
        if !current.iter().any(|known| known.says.name == limit.name) {
            report.created.push(limit.name.clone());
            changed = changed.rule(limit.rule(&fresh("lmt_")));
        }
    }
    if !asked.preview {
        engine.rules().sync(changed, SyncOptions::apply().keep_missing())?;
    }
    json(StatusCode::OK, &report)
}

/// The same rule, which is to be archived.
fn archived(mut rule: Rule, engine: &Engine) -> Rule {
    let now = Some(engine.now());
    match &mut rule {
        Rule::Quota(rule) => rule.archived_at = now,
        Rule::RateLimit(rule) => rule.archived_at = now,
    }
    rule
}

/// What may be changed of a limit, where it differs.
fn changes(known: &Described, wanted: &Described) -> BTreeMap<&'static str, Changed> {
    let fields = [
        ("amount", value!(known.amount), value!(wanted.amount)),
        ("enabled", value!(known.enabled), value!(wanted.enabled)),
        ("failMode", value!(known.fail_mode), value!(wanted.fail_mode)),
    ];
    let differing = fields.into_iter().filter(|(_, from, to)| from != to);
    differing.map(|(name, from, to)| (name, Changed { from, to })).collect()
}
