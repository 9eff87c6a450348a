//! The recorded events, as the engine shows them.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use crate::log::{
    CorrectionPage, CorrectionQuery, EventId, EventPage, EventQuery, QueryError, RecordedEvent,
    ScanFilter,
};
use crate::recording::{Ledger, Scan};

/// The events that an engine has recorded.
///
/// They stand in the order in which they were recorded, which need not be that of their
/// timestamps, and are shown the newest first. Each is there as soon as the call that recorded it
/// has returned, until [`Recording`](crate::events::Recording) or
/// [`event_retention`](crate::EngineBuilder::event_retention) drops it.
///
/// It may outlive the engine, and does not keep it open.
#[derive(Clone, Debug)]
pub struct Events {
    ledger: Option<Arc<Ledger>>,
}

impl Events {
    pub(super) fn new(ledger: Option<Arc<Ledger>>) -> Self {
        Self { ledger }
    }

    /// Returns how many events are kept now; 0 where recording is off. With
    /// [`Recording::Newest(n)`](crate::events::Recording) at most 1 024 more than `n`, and fewer
    /// than `n` where those that have come have too many
    /// [bytes](crate::EngineBuilder::event_bytes).
    #[must_use]
    pub fn len(&self) -> usize {
        self.ledger.as_deref().map_or(0, Ledger::len)
    }

    /// Returns whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the newest events, the newest first; none where recording is off. O(`count`).
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<RecordedEvent> {
        let Some(ledger) = &self.ledger else { return Vec::new() };
        Scan::newest_first(ledger, ScanFilter::everything(), u64::MAX, count).take(count).collect()
    }

    /// Returns a page of events, the newest first, and a cursor to the next.
    ///
    /// Pages stay right while events arrive: of the events that were there when the first page
    /// was asked for, the pages show each that matches exactly once, but for those dropped before
    /// their page was asked for. Events that come in later are not among them: ask for a first
    /// page again. A cursor is the name of the event that its page begins with; where that event is
    /// dropped, and with it all before it, the cursor is an error.
    ///
    /// Costs a few nanoseconds an event that does not match, from where the page begins to where
    /// it is full. Recording goes on meanwhile: the ledger is locked to step to the next 1 024
    /// events, and to copy what is wanted of the newest.
    ///
    /// ```
    /// use limitry::events::EventQuery;
    /// use limitry::{Engine, Event};
    ///
    /// let engine = Engine::builder().build()?;
    /// for number in 0..3 {
    ///     let _ = engine.record(&Event::new("cust_123", "model_call").input_tokens(number))?;
    /// }
    /// let query = EventQuery::new().customer("cust_123").limit(2);
    /// let first = engine.events().list(&query)?;
    /// assert_eq!((first.data.len(), first.has_more), (2, true));
    /// let next = query.cursor(first.next_cursor.unwrap_or_default());
    /// let second = engine.events().list(&next)?;
    /// assert_eq!((second.data.len(), second.has_more), (1, false));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// Recording is off; the limit is not 1 to 100; the cursor is none of this engine's, or of
    /// events that are [dropped](QueryError::CursorExpired); a filter breaks the rules of ids and
    /// keys, and so can match no event; the range ends where it starts, or before.
    pub fn list(&self, query: &EventQuery) -> Result<EventPage, QueryError> {
        let limit = query.page_limit()?;
        let mut scan = self.scan(query, limit.saturating_add(1))?;
        let data: Vec<_> = scan.by_ref().take(limit).collect();
        let next_cursor = scan.next().map(|next| next.id.to_string());
        Ok(EventPage { data, has_more: next_cursor.is_some(), next_cursor })
    }

    /// Returns the events of all pages from the query's cursor on, the newest first: those that
    /// there are now. Its cost is that of the pages; nothing is looked at before it is asked for.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    #[expect(clippy::iter_not_returning_iterator, reason = "a question can be a bad one")]
    #[expect(clippy::needless_pass_by_value, reason = "a query is made for the call")]
    pub fn iter(&self, query: EventQuery) -> Result<EventIter, QueryError> {
        query.page_limit()?;
        Ok(EventIter(self.scan(&query, usize::MAX)?))
    }

    /// Returns the events that were recorded after another one, the oldest first: for whoever
    /// follows the log. Begin with `None`, which stands before the first event, and go on with the
    /// [`cursor`](EventsAfter::cursor) of each answer; where there is nothing new, ask again later.
    ///
    /// Each event that matches is in exactly one answer, but for those that were dropped before
    /// they were asked for: [`dropped`](EventsAfter::dropped) counts them, whether they match or
    /// not. A cursor stays good while events arrive and while they are dropped, and, where the
    /// engine has a store, after it is opened again.
    ///
    /// The query's limit is that of the answer. Costs and locks as [`list`](Self::list).
    ///
    /// ```
    /// use limitry::events::EventQuery;
    /// use limitry::{Engine, Event};
    ///
    /// let engine = Engine::builder().build()?;
    /// let (mut cursor, query) = (None, EventQuery::new().limit(2));
    /// let mut seen = Vec::new();
    /// for number in 0..5 {
    ///     let _ = engine.record(&Event::new("cust_123", "call").input_tokens(number))?;
    ///     let new = engine.events().after(cursor, &query)?;
    ///     assert_eq!((new.dropped, new.has_more), (0, false));
    ///     seen.extend(new.data.iter().map(|found| found.id));
    ///     cursor = new.cursor;
    /// }
    /// assert_eq!(seen.len(), 5);
    /// assert!(engine.events().after(cursor, &query)?.data.is_empty());
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// Recording is off; the limit is not 1 to 100; the cursor names no event of this engine; the
    /// query has a cursor of its own, or a filter or range as [`list`](Self::list) takes none.
    pub fn after(
        &self,
        cursor: Option<EventId>,
        query: &EventQuery,
    ) -> Result<EventsAfter, QueryError> {
        let ledger = self.ledger.as_ref().ok_or(QueryError::RecordingOff)?;
        let limit = query.page_limit()?;
        if let Some(cursor) = query.cursor_text() {
            return Err(QueryError::invalid("cursor", cursor, "must not be set"));
        }
        let start = cursor.map_or(Ok(0), |id| match ledger.ordinal(id) {
            Some(place) => Ok(place.saturating_add(1)),
            None => Err(QueryError::invalid("cursor", &id.to_string(), NO_CURSOR)),
        })?;
        loop {
            let (first, end) = (ledger.first(), ledger.recorded());
            let wanted = query.wanted(ledger.hasher())?;
            let mut scan = Scan::in_order(ledger, wanted, start..end);
            let data: Vec<_> = scan.by_ref().take(limit).collect();
            let looked_at = if data.len() < limit { end } else { scan.position() };
            let has_more = scan.next().is_some();
            // What was dropped meanwhile may have been looked at or not: it is asked for again, and
            // is counted then.
            if ledger.first() > first.max(start) {
                continue;
            }
            let cursor = looked_at.checked_sub(1).map(|last| ledger.id(last));
            let dropped = first.saturating_sub(start);
            return Ok(EventsAfter { data, cursor, has_more, dropped });
        }
    }

    /// Returns a page of corrections, the newest first: of those whose entries the log has. One
    /// that corrects an event that is [erased](crate::handles::Customers::erase) is not among them.
    ///
    /// ```
    /// use limitry::events::CorrectionQuery;
    /// use limitry::{Engine, Event};
    ///
    /// let engine = Engine::builder().build()?;
    /// let call = Event::new("ann", "call").input_tokens(900);
    /// let id = engine.track(&call)?.event_id().expect("it is recorded");
    /// engine.amend(id, &call.input_tokens(90), "as billed")?;
    /// engine.void(id, "it failed")?;
    /// let page = engine.events().corrections(&CorrectionQuery::new().event(id))?;
    /// let reasons: Vec<&str> = page.data.iter().map(|it| it.reason.as_str()).collect();
    /// assert_eq!(reasons, ["it failed", "as billed"]);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// Recording is off; the limit is not 1 to 100; the cursor is of no page of this engine.
    pub fn corrections(&self, query: &CorrectionQuery) -> Result<CorrectionPage, QueryError> {
        self.ledger.as_ref().ok_or(QueryError::RecordingOff)?.list_corrections(query)
    }

    fn scan(&self, query: &EventQuery, most: usize) -> Result<Scan, QueryError> {
        let ledger = self.ledger.as_ref().ok_or(QueryError::RecordingOff)?;
        let wanted = query.wanted(ledger.hasher())?;
        let before = match query.cursor_text() {
            None => ledger.recorded(),
            Some(cursor) => place(ledger, cursor)?.saturating_add(1),
        };
        Ok(Scan::newest_first(ledger, wanted, before, most))
    }
}

const NO_CURSOR: &str = "must be the next cursor of a page of this engine's events";

/// The place that a cursor names: that of the first event of the page.
fn place(ledger: &Ledger, cursor: &str) -> Result<u64, QueryError> {
    let place = cursor.parse().ok().and_then(|id| ledger.ordinal(id));
    let place = place.ok_or_else(|| QueryError::invalid("cursor", cursor, NO_CURSOR))?;
    if place < ledger.first() {
        return Err(QueryError::CursorExpired { cursor: cursor.into() });
    }
    Ok(place)
}

/// Events in the order in which they were recorded, after a cursor: [`Events::after`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EventsAfter {
    /// The events, the oldest first.
    pub data: Vec<RecordedEvent>,
    /// What to go on with: the newest event that was looked at, also where it did not match. `None`
    /// as long as nothing was ever recorded.
    pub cursor: Option<EventId>,
    /// Whether there are more already.
    pub has_more: bool,
    /// How many events were recorded after the cursor that was asked with, and dropped before they
    /// were asked for.
    pub dropped: u64,
}

/// The events of all pages of an [`EventQuery`], the newest first. See [`Events::iter`].
pub struct EventIter(Scan);

/// Not the ledger, which is all events.
impl fmt::Debug for EventIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventIter").finish_non_exhaustive()
    }
}

impl Iterator for EventIter {
    type Item = RecordedEvent;

    fn next(&mut self) -> Option<RecordedEvent> {
        self.0.next()
    }
}

impl FusedIterator for EventIter {}
