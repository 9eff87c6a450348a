//! Which adjustments are listed.

use serde::Serialize;

use super::{Adjustment, Adjustments, Counted};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::reading;
use crate::log::{QueryError, page_limit};
use crate::rules::RuleKey;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

reading::body! {
    /// Which adjustments a list shows. All conditions must hold; none is every adjustment.
    ///
    /// It is plain data, as a request's parameters: `ruleId`, `key`, `startDate`, `endDate`,
    /// `limit` and `cursor`, all optional.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[must_use]
    pub struct AdjustmentQuery {
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

/// A page of adjustments, the newest first.
///
/// It serializes as `items`, `total` and `nextCursor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AdjustmentPage {
    /// The adjustments.
    pub items: Vec<Adjustment>,
    /// What they add up to, on this page and those after it: with the first page of a rule, a key
    /// and a period what the figure of that quota has beside its meter's answer.
    pub total: Amount,
    /// What the next page is asked with, as [`AdjustmentQuery::cursor`]; `None` on the last page.
    pub next_cursor: Option<String>,
}

impl AdjustmentQuery {
    /// Asks for every adjustment, 50 a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for those of one rule, by its id.
    pub fn rule(mut self, id: impl Into<String>) -> Self {
        self.rule_id = Some(id.into());
        self
    }

    /// Asks for those of one key.
    pub fn key(mut self, key: impl Into<RuleKey>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Asks for those that were made from `start` on and before `end`.
    pub fn between(self, start: impl Into<Timestamp>, end: impl Into<Timestamp>) -> Self {
        let (start, end) = (Some(start.into()), Some(end.into()));
        Self { start_date: start, end_date: end, ..self }
    }

    /// Sets how many adjustments a page has at most: 1 to 100, 50 where it is not set.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Begins where the page ended whose [`next_cursor`](AdjustmentPage::next_cursor) this is.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    fn wants(&self, adjustment: &Adjustment) -> bool {
        self.rule_id.as_ref().is_none_or(|id| *id == adjustment.rule_id)
            && self.key.as_ref().is_none_or(|key| *key == adjustment.key)
            && self.start_date.is_none_or(|start| start <= adjustment.at)
            && self.end_date.is_none_or(|end| adjustment.at < end)
    }
}

impl Adjustments {
    /// Lists adjustments, the newest first. O(those that are listed).
    pub(crate) fn list(&self, query: &AdjustmentQuery) -> Result<AdjustmentPage, QueryError> {
        let most = page_limit(query.limit, DEFAULT_LIMIT, (MAX_LIMIT, "must be 1 to 100"))?;
        if let (Some(start), Some(end)) = (query.start_date, query.end_date)
            && start >= end
        {
            return Err(QueryError::EmptyRange { start, end });
        }
        let from: Option<u64> = match query.cursor.as_deref() {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                QueryError::invalid("cursor", text, "is the cursor of no page of adjustments")
            })?),
        };
        let known = self.known.read();
        let listed = known.listed.iter().rev().map(|one: &std::sync::Arc<Counted>| &one.adjustment);
        let mut listed = listed
            .filter(|one| from.is_none_or(|from| one.number <= from))
            .filter(|one| query.wants(one));
        let items: Vec<Adjustment> = listed.by_ref().take(most).cloned().collect();
        let total = items.iter().map(|one| one.amount).fold(Amount::ZERO, Amount::saturating_add);
        let next = listed.next();
        let next_cursor = next.map(|next| next.number.to_string());
        let rest = next.into_iter().chain(listed).map(|one| one.amount);
        let total = rest.fold(total, Amount::saturating_add);
        Ok(AdjustmentPage { items, total, next_cursor })
    }
}
