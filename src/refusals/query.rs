//! What is asked of refusals, and the answers.

use std::cmp::Reverse;
use std::ops::Range;

use serde::Serialize;

use super::attempts::RefusedAttempt;
use super::counts::RuleName;
use crate::base::clock::Timestamp;
use crate::base::reading;
use crate::event::Dimension;
use crate::log::{QueryError, Stored, page_limit};
use crate::rules::RuleKey;
use crate::usage::range;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1_000;

reading::body! {
    /// Which refusals are asked for. All conditions must hold; none is every refusal.
    ///
    /// It is plain data, as a request's parameters: `ruleId`, `key`, `startDate`, `endDate`,
    /// `limit` and `cursor`, all optional.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[must_use]
    pub struct RefusalQuery {
        #[serde(skip_serializing_if = "Option::is_none")]
        rule_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<RuleKey>,
        #[serde(skip_serializing_if = "Option::is_none")]
        start_date: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        end_date: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    }
}

/// How often a rule refused a call of one of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefusalCount {
    /// The id of the rule.
    pub rule_id: String,
    /// The key; that of no dimension of a rule that is split by nothing.
    pub key: RuleKey,
    /// How many calls it refused.
    pub refused: u64,
}

/// Some keys of rules, those that were refused the most first.
///
/// It serializes as `items`, `total`, `other` and `nextCursor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefusalPage {
    /// The keys.
    pub items: Vec<RefusalCount>,
    /// What they add up to, with those of all pages and of [`other`](Self::other) keys. A call that
    /// two rules refused counts for each of them.
    pub total: u64,
    /// How much of that is of keys that are not told apart; 0 where a key is asked for.
    pub other: u64,
    /// What the next page is asked with, as [`RefusalQuery::cursor`]; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// How much was refused in an hour of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefusalHour {
    /// When the hour starts.
    pub start: Timestamp,
    /// How many calls were refused, whatever rules did it; of a query for a rule or a key how often
    /// those refused.
    pub refused: u64,
}

/// A page of refused calls, the newest first.
///
/// It serializes as `items` and `nextCursor`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefusedAttemptPage {
    /// The calls.
    pub items: Vec<RefusedAttempt>,
    /// What the next page is asked with, as [`RefusalQuery::cursor`]; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// A key that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'c> {
    pub(super) refused: u64,
    pub(super) rule: &'c RuleName,
    pub(super) values: &'c [Box<str>],
}

/// Where a page of keys begins: behind one that was refused so often, of this rule, with these
/// dimensions and values.
type After = (u64, Box<str>, Vec<Box<str>>, Vec<Box<str>>);
type Place<'c> = (Reverse<u64>, &'c str, &'c [Box<str>], &'c [Box<str>]);

impl RefusalQuery {
    /// Asks for every refusal, 50 keys or calls a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for what one rule refused, by its id.
    pub fn rule(mut self, id: impl Into<String>) -> Self {
        self.rule_id = Some(id.into());
        self
    }

    /// Asks for the keys that have these values, whatever others they have beside; of calls for
    /// those whose events have them.
    pub fn key(mut self, key: impl Into<RuleKey>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Asks for what was refused from `start` on and before `end`: of what is counted the hours
    /// that start in there, each whole.
    pub fn between(self, start: impl Into<Timestamp>, end: impl Into<Timestamp>) -> Self {
        let (start, end) = (Some(start.into()), Some(end.into()));
        Self { start_date: start, end_date: end, ..self }
    }

    /// Sets how many keys or calls a page has at most: 1 to 1 000, 50 where it is not set.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Begins after the page whose `next_cursor` this is.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    pub(super) fn page_limit(&self) -> Result<usize, QueryError> {
        page_limit(self.limit, DEFAULT_LIMIT, (MAX_LIMIT, "must be 1 to 1000"))
    }

    pub(super) fn range(&self) -> Result<Range<Timestamp>, QueryError> {
        range(self.start_date, self.end_date)
    }

    /// Where a page of keys begins.
    pub(super) fn after(&self) -> Result<Option<After>, QueryError> {
        let Some(text) = self.cursor.as_deref() else { return Ok(None) };
        let invalid = |_| QueryError::invalid("cursor", text, "is the cursor of no page of keys");
        serde_json::from_str(text).map(Some).map_err(invalid)
    }

    /// The number before which a page of calls begins.
    pub(super) fn before(&self) -> Result<Option<u64>, QueryError> {
        let Some(text) = self.cursor.as_deref() else { return Ok(None) };
        let invalid = |_| QueryError::invalid("cursor", text, "is the cursor of no page of calls");
        text.parse().map(Some).map_err(invalid)
    }

    pub(super) fn asks_for_rule(&self) -> bool {
        self.rule_id.is_some()
    }

    pub(super) fn wants_rule(&self, id: &str) -> bool {
        self.rule_id.as_ref().is_none_or(|wanted| wanted == id)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.key.iter().flat_map(RuleKey::iter)
    }

    pub(super) fn asks_for_key(&self) -> bool {
        self.key.as_ref().is_some_and(|key| !key.is_empty())
    }

    pub(super) fn wants_key(&self, dimensions: &[Box<str>], values: &[Box<str>]) -> bool {
        self.pairs().all(|(dimension, value)| {
            let mut known = dimensions.iter().zip(values);
            known.any(|(of, known)| &**of == dimension && &**known == value)
        })
    }

    pub(super) fn wants_event(&self, event: &Stored<'_>) -> bool {
        self.pairs()
            .all(|(dimension, value)| event.dimension(&Dimension::parse(dimension)) == Some(value))
    }
}

impl<'c> Found<'c> {
    /// In which order they stand: the most refused first.
    fn place(&self) -> Place<'c> {
        (Reverse(self.refused), &self.rule.id, &self.rule.dimensions, self.values)
    }

    fn is_behind(&self, (refused, id, dimensions, values): &After) -> bool {
        let (own_refused, own_id, own_dimensions, own_values) = self.place();
        (own_refused, own_id, own_dimensions, own_values)
            > (Reverse(*refused), &**id, &**dimensions, &**values)
    }

    fn cursor(&self) -> String {
        let (Reverse(refused), id, dimensions, values) = self.place();
        serde_json::to_string(&(refused, id, dimensions, values)).unwrap_or_default()
    }

    fn count(&self) -> RefusalCount {
        let (rule_id, refused) = (self.rule.id.to_string(), self.refused);
        let dimensions = self.rule.dimensions.iter().map(ToString::to_string);
        let key = dimensions.zip(self.values.iter().map(ToString::to_string)).collect();
        RefusalCount { rule_id, key, refused }
    }
}

impl RefusalPage {
    pub(super) fn of(
        mut found: Vec<Found<'_>>,
        total: u64,
        most: usize,
        after: Option<&After>,
    ) -> Self {
        let told_apart = found.iter().map(|one| one.refused).fold(0, u64::saturating_add);
        found.retain(|one| after.is_none_or(|after| one.is_behind(after)));
        found.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        let last = most.checked_sub(1).and_then(|last| found.get(last));
        let next_cursor = last.filter(|_| found.len() > most).map(Found::cursor);
        Self {
            items: found.iter().take(most).map(Found::count).collect(),
            total,
            other: total.saturating_sub(told_apart),
            next_cursor,
        }
    }
}
