//! The cases about recorded events: what they cost to record, to keep, and to ask about.

use std::hint::black_box;
use std::time::Duration;

use chrono::DateTime;
use limitry::events::Recording;
use limitry::time::ManualClock;
use limitry::usage::{Interval, RollupOptions, UsageQuery, UsageTotals};
use limitry::{Engine, Event};

use crate::counting;
use crate::measure::{Round, Series, cpu_time, interleaved};
use crate::month::{self, Call, DAY_SECONDS, DAYS, START};
use crate::peers::SQLITE;
use crate::report::{Row, Target, figure, grouped};
use crate::sqlite_side::{Sqlite, Sums};

/// How much of everything.
pub struct Size {
    pub events: usize,
    pub customers: usize,
    pub rounds: usize,
}

pub const FULL: Size = Size { events: 10_000_000, customers: 1_000, rounds: 5 };
pub const QUICK: Size = Size { events: 20_000, customers: 50, rounds: 2 };

/// A hundred times faster.
const TARGET: Option<Target> = Some(Target::AtMost(0.01));
/// Events of a batch.
const BATCH: usize = 1_000;
/// How often limitry is asked in a round; `SQLite` is asked once.
const ASKED: usize = 1_000;

struct Month {
    customers: Vec<String>,
    engine: Engine,
    sqlite: Sqlite,
}

pub fn questions(size: &Size) -> Vec<Row> {
    let Size { events, customers, .. } = *size;
    eprintln!("building  | {} events on both sides", grouped(events));
    let names: Vec<String> = (0..customers).map(|number| format!("cust_{number:07}")).collect();
    let engine = engine();
    record(&engine.0, &engine.1, month::calls(events, customers), &names);
    let sqlite = Sqlite::new(month::calls(events, customers)).expect("a table in memory");
    let month = Month { customers: names, engine: engine.0, sqlite };
    let of = |case: &str| format!("{case} of {} events", grouped(events));
    let end = START + DAYS * DAY_SECONDS;
    let day = START + 14 * DAY_SECONDS;
    vec![
        month.ask(&of("the month's summary"), TARGET, size, |it| it.summary(START, end)),
        month.ask(&of("the month by model"), TARGET, size, |it| it.by_model(START, end)),
        month.ask(&of("a day by hours"), TARGET, size, |it| it.by_hour(day, day + DAY_SECONDS)),
        // From minute to minute, which is the finest that roll-ups know, and keep for some days.
        month.ask(&of("two days and odd minutes"), TARGET, size, |it| {
            it.summary(end - 3 * DAY_SECONDS + 3_660, end - 86_400 + 7_380)
        }),
        month.ask(&of("a customer's month"), None, size, |it| it.of_customer(7, START, end)),
    ]
}

fn engine() -> (Engine, ManualClock) {
    let start = DateTime::from_timestamp(START, 0).expect("a time");
    let clock = ManualClock::new(start.into());
    let engine = Engine::builder().clock(clock.clone()).build().expect("no rules");
    (engine, clock)
}

fn record(
    engine: &Engine,
    clock: &ManualClock,
    calls: impl Iterator<Item = Call>,
    names: &[String],
) {
    let mut second = START;
    for call in calls {
        if call.second > second {
            clock.advance(Duration::from_secs((call.second - second).unsigned_abs()));
            second = call.second;
        }
        let _ = engine.record(&call.event(names)).expect("a valid event");
    }
}

/// An answer of both sides, for the comparison, in the order of limitry's.
type Answer = Vec<(String, Sums)>;
type Asked<'m> = (Box<dyn Fn() -> Answer + 'm>, Box<dyn Fn() -> Answer + 'm>);

impl Month {
    /// Times a question on both sides, after their answers were found equal.
    fn ask<'m>(
        &'m self,
        case: &str,
        target: Option<Target>,
        size: &Size,
        asked: impl Fn(&'m Self) -> Asked<'m>,
    ) -> Row {
        let (ours, peers) = asked(self);
        let (our_answer, peer_answer) = (ours(), peers());
        assert_eq!(our_answer, peer_answer, "{case}: the answers differ");
        let rows = our_answer.len();
        eprintln!("same work | {case}: {rows} equal rows");
        let round = |times: usize, ask: &dyn Fn() -> Answer| {
            let start = cpu_time();
            for _ in 0..times {
                black_box(ask());
            }
            Round { calls: times, admitted: 0, spent: cpu_time().saturating_sub(start) }
        };
        let (ours, peers) = interleaved(size.rounds, || round(ASKED, &ours), || round(1, &peers));
        let (ours, peers): (Series, Series) =
            (ours.into_iter().collect(), peers.into_iter().collect());
        let (ours, peers) = (ours.median(), peers.median());
        Row { target, ..Row::of(case, SQLITE, ours, peers) }
    }

    fn summary(&self, from: i64, to: i64) -> Asked<'_> {
        let query = query(from, to);
        let ours = move || {
            let summary = self.engine.usage().summary(&query).expect("an answer");
            assert!(summary.covers.is_complete);
            vec![(String::new(), sums(&summary.totals))]
        };
        let peers =
            move || vec![(String::new(), self.sqlite.summary(from, to).expect("an answer"))];
        (Box::new(ours), Box::new(peers))
    }

    fn of_customer(&self, customer: usize, from: i64, to: i64) -> Asked<'_> {
        let query = query(from, to).customer(self.customers[customer].as_str());
        let ours = move || {
            let summary = self.engine.usage().summary(&query).expect("an answer");
            vec![(String::new(), sums(&summary.totals))]
        };
        let peers = move || {
            let sums = self.sqlite.of_customer(customer, from, to).expect("an answer");
            vec![(String::new(), sums)]
        };
        (Box::new(ours), Box::new(peers))
    }

    fn by_model(&self, from: i64, to: i64) -> Asked<'_> {
        let query = query(from, to);
        let ours = move || {
            let breakdown = self.engine.usage().breakdown(&query, "model").expect("an answer");
            let rows = breakdown.rows.into_iter();
            rows.map(|row| (row.dimension.unwrap_or_default(), sums(&row.totals))).collect()
        };
        let peers = move || self.sqlite.by_model(from, to).expect("an answer");
        (Box::new(ours), Box::new(peers))
    }

    fn by_hour(&self, from: i64, to: i64) -> Asked<'_> {
        let query = query(from, to);
        let ours = move || {
            let hours = self.engine.usage().timeseries(&query, Interval::Hour);
            let points = hours.expect("an answer").points.into_iter();
            let points = points.filter(|point| point.totals.total_events > 0);
            let hour = |at: limitry::Timestamp| at.unix_seconds().to_string();
            points.map(|point| (hour(point.timestamp), sums(&point.totals))).collect()
        };
        let peers = move || {
            let hours = self.sqlite.by_hour(from, to).expect("an answer");
            hours.into_iter().map(|(hour, sums)| (hour.to_string(), sums)).collect()
        };
        (Box::new(ours), Box::new(peers))
    }
}

fn query(from: i64, to: i64) -> UsageQuery {
    let at = |second| DateTime::from_timestamp(second, 0).expect("a time");
    UsageQuery::new(at(from), at(to))
}

fn sums(totals: &UsageTotals) -> Sums {
    let narrow = |sum: u128| u64::try_from(sum).expect("a small sum");
    [
        totals.total_events,
        narrow(totals.total_tokens),
        narrow(totals.total_input_tokens),
        narrow(totals.total_output_tokens),
        totals.total_cost_cents.to_u64_floor(),
    ]
}

/// What an event of a batch costs, all in; the target is a million a second.
pub fn batches(size: &Size) -> Vec<Row> {
    let events = size.events.min(1_000_000);
    let names: Vec<String> =
        (0..size.customers).map(|number| format!("cust_{number:07}")).collect();
    let calls: Vec<Call> = month::calls(events, size.customers).collect();
    let all: Vec<Event<'_>> = calls.iter().map(|call| call.event(&names)).collect();
    let (engine, clock) = engine();
    let mut rounds = Vec::new();
    for _ in 0..=size.rounds {
        let start = cpu_time();
        for batch in all.chunks(BATCH) {
            engine.record_batch(batch).expect("valid events");
        }
        let spent = cpu_time().saturating_sub(start);
        rounds.push(Round { calls: events, admitted: 0, spent });
        clock.advance(Duration::from_secs(60));
    }
    let series: Series = rounds.into_iter().skip(1).collect();
    let target = Some(Target::AtMost(1_000.0));
    vec![figure("an event of a `record_batch` of 1 000", "ns", series.median(), target)]
}

/// The memory of an event in the log, and of a row of the roll-ups.
pub fn bytes(size: &Size) -> Vec<Row> {
    let events = size.events.min(1_000_000);
    let names: Vec<String> =
        (0..size.customers).map(|number| format!("cust_{number:07}")).collect();
    let (_, log) = counting::during(|| {
        let (_, clock) = engine();
        // Roll-ups of next to nothing: what remains is the log.
        let rollups = RollupOptions::new().dimensions([""; 0]).max_rows(1);
        let recording = Recording::Newest(events);
        let builder = Engine::builder().clock(clock.clone()).recording(recording);
        let engine = builder.rollups(rollups).build().expect("no rules");
        record(&engine, &clock, month::calls(events, size.customers), &names);
        engine
    });
    let event = log.bytes as f64 / events as f64;
    vec![figure("an event in the log", "bytes", event, None)]
}
