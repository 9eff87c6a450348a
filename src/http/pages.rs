//! Pages of lists, the newest first.

use std::borrow::Cow;
use std::fmt;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::call::{Answer, Params, json};
use super::failure::Failure;
use super::openapi;
use crate::{Rule, Timestamp};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 100;

/// A page of a list of the first two generations.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
    has_more: bool,
}

impl<T: Serialize> Page<T> {
    /// A page, and where the next one begins, if there is one.
    pub(super) fn new(data: Vec<T>, next_cursor: Option<String>) -> Self {
        let has_more = next_cursor.is_some();
        Self { data, next_cursor, has_more }
    }

    pub(super) fn answer(&self) -> Answer {
        json(StatusCode::OK, self)
    }
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let page = openapi::page_of("data", T::name());
        RefOr::T(page.property("hasMore", bool::schema()).required("hasMore").into())
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// What of a list is asked for.
pub(super) struct Asked {
    /// How many items there are on the page at most.
    pub(super) limit: usize,
    /// What the page before it ended with.
    pub(super) cursor: Option<String>,
}

impl Asked {
    /// Reads `limit` and `cursor`, the last parameters that there may be.
    pub(super) fn of(mut params: Params) -> Result<Self, Failure> {
        let limit = match params.take("limit") {
            None => DEFAULT_PAGE,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                limit.ok_or_else(|| {
                    let rule = "must be a number from 1 to 100";
                    Failure::bad_input(&format_args!("limit: {text:?} {rule}"))
                })?
            }
        };
        let cursor = params.take("cursor");
        params.end()?;
        Ok(Self { limit, cursor })
    }

    /// The page of a list that is here whole, the newest first, by the places of its items.
    pub(super) fn page<T: Serialize>(
        self,
        mut items: Vec<T>,
        place: impl Fn(&T) -> Place,
    ) -> Result<Page<T>, Failure> {
        let next = cut(&mut items, self.limit, self.cursor.as_deref(), place)?;
        Ok(Page::new(items, next))
    }
}

/// Cuts a page out of a list, the newest first: it begins behind the item that the cursor names.
/// Returns the cursor of the next page, where there is one.
pub(super) fn cut<T>(
    items: &mut Vec<T>,
    size: usize,
    cursor: Option<&str>,
    place: impl Fn(&T) -> Place,
) -> Result<Option<String>, Failure> {
    if let Some(cursor) = cursor {
        let cursor = Place::parse(cursor).ok_or_else(|| bad_cursor(cursor))?;
        let first = match items.iter().position(|item| place(item).id == cursor.id) {
            Some(at) => at.saturating_add(1),
            // It was removed since: those that are no newer follow.
            None => items.partition_point(|item| place(item).second > cursor.second),
        };
        items.drain(..first.min(items.len()));
    }
    Ok(first_of(items, size).map(|last| place(last).to_string()))
}

/// Leaves the first page of a list; returns its last item, where another page follows.
pub(super) fn first_of<T>(items: &mut Vec<T>, size: usize) -> Option<&T> {
    let has_more = items.len() > size;
    items.truncate(size);
    items.last().filter(|_| has_more)
}

/// What is said of a cursor that is none.
pub(super) fn bad_cursor(cursor: &str) -> Failure {
    Failure::bad_input(&format_args!("cursor: {cursor:?} must be the nextCursor of a page"))
}

/// The number that a cursor is, of lists whose items are numbered.
pub(super) fn cursor_number(cursor: Option<String>) -> Result<Option<u64>, Failure> {
    let read = |cursor: String| cursor.parse().map_err(|_| bad_cursor(&cursor));
    cursor.map(read).transpose()
}

/// Where something stands in a list, the newest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The Unix second at which it was made.
    second: i64,
    id: String,
}

impl Place {
    pub(super) fn new(created: Option<Timestamp>, id: Option<&str>) -> Self {
        let second = created.map_or(i64::MIN, Timestamp::unix_seconds);
        Self { second, id: id.unwrap_or_default().to_owned() }
    }

    pub(super) fn of(rule: &Rule) -> Self {
        let created = match rule {
            Rule::Quota(rule) => rule.created_at,
            Rule::RateLimit(rule) => rule.created_at,
        };
        Self::new(created, rule.id())
    }

    fn parse(text: &str) -> Option<Self> {
        let (second, id) = text.split_once('.')?;
        Some(Self { second: second.parse().ok()?, id: id.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.second, self.id)
    }
}
