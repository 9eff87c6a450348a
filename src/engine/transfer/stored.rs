//! Exporting from the store, which has more events than memory keeps, and their idempotency keys.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;

use super::{ExportReport, Lines};
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::base::progress::Progress;
use crate::counters::Timeline;
use crate::engine::ExportError;
use crate::event::{Event, EventId};
use crate::journal::store::{Chunk, StoreError};
use crate::journal::{Entry, Pipeline, Record, Unreadable};
use crate::log::{ScanFilter, Stored};
use crate::recording::Ledger;
use crate::wire::ExportLine;

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
    let mut lines = Lines::new(out, total, progress);
    let mut failed = None;
    let mut visit = |chunk: &Chunk<'_>| {
        let is_after = wanted.end.is_some_and(|end| chunk.earliest() >= end);
        if chunk.latest() < wanted.start || is_after {
            return ControlFlow::Continue(());
        }
        if chunk.first() >= seq_end {
            return ControlFlow::Break(());
        }
        for (seq, bytes) in chunk.records() {
            let read = read((ledger, timeline, end), (wanted, &amended), seq, bytes);
            let mut added = match read {
                Ok(None) => continue,
                Ok(Some((named, event, key))) => lines.add(&ExportLine::of(named, &event, key)),
                Err(why) => Err(ExportError::Store(why.of(&**store, seq))),
            };
            if added.is_ok() && lines.are_many() {
                // Who writes is the caller's code, which may use the engine, and may panic.
                store.run_caller(&mut || added = lines.hand_over());
            }
            if let Err(why) = added {
                failed = Some(why);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
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

/// An event, with its id and its time, and its idempotency key.
type Exported<'e> = ((EventId, Timestamp), Event<'e>, Option<&'e str>);

/// The event of a record, where it is wanted and there when the call came. It borrows its texts.
fn read<'r>(
    (ledger, timeline, end): (&Ledger, Timeline, u64),
    (wanted, amended): (&ScanFilter, &'r Amended),
    seq: u64,
    bytes: &'r [u8],
) -> Result<Option<Exported<'r>>, Unreadable> {
    let event = Record::read(seq, bytes)?.event();
    let Some(event) = event.filter(|event| event.ordinal < end) else { return Ok(None) };
    let mut stored = event.stored(timeline)?;
    let is_wanted = wanted.has(stored.timestamp()) && wanted.filter.matches(&stored);
    if !is_wanted || stored.is_anonymous() {
        return Ok(None);
    }
    match amended.get(&event.ordinal) {
        None => {}
        Some(None) => return Ok(None),
        Some(Some(bytes)) => stored = Stored::decode_all(Reader::new(Version::NEWEST, bytes))?,
    }
    let named = (ledger.id(event.ordinal), stored.timestamp());
    Ok(Some((named, stored.event(), event.key)))
}
