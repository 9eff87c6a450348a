//! Events out of the engine and into it, a line of JSON each.

use std::io::{BufRead, Write};

use super::Store;
use crate::base::progress::Progress;
use crate::engine::{ExportError, ImportError};
use crate::log::QueryError;
use crate::log::{EventQuery, RecordedEvent};
use crate::recording::Scan;
use crate::wire::ExportLine;

mod block;
mod import;
mod line;
mod report;
mod stored;

use self::import::Import;
pub(super) use self::line::past_event;
pub use self::report::{BadLines, ExportReport, ImportReport, SkippedLine};

const EXPORTING: &str = "exporting events";
/// Lines are handed to the writer when they are so many bytes.
const BUFFER_BYTES: usize = 64 * 1_024;
/// The most of a reason that is shown.
const REASON_CHARS: usize = 400;

impl Store {
    /// Writes the recorded events that match a query, the oldest first, each as a line of JSON: as
    /// [`RecordedEvent`] serializes, but for what it has not got, which is left out.
    /// [`import`](Self::import) reads them. What is amended is written as it is from then on, and
    /// what is [voided](crate::Engine::void) is left out.
    ///
    /// What is written are the events that are there when the call begins, but for those that
    /// retention drops before it gets to them. Recording goes on meanwhile: the ledger is locked to
    /// step to the next 1 024 events. The query's limit means nothing here. With a store they are
    /// all that the store has, also those that memory does not keep, and have their idempotency
    /// keys; what is recorded before the call is made durable first, and the store is read twice,
    /// for corrections come behind what they correct.
    ///
    /// `progress` is told how many events are written of how many that may match: `|_| {}` where
    /// nobody waits for it.
    ///
    /// ```
    /// use limitry::events::EventQuery;
    /// use limitry::store::BadLines;
    /// use limitry::{Engine, Event};
    ///
    /// let engine = Engine::builder().build()?;
    /// let call = Event::new("cust_123", "model_call").input_tokens(150);
    /// assert!(engine.track(&call)?.is_allowed());
    /// let mut lines = Vec::new();
    /// let report = engine.store().export(&mut lines, &EventQuery::new(), |_| {})?;
    /// assert_eq!(report.count, 1);
    ///
    /// let other = Engine::builder().build()?;
    /// assert_eq!(other.store().import(&lines[..], BadLines::Stop, |_| {})?.count, 1);
    /// assert_eq!(other.store().import(&lines[..], BadLines::Stop, |_| {})?.duplicates, 1);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// Recording is off; a filter breaks the rules of ids and keys; the range ends where it
    /// starts, or before; the query has a cursor. The writer fails, or the store: what the writer
    /// was given is written.
    pub fn export(
        &self,
        out: &mut impl Write,
        query: &EventQuery,
        progress: impl FnMut(Progress),
    ) -> Result<ExportReport, ExportError> {
        let ledger = self.core.ledger.as_ref().ok_or(QueryError::RecordingOff)?;
        if let Some(cursor) = query.cursor_text() {
            return Err(QueryError::invalid("cursor", cursor, "must not be set").into());
        }
        let wanted = query.wanted(ledger.hasher())?;
        if let Some(pipeline) = self.core.pipeline.as_ref().filter(|it| !it.is_memory_only()) {
            let ledger = (&**ledger, self.core.table.timeline());
            return stored::export(pipeline, ledger, &wanted, out, progress);
        }
        let total = u64::try_from(ledger.len()).unwrap_or(u64::MAX);
        let events = Scan::oldest_first(ledger, wanted);
        let mut lines = Lines::new(out, total, progress);
        for RecordedEvent { id, timestamp, event, .. } in
            events.filter_map(RecordedEvent::into_corrected)
        {
            // What is kept in memory has no keys.
            lines.add(&ExportLine { id, created_at: timestamp, event: &event, key: None })?;
            if lines.are_many() {
                lines.hand_over()?;
            }
        }
        lines.end()
    }

    /// Records events from lines of JSON, as [`record`](crate::Engine::record) does: they count
    /// whatever the rules say.
    ///
    /// A line is what [`export`](Self::export) writes: `customerId`, `eventType` and `createdAt`,
    /// and where the event has them `id`, `model`, `provider`, `inputTokens`, `outputTokens`,
    /// `totalTokens`, `latencyMs`, `costCents`, `properties`, `attached`, `dimensions`, `values`
    /// and `idempotencyKey`; null is as good as nothing, `timestamp` is another name of
    /// `createdAt`, and empty lines are passed over. Fields of other names are errors. An event is
    /// taken however far ahead it is dated: it was recorded when a clock was ahead, and stays where
    /// it is.
    ///
    /// The idempotency key of an event is the line's, or else its `id`; one of them must be there.
    /// So lines that are imported twice count once, as long as the engine remembers their keys.
    /// Events that this engine has recorded itself are duplicates, too. A key that the customer
    /// used for another event makes a bad line, as a field that breaks its rule does.
    ///
    /// `bad_lines` says what to do with those. [`BadLines::Stop`] ends the import at the first;
    /// [`BadLines::Skip`] leaves them out, and the report counts them and says of the first 1 000
    /// what is wrong.
    ///
    /// Costs what [`record_batch`](crate::Engine::record_batch) of 1 000 events at a time does, and
    /// half as much again to read the lines. Of what `lines` has at hand, 16 000 lines or 8 MiB at
    /// the most, all but the first thousand are read on a thread of its own while events are
    /// recorded, where the machine runs two. `progress` is told how many lines are done; how many
    /// there are is not known. A panic of it, or of `lines`, comes between two batches and is
    /// handed on: what was imported before is imported whole.
    ///
    /// ```
    /// use limitry::store::BadLines;
    /// use limitry::Engine;
    ///
    /// let engine = Engine::builder().build()?;
    /// let at = r#""createdAt":"2024-01-15T10:00:00Z""#;
    /// let lines = [
    ///     format!(r#"{{"id":"1","customerId":"c","eventType":"call",{at}}}"#),
    ///     format!(r#"{{"id":"2","customerId":"","eventType":"call",{at}}}"#),
    ///     format!(r#"{{"id":"1","customerId":"c","eventType":"other",{at}}}"#),
    ///     format!(r#"{{"id":"3","customerId":"c","eventType":"call",{at}}}"#),
    /// ];
    /// let lines = lines.join("\n");
    /// let report = engine.store().import(lines.as_bytes(), BadLines::Skip, |_| {})?;
    /// assert_eq!((report.count, report.invalid, report.conflicts), (2, 1, 1));
    /// assert_eq!(report.skipped[0].line, 2);
    /// assert_eq!(&*report.skipped[0].reason, "customer_id: \"\" must be 1 to 256 bytes long");
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// With `Stop` the first line that cannot be read or recorded, with its number, field, value
    /// and rule. All lines before it are imported then: put it right, and import the same lines
    /// again. With both: `lines` or the store fails.
    pub fn import(
        &self,
        lines: impl BufRead,
        bad_lines: BadLines,
        progress: impl FnMut(Progress),
    ) -> Result<ImportReport, ImportError> {
        Import::new(&self.core, bad_lines, progress).run(lines)
    }
}

/// An export under way, of about `total` events.
struct Lines<'o, W, P> {
    out: &'o mut W,
    /// Lines that the writer was not given yet.
    waiting: Vec<u8>,
    count: u64,
    /// How many events were given to the writer without an error.
    written: u64,
    total: u64,
    progress: P,
}

impl<'o, W: Write, P: FnMut(Progress)> Lines<'o, W, P> {
    fn new(out: &'o mut W, total: u64, mut progress: P) -> Self {
        progress(Progress::new(EXPORTING, 0, total));
        Self { out, waiting: Vec::new(), count: 0, written: 0, total, progress }
    }

    /// Adds a line; nothing of the caller's runs.
    fn add(&mut self, line: &ExportLine<'_, '_>) -> Result<(), ExportError> {
        append(line, &mut self.waiting)?;
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Whether it is time to [hand over](Self::hand_over).
    fn are_many(&self) -> bool {
        self.waiting.len() >= BUFFER_BYTES
    }

    /// Gives the lines to the writer, and tells of it.
    fn hand_over(&mut self) -> Result<(), ExportError> {
        self.write()?;
        (self.progress)(Progress::new(EXPORTING, self.count, self.total));
        Ok(())
    }

    fn write(&mut self) -> Result<(), ExportError> {
        let done = self.out.write_all(&self.waiting).and_then(|()| self.out.flush());
        let written = self.written;
        done.map_err(|why| ExportError::Write { written, reason: why.to_string().into() })?;
        self.waiting.clear();
        self.written = self.count;
        Ok(())
    }

    fn end(mut self) -> Result<ExportReport, ExportError> {
        self.write()?;
        (self.progress)(Progress::new(EXPORTING, self.count, self.count));
        Ok(ExportReport { count: self.count })
    }
}

/// Appends a line.
fn append(line: &ExportLine<'_, '_>, out: &mut Vec<u8>) -> Result<(), ExportError> {
    line.append(out).map_err(|why| {
        let reason = why.to_string().into();
        ExportError::Event { id: line.id, reason }
    })
}

/// What `serde_json` says, without its line number: it is given one line at a time, and counts each
/// as the first.
fn reason(why: &serde_json::Error) -> String {
    let text = why.to_string();
    let told = text.rsplit_once(" at line ").map_or(&*text, |(told, _)| told);
    let shown: String = told.chars().take(REASON_CHARS).collect();
    if why.is_data() {
        return shown;
    }
    format!("must be a JSON object: {shown} at column {}", why.column())
}
