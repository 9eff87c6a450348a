//! Goal: a quota counts in the periods of its key's own calendar, whatever that is, and waits for
//! the next of them; once a state is made nobody needs the calendar again.
//! Method: several keys with calendars of their own are charged by the algorithms, and a model
//! counts by dates that were read off each zone's wall clock, a quarter of an hour at a time.

#![allow(clippy::arithmetic_side_effects, reason = "an overflow here fails the test, as it should")]

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, Datelike, Days, NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::policy::Judged;
use super::{Bounds, CalendarPeriod, FIRST, Gauge, GaugePeriod, Periods, Policy, Refusal};
use crate::base::calendar::{Calendar, Unit};
use crate::base::clock::Timestamp;
use crate::counters::cell::{CarriedUse, CellState};
use crate::counters::history::Used;
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::Cost;

const DAY: i64 = 24 * 60 * 60;
const QUARTER: i64 = 15 * 60;
/// 2024-06-01T00:00:00Z.
const START: i64 = 1_717_200_000;
/// The model knows the dates from a year before to four years after.
const KNOWN: std::ops::Range<i64> = START - 500 * DAY..START + 1_400 * DAY;

/// Zones with half hours and 45 minutes, with clock changes of an hour and of half an hour, at
/// midnight, and without any; and days to start on, of which some months are too short for some.
fn calendars() -> Vec<(Tz, NaiveDate)> {
    let date = |month, day| NaiveDate::from_ymd_opt(2024, month, day).expect("a date");
    vec![
        (Tz::UTC, date(1, 1)),
        (Tz::Asia__Kolkata, date(1, 31)),
        (Tz::Asia__Kathmandu, date(2, 29)),
        (Tz::America__New_York, date(3, 30)),
        (Tz::Australia__Lord_Howe, date(1, 1)),
        (Tz::Africa__Cairo, date(12, 29)),
        (Tz::America__St_Johns, date(10, 31)),
        (Tz::Pacific__Kiritimati, date(6, 15)),
    ]
}

/// The days on which the periods of a unit start, by a wall calendar.
fn starts_on(unit: Unit, day: NaiveDate, anchor: NaiveDate) -> bool {
    let is_last = day.succ_opt().expect("a date").month() != day.month();
    let is_day = day.day() == anchor.day() || (is_last && day.day() < anchor.day());
    match unit {
        Unit::Day => true,
        Unit::Week => day.weekday() == anchor.weekday(),
        Unit::Month => is_day,
        Unit::Year => is_day && day.month() == anchor.month(),
        Unit::Minute | Unit::Hour | Unit::AllTime => unreachable!("does not go by dates"),
    }
}

/// The dates that the model knows of each calendar's zone, each with the first second at which the
/// wall clock shows it.
static DATES: LazyLock<Vec<Vec<(NaiveDate, i64)>>> =
    LazyLock::new(|| calendars().iter().map(|(zone, _)| dates(*zone)).collect());

fn dates(zone: Tz) -> Vec<(NaiveDate, i64)> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
    let shown = |at: i64| {
        let utc = DateTime::from_timestamp(at, 0).expect("an instant").naive_utc();
        let offset = i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc());
        (at + offset).div_euclid(DAY)
    };
    let mut latest = shown(KNOWN.start);
    let mut dates = Vec::new();
    for at in KNOWN.step_by(QUARTER as usize) {
        while latest < shown(at) {
            latest += 1;
            dates.push((epoch + Days::new(latest as u64), at));
        }
    }
    dates
}

/// The seconds at which the periods of a key start, as far as the model knows.
fn starts(unit: Unit, key: usize, anchor: NaiveDate) -> Vec<i64> {
    if unit == Unit::Hour {
        return KNOWN.step_by(3_600).collect();
    }
    let starting = DATES[key].iter().filter(|(date, _)| starts_on(unit, *date, anchor));
    starting.map(|(_, at)| *at).collect()
}

#[derive(Clone, Copy, Debug)]
enum Figure {
    Sum,
    Of(Gauge),
}

/// A counter of one key as the table has it: a cell for each period in use.
struct Key {
    calendar: Calendar,
    cells: Vec<CellState>,
    starts: Vec<i64>,
    /// The figure of each period, by its start.
    model: HashMap<i64, Used>,
}

impl Key {
    fn judge(&self, policy: &Policy, at: &At, cost: Cost) -> Judged {
        let cells = self.cells.iter().enumerate();
        let cells = cells.map(|(offset, cell)| super::Cell { offset, ..cell.as_cell() });
        policy.judge(cells, &|| self.calendar, at, cost)
    }

    /// The start of the period that holds a second, and that of the next.
    fn period(&self, second: i64) -> (i64, i64) {
        let next = self.starts.partition_point(|start| *start <= second);
        (self.starts[next - 1], self.starts[next])
    }

    fn figure(&self, start: i64) -> Used {
        self.model.get(&start).copied().unwrap_or(Used::NOTHING)
    }
}

/// What the figure of a period is after an event.
fn after(figure: Figure, used: Used, cost: Cost, event: Moment) -> Used {
    let Used { units, latest } = used;
    match figure {
        Figure::Sum => Used { units: units + cost.units, latest },
        Figure::Of(_) if latest == Moment(0) => Used { units: cost.units, latest: event },
        Figure::Of(Gauge::Highest) => {
            Used { units: units.max(cost.units), latest: latest.max(event) }
        }
        Figure::Of(Gauge::Latest) if event < latest => used,
        Figure::Of(Gauge::Latest) => Used { units: cost.units, latest: event },
    }
}

fn fits(figure: Figure, limit: i128, used: Used, cost: Cost, event: Moment) -> bool {
    let after = after(figure, used, cost, event).units;
    after <= limit || after <= used.units
}

/// The first moment at which an event fits that comes without a timestamp, by trying one period of
/// the model after the other.
fn passes(
    key: &Key,
    fits: impl Fn(Used, Moment) -> bool,
    now: Moment,
    timeline: Timeline,
) -> Option<Moment> {
    let mut moment = now;
    while timeline.second(moment) < KNOWN.end - 400 * DAY {
        let (start, end) = key.period(timeline.second(moment));
        let used = key.figure(start);
        for moment in [moment, moment.max(timeline.undated(used.latest))] {
            if timeline.second(moment) < end && fits(used, timeline.dated(moment)) {
                return Some(moment);
            }
        }
        moment = timeline.start_of_second(end);
    }
    None
}

#[derive(Clone, Debug)]
struct Step {
    key: usize,
    /// By how much the clock goes on.
    pause: i64,
    /// How far from the clock the event is dated.
    dated: Option<i64>,
    units: i128,
}

fn step() -> impl Strategy<Value = Step> {
    let dated = prop_oneof![Just(None), (-60 * DAY..60 * DAY).prop_map(Some)];
    let pause = prop_oneof![Just(0), 0..4 * 3_600_i64, 0..40 * DAY];
    let parts = (0..calendars().len(), pause, dated, -3_i128..14);
    parts.prop_map(|(key, pause, dated, units)| Step { key, pause, dated, units })
}

fn unit() -> impl Strategy<Value = Unit> {
    prop_oneof![
        Just(Unit::Hour),
        Just(Unit::Day),
        Just(Unit::Week),
        Just(Unit::Month),
        Just(Unit::Year)
    ]
}

fn shift() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..3_000_000_000_000_000_u64]
}

/// The clock had been ahead by `shift` nanoseconds when the engine last ran.
fn check(unit: Unit, figure: Figure, shift: u64, steps: Vec<Step>) {
    const LIMIT: i128 = 20;
    let timeline = Timeline::starting(Timestamp::new(START, 0)).shifted(shift);
    let periods = Periods::new(unit, u64::MAX.into());
    let policy: Policy = match figure {
        Figure::Sum => CalendarPeriod::new(LIMIT, periods).into(),
        Figure::Of(gauge) => GaugePeriod::new(LIMIT, gauge, periods).into(),
    };
    let mut keys: Vec<Key> = calendars()
        .into_iter()
        .enumerate()
        .map(|(key, (zone, anchor))| Key {
            calendar: Calendar::UTC.in_zone(zone).anchored(anchor),
            cells: Vec::new(),
            starts: starts(unit, key, anchor),
            model: HashMap::new(),
        })
        .collect();
    let mut second = START;
    for step in steps {
        second = (second + step.pause).min(START + 200 * DAY);
        let now = timeline.start_of_second(second);
        let happened = step.dated.map(|dated| Timestamp::new(second + dated, 0));
        let at = timeline.at(now, happened);
        let cost = Cost { units: step.units, counts: true };
        let key = &mut keys[step.key];
        let judged = key.judge(&policy, &at, cost);
        let (start, end) = key.period(at.second);
        let used = key.figure(start);
        let event = at.dated().max(FIRST);
        let what = format!("{unit:?} {figure:?} {step:?} {:?}", key.calendar);

        let figures = policy.figures(&judged.reading, at, timeline);
        assert_eq!((figures.used, figures.reset), (used.units, Some(end)), "{what}");
        let allowed = fits(figure, LIMIT, used, cost, event);
        assert_eq!(judged.fits, allowed, "{what}");

        if !allowed {
            let cells = key.cells.iter().map(CellState::as_cell);
            let ahead = policy.ahead(cells, &at);
            let refusal = Refusal { cost, at: &at, from: now, ahead: &ahead, timeline };
            let found = policy.passes_at(&judged.reading, &refusal);
            let fits = |used, moment| fits(figure, LIMIT, used, cost, moment);
            let expected = if at.explicit { None } else { passes(key, fits, now, timeline) };
            assert_eq!(found, expected, "{what}");
            continue;
        }
        let mut reading = judged.reading;
        match judged.cell.and_then(|cell| key.cells.get_mut(cell)) {
            Some(cell) => {
                let written = policy.charge(&mut reading, &mut cell.words, &at, cost);
                assert_eq!(written, Some(cell.extra), "no count is beyond its word here");
            }
            None => {
                policy.charge(&mut reading, &mut [], &at, cost);
                key.cells.push(reading.cell().expect("of a counter"));
            }
        }
        // Who reads the cell later needs no calendar: its bounds are those of the decision.
        let cell = key.judge(&policy, &at, Cost::NOTHING).cell.expect("was written");
        assert_eq!(key.cells[cell], reading.cell().expect("of a counter"), "{what}");
        assert_eq!(key.cells[cell].bounds(), reading.bounds(), "{what}");
        key.model.insert(start, after(figure, used, cost, event));
    }
}

#[test]
fn what_is_taken_over_is_of_the_period_of_the_keys_calendar() {
    let timeline = Timeline::starting(Timestamp::new(START, 0));
    let at = timeline.at(timeline.start_of_second(START + 40 * DAY), None);
    for (key, (zone, anchor)) in calendars().into_iter().enumerate() {
        let calendar = Calendar::UTC.in_zone(zone).anchored(anchor);
        for unit in [Unit::Day, Unit::Month, Unit::Year] {
            let policy: Policy = CalendarPeriod::new(9, Periods::new(unit, 0.into())).into();
            let cell = policy.adopt(CarriedUse::of(7), &|| calendar, &at);
            let starts = starts(unit, key, anchor);
            let next = starts.partition_point(|start| *start <= at.second);
            let (start, end) = (starts[next - 1], starts[next]);
            let length = u32::try_from(end - start).expect("a year at most");
            assert_eq!(cell.bounds(), Some(Bounds { length, start }), "{zone} {unit:?}");
            assert_eq!(cell.words[1], 7);
        }
    }
}

#[test]
fn an_event_that_is_older_than_the_latest_waits_by_dates_where_the_clock_was_ahead() {
    // A latest amount of ten on 6 July: before that an amount of any size changes nothing.
    let step = |dated, units| Step { key: 0, pause: 0, dated, units };
    let steps = vec![step(Some(35 * DAY), 10), step(None, 25)];
    for days in [0, 1, 10] {
        let shift = (days * DAY).cast_unsigned() * 1_000_000_000;
        check(Unit::Month, Figure::Of(Gauge::Latest), shift, steps.clone());
    }
}

#[test]
fn rules_of_formats_1_and_2_have_a_calendar_in_place_of_the_unit() {
    let stored = r#"{"CalendarPeriod":{"limit":5,"periods":{"calendar":{"unit":"Month",
        "zone":"UTC","anchor":{"month0":0,"day":1}},"late":60}}}"#;
    let policy: Policy = CalendarPeriod::new(5, Periods::new(Unit::Month, 60.into())).into();
    assert_eq!(serde_json::from_str::<Policy>(stored).expect("is read"), policy);
    let json = serde_json::to_string(&policy).expect("is written");
    assert_eq!(serde_json::from_str::<Policy>(&json).expect("is read"), policy);
}

proptest! {
    #[test]
    fn counts_are_of_the_periods_of_each_keys_calendar(
        unit in unit(),
        shift in shift(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        check(unit, Figure::Sum, shift, steps);
    }

    #[test]
    fn gauges_are_of_the_periods_of_each_keys_calendar(
        unit in unit(),
        latest in any::<bool>(),
        shift in shift(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        check(unit, Figure::Of(if latest { Gauge::Latest } else { Gauge::Highest }), shift, steps);
    }
}
