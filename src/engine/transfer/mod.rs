//! Events out of the engine and into it, a line of JSON each.

use std::io::{self, BufRead, Read, Write};

use serde::{Serialize, Serializer};

use super::{Core, Store};
use crate::base::progress::Progress;
use crate::engine::{BatchError, BatchProblem, ExportError, ImportError, TrackError};
use crate::event::Event;
use crate::idempotency::CustomerKey;
use crate::log::QueryError;
use crate::log::{EventQuery, RecordedEvent};
use crate::recording::{Ledger, Scan};
use crate::wire::{Line, MAX_BATCH};

mod line;
mod report;
mod stored;

pub(super) use self::line::past_event;
use self::report::Skipped;
pub use self::report::{BadLines, ExportReport, ImportReport, SkippedLine};

const EXPORTING: &str = "exporting events";
const IMPORTING: &str = "importing events";
/// Lines are handed to the writer when they are so many bytes.
const BUFFER_BYTES: usize = 64 * 1_024;
/// A longer line is no event: nothing reads on without end.
const MAX_LINE_BYTES: usize = 16 * 1_024 * 1_024;
/// Events that were read are recorded when their lines have so many bytes, however few they are.
const BATCH_BYTES: usize = 8 * 1_024 * 1_024;
/// The most of a reason that is shown.
const REASON_CHARS: usize = 400;

/// A recorded event and its idempotency key, where that is kept.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) event: RecordedEvent,
    pub(crate) key: Option<Box<str>>,
}

/// As the product lists events, with `idempotencyKey` where there is one.
impl Serialize for Exported {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Keyed<'a> {
            #[serde(flatten)]
            event: &'a RecordedEvent,
            idempotency_key: &'a str,
        }
        match &self.key {
            None => self.event.serialize(serializer),
            Some(key) => Keyed { event: &self.event, idempotency_key: key }.serialize(serializer),
        }
    }
}

impl Store {
    /// Writes the recorded events that match a query, the oldest first, each as a line of JSON: as
    /// [`RecordedEvent`] serializes. [`import`](Self::import) reads them. What is amended is
    /// written as it is from then on, and what is [voided](crate::Engine::void) is left out.
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
        for event in events.filter_map(RecordedEvent::into_corrected) {
            // What is kept in memory has no keys.
            lines.write(&Exported { event, key: None })?;
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
    /// as much again to read the lines. `progress` is told how many lines are done; how many there
    /// are is not known. A panic of it, or of `lines`, comes between two batches and is handed on:
    /// what was imported before is imported whole.
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
        let mut import = Import {
            engine: &self.core,
            bad_lines,
            events: Vec::new(),
            numbers: Vec::new(),
            bytes: 0,
            unread: Vec::new(),
            report: ImportReport::default(),
            progress,
        };
        let done = import.run(lines);
        let lines = import.report.lines();
        (import.progress)(Progress::new(IMPORTING, lines, lines));
        done.map(|()| import.report)
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

    fn write(&mut self, exported: &Exported) -> Result<(), ExportError> {
        let line = serde_json::to_writer(&mut self.waiting, exported);
        line.map_err(|why| {
            let reason = why.to_string().into();
            ExportError::Event { id: exported.event.id, reason }
        })?;
        self.waiting.push(b'\n');
        self.count = self.count.saturating_add(1);
        if self.waiting.len() >= BUFFER_BYTES {
            self.hand_over()?;
            (self.progress)(Progress::new(EXPORTING, self.count, self.total));
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), ExportError> {
        let done = self.out.write_all(&self.waiting).and_then(|()| self.out.flush());
        let written = self.written;
        done.map_err(|why| ExportError::Write { written, reason: why.to_string().into() })?;
        self.waiting.clear();
        self.written = self.count;
        Ok(())
    }

    fn end(mut self) -> Result<ExportReport, ExportError> {
        self.hand_over()?;
        (self.progress)(Progress::new(EXPORTING, self.count, self.count));
        Ok(ExportReport { count: self.count })
    }
}

/// An import under way.
struct Import<'e, P> {
    engine: &'e Core,
    bad_lines: BadLines,
    /// What was read and is not recorded yet, the lines' numbers, and how many bytes they had.
    events: Vec<Event<'static>>,
    numbers: Vec<u64>,
    bytes: usize,
    /// Lines between those that are no events and are to be skipped, and why.
    unread: Vec<(u64, Box<str>)>,
    report: ImportReport,
    progress: P,
}

impl<P: FnMut(Progress)> Import<'_, P> {
    fn run(&mut self, mut lines: impl BufRead) -> Result<(), ImportError> {
        (self.progress)(Progress::new(IMPORTING, 0, 0));
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if let Err(why) = self.read_line(&mut lines, &mut text) {
                self.record()?;
                let (imported, reason) = (self.report.imported(), why.to_string().into());
                return Err(ImportError::Read { line, imported, reason });
            }
            if text.is_empty() {
                break;
            }
            if text.len() <= MAX_LINE_BYTES && text.trim_ascii().is_empty() {
                continue;
            }
            match self.read(&text) {
                Ok(Some(event)) => {
                    self.events.push(event);
                    self.numbers.push(line);
                    self.bytes = self.bytes.saturating_add(text.len());
                }
                Ok(None) => self.report.duplicates = self.report.duplicates.saturating_add(1),
                Err(reason) if self.bad_lines == BadLines::Skip => {
                    self.unread.push((line, reason.into()));
                }
                Err(reason) => {
                    self.record()?;
                    let imported = self.report.imported();
                    return Err(ImportError::Line { line, imported, reason: reason.into() });
                }
            }
            let waiting = self.events.len().max(self.unread.len());
            if waiting >= MAX_BATCH || self.bytes >= BATCH_BYTES {
                self.record()?;
                (self.progress)(Progress::new(IMPORTING, self.report.lines(), 0));
            }
        }
        self.record()
    }

    /// Takes the next line, and of one that is too long little more than is needed to know it.
    fn read_line(&self, lines: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<()> {
        let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        lines.by_ref().take(most).read_until(b'\n', text)?;
        let is_cut = text.len() > MAX_LINE_BYTES && !text.ends_with(b"\n");
        if is_cut && self.bad_lines == BadLines::Skip {
            lines.skip_until(b'\n')?;
        }
        Ok(())
    }

    /// Reads a line; `None` of an event of this engine. A name of it alone does not say so: one
    /// that was lost with a store that failed is given again.
    fn read(&self, text: &[u8]) -> Result<Option<Event<'static>>, String> {
        if text.len() > MAX_LINE_BYTES {
            return Err(format!("the line must be at most {MAX_LINE_BYTES} bytes long"));
        }
        let line: Line = serde_json::from_slice(text).map_err(|why| reason(&why))?;
        let id = line.0.id.as_deref().and_then(|id| id.parse().ok());
        let is_own = |ledger: &Ledger| ledger.ordinal(id?);
        let place = self.engine.ledger.as_deref().and_then(is_own);
        if place.is_some_and(|place| {
            !self.engine.has_other(place, |event| line::is_other(&line, event))
        }) {
            return Ok(None);
        }
        line::event(line).map(Some)
    }

    /// Records what was read, or, where a bad line stops the import, what is before it.
    fn record(&mut self) -> Result<(), ImportError> {
        let (events, numbers) =
            (std::mem::take(&mut self.events), std::mem::take(&mut self.numbers));
        self.bytes = 0;
        let mut skipped: Vec<(u64, Skipped)> = std::mem::take(&mut self.unread)
            .into_iter()
            .map(|(line, reason)| (line, Skipped::Invalid(reason)))
            .collect();
        let stopped = self.record_events(&events, &numbers, &mut skipped);
        skipped.sort_unstable_by_key(|(line, _)| *line);
        for (line, why) in skipped {
            self.report.skip(line, why);
        }
        let Some((line, why)) = stopped else { return Ok(()) };
        let imported = self.report.imported();
        Err(match why {
            Ok(source) => ImportError::Event { line, imported, source },
            Err(source) => ImportError::Batch { line, imported, source },
        })
    }

    /// Records events, whose lines have these numbers; says at which line and why the import stops.
    fn record_events(
        &mut self,
        events: &[Event<'_>],
        numbers: &[u64],
        skipped: &mut Vec<(u64, Skipped)>,
    ) -> Option<(u64, Result<TrackError, BatchError>)> {
        let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
        if events.is_empty() {
            return None;
        }
        let mut batch = match self.engine.batch(events, true) {
            Ok(batch) => batch,
            Err(why) => return Some((number(0), Err(why))),
        };
        let (mut wanted, mut stopped) = (events, None);
        for BatchProblem { index, source } in std::mem::take(&mut batch.problems) {
            if self.bad_lines == BadLines::Stop {
                wanted = events.get(..index).unwrap_or_default();
                stopped = Some((number(index), Ok(source)));
                break;
            }
            skipped.push((number(index), Skipped::of(&source)));
        }
        let recorded = match batch.record(wanted) {
            Ok(recorded) => recorded,
            Err(why) => return Some((number(0), Err(why))),
        };
        for (index, became) in recorded {
            if let (false, Some(event)) = (self.report.add(became), events.get(index)) {
                let conflict = CustomerKey::of(event).map(CustomerKey::conflict);
                skipped.extend(conflict.map(|why| (number(index), Skipped::of(&why.into()))));
            }
        }
        stopped
    }
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
