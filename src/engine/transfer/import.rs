//! Importing: lines are read by one thread while another records the events of those before them.

use std::io::BufRead;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::block::{End, Piece, ReadLine, Source};
use super::line::LineEvent;
use super::report::Skipped;
use super::{BadLines, ImportReport};
use crate::base::progress::Progress;
use crate::engine::{BatchError, BatchProblem, Core, ImportError, TrackError};
use crate::event::Event;
use crate::idempotency::CustomerKey;
use crate::recording::Ledger;

const IMPORTING: &str = "importing events";
/// How many pieces are read ahead of the one whose events are recorded.
const AHEAD: usize = 2;

/// An import under way.
pub(super) struct Import<'e, P> {
    engine: &'e Core,
    bad_lines: BadLines,
    /// Whether threads run side by side here.
    has_threads: bool,
    report: ImportReport,
    progress: P,
}

impl<'e, P: FnMut(Progress)> Import<'e, P> {
    pub(super) fn new(engine: &'e Core, bad_lines: BadLines, progress: P) -> Self {
        let has_threads = thread::available_parallelism().is_ok_and(|threads| threads.get() > 1);
        Self { engine, bad_lines, has_threads, report: ImportReport::default(), progress }
    }

    pub(super) fn run(mut self, lines: impl BufRead) -> Result<ImportReport, ImportError> {
        (self.progress)(Progress::new(IMPORTING, 0, 0));
        let done = self.take_all(Source::new(lines, self.bad_lines));
        let lines = self.report.lines();
        (self.progress)(Progress::new(IMPORTING, lines, lines));
        done.map(|()| self.report)
    }

    fn take_all(&mut self, mut source: Source<impl BufRead>) -> Result<(), ImportError> {
        let mut pieces = Vec::new();
        loop {
            let end = source.take(&mut pieces);
            self.record_pieces(&pieces)?;
            match end {
                None => {}
                Some(End::Over) => return Ok(()),
                Some(End::Failed(line, why)) => {
                    let (imported, reason) = (self.report.imported(), why.to_string().into());
                    return Err(ImportError::Read { line, imported, reason });
                }
            }
        }
    }

    /// Records the events of lines. Those of the second piece and the ones behind it are read on
    /// another thread meanwhile, where there is one: recording is the caller's thread's alone, for
    /// what of the caller's it runs.
    fn record_pieces(&mut self, pieces: &[Piece]) -> Result<(), ImportError> {
        let Some((first, others)) = pieces.split_first() else { return Ok(()) };
        let bad_lines = self.bad_lines;
        if others.is_empty() || !self.has_threads {
            return pieces.iter().try_for_each(|piece| self.record(piece.read(bad_lines)));
        }
        thread::scope(|scope| {
            let (give, take) = sync_channel(AHEAD);
            let read_ahead = move || {
                // Nobody takes them any more where the import has ended.
                others.iter().all(|piece| give.send(piece.read(bad_lines)).is_ok())
            };
            let name = "limitry-import".to_owned();
            // Where there is no thread to be had, nothing comes, and all is done here.
            let _reads = thread::Builder::new().name(name).spawn_scoped(scope, read_ahead);
            self.record(first.read(bad_lines))?;
            others.iter().try_for_each(|piece| {
                let read = take.recv().unwrap_or_else(|_| piece.read(bad_lines));
                self.record(read)
            })
        })
    }

    /// Records the events of a piece, or, where a bad line stops the import, those before it.
    fn record(&mut self, lines: Vec<ReadLine<'_>>) -> Result<(), ImportError> {
        let mut events = Vec::with_capacity(lines.len());
        let mut numbers = Vec::with_capacity(lines.len());
        let (mut skipped, mut bad) = (Vec::new(), None);
        for (number, line) in lines {
            match line {
                Ok(line) if self.is_own(&line) => {
                    self.report.duplicates = self.report.duplicates.saturating_add(1);
                }
                Ok(line) => {
                    events.push(line.event);
                    numbers.push(number);
                }
                Err(reason) if self.bad_lines == BadLines::Skip => {
                    skipped.push((number, Skipped::Invalid(reason.into())));
                }
                Err(reason) => bad = Some((number, reason.into())),
            }
        }
        let stopped = self.record_events(&events, &numbers, &mut skipped);
        skipped.sort_unstable_by_key(|(line, _)| *line);
        for (line, why) in skipped {
            self.report.skip(line, why);
        }
        let imported = self.report.imported();
        match (stopped, bad) {
            (Some((line, Ok(source))), _) => Err(ImportError::Event { line, imported, source }),
            (Some((line, Err(source))), _) => Err(ImportError::Batch { line, imported, source }),
            (None, Some((line, reason))) => Err(ImportError::Line { line, imported, reason }),
            (None, None) => {
                (self.progress)(Progress::new(IMPORTING, self.report.lines(), 0));
                Ok(())
            }
        }
    }

    /// Whether this engine has recorded the event of a line itself. Its name alone does not say so:
    /// one that was lost with a store that failed is given again.
    fn is_own(&self, line: &LineEvent<'_>) -> bool {
        let ordinal = |ledger: &Ledger| ledger.ordinal(line.id?);
        let place = self.engine.ledger.as_deref().and_then(ordinal);
        place.is_some_and(|place| !self.engine.has_other(place, |stored| line.is_other(stored)))
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
