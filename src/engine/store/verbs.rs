//! What an application asks of an engine that survives.

use std::fmt;
use std::iter;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::progress::Progress;
use crate::decision::Decision;
use crate::engine::{Core, Engine, Usage};
use crate::journal::store::StoreError;
use crate::journal::{Commit, Durability, Pipeline, Verified, VerifyReport};
use crate::telemetry;
use crate::usage::{UsageBreakdown, UsageQuery, UsageTotals};

/// The state of an engine's store: [`Store::health`](crate::handles::Store::health).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The durability level of the engine's calls; `None` for an engine without a store.
    pub durability: Option<Durability>,
    /// Why the store takes nothing any more: it failed, or the engine was closed. `None` while it
    /// takes what comes.
    pub failure: Option<StoreError>,
    /// How many records wait for their commit, those of the commit under way with them: what a
    /// crash at this moment could lose.
    pub waiting: usize,
    /// How many bytes these records have.
    pub waiting_bytes: usize,
    /// How many events the store was ever given and has made durable, those with them that
    /// retention has dropped.
    pub recorded: u64,
    /// The size of the store's file in bytes; 0 where it cannot be told.
    pub stored_bytes: u64,
    /// The latest timestamp of the store's events where that is after the engine's time: of an
    /// event that was dated ahead, or that came while the clock was. It counts where it is dated.
    /// `None` where no event is ahead.
    pub latest_ahead: Option<Timestamp>,
    /// By how much the clock was set back since the store was made, by what was found when it was
    /// opened: rate limits go on by a time that is so far ahead of it.
    pub set_back: Duration,
}

impl Health {
    /// Returns whether there is no store, or it takes what comes: false after a failure, and after
    /// [`Store::close`](crate::handles::Store::close).
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failure.is_none()
    }
}

/// The commit of a decision's event, to be awaited as a future, or by a thread with
/// [`wait`](Self::wait). See [`Store::committed`](crate::handles::Store::committed).
///
/// Its output is an error when the store failed before the commit, also where the engine goes on in
/// memory ([`OnFailure::MemoryOnly`](crate::store::OnFailure::MemoryOnly)). It works in any async
/// runtime: tasks are woken on a thread that does nothing else, so a waker may block, and may use
/// or drop the engine.
/// Any number of events share a commit. Whoever waits makes the commit come at once, and dropping
/// the future changes nothing. It does not keep the engine open: dropping the last handle of that
/// commits what waits.
#[must_use = "a commit that nobody waits for comes in its own time"]
pub struct Committed(Option<Commit>);

impl Committed {
    /// Blocks the thread until the event is durable.
    ///
    /// # Errors
    /// The store failed before. Whether it has the event shows when it is opened again.
    pub fn wait(self) -> Result<(), StoreError> {
        self.0.map_or(Ok(()), |commit| commit.wait())
    }
}

/// Not the queue: what waits there are other callers' events and keys.
impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed").finish_non_exhaustive()
    }
}

impl Future for Committed {
    type Output = Result<(), StoreError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_ref().map_or(Poll::Ready(Ok(())), |commit| commit.poll(task))
    }
}

/// What an engine keeps beyond its own life, and what goes in and out of it: [`Engine::store`].
/// Every engine has this handle; what there is nothing to do for without a store says so.
#[derive(Clone, Debug)]
pub struct Store {
    pub(in crate::engine) core: Arc<Core>,
}

impl Engine {
    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> Store {
        Store { core: Arc::clone(&self.core) }
    }
}

impl Store {
    /// Returns the commit of a decision's event, to wait for: what [`Durability::Synced`] does in
    /// every call, for single calls of an engine at another level, and for async tasks, which a
    /// `Synced` call would block.
    ///
    /// It is ready at once for a decision that recorded nothing, such as a refusal, and for an
    /// engine without a store. The decision must be of this engine.
    ///
    /// ```no_run
    /// # use limitry::{Engine, Error, Event};
    /// # async fn example(engine: Engine, event: Event<'_>) -> Result<(), Error> {
    /// let decision = engine.track(&event)?;
    /// engine.store().committed(&decision).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn committed(&self, decision: &Decision) -> Committed {
        let commit = |pipeline: &Pipeline| Some(pipeline.commit(decision.seq()?));
        Committed(self.core.pipeline.as_ref().and_then(commit))
    }

    /// Blocks until everything is durable that was recorded before this call. Does nothing for an
    /// engine without a store, and for one that is closed.
    ///
    /// # Errors
    /// The store has failed.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.core.pipeline.as_ref().map_or(Ok(()), Pipeline::flush)
    }

    /// Makes everything durable, writes a checkpoint so that opening again is quick, and closes the
    /// store; another engine can open it then. Blocks for as long as that takes. A second call
    /// returns at once, and so does one for an engine without a store.
    ///
    /// After it, calls that may record something, changes of the rules, and what reads the whole
    /// store ([`export`](Self::export), [`backup`](Self::backup), [`verify`](Self::verify),
    /// [`compact`](Self::compact)) are [`StoreError::Closed`], and who
    /// [waits](crate::Engine::wait) gets an error. Questions are answered from memory;
    /// only [`check`](crate::Engine::check) and [`explain`](crate::Engine::explain) of an
    /// idempotency key that was used are errors, too, because its answer is in the store.
    ///
    /// Dropping an engine also makes everything durable, but writes no checkpoint, and gives up
    /// after five seconds.
    ///
    /// # Errors
    /// The store failed, now or before.
    pub fn close(&self) -> Result<(), StoreError> {
        let Some(pipeline) = &self.core.pipeline else { return Ok(()) };
        self.core.waiting.room.close();
        let closed = pipeline.close();
        self.core.alerts.close();
        closed
    }

    /// Returns the state of the engine's store. O(1).
    #[must_use]
    pub fn health(&self) -> Health {
        let pipeline = self.core.pipeline.as_ref();
        self.core.show_dates_ahead();
        if let Some(pipeline) = pipeline {
            self.core.show_store(pipeline);
        }
        Health {
            durability: pipeline.map(Pipeline::level),
            failure: pipeline.and_then(|pipeline| pipeline.failure().cloned()),
            waiting: pipeline.map_or(0, Pipeline::waiting),
            waiting_bytes: pipeline.map_or(0, Pipeline::waiting_bytes),
            recorded: pipeline.map_or(0, Pipeline::durable_events),
            stored_bytes: pipeline.map_or(0, |pipeline| pipeline.store.size()),
            latest_ahead: pipeline
                .and_then(Pipeline::latest_event)
                .filter(|it| *it > self.core.now()),
            set_back: Duration::from_nanos(self.core.table.timeline().shift()),
        }
    }

    /// Makes the store's file smaller by the room that is free in it; returns whether that helped.
    /// `tell` is told of the beginning and the end.
    ///
    /// Commits wait meanwhile, and so do calls once
    /// [`max_waiting`](crate::store::Durable::max_waiting) records wait, or as many bytes as may.
    /// Returns `false` at once for an engine without a store.
    ///
    /// # Errors
    /// The store has failed or is closed.
    pub fn compact(&self, mut tell: impl FnMut(Progress)) -> Result<bool, StoreError> {
        let pipeline = self.core.pipeline.as_ref();
        pipeline.map_or(Ok(false), |pipeline| {
            pipeline.may_be_alone("compact")?;
            pipeline.with_progress(&mut tell, |tell| pipeline.store.compact(tell))
        })
    }

    /// Copies the store to a new file while the engine goes on: everything that was recorded before
    /// the call, as it was at one moment. The copy opens as any store. `tell` is told how many
    /// bytes are copied.
    ///
    /// While it is made the copy has `.part` behind its name.
    ///
    /// # Errors
    /// There is something of this name already (a [`StoreError::Io`] of the kind `AlreadyExists`),
    /// the store cannot be read, or the copy cannot be written; what was written of it is removed.
    /// The engine has no store: whoever counts on a backup shall not find out too late.
    pub fn backup(
        &self,
        to: impl AsRef<Path>,
        mut tell: impl FnMut(Progress),
    ) -> Result<(), StoreError> {
        let to = to.as_ref();
        let Some(pipeline) = &self.core.pipeline else {
            return Err(StoreError::NoStore { file: to.display().to_string().into() });
        };
        pipeline.may_be_alone("backup")?;
        pipeline.flush()?;
        pipeline.with_progress(&mut tell, |tell| pipeline.store.backup(to, tell))
    }

    /// Checks the whole store while the engine goes on:
    ///
    /// - the checksum of every value, and every page of the file;
    /// - that the states of counters in the log follow from each other, event by event;
    /// - where the log reaches back to the first event, that the roll-ups which opening would find
    ///   are the sums of the events, in all and by each declared dimension.
    ///
    /// Reads the file up to four times, the last two at the same time on two threads. Takes twice
    /// the memory of counters and roll-ups. Commits wait while pages are checked; the file grows by
    /// what is committed meanwhile. For an engine without a store the report is all zeros.
    ///
    /// `tell` may use the engine, but not verify, compact, back up or close the store: that would
    /// wait for itself, and is [`StoreError::WithinItself`].
    ///
    /// # Errors
    /// The first part that is damaged or contradicts another; the store has failed or is closed.
    pub fn verify(&self, mut tell: impl FnMut(Progress)) -> Result<VerifyReport, StoreError> {
        let Some(pipeline) = &self.core.pipeline else { return Ok(VerifyReport::default()) };
        pipeline.may_be_alone("verify")?;
        let Verified { report, ledgers } =
            pipeline.with_progress(&mut tell, |tell| pipeline.verify(tell))?;
        if let Some((found, folded)) = ledgers
            && let both = [found, folded].map(Usage::of)
            && let Some(query) = kept_by(&both)
        {
            let dimensions = pipeline.dimensions();
            for part in iter::once(None).chain(dimensions.map(Some)) {
                if !agree(&both, &query, part) {
                    let part = part.unwrap_or("all events");
                    let (what, store) = (format!("the roll-ups of {part}"), &pipeline.store);
                    return Err(store.damaged(&what, "they are not the sums of the events"));
                }
            }
        }
        Ok(report)
    }
}

impl Core {
    /// Tells those who watch that the store was written by a clock that was ahead.
    pub(in crate::engine) fn tell_of_dates_ahead(&self) {
        self.show_dates_ahead();
        let behind = Duration::from_nanos(self.table.timeline().shift());
        let latest = self.pipeline.as_ref().and_then(Pipeline::latest_event);
        let latest = latest.map(|latest| latest.to_string()).unwrap_or_default();
        telemetry::event!(
            warn,
            set_back_seconds = behind.as_secs(),
            latest_event = latest,
            "the store was written while the clock was ahead"
        );
    }

    fn show_dates_ahead(&self) {
        let Some(pipeline) = &self.pipeline else { return };
        let now = self.now();
        let latest = pipeline.latest_event().unwrap_or(now);
        let set_back = Duration::from_nanos(self.table.timeline().shift());
        self.figures.show_dates_ahead(latest.saturating_since(now), set_back);
    }
}

/// The time of which both have all sums: how long they are kept may have been set otherwise since.
fn kept_by(both: &[Usage; 2]) -> Option<UsageQuery> {
    let all = UsageQuery::all_time();
    let mut first = None;
    for usage in both {
        first = first.max(usage.summary(&all).ok()?.covers.start);
    }
    let Some(first) = first else { return Some(all) };
    Some(UsageQuery::new(first, Timestamp::MAX))
}

/// Whether both have the same sums, in all or by a dimension. Which values are among the others
/// hangs on the caps of their day: where some are, it is the sums of all values that are compared.
fn agree(both: &[Usage; 2], query: &UsageQuery, dimension: Option<&str>) -> bool {
    let Some(dimension) = dimension else {
        let [found, folded] = both.each_ref().map(|usage| usage.summary(query).ok());
        return match (found, folded) {
            (Some(found), Some(folded)) => are_alike(&found.totals, &folded.totals),
            (found, folded) => found == folded,
        };
    };
    let [found, folded] = both.each_ref().map(|usage| usage.breakdown(query, dimension).ok());
    let (Some(found), Some(folded)) = (&found, &folded) else { return found == folded };
    if found.other.is_some() || folded.other.is_some() {
        return sums(found) == sums(folded);
    }
    let mut rows = found.rows.iter().zip(&folded.rows);
    found.rows.len() == folded.rows.len()
        && rows.all(|(a, b)| a.dimension == b.dimension && are_alike(&a.totals, &b.totals))
}

/// Whether totals are the same. Of more names of values than have sums, the order in which meters
/// and events came says which have.
fn are_alike(a: &UsageTotals, b: &UsageTotals) -> bool {
    let are_capped = a.other_values > 0 || b.other_values > 0;
    fixed(a) == fixed(b) && (are_capped || a.values == b.values)
}

/// The fixed sums, and the cost in millionths of a cent.
fn fixed(totals: &UsageTotals) -> ([u128; 4], i128) {
    let whole = [
        totals.total_events.into(),
        totals.total_tokens,
        totals.total_input_tokens,
        totals.total_output_tokens,
    ];
    (whole, totals.total_cost_cents.millionths())
}

/// The sums of all values together.
fn sums(breakdown: &UsageBreakdown) -> ([u128; 4], i128) {
    let rows = breakdown.rows.iter().map(|row| &row.totals).chain(&breakdown.other);
    rows.map(fixed).fold(([0; 4], 0), |(mut sums, cost), (whole, more_cost)| {
        for (sum, more) in sums.iter_mut().zip(whole) {
            *sum = sum.saturating_add(more);
        }
        (sums, cost.saturating_add(more_cost))
    })
}
