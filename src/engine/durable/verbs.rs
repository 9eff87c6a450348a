//! What an application asks of an engine that survives.

use std::fmt;
use std::iter;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use chrono::{DateTime, Utc};

use crate::decision::Decision;
use crate::durable::{Durability, Pipeline, Verified, VerifyReport};
use crate::engine::{Engine, Usage};
use crate::ledger::Ledger;
use crate::log::store::StoreError;
use crate::progress::Progress;
use crate::usage::UsageQuery;

/// How an engine and its store are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// What has happened to an event when a call returns; `None` of an engine without a store.
    pub durability: Option<Durability>,
    /// Why the store takes nothing any more, if it does not: it failed, or was closed.
    pub failure: Option<StoreError>,
    /// How many records wait for their commit.
    pub waiting: usize,
    /// How many records the store has had in all, up to the last durable one.
    pub recorded: u64,
    /// The bytes of the store's file.
    pub stored_bytes: u64,
}

impl Health {
    /// Returns whether all is well: there is no store, or it takes what comes.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failure.is_none()
    }
}

/// The commit of a decision's event: waits for it as a future, or with [`wait`](Self::wait).
///
/// Its output is an error when the store failed before the commit, also where the engine goes on in
/// memory ([`OnFailure::MemoryOnly`](crate::OnFailure::MemoryOnly)). It works in any async runtime.
/// Any number of events share a commit. Whoever waits makes the commit come at once, and dropping
/// the future changes nothing.
#[must_use = "a commit that nobody waits for comes in its own time"]
pub struct Committed<'e> {
    pipeline: Option<&'e Pipeline>,
    place: Option<u64>,
}

impl Committed<'_> {
    /// Waits until the event is durable.
    ///
    /// # Errors
    /// The store failed before: whether the event is there shows when it is opened again.
    pub fn wait(self) -> Result<(), StoreError> {
        match (self.pipeline, self.place) {
            (Some(pipeline), Some(place)) => pipeline.wait(place),
            _ => Ok(()),
        }
    }
}

impl Future for Committed<'_> {
    type Output = Result<(), StoreError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match (self.pipeline, self.place) {
/// Not the pipeline: what waits there are other callers' events and keys.
impl fmt::Debug for Committed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed").field("place", &self.place).finish_non_exhaustive()
    }
}

            (Some(pipeline), Some(place)) => pipeline.poll(place, task),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Engine {
    /// Returns the commit of a decision's event, to wait for: what [`Durability::Synced`] does in
    /// the call, for single calls and for tasks. At once for a decision that recorded nothing, and
    /// for an engine without a store.
    ///
    /// ```no_run
    /// # use limitry::{Engine, Error, Event};
    /// # async fn example(engine: Engine, event: Event<'_>) -> Result<(), Error> {
    /// let decision = engine.track(&event)?;
    /// engine.committed(&decision).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn committed(&self, decision: &Decision) -> Committed<'_> {
        Committed { pipeline: self.pipeline.as_ref(), place: decision.log_place() }
    }

    /// Waits until everything is durable that was recorded before this call. At once for an engine
    /// without a store.
    ///
    /// # Errors
    /// The store has failed.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.pipeline.as_ref().map_or(Ok(()), Pipeline::flush)
    }

    /// Makes everything durable, writes a checkpoint so that opening again is quick, and closes the
    /// store. Calls that come after it and would record something are errors; questions are
    /// answered. Waits as long as it takes; a second call returns at once.
    ///
    /// Dropping an engine does the same without the checkpoint, and gives up after five seconds.
    ///
    /// # Errors
    /// The store failed, now or before.
    pub fn close(&self) -> Result<(), StoreError> {
        self.pipeline.as_ref().map_or(Ok(()), Pipeline::close)
    }

    /// Returns how the engine's store is. O(1).
    #[must_use]
    pub fn health(&self) -> Health {
        let pipeline = self.pipeline.as_ref();
        Health {
            durability: pipeline.map(Pipeline::level),
            failure: pipeline.and_then(|pipeline| pipeline.failure().cloned()),
            waiting: pipeline.map_or(0, Pipeline::waiting),
            recorded: pipeline.map_or(0, Pipeline::durable_end),
            stored_bytes: pipeline.map_or(0, |pipeline| pipeline.store.size()),
        }
    }

    /// Makes the store's file as small as it can be; returns whether it became smaller. Commits
    /// wait meanwhile, and so do calls once the queue is full.
    ///
    /// # Errors
    /// The store has failed or is closed.
    pub fn compact(&self, mut tell: impl FnMut(Progress)) -> Result<bool, StoreError> {
        let pipeline = self.pipeline.as_ref();
        pipeline.map_or(Ok(false), |pipeline| pipeline.store.compact(&mut tell))
    }

    /// Copies the store to a new file while the engine goes on: everything that was durable at one
    /// moment of the call. The copy opens as any store.
    ///
    /// # Errors
    /// There is something of this name, the store cannot be read, or the copy not be written; what
    /// was written of it is removed.
    pub fn backup(
        &self,
        to: impl AsRef<Path>,
        mut tell: impl FnMut(Progress),
    ) -> Result<(), StoreError> {
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        pipeline.flush()?;
        pipeline.store.backup(to.as_ref(), &mut tell)
    }

    /// Checks the store while the engine goes on: every sum and every page of the file; that the
    /// states of counters that the log holds follow from each other, event by event; and, where the
    /// log reaches back to the first event, that the roll-ups which opening would find are the sums
    /// of the events, in all and by each declared dimension. Reads the whole file, and takes as
    /// much memory as opening the store once more, without its idempotency keys. The file grows by
    /// what is committed meanwhile.
    ///
    /// Who is told may use the engine, but not check, compact, copy or close the store.
    ///
    /// # Errors
    /// What is damaged or does not belong together; the store has failed or is closed.
    pub fn verify(&self, mut tell: impl FnMut(Progress)) -> Result<VerifyReport, StoreError> {
        let Some(pipeline) = &self.pipeline else { return Ok(VerifyReport::default()) };
        let Verified { report, ledgers } = pipeline.verify(&mut tell)?;
        if let Some((found, folded)) = &ledgers {
            let dimensions = pipeline.dimensions();
            for part in iter::once(None).chain(dimensions.map(Some)) {
                if answer(found, part) != answer(folded, part) {
                    let part = part.unwrap_or("all events");
                    let (what, store) = (format!("the roll-ups of {part}"), &pipeline.store);
                    return Err(store.damaged(&what, "they are not the sums of the events"));
                }
            }
        }
        Ok(report)
    }
}

/// The sums of all time, or of each value of a dimension.
fn answer(ledger: &Ledger, dimension: Option<&str>) -> Option<String> {
    let usage = Usage { ledger: Some(ledger) };
    let query = UsageQuery::new(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    match dimension {
        None => serde_json::to_string(&usage.summary(&query).ok()?.generic()).ok(),
        Some(dimension) => {
            let breakdown = usage.breakdown(&query, dimension).ok()?;
            Some(format!("{:?} {:?}", breakdown.rows, breakdown.other))
        }
    }
}
