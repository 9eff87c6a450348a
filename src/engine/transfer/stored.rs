//! Exporting from the store, which has more events than memory keeps, and their idempotency keys.

use std::collections::HashMap;
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::panic::resume_unwind;
use std::thread;

use super::{ExportReport, Lines, append};
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::base::progress::Progress;
use crate::counters::Timeline;
use crate::engine::ExportError;
use crate::journal::store::{Chunk, Store, StoreError};
use crate::journal::{Entry, Pipeline, Record, Unreadable};
use crate::log::{ScanFilter, Stored};
use crate::recording::Ledger;
use crate::wire::ExportLine;

/// Of a chunk with fewer records no half is given to another thread.
const MIN_SHARED: u32 = 256;

/// Writes the events that are wanted and were recorded before this call.
pub(super) fn export(
    pipeline: &Pipeline,
    (ledger, timeline): (&Ledger, Timeline),
    wanted: &ScanFilter,
    out: &mut impl Write,
    progress: impl FnMut(Progress),
) -> Result<ExportReport, ExportError> {
    let end = ledger.recorded();
    pipeline.flush().map_err(ExportError::Store)?;
    let seq_end = pipeline.store.end();
    let store = &pipeline.store;
    let total = end.saturating_sub(store.first_event());
    let amended = corrections(pipeline, end).map_err(ExportError::Store)?;
    let events = Events { ledger, timeline, end, wanted, amended: &amended, store: &**store };
    let has_threads = thread::available_parallelism().is_ok_and(|threads| threads.get() > 1);
    let mut lines = Lines::new(out, total, progress);
    let (mut failed, mut spare) = (None, Vec::new());
    let mut visit = |chunk: &Chunk<'_>| {
        let is_after = wanted.end.is_some_and(|end| chunk.earliest() >= end);
        if chunk.latest() < wanted.start || is_after {
            return ControlFlow::Continue(());
        }
        if chunk.first() >= seq_end {
            return ControlFlow::Break(());
        }
        let mut added = if has_threads && chunk.count() >= MIN_SHARED {
            events.append_beside(chunk, &mut lines.waiting, &mut lines.count, &mut spare)
        } else {
            events.append((chunk, chunk.seqs()), &mut lines.waiting, &mut lines.count)
        };
        if added.is_ok() && lines.are_many() {
            // Who writes is the caller's code, which may use the engine, and may panic.
            store.run_caller(&mut || added = lines.hand_over());
        }
        failed = added.err();
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let read = pipeline.with_progress(&mut |_| (), |_| store.read(0, &mut visit));
    read.map_err(ExportError::Store)?;
    failed.map_or_else(|| lines.end(), Err)
}

/// The newest correction of each event that has one, of those before an ordinal: the packed event
/// as it is amended, or nothing of one that is voided.
type Amended = HashMap<u64, Option<Box<[u8]>>, ahash::RandomState>;

fn corrections(pipeline: &Pipeline, end: u64) -> Result<Amended, StoreError> {
    let (mut found, mut wrong) = (Amended::default(), None);
    let store = &pipeline.store;
    let mut visit = |chunk: &Chunk<'_>| {
        for (seq, bytes) in chunk.records().filter(|(_, bytes)| Record::is_correction(bytes)) {
            match Record::read(seq, bytes).map(|record| record.entry) {
                Ok(Entry::Correction(of)) if of.decision.ordinal < end => {
                    let amended = (!of.is_void).then(|| of.decision.event.into());
                    found.insert(of.target, amended);
                }
                Ok(_) => {}
                Err(why) => {
                    wrong = Some(why.of(&**store, seq));
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    };
    pipeline.with_progress(&mut |_| (), |_| store.read(0, &mut visit))?;
    wrong.map_or(Ok(found), Err)
}

/// What is written of the records of a store.
struct Events<'e> {
    ledger: &'e Ledger,
    timeline: Timeline,
    /// The ordinal behind the last event that is written.
    end: u64,
    wanted: &'e ScanFilter,
    amended: &'e Amended,
    store: &'e dyn Store,
}

impl Events<'_> {
    /// Appends the lines of a chunk, half of which another thread makes meanwhile.
    fn append_beside(
        &self,
        chunk: &Chunk<'_>,
        out: &mut Vec<u8>,
        count: &mut u64,
        spare: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        let (seqs, mut text, mut more) = (chunk.seqs(), std::mem::take(spare), 0);
        let middle = seqs.start.midpoint(seqs.end);
        text.clear();
        thread::scope(|scope| {
            let second = move || {
                let done = self.append((chunk, middle..seqs.end), &mut text, &mut more);
                (text, more, done)
            };
            let beside = thread::Builder::new().name("limitry-export".to_owned());
            let Ok(beside) = beside.spawn_scoped(scope, second) else {
                // There is no thread to be had.
                return self.append((chunk, chunk.seqs()), out, count);
            };
            let first = self.append((chunk, seqs.start..middle), out, count);
            let (text, more, done) = beside.join().unwrap_or_else(|panic| resume_unwind(panic));
            first?;
            out.extend_from_slice(&text);
            *count = count.saturating_add(more);
            *spare = text;
            done
        })
    }

    /// Appends the lines of some of a chunk's records, and counts them.
    fn append(
        &self,
        (chunk, seqs): (&Chunk<'_>, Range<u64>),
        out: &mut Vec<u8>,
        count: &mut u64,
    ) -> Result<(), ExportError> {
        for (seq, bytes) in chunk.records_of(seqs) {
            let appended = self.append_event(seq, bytes, out);
            if appended.map_err(|why| ExportError::Store(why.of(self.store, seq)))?? {
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Appends the line of a record's event, where it is wanted and was there when the call came.
    fn append_event(
        &self,
        seq: u64,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Result<bool, ExportError>, Unreadable> {
        let record = Record::read(seq, bytes)?.event();
        let Some(record) = record.filter(|it| it.ordinal < self.end) else { return Ok(Ok(false)) };
        let mut stored = record.stored(self.timeline)?;
        let is_wanted = self.wanted.has(stored.timestamp()) && self.wanted.filter.matches(&stored);
        if !is_wanted || stored.is_anonymous() {
            return Ok(Ok(false));
        }
        match self.amended.get(&record.ordinal) {
            None => {}
            Some(None) => return Ok(Ok(false)),
            Some(Some(bytes)) => stored = Stored::decode_all(Reader::new(Version::NEWEST, bytes))?,
        }
        let (id, created_at) = (self.ledger.id(record.ordinal), stored.timestamp());
        let (event, key) = (stored.event(), record.key);
        let appended = append(&ExportLine { id, created_at, event: &event, key }, out);
        Ok(appended.map(|()| true))
    }
}
