//! Who changed which rule, when, and why.
//!
//! What is kept is bounded: the newest [`MOST`] changes, in memory, and with a store in a space of
//! it, too. An entry is made when its change is in force; it is no part of the change, so that a
//! store that fails in between loses the entry alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::Method;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::access::{Access, Need};
use super::call::{Caller, Project};
use super::failure::Failure;
use super::openapi::any_of;
use crate::store::{Space, SpaceError};
use crate::{Engine, Rule, Timestamp};

/// How many changes are kept.
const MOST: usize = 1_000;
/// How many bytes a note has at most.
const MAX_NOTE_BYTES: usize = 500;
/// How many bytes an entry has at most; of a longer one the values are left out.
const MAX_ENTRY_BYTES: usize = 16 * 1_024;

/// A change of a rule, or of several at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// Its number: later changes have greater ones.
    id: u64,
    at: Timestamp,
    /// The name of the key, or what its hash begins with.
    who: String,
    /// `added`, `updated`, `removed`, `archived`, `restored`, `synced`, or the request of another
    /// API.
    what: String,
    #[schema(required)]
    rule_id: Option<String>,
    #[schema(required)]
    rule_name: Option<String>,
    #[schema(value_type = ChangedFields)]
    fields: Value,
    #[schema(required)]
    note: Option<String>,
}

any_of! {
    /// What differs, by field; of a sync its report; nothing of what is not known in full.
    ChangedFields as "ChangedFields": Differences, SyncReport
}

/// The fields that differ, by their names.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a shape alone")]
struct Differences(BTreeMap<String, Difference>);

/// The two values of one field; null where it is not set.
#[derive(ToSchema)]
#[schema(as = FieldChange)]
#[expect(dead_code, reason = "it is a shape alone")]
struct Difference {
    /// As it was.
    from: Value,
    /// As it is, or would be.
    to: Value,
}

/// What a sync has done, or would do, by the names of rules and meters.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a shape alone, that of the engine's report")]
pub(super) struct SyncReport {
    /// Whether nothing was written.
    preview: bool,
    created: Vec<String>,
    /// Those that differed, field by field.
    updated: Vec<RuleChange>,
    removed: Vec<String>,
    /// Left out where there are none.
    #[schema(required = false)]
    archived: Vec<String>,
    unchanged: Vec<String>,
}

/// How one rule differs.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a shape alone")]
struct RuleChange {
    name: String,
    fields: BTreeMap<String, Difference>,
}

/// Who changes something, and why.
#[derive(Clone, Debug)]
pub(super) struct By {
    who: String,
    note: Option<String>,
}

impl By {
    /// Takes what a request says of itself.
    pub(super) fn of(access: &Access, note: Option<String>) -> Result<Self, Failure> {
        let who = access.who.clone().unwrap_or_else(|| "unknown".to_owned());
        let is_bad =
            |note: &String| note.len() > MAX_NOTE_BYTES || note.chars().any(char::is_control);
        if note.as_ref().is_some_and(is_bad) {
            let rule = "must have at most 500 bytes and no control characters";
            return Err(Failure::bad_input(&format_args!("note: {rule}")));
        }
        Ok(Self { who, note: note.filter(|note| !note.is_empty()) })
    }
}

/// A request by which another API than the engine's own changes rules: that says itself what it has
/// done, of these it is known which they were.
pub(super) struct RuleRequest {
    by: By,
    what: String,
    /// The id and the name of the rule that the path names, as they were.
    rule: Option<(String, String)>,
}

impl RuleRequest {
    /// Where the product's rules are.
    const LISTS: [&str; 5] =
        ["/v1/limits", "/v1/meters", "/v1/quota-alerts", "/v1/quotas", "/v1/rate-limits"];
    /// Questions that are asked there.
    const QUESTIONS: [&str; 2] = ["check", "query"];

    pub(super) fn of(request: &Request, caller: &Caller, is_own: bool) -> Option<Self> {
        let (path, method) = (request.uri().path(), request.method());
        let is_below = |list: &&str| {
            path.strip_prefix(*list).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_change = *method != Method::GET && !is_own && Self::LISTS.iter().any(is_below);
        let last = || path.rsplit('/').next().unwrap_or_default();
        if !is_change || Self::QUESTIONS.contains(&last()) {
            return None;
        }
        // An id may be as long as a path.
        let what: String = format!("{method} {path}").chars().take(256).collect();
        caller.access.scope.covers(Need::Manage).then_some(())?;
        let id = path.split('/').nth(3).filter(|id| !id.is_empty());
        let rule = id.and_then(|id| caller.project.engine.rules().get::<Rule>(id));
        let rule = rule.and_then(|rule| Some((rule.id()?.to_owned(), rule.name().to_owned())));
        Some(Self { by: By::of(&caller.access, None).ok()?, what, rule })
    }

    /// Notes it, when it was done.
    pub(super) async fn note(self, project: &Project) {
        let (own, Self { by, what, rule }) = (project.clone(), self);
        let note = move |engine: &Engine| {
            let (id, name) = rule.unzip();
            own.log().add(engine, by, &what, (id, name, json!({})));
            Ok(())
        };
        let _noted = project.ask(note).await;
    }
}

/// The changes of a project's rules.
#[derive(Debug, Default)]
pub(super) struct ChangeLog(Mutex<Option<Kept>>);

/// The newest changes, the oldest first.
#[derive(Debug, Default)]
struct Kept {
    next: u64,
    changes: VecDeque<Arc<Change>>,
}

impl ChangeLog {
    /// Notes what was done to a rule: as it was, and as it is. May wait for a disk.
    pub(super) fn note(
        &self,
        engine: &Engine,
        by: By,
        what: &str,
        (before, after): (Option<&Rule>, Option<&Rule>),
    ) {
        let rule = after.or(before);
        let named = rule.map(|rule| (rule.id().map(str::to_owned), rule.name().to_owned()));
        let fields = match (before, after) {
            (Some(before), Some(after)) => differing(before, after),
            _ => json!({}),
        };
        let (rule_id, rule_name) = named.map_or((None, None), |(id, name)| (id, Some(name)));
        self.add(engine, by, what, (rule_id, rule_name, fields));
    }

    /// Notes what was done to more than one rule, or is not known in full.
    pub(super) fn note_all(&self, engine: &Engine, by: By, what: &str, fields: Value) {
        self.add(engine, by, what, (None, None, fields));
    }

    fn add(
        &self,
        engine: &Engine,
        By { who, note }: By,
        what: &str,
        (rule_id, rule_name, fields): (Option<String>, Option<String>, Value),
    ) {
        let (space, at) = (space_of(engine), engine.now());
        // Who comes meanwhile waits for the store, so that numbers go up in it.
        let mut kept = self.0.lock();
        let kept = kept.get_or_insert_with(|| Kept::load(space.as_ref()));
        let id = kept.next;
        let what = what.to_owned();
        let mut change = Change { id, at, who, what, rule_id, rule_name, fields, note };
        let mut bytes = serde_json::to_vec(&change).unwrap_or_default();
        if bytes.len() > MAX_ENTRY_BYTES {
            change.fields = json!({});
            bytes = serde_json::to_vec(&change).unwrap_or_default();
        }
        let gone = kept.push(change);
        // A store that takes nothing says so by its health.
        let _stored = space.map(|space| -> Result<(), SpaceError> {
            space.put(&id.to_be_bytes(), &bytes)?;
            gone.map_or(Ok(()), |gone| space.remove(&gone.to_be_bytes()))
        });
    }

    /// The newest changes that are older than `before`, the newest first, and whether there are
    /// more. May wait for a disk.
    pub(super) fn list(
        &self,
        engine: &Engine,
        before: Option<u64>,
        limit: usize,
    ) -> (Vec<Arc<Change>>, Option<u64>) {
        let mut kept = self.0.lock();
        let kept = kept.get_or_insert_with(|| Kept::load(space_of(engine).as_ref()));
        let older = kept.changes.iter().rev();
        let mut older = older.filter(|change| before.is_none_or(|before| change.id < before));
        let page: Vec<_> = older.by_ref().take(limit).map(Arc::clone).collect();
        let next = older.next().and_then(|_| page.last()).map(|last| last.id);
        (page, next)
    }
}

impl Kept {
    fn load(space: Option<&Space>) -> Self {
        let mut kept = Self::default();
        let rows = space.into_iter().flat_map(|space| space.rows(b"")).map_while(Result::ok);
        for (_, value) in rows {
            if let Ok(change) = serde_json::from_slice::<Change>(&value) {
                kept.next = change.id;
                kept.push(change);
            }
        }
        kept
    }

    /// Adds the newest one; returns the number of the one that is kept no more.
    fn push(&mut self, change: Change) -> Option<u64> {
        self.next = change.id.saturating_add(1);
        self.changes.push_back(Arc::new(change));
        let is_full = self.changes.len() > MOST;
        is_full.then(|| self.changes.pop_front()).flatten().map(|gone| gone.id)
    }
}

fn space_of(engine: &Engine) -> Option<Space> {
    engine.store().space("rule-changes").ok()
}

/// The fields in which two states of a rule differ, but for those that any change sets.
fn differing(before: &Rule, after: &Rule) -> Value {
    let fields = |rule: &Rule| -> BTreeMap<String, Value> {
        let whole = serde_json::to_value(rule).unwrap_or_default();
        let inner = whole.as_object().and_then(|kinds| kinds.values().next()).cloned();
        inner.and_then(|inner| serde_json::from_value(inner).ok()).unwrap_or_default()
    };
    let (before, after) = (fields(before), fields(after));
    let names = before.keys().chain(after.keys());
    let differ = names.filter(|name| before.get(*name) != after.get(*name));
    let differ = differ.filter(|name| !["updatedAt", "version"].contains(&name.as_str()));
    let differ =
        differ.map(|name| (name.clone(), json!({"from": before.get(name), "to": after.get(name)})));
    Value::Object(differ.collect())
}
