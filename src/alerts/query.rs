//! Pages of the history.

use std::sync::Arc;

use super::Alert;
use crate::rules::Threshold;

/// How many alerts a page has where it is not said.
const DEFAULT_LIMIT: usize = 50;
/// The most that a page has.
const MAX_LIMIT: usize = 100;

/// Which alerts of the history a page shows. All conditions must hold; none is every alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct AlertQuery {
    rule: Option<String>,
    customer: Option<String>,
    threshold: Option<Threshold>,
    limit: Option<usize>,
    before: Option<u64>,
}

impl AlertQuery {
    /// Asks for every alert, 50 a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows only alerts of the rule with this id.
    pub fn rule(mut self, id: impl Into<String>) -> Self {
        self.rule = Some(id.into());
        self
    }

    /// Shows only alerts of this [customer](Alert::customer_id).
    pub fn customer(mut self, id: impl Into<String>) -> Self {
        self.customer = Some(id.into());
        self
    }

    /// Shows only alerts of this [threshold](Alert::threshold).
    pub fn threshold(mut self, threshold: Threshold) -> Self {
        self.threshold = Some(threshold);
        self
    }

    /// Sets how many alerts a page has at most: 1 to 100, and the nearest of the two of another
    /// number; 50 where it is not set.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Begins where the page ended whose [`next`](AlertPage::next) this is.
    pub fn before(mut self, next: u64) -> Self {
        self.before = Some(next);
        self
    }

    /// The page of alerts that come the newest first, each with its number.
    pub(super) fn page<'a>(
        &self,
        newest_first: impl Iterator<Item = (u64, &'a Arc<Alert>)>,
    ) -> AlertPage {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let mut page = AlertPage { alerts: Vec::new(), next: None };
        let mut last = None;
        for (number, alert) in newest_first {
            if self.before.is_some_and(|before| number >= before) || !self.wants(alert) {
                continue;
            }
            if page.alerts.len() == limit {
                page.next = last;
                break;
            }
            page.alerts.push(Arc::clone(alert));
            last = Some(number);
        }
        page
    }

    fn wants(&self, alert: &Alert) -> bool {
        self.rule.as_ref().is_none_or(|rule| *rule == alert.rule_id)
            && self.customer.as_ref().is_none_or(|it| Some(it) == alert.customer_id.as_ref())
            && self.threshold.is_none_or(|threshold| threshold == alert.threshold)
    }
}

/// Some alerts, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertPage {
    /// The alerts.
    pub alerts: Vec<Arc<Alert>>,
    /// Where the next page [begins](AlertQuery::before), if there is one.
    pub next: Option<u64>,
}
