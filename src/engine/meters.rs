//! The meters of an engine, which may be changed while other threads decide.

use std::sync::Arc;

use super::rules::{Change, not_found};
use super::{Core, Engine, RulesError};
use crate::log::QueryError;
use crate::rules::{Meter, MeterUpdate, Metric, fill_ids, rule_label};
use crate::telemetry;
use crate::usage::{Figure, MeterQuery, MeterRows, MeterValue, Question, Rows};

const KIND: &str = "meter";

/// The meters of an engine: [`Engine::meters`]. They may be changed while other threads decide.
///
/// ```
/// use limitry::usage::MeterQuery;
/// use limitry::{Engine, Event, Meter};
///
/// let engine = Engine::builder().meter(Meter::max("Peak of agents", "agents")).build()?;
/// let agents = Event::new("cust_123", "agent.count").value("agents", 4);
/// assert!(engine.track(&agents)?.is_allowed());
/// let query = MeterQuery::new().customer("cust_123");
/// let value = engine.meters().query("mtr_peak_of_agents", &query)?;
/// assert_eq!(value.value, 4_u64);
/// # Ok::<(), limitry::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Meters {
    core: Arc<Core>,
}

impl Engine {
    /// Returns the meters.
    #[must_use]
    pub fn meters(&self) -> Meters {
        Meters { core: Arc::clone(&self.core) }
    }
}

impl Meters {
    /// Adds a meter and returns it as it now is, with its id. O(rules + meters), and for one that
    /// needs more than the roll-ups had (`max`, `min`, `latest`, `avg`) a pass over the kept
    /// events, during which none is recorded.
    ///
    /// # Errors
    /// The meter is not valid, or does not go with the others: all problems at once.
    pub fn add(&self, meter: Meter) -> Result<Meter, RulesError> {
        let span = telemetry::span!("add_meter", meter = meter.name);
        span.run(|| {
            self.core.changed(|change| {
                let mut list = change.current.meters.list().to_vec();
                let mut added = Arc::new(change.stamp_meter(meter));
                fill_ids(std::slice::from_mut(&mut added), &list);
                list.push(Arc::clone(&added));
                change.replace_meters(list)?;
                Ok(Arc::unwrap_or_clone(added))
            })
        })
    }

    /// Changes some fields of a meter and returns it as it now is. Rules that use it count by it
    /// from now on, as [`MeterUpdate`] says. O(rules + meters), and O(keys) where counters are
    /// converted.
    ///
    /// # Errors
    /// No meter has the id, or the meter or a rule that counts it would not be valid.
    pub fn update(&self, id: &str, update: MeterUpdate) -> Result<Meter, RulesError> {
        let span = telemetry::span!("update_meter", id = id);
        span.run(|| {
            self.core.changed(move |change| {
                let mut list = change.current.meters.list().to_vec();
                let found = list.iter_mut().find(|meter| meter.known_id() == id);
                let Some(slot) = found else { return Err(not_found(KIND, id)) };
                let updated = update.apply(slot);
                if updated.says_the_same(slot) {
                    return Ok(updated);
                }
                let updated = change.stamp_meter(updated);
                *slot = Arc::new(updated.clone());
                change.replace_meters(list)?;
                Ok(updated)
            })
        })
    }

    /// Removes a meter. O(rules + meters).
    ///
    /// # Errors
    /// No meter has the id, or rules count it.
    pub fn remove(&self, id: &str) -> Result<(), RulesError> {
        let span = telemetry::span!("remove_meter", id = id);
        span.run(|| {
            self.core.changed(|change| {
                let mut list = change.current.meters.list().to_vec();
                let Some(place) = list.iter().position(|meter| meter.known_id() == id) else {
                    return Err(not_found(KIND, id));
                };
                let rules = users(&change, id);
                if !rules.is_empty() {
                    return Err(RulesError::MeterInUse { id: id.to_owned(), rules });
                }
                list.remove(place);
                change.replace_meters(list)
            })
        })
    }

    /// Returns the meter of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Meter> {
        self.core.snapshot.load().meters.get(id).map(|meter| (**meter).clone())
    }

    /// Returns the meters, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Meter> {
        self.core.snapshot.load().meters.list().iter().map(|meter| (**meter).clone()).collect()
    }

    /// Returns the meter's figure for a query; 0 where it has no events.
    ///
    /// A figure that a meter needs beyond counts and sums (`max`, `min`, `latest`, `avg`) is kept
    /// from the meter's making on, with the events that the log had then filled in; what it
    /// [covers](crate::usage::Coverage) may start there. An average is rounded to six digits, half
    /// away from zero. `unique` goes through the values of its dimension, and `time_avg` through
    /// the finest rows and the events of the range, with 48 bytes meanwhile for each reading of
    /// them.
    ///
    /// # Errors
    /// Recording is off; there is no such meter; the range ends where it starts, or before; a
    /// dimension's key or value breaks its rule; windows or groups are asked for; the figure does
    /// not fit an [`Amount`](crate::Amount).
    pub fn query(&self, id: &str, query: &MeterQuery) -> Result<MeterValue, QueryError> {
        query.require_one()?;
        let MeterRows { meter_id, meter_name, aggregation, rows, covers, .. } =
            self.rows(id, query)?;
        let value = rows.first().map(|row| row.value).unwrap_or_default();
        Ok(MeterValue { meter_id, meter_name, value, aggregation, covers })
    }

    /// Returns the meter's figures for a query by groups of events and windows of time: of each
    /// group its figure over the whole range and over each window.
    ///
    /// Figures are those of the events of a group and a window: an average is that of its events,
    /// and `unique` counts a value in each window in which it has events.
    ///
    /// ```
    /// use limitry::usage::{Interval, MeterQuery};
    /// use limitry::{Engine, Event, Meter, Timestamp};
    ///
    /// let seats = Meter::latest("Seats", "seats").id("mtr_seats");
    /// let engine = Engine::builder().meter(seats).build()?;
    /// for (customer, region, seats) in [("a", "eu", 5_u64), ("b", "us", 7), ("a", "eu", 4)] {
    ///     let event = Event::new(customer, "seats").property("region", region);
    ///     let _ = engine.record(&event.value("seats", seats))?;
    /// }
    /// let all = MeterQuery::new().sum_over("customer_id");
    /// assert_eq!(engine.meters().query("mtr_seats", &all)?.value, 11_u64);
    ///
    /// let by_region = engine.meters().rows("mtr_seats", &all.group_by("region"))?;
    /// assert_eq!(by_region.rows[0].group["region"].as_deref(), Some("us"));
    /// assert_eq!(by_region.rows[1].value, 4_u64);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// The cost is that of the rows of all groups in the range, and so is the memory that it takes
    /// meanwhile: about 150 bytes for each group and window with events. Where there are several
    /// dimensions to group by, to sum over or to filter by, that is each tuple of values that
    /// events have. A dimension that is not [declared](crate::usage::RollupOptions::dimension) is
    /// answered from the event log, and so are `unique` and `sum_over` where some of the values had
    /// no room of their own in the roll-ups.
    ///
    /// # Errors
    /// As [`query`](Self::query); and where there are windows and the range lacks a bound, more
    /// than 8 dimensions to group by and sum over, or more than 100 000 figures to answer with.
    pub fn rows(&self, id: &str, query: &MeterQuery) -> Result<MeterRows, QueryError> {
        let ledger = self.core.ledger.as_deref().ok_or(QueryError::RecordingOff)?;
        let snapshot = self.core.snapshot.load();
        let not_found = || QueryError::MeterNotFound { id: id.into() };
        let meter = snapshot.meters.get(id).ok_or_else(not_found)?;
        let figure = Figure::of_meter(meter);
        let (asked, filter) = (query.range()?, query.filter(&meter.event_filter)?);
        let windows = query.windows()?;
        let ranges = windows.as_ref().map_or(std::slice::from_ref(&asked), |it| &it.ranges);
        let sums_keys = query.sums_keys();
        let answer = ledger.ask(&Question {
            selector: &figure.selector(filter, query.grouping()?),
            ranges,
            folds: &figure.folds(),
            tells_all_apart: figure.is_unique() || sums_keys,
            without: None,
            held: figure.held(self.core.now()),
        });
        // The meter may have been removed meanwhile, and what was kept for it.
        if !figure.is_known(&answer) {
            return Err(not_found());
        }
        let windows = windows.as_ref().map_or(&[][..], |it| &it.whole);
        let (group_by, most) = (query.groups(), query.most());
        Rows { figure: &figure, group_by, sums_keys, windows, ranges, most }.of(meter, &answer)
    }
}

/// The rules that count a meter.
fn users(change: &Change<'_>, id: &str) -> Vec<String> {
    let rules = change.current.listed().iter().map(|compiled| &compiled.rule);
    let counts = |metric: &Metric| matches!(metric, Metric::Meter(meter) if meter == id);
    rules.filter(|rule| counts(rule.metric())).map(rule_label).collect()
}
