//! What is looked at once a second, and what is remembered of it.
//!
//! A second's figures are sums that lie ready. The tables are passes over all keys, or over what is
//! kept, so each is made as often as it takes a part of the time: after one that took 10 ms, the
//! next is made 3 s later. One that takes long keeps no other back.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::frame::{Figures, Point, Recent, Rules, Top, event};
use super::{Shown, Table};
use crate::refusals::RefusalQuery;
use crate::usage::UsageQuery;
use crate::{Engine, Timestamp};

/// How many points are remembered: ten minutes.
const POINTS: usize = 600;
/// What part of the time each of the three tables may take: all of them a hundredth.
const SHARE: u32 = 300;

/// What the figures of the next second hang on.
#[derive(Default)]
pub(super) struct Sampler {
    last: Option<Counts>,
    points: VecDeque<Point>,
    rules: Made,
    top: Made,
    recent: Made,
}

/// A table, and when it is made next.
#[derive(Default)]
struct Made {
    table: Table,
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
        let history = self.points.iter().copied().collect();
        let point = self.last.and_then(|last| last.until(counts, now));
        self.last = Some(counts);
        if let Some(point) = point {
            self.points.push_back(point);
            if self.points.len() > POINTS {
                self.points.pop_front();
            }
        }
        let figures = event("figures", &Figures::of(engine, now, counts.sums.is_some(), point));
        self.recent.make(engine, now, "recent", Recent::of);
        self.rules.make(engine, now, "rules", Rules::of);
        self.top.make(engine, now, "top", Top::of);
        let made = [&self.rules, &self.top, &self.recent];
        Shown { history, tables: made.map(|made| made.table.clone()), figures }
    }
}

impl Made {
    /// Makes it, where it is due.
    fn make<T: Serialize>(
        &mut self,
        engine: &Engine,
        now: Timestamp,
        name: &str,
        of: fn(&Engine, Timestamp) -> T,
    ) {
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        let begun = engine.now();
        let bytes = event(name, &of(engine, now));
        if bytes != self.table.bytes {
            let version = self.table.version.wrapping_add(1);
            self.table = Table { bytes, version };
        }
        let took = engine.now().saturating_since(begun);
        self.due = now.checked_add(took.saturating_mul(SHARE));
    }
}

/// The start of an hour of UTC.
pub(super) fn hour_of(at: Timestamp) -> Timestamp {
    let into = at.unix_seconds().rem_euclid(3_600);
    let into = Duration::new(u64::try_from(into).unwrap_or(0), at.subsec_nanos());
    at.saturating_sub(into)
}
