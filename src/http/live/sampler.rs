//! What is looked at once a second, and what is remembered of it.
//!
//! A second's figures are sums that lie ready. The tables (who is near to which limit, who used the
//! most) are passes over all keys, so they are made as often as they take a hundredth of the time:
//! after tables that took 20 ms, the next ones are made 2 s later.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Bytes;

use super::Shown;
use super::frame::{Figures, Point, Tables, event};
use crate::refusals::RefusalQuery;
use crate::usage::UsageQuery;
use crate::{Engine, Timestamp};

/// How many points are remembered: ten minutes.
const POINTS: usize = 600;
/// What part of the time tables may take.
const SHARE: u32 = 100;

/// What the figures of the next second hang on.
#[derive(Default)]
pub(super) struct Sampler {
    last: Option<Counts>,
    points: VecDeque<Point>,
    tables: Bytes,
    version: u64,
    /// When tables are made next.
    due: Option<Timestamp>,
}

/// Sums that only grow, but for what is deleted.
#[derive(Clone, Copy)]
struct Counts {
    /// Since when refusals are summed: the start of an hour.
    since: Timestamp,
    /// None of an engine that records nothing.
    sums: Option<Sums>,
}

#[derive(Clone, Copy)]
struct Sums {
    admitted: u64,
    tokens: u128,
    refused: u64,
}

impl Counts {
    fn of(engine: &Engine, since: Timestamp) -> Self {
        let usage = engine.usage().summary(&UsageQuery::all_time());
        let refused = engine.refusals().hours(&RefusalQuery::new().between(since, Timestamp::MAX));
        let sums = usage.ok().zip(refused.ok()).map(|(usage, hours)| Sums {
            admitted: usage.totals.total_events,
            tokens: usage.totals.total_tokens,
            refused: hours.iter().map(|hour| hour.refused).fold(0, u64::saturating_add),
        });
        Self { since, sums }
    }

    /// What came between two looks.
    fn until(self, later: Self, at: Timestamp) -> Option<Point> {
        let (before, after) = (self.sums?, later.sums?);
        Some(Point {
            at,
            admitted: after.admitted.saturating_sub(before.admitted),
            refused: after.refused.saturating_sub(before.refused),
            tokens: after.tokens.saturating_sub(before.tokens),
        })
    }
}

impl Sampler {
    /// Makes the figures of now. May wait for locks of the engine, one at a time and for short.
    pub(super) fn look(&mut self, engine: &Engine) -> Shown {
        let now = engine.now();
        let since = self.last.map_or_else(|| hour_of(now), |last| last.since);
        let counts = Counts::of(engine, since);
        let history = event("history", &self.points);
        let point = self.last.and_then(|last| last.until(counts, now));
        self.last = Some(counts);
        if let Some(point) = point {
            self.points.push_back(point);
            if self.points.len() > POINTS {
                self.points.pop_front();
            }
        }
        let figures = event("figures", &Figures::of(engine, now, counts.sums.is_some(), point));
        self.make_tables(engine, now);
        Shown { history, tables: self.tables.clone(), version: self.version, figures }
    }

    fn make_tables(&mut self, engine: &Engine, now: Timestamp) {
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        let tables = event("tables", &Tables::of(engine, now));
        if tables != self.tables {
            self.tables = tables;
            self.version = self.version.wrapping_add(1);
        }
        let took = engine.now().saturating_since(now);
        self.due = now.checked_add(took.saturating_mul(SHARE));
    }
}

/// The start of an hour of UTC.
pub(super) fn hour_of(at: Timestamp) -> Timestamp {
    let into = at.unix_seconds().rem_euclid(3_600);
    let into = Duration::new(u64::try_from(into).unwrap_or(0), at.subsec_nanos());
    at.saturating_sub(into)
}
