//! Exporting from the store, which has more events than memory keeps, and their idempotency keys.

use std::io::Write;
use std::ops::ControlFlow;

use super::{ExportReport, Exported, Lines};
use crate::base::progress::Progress;
use crate::engine::ExportError;
use crate::journal::store::Chunk;
use crate::journal::{Pipeline, Record};
use crate::log::Wanted;
use crate::recording::Ledger;

/// Writes the events that are wanted and were recorded before this call.
pub(super) fn export(
    pipeline: &Pipeline,
    ledger: &Ledger,
    wanted: &Wanted,
    out: &mut impl Write,
    progress: impl FnMut(Progress),
) -> Result<ExportReport, ExportError> {
    let end = ledger.recorded();
    pipeline.flush().map_err(ExportError::Store)?;
    let store = &pipeline.store;
    let first = store.first();
    let mut lines = Lines::new(out, end.saturating_sub(first), progress);
    let mut failed = None;
    let mut visit = |chunk: &Chunk<'_>| {
        let is_after = wanted.end.is_some_and(|end| chunk.earliest() >= end);
        if chunk.latest() < wanted.start || is_after {
            return ControlFlow::Continue(());
        }
        for (place, bytes) in chunk.records() {
            if place >= end {
                return ControlFlow::Break(());
            }
            let written = match read(ledger, wanted, place, bytes) {
                Ok(None) => continue,
                Ok(Some(exported)) => {
                    // Who writes is the caller's code, which may use the engine, and may panic.
                    let mut written = Ok(());
                    store.own(&mut || written = lines.write(&exported));
                    written
                }
                Err(()) => {
                    let what = format!("record {place}");
                    Err(ExportError::Store(store.damaged(&what, "it cannot be read")))
                }
            };
            if let Err(why) = written {
                failed = Some(why);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    let read = pipeline.telling(&mut |_| (), |_| store.read(first, &mut visit));
    read.map_err(ExportError::Store)?;
    failed.map_or_else(|| lines.end(), Err)
}

/// The event of a record, where it is wanted.
fn read(
    ledger: &Ledger,
    wanted: &Wanted,
    place: u64,
    bytes: &[u8],
) -> Result<Option<Exported>, ()> {
    let record = Record::read(bytes).ok_or(())?;
    let stored = record.stored().ok_or(())?;
    if !wanted.has(stored.timestamp()) || !wanted.needle.matches(&stored) {
        return Ok(None);
    }
    let key = record.key.map(Into::into);
    Ok(Some(Exported { event: stored.unpack(ledger.id(place)), key }))
}
