//! The newest refused calls themselves.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use super::query::{RefusalQuery, RefusedAttemptPage};
use super::stored::{Row, attempt_key, attempt_row};
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::event::{Dimension, Event};
use crate::log::{Packed, Stored};

/// How many bytes the events of attempts have on average at the most.
const AVERAGE_BYTES: usize = 1_024;

/// A call that was refused.
///
/// It serializes as `timestamp`, `decidedAt`, `event` and `rules`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefusedAttempt {
    /// When it happened: its own timestamp, or the time at which it was decided about.
    pub timestamp: Timestamp,
    /// When it was decided about, by the engine's time.
    pub decided_at: Timestamp,
    /// The event; its idempotency key is not kept.
    pub event: Event<'static>,
    /// The ids of the rules that refused it; none of a reservation that was refused because its
    /// customer had as many open as may be.
    pub rules: Vec<String>,
}

/// An attempt as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    number: u64,
    /// As an event of the log is packed.
    event: Box<[u8]>,
    rules: Box<[Box<str>]>,
}

#[derive(Debug)]
pub(super) struct Attempts {
    most: usize,
    /// The number of the next one.
    next: u64,
    /// The oldest first.
    listed: VecDeque<Arc<Kept>>,
    /// The bytes of the events of those.
    bytes: usize,
    is_stored: bool,
    /// The store has those that are listed before this number.
    stored: u64,
    /// The numbers of those that the store has and that are listed no more.
    gone: Vec<u64>,
}

impl Kept {
    pub(super) fn new(number: u64, event: Box<[u8]>, rules: Box<[Box<str>]>) -> Self {
        Self { number, event, rules }
    }

    /// Its event.
    pub(crate) fn read(&self) -> Option<Stored<'_>> {
        Stored::decode_all(Reader::new(Version::NEWEST, &self.event)).ok()
    }

    fn attempt(&self) -> Option<RefusedAttempt> {
        let stored = self.read()?;
        let (timestamp, decided_at) = (stored.timestamp(), stored.decided_at());
        let rules = self.rules.iter().map(ToString::to_string).collect();
        Some(RefusedAttempt { timestamp, decided_at, event: stored.event().into_owned(), rules })
    }

    fn row(&self) -> Row {
        attempt_row(self.number, &self.rules, &self.event)
    }
}

impl Attempts {
    pub(super) fn new(most: usize, is_stored: bool) -> Self {
        let (listed, gone) = Default::default();
        Self { most, next: 0, listed, bytes: 0, is_stored, stored: 0, gone }
    }

    /// Whether the store has all of it.
    pub(super) fn is_clean(&self) -> bool {
        !self.is_stored || (self.stored == self.next && self.gone.is_empty())
    }

    pub(super) fn keep<'r>(&mut self, packed: &Packed, rules: impl Iterator<Item = &'r str>) {
        if self.most > 0 {
            let rules = rules.map(Into::into).collect();
            self.push(Kept::new(self.next, packed.bytes().into(), rules));
        }
    }

    /// Takes what a row of the store has; they come in the order of their numbers.
    pub(super) fn load(&mut self, kept: Kept) {
        self.stored = kept.number.saturating_add(1);
        self.push(kept);
    }

    fn push(&mut self, kept: Kept) {
        self.next = kept.number.saturating_add(1);
        self.bytes = self.bytes.saturating_add(kept.event.len());
        self.listed.push_back(Arc::new(kept));
        let bytes = self.most.saturating_mul(AVERAGE_BYTES);
        while self.listed.len() > self.most || (self.bytes > bytes && self.listed.len() > 1) {
            let Some(oldest) = self.listed.pop_front() else { return };
            self.dropped(&oldest);
        }
    }

    fn dropped(&mut self, kept: &Kept) {
        self.bytes = self.bytes.saturating_sub(kept.event.len());
        if self.is_stored && kept.number < self.stored {
            self.gone.push(kept.number);
        }
    }

    /// Drops those whose events have a value of a dimension.
    pub(super) fn forget(&mut self, dimension: &str, value: &str) {
        let dimension = Dimension::parse(dimension);
        let has_it = |kept: &Kept| {
            kept.read().is_some_and(|stored| stored.dimension(&dimension) == Some(value))
        };
        let listed = std::mem::take(&mut self.listed).into_iter();
        let (gone, left): (VecDeque<Arc<Kept>>, _) = listed.partition(|kept| has_it(kept));
        for kept in &gone {
            self.dropped(kept);
        }
        self.listed = left;
    }

    /// The rows that have changed since the last time.
    pub(super) fn take_rows(&mut self, out: &mut Vec<Row>) {
        if !self.is_stored {
            return;
        }
        out.extend(self.gone.drain(..).map(|number| (attempt_key(number), None)));
        let new = self.listed.iter().filter(|kept| kept.number >= self.stored);
        out.extend(new.map(|kept| kept.row()));
        self.stored = self.next;
    }

    pub(super) fn all(&self) -> Vec<Arc<Kept>> {
        self.listed.iter().map(Arc::clone).collect()
    }

    /// Those that a query asks for, the newest first.
    pub(super) fn page(
        &self,
        query: &RefusalQuery,
        range: &Range<Timestamp>,
        (before, most): (Option<u64>, usize),
    ) -> RefusedAttemptPage {
        let (mut items, mut next_cursor) = (Vec::new(), None);
        let listed = self.listed.iter().rev();
        let listed = listed.filter(|kept| before.is_none_or(|before| kept.number < before));
        let mut last = None;
        for kept in listed {
            let Some(stored) = kept.read().filter(|stored| range.contains(&stored.decided_at()))
            else {
                continue;
            };
            let is_by_rule =
                !query.asks_for_rule() || kept.rules.iter().any(|rule| query.wants_rule(rule));
            if !is_by_rule || !query.wants_event(&stored) {
                continue;
            }
            if items.len() == most {
                next_cursor = last.map(|last: u64| last.to_string());
                break;
            }
            items.extend(kept.attempt());
            last = Some(kept.number);
        }
        RefusedAttemptPage { items, next_cursor }
    }
}
