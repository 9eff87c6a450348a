//! Pages of rules, the newest first.

use std::fmt;

use super::failure::Failure;
use crate::{Rule, Timestamp};

/// Cuts a page out of all rules, the newest first: it begins behind the one that the cursor names.
/// Returns the cursor of the next page, where there is one.
pub(super) fn cut(
    rules: &mut Vec<Rule>,
    size: usize,
    cursor: Option<&str>,
) -> Result<Option<String>, Failure> {
    if let Some(cursor) = cursor {
        let cursor = Cursor::parse(cursor)?;
        let at = rules.iter().position(|rule| rule.id() == Some(&*cursor.id));
        let first = match at {
            Some(at) => at.saturating_add(1),
            // It was removed since: those that are no newer follow.
            None => rules.partition_point(|rule| created(rule) > cursor.created),
        };
        rules.drain(..first.min(rules.len()));
    }
    let has_more = rules.len() > size;
    rules.truncate(size);
    Ok(rules.last().filter(|_| has_more).map(|last| Cursor::of(last).to_string()))
}

/// Behind which rule a page begins.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    /// The Unix second at which the rule was made.
    created: i64,
    id: String,
}

/// The Unix second at which a rule was made.
fn created(rule: &Rule) -> i64 {
    let created = match rule {
        Rule::Quota(rule) => rule.created_at,
        Rule::RateLimit(rule) => rule.created_at,
    };
    created.map_or(i64::MIN, Timestamp::unix_seconds)
}

impl Cursor {
    fn of(rule: &Rule) -> Self {
        Self { created: created(rule), id: rule.id().unwrap_or_default().to_owned() }
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let parts = text.split_once('.');
        let cursor = parts.and_then(|(created, id)| {
            Some(Self { created: created.parse().ok()?, id: id.to_owned() })
        });
        cursor.ok_or_else(|| {
            Failure::bad_input(&format_args!("cursor: {text:?} must be the nextCursor of a page"))
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created, self.id)
    }
}
