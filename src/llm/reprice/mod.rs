//! What recorded events would cost by other prices, and restating them.

use self::report::Tally;
pub use self::report::{RepriceReport, Repriced, RepricedModel, UnpricedEvents};
use crate::errors::{CorrectError, PriceError, QueryError};
use crate::events::{EventId, EventQuery, RecordedEvent};
use crate::store::Progress;
use crate::{Amount, Engine, Event, Pricer, Timestamp};

mod report;

const REPRICING: &str = "repricing events";
const RESTATING: &str = "restating events";
/// Progress is told when so many events more are done.
const TOLD_EVERY: u64 = 1_024;

/// What an engine's events would cost by other prices.
pub trait Reprice {
    /// Asks what the recorded events that match a query would cost by these prices, such as
    /// another [`PriceBook`](super::PriceBook): `EventQuery::new().between(start, end)`.
    ///
    /// An event is priced as it is now, with its corrections, by its own timestamp. What is
    /// [voided](Engine::void) is left out. A cost that was [given](Event::is_priced) with an event,
    /// and not said by prices, is what a provider or the application knows better: it stays as it
    /// is, unless [`given_costs`](Repricing::given_costs) says otherwise. An imported event has its
    /// cost as a given one. No cost is 0.
    ///
    /// Nothing is done before [`report`](Repricing::report) or [`restate`](Repricing::restate).
    ///
    /// ```
    /// use limitry::events::EventQuery;
    /// use limitry::llm::{PriceBook, Reprice};
    /// use limitry::usage::UsageQuery;
    /// use limitry::{Engine, Event};
    ///
    /// let old = PriceBook::from_toml("[[price]]\nmodel = \"m\"\ninput = 10")?;
    /// let new = PriceBook::from_toml("[[price]]\nmodel = \"m\"\ninput = 8")?;
    /// let engine = Engine::builder().prices(old).build()?;
    /// let _ = engine.track(&Event::new("ann", "call").model("m").input_tokens(5_000))?;
    ///
    /// let repricing = engine.reprice(&new, EventQuery::new());
    /// let report = repricing.report(|_| {})?;
    /// assert_eq!(report.totals.before, 5);
    /// assert_eq!(report.totals.after, 4);
    /// assert_eq!(report.totals.difference(), -1);
    ///
    /// assert_eq!(repricing.restate("the prices of May", |_| {})?.restated, 1);
    /// assert_eq!(repricing.restate("the prices of May", |_| {})?.restated, 0);
    /// let totals = engine.usage().summary(&UsageQuery::all_time())?.totals;
    /// assert_eq!(totals.total_cost_cents, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn reprice<'a>(&'a self, prices: &'a dyn Pricer, events: EventQuery) -> Repricing<'a>;
}

impl Reprice for Engine {
    fn reprice<'a>(&'a self, prices: &'a dyn Pricer, events: EventQuery) -> Repricing<'a> {
        Repricing { engine: self, prices, events, given_costs: false }
    }
}

/// Events and prices that they are looked at by: [`Reprice::reprice`].
#[derive(Clone, Debug)]
#[must_use = "nothing is done before a report is asked for"]
pub struct Repricing<'a> {
    engine: &'a Engine,
    prices: &'a dyn Pricer,
    events: EventQuery,
    given_costs: bool,
}

/// Why events could not be repriced.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RepriceError {
    /// The events cannot be listed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// An event could not be restated for a reason that holds for all: the store takes nothing, or
    /// the reason that was given breaks its rule. What was restated before it stays.
    #[error("event {event_id} is not restated, {} before it are: {source}", .report.restated)]
    Stopped {
        /// The event: [`EventQuery::cursor`] with it goes on here.
        event_id: EventId,
        /// What was done before.
        report: Box<RepriceReport>,
        /// What went wrong.
        source: CorrectError,
    },
}

/// What becomes of an event.
#[derive(Debug)]
enum Fate {
    /// It costs what it did.
    Same,
    /// It costs something else: as it is then.
    Other(Box<Event<'static>>),
    /// Its cost was given.
    Given,
    Unpriced(PriceError),
}

/// What an event costs, and what it would.
#[derive(Debug)]
struct Judged {
    before: Amount,
    after: Amount,
    fate: Fate,
}

impl Repricing<'_> {
    /// Prices the events too whose cost was given with them.
    pub fn given_costs(self) -> Self {
        Self { given_costs: true, ..self }
    }

    /// Says what the events would cost. Nothing is changed.
    ///
    /// The events are those that the log has when the call begins, the newest first, but for those
    /// that retention drops meanwhile; the query's limit means nothing. It costs about what it does
    /// to list them and to price each once. Memory is bounded, whatever the events are: the ledger
    /// is locked to step to the next 1 024 events. `progress` is told of the events that are done;
    /// how many match is an estimate.
    ///
    /// # Errors
    /// As [`Events::iter`](crate::handles::Events::iter): `Query`.
    pub fn report(&self, progress: impl FnMut(Progress)) -> Result<RepriceReport, RepriceError> {
        self.run(None, progress)
    }

    /// [Amends](Engine::amend) each event that costs something else to what it costs by these
    /// prices, with this reason: usage, meters and quotas are from then on as if it had been so.
    /// The report says what was done.
    ///
    /// Each event is a step of its own, and what is done stays, whatever happens then. So doing it
    /// again goes on safely: what has its new cost already is not changed, and twice is as once.
    /// Events that others correct at the same time keep what these changed. One that cannot be
    /// amended, because a figure without it is not recorded any more, stays as it is, and the
    /// report [says so](RepriceReport::kept); one that is gone by then is left out.
    ///
    /// Costs as [`report`](Self::report), and an amendment for each event that changes; each is an
    /// entry of the log, of those that retention keeps.
    ///
    /// # Errors
    /// As `report`; and [`Stopped`](RepriceError::Stopped).
    pub fn restate(
        &self,
        reason: &str,
        progress: impl FnMut(Progress),
    ) -> Result<RepriceReport, RepriceError> {
        self.run(Some(reason), progress)
    }

    fn run(
        &self,
        reason: Option<&str>,
        mut progress: impl FnMut(Progress),
    ) -> Result<RepriceReport, RepriceError> {
        let step = if reason.is_some() { RESTATING } else { REPRICING };
        let events = self.engine.events();
        let total = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let mut tally = Tally::default();
        tally.report.dropped = events.after(None, &EventQuery::new().limit(1))?.dropped;
        progress(Progress::new(step, 0, total));
        let mut done = 0_u64;
        for recorded in events.iter(self.events.clone())? {
            let event_id = recorded.id;
            if let Err(source) = self.look(recorded, reason, &mut tally) {
                let report = Box::new(tally.end());
                return Err(RepriceError::Stopped { event_id, report, source });
            }
            done = done.saturating_add(1);
            if done.is_multiple_of(TOLD_EVERY) {
                progress(Progress::new(step, done, total));
            }
        }
        progress(Progress::new(step, done, done));
        Ok(tally.end())
    }

    /// Looks at an event, and restates it where a reason is given.
    fn look(
        &self,
        recorded: RecordedEvent,
        reason: Option<&str>,
        tally: &mut Tally,
    ) -> Result<(), CorrectError> {
        let Some(RecordedEvent { id, timestamp, event, .. }) = recorded.into_corrected() else {
            return Ok(());
        };
        let model = event.dimension("model");
        let mut judged = self.judge(&event, timestamp);
        let is_other = matches!(judged.fate, Fate::Other(_));
        let Some(reason) = reason.filter(|_| is_other) else {
            tally.add(id, model, judged);
            return Ok(());
        };
        let amended = self.engine.amend_with(id, reason, |now| {
            judged = self.judge(&now.event, now.timestamp);
            match &mut judged.fate {
                Fate::Other(event) => Some(Event::clone(event)),
                _ => None,
            }
        });
        match amended {
            Ok(amended) => {
                tally.restated(amended.is_some());
                tally.add(id, model, judged);
            }
            Err(
                CorrectError::NotFound { .. }
                | CorrectError::Dropped { .. }
                | CorrectError::Erased { .. }
                | CorrectError::Voided { .. },
            ) => {}
            Err(
                why @ (CorrectError::Store(_)
                | CorrectError::RecordingOff
                | CorrectError::Invalid { .. }),
            ) => return Err(why),
            Err(why) => {
                tally.kept(id, why);
                tally.add(id, model, Judged { after: judged.before, fate: Fate::Same, ..judged });
            }
        }
        Ok(())
    }

    /// Says what an event that happened at this time costs.
    fn judge(&self, event: &Event<'static>, at: Timestamp) -> Judged {
        let given = event.amount("cost_cents");
        let before = given.unwrap_or_default();
        let stays = |fate| Judged { before, after: before, fate };
        if given.is_some() && !event.is_priced() && !self.given_costs {
            return stays(Fate::Given);
        }
        let bare = event.clone().cost_by_prices(None);
        let after = match self.prices.price(&bare, at) {
            Ok(cost) => cost.unwrap_or_default(),
            Err(why) => return stays(Fate::Unpriced(why)),
        };
        if after == before {
            return stays(Fate::Same);
        }
        let other = bare.cost_by_prices(Some(after));
        match other.validate() {
            Ok(()) => Judged { before, after, fate: Fate::Other(Box::new(other)) },
            Err(why) => {
                let why = PriceError::new("cost_cents", &after.to_string(), &why.to_string());
                stays(Fate::Unpriced(why))
            }
        }
    }
}
