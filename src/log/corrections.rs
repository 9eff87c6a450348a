//! Events that were corrected: voided, or amended.
//!
//! A correction is an entry of the log with an ordinal of its own, as an event is: that of a void
//! has the event again, that of an amendment the event as it is from then on. So both have their
//! place in every order that goes by ordinals. What is known here beside the log is which of its
//! entries count: whoever adds events up leaves out what is [hidden](Corrections::hides), and
//! whoever shows them what is an [entry](Corrections::is_entry) of a correction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::{EventId, QueryError, page_limit};
use crate::base::clock::Timestamp;
use crate::base::reading;
use crate::event::Event;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

/// That a recorded event was voided, or amended.
///
/// It serializes as `eventId`, `reason`, `at` and `amended`, which is null for a void, and for an
/// amendment the event as it is from then on, as one that is sent in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Correction {
    /// The event that it corrects.
    pub event_id: EventId,
    /// Who corrected it, and why.
    pub reason: String,
    /// When it was corrected, by the engine's time.
    pub at: Timestamp,
    /// The event as it is from then on, without a timestamp; `None` where it was voided.
    pub amended: Option<Box<Event<'static>>>,
}

reading::body! {
    /// Which corrections a list shows. It is plain data, as a request's parameters: `eventId`,
    /// `limit` and `cursor`, all optional.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[must_use]
    pub struct CorrectionQuery {
        #[serde(skip_serializing_if = "Option::is_none")]
        event_id: Option<EventId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    }
}

impl CorrectionQuery {
    /// Asks for every correction, 50 a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for those of one event.
    pub fn event(mut self, id: EventId) -> Self {
        self.event_id = Some(id);
        self
    }

    /// Sets how many corrections a page has at most: 1 to 100, 50 where it is not set.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Begins where the page ended whose [`next_cursor`](CorrectionPage::next_cursor) this is.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    pub(crate) fn event_id(&self) -> Option<EventId> {
        self.event_id
    }

    pub(crate) fn cursor_text(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    pub(crate) fn page_limit(&self) -> Result<usize, QueryError> {
        page_limit(self.limit, DEFAULT_LIMIT, (MAX_LIMIT, "must be 1 to 100"))
    }
}

/// A page of corrections, the newest first.
///
/// It serializes as `data` and `nextCursor`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CorrectionPage {
    /// The corrections.
    pub data: Vec<Correction>,
    /// What the next page is asked with, as [`CorrectionQuery::cursor`]; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// A correction, as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Corrected {
    /// The ordinal of the event.
    pub(crate) target: u64,
    pub(crate) is_void: bool,
    pub(crate) reason: Box<str>,
    pub(crate) at: Timestamp,
}

/// The corrections of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Corrections {
    /// By the ordinals of their entries.
    entries: BTreeMap<u64, Arc<Corrected>>,
    /// The newest entry of each event that was corrected.
    last: HashMap<u64, u64, ahash::RandomState>,
}

impl Corrections {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the entry of an ordinal is that of a correction.
    pub(crate) fn is_entry(&self, ordinal: u64) -> bool {
        self.entries.contains_key(&ordinal)
    }

    /// The correction whose entry has this ordinal.
    pub(crate) fn entry(&self, ordinal: u64) -> Option<&Arc<Corrected>> {
        self.entries.get(&ordinal)
    }

    /// The corrections of an event, the first of them first. O(those since it came).
    pub(crate) fn of_event(&self, target: u64) -> impl Iterator<Item = (u64, &Arc<Corrected>)> {
        let entries = self.entries.range(target..).filter(move |(_, of)| of.target == target);
        entries.map(|(entry, of)| (*entry, of))
    }

    /// Whether what has this ordinal does not count, because another entry stands for it or none.
    pub(crate) fn hides(&self, ordinal: u64) -> bool {
        match self.entries.get(&ordinal) {
            Some(entry) => entry.is_void || self.last.get(&entry.target) != Some(&ordinal),
            None => self.last.contains_key(&ordinal),
        }
    }

    /// The newest correction of an event, with the ordinal of its entry.
    pub(crate) fn of(&self, target: u64) -> Option<(u64, &Arc<Corrected>)> {
        let entry = self.last.get(&target)?;
        Some((*entry, self.entries.get(entry)?))
    }

    /// Those whose entries are before an ordinal, the newest first.
    pub(crate) fn before(&self, ordinal: u64) -> impl Iterator<Item = (u64, &Arc<Corrected>)> {
        self.entries.range(..ordinal).rev().map(|(entry, of)| (*entry, of))
    }

    pub(super) fn add(&mut self, entry: u64, corrected: Corrected) {
        self.last.insert(corrected.target, entry);
        self.entries.insert(entry, Arc::new(corrected));
    }

    /// Forgets those whose entries the log has dropped: the events are older.
    pub(super) fn drop_before(&mut self, first: u64) {
        while let Some(oldest) = self.entries.first_entry().filter(|it| *it.key() < first) {
            let (entry, corrected) = oldest.remove_entry();
            if self.last.get(&corrected.target) == Some(&entry) {
                self.last.remove(&corrected.target);
            }
        }
    }

    /// Forgets why events were corrected that `is_it` is told of.
    pub(super) fn erase(&mut self, is_it: impl Fn(u64) -> bool) {
        for entry in self.entries.values_mut().filter(|entry| is_it(entry.target)) {
            Arc::make_mut(entry).reason = "".into();
        }
    }
}
