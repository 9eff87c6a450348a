//! Goal: every instant lies in exactly one period, and it is the one that a wall calendar shows.
//! Method: exhaustive walks over a calendar counted out by hand (no `chrono` in it), `chrono`'s own
//! date stepping as a second opinion on random instants, and the edges of `i64` and of `chrono`.

#![allow(clippy::arithmetic_side_effects, reason = "an overflow here fails the test, as it should")]

use std::num::NonZeroU32;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Timelike, Utc, Weekday};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::{
    Calendar, DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS, PeriodBounds, Unit, WEEK_SECONDS,
};

pub(super) const UNITS: [Unit; 7] =
    [Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year, Unit::AllTime];

/// 0000-01-01 in days from the epoch.
const YEAR_0_DAY: i64 = -719_528;

fn period(unit: Unit, unix_seconds: i64) -> PeriodBounds {
    Calendar::UTC.period_of(unit, unix_seconds)
}

pub(super) fn bounds(start: i64, end: i64) -> PeriodBounds {
    PeriodBounds { start, end: Some(end) }
}

pub(super) fn utc(text: &str) -> i64 {
    text.parse::<DateTime<Utc>>().unwrap().timestamp()
}

fn month_days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn year_days(year: i64) -> i64 {
    (1..=12).map(|month| month_days(year, month)).sum()
}

/// The period of `at` holds it, is the period of its own first and last second, and abuts both
/// neighbours. Over all instants that is: each is in exactly one period.
pub(super) fn assert_sound(calendar: Calendar, unit: Unit, at: i64) {
    let period = |at| calendar.period_of(unit, at);
    let here = period(at);
    assert!(here.contains(at), "{unit:?} of {calendar:?} at {at}: {here:?}");
    assert_eq!(period(here.start), here, "{unit:?} of {calendar:?} at {at}");
    if let Some(before) = here.start.checked_sub(1) {
        assert!(!here.contains(before));
        assert_eq!(period(before).end, Some(here.start), "{unit:?} of {calendar:?} at {at}");
    }
    match here.end {
        Some(end) => {
            assert!(!here.contains(end));
            assert_eq!(period(end - 1), here, "{unit:?} of {calendar:?} at {at}");
            assert_eq!(period(end).start, end, "{unit:?} of {calendar:?} at {at}");
        }
        None => assert_eq!(period(i64::MAX), here, "{unit:?} of {calendar:?} at {at}"),
    }
}

/// Walks whole years, month by month, and checks the first, second and last seconds of each month
/// and of each year, given the first day of `first_year` in days from the epoch.
fn walk_years(first_year: i64, last_year: i64, first_day: i64) -> i64 {
    let mut day = first_day;
    for year in first_year..=last_year {
        let year_bounds = bounds(day * DAY_SECONDS, (day + year_days(year)) * DAY_SECONDS);
        for month in 1..=12 {
            let start = day * DAY_SECONDS;
            day += month_days(year, month);
            let end = day * DAY_SECONDS;
            for at in [start, start + 1, end - DAY_SECONDS, end - DAY_SECONDS - 1, end - 1] {
                assert_eq!(period(Unit::Month, at), bounds(start, end), "{year}-{month} at {at}");
                assert_eq!(period(Unit::Year, at), year_bounds, "{year}-{month} at {at}");
            }
        }
    }
    day
}

#[test]
fn all_time_is_one_period_without_ends() {
    for at in [i64::MIN, -1, 0, 1, i64::MAX] {
        assert_eq!(period(Unit::AllTime, at), PeriodBounds { start: i64::MIN, end: None });
        assert!(period(Unit::AllTime, at).contains(at));
    }
}

#[test]
fn documented_reset_is_the_next_midnight() {
    // The reset of the product's own example, 1704153600, is 2024-01-02T00:00:00Z.
    assert_eq!(period(Unit::Day, utc("2024-01-01T12:00:00Z")).end, Some(1_704_153_600));
    assert_eq!(
        period(Unit::Month, utc("2024-01-31T23:59:59Z")),
        bounds(utc("2024-01-01T00:00:00Z"), utc("2024-02-01T00:00:00Z"))
    );
}

#[test]
fn the_end_is_outside_and_the_start_inside() {
    let day = period(Unit::Day, 0);
    assert_eq!(day, bounds(0, DAY_SECONDS));
    assert!(day.contains(0));
    assert!(day.contains(DAY_SECONDS - 1));
    assert!(!day.contains(DAY_SECONDS));
    assert!(!day.contains(-1));
}

#[test]
fn every_month_and_year_from_1970_to_2100_matches_a_hand_count() {
    let day = walk_years(1970, 2100, 0);
    assert_eq!(day * DAY_SECONDS, utc("2101-01-01T00:00:00Z"));
}

#[test]
fn every_month_and_year_before_1970_matches_a_hand_count() {
    assert_eq!(walk_years(0, 1969, YEAR_0_DAY), 0);
    // A full Gregorian cycle of 400 years below year 0.
    assert_eq!(walk_years(-400, -1, YEAR_0_DAY - 146_097), YEAR_0_DAY);
}

#[test]
fn year_9999_and_its_neighbours_match_a_hand_count() {
    let end = walk_years(9_000, 10_001, utc("9000-01-01T00:00:00Z") / DAY_SECONDS);
    assert_eq!(end, 2_933_628);
    let december = period(Unit::Month, utc("9999-12-31T23:59:59Z"));
    assert_eq!(december, bounds(utc("9999-12-01T00:00:00Z"), 253_402_300_800));
    assert_eq!(period(Unit::Year, 253_402_300_799).end, Some(253_402_300_800));
}

#[test]
fn every_day_and_hour_from_1970_to_2100_matches_a_hand_count() {
    let last = utc("2101-01-01T00:00:00Z") / DAY_SECONDS;
    for day in 0..last {
        let start = day * DAY_SECONDS;
        for at in [start, start + 43_200, start + DAY_SECONDS - 1] {
            assert_eq!(period(Unit::Day, at), bounds(start, start + DAY_SECONDS));
        }
        for hour in 0..24 {
            let start = start + hour * HOUR_SECONDS;
            for at in [start, start + HOUR_SECONDS - 1] {
                assert_eq!(period(Unit::Hour, at), bounds(start, start + HOUR_SECONDS));
            }
        }
    }
}

#[test]
fn every_second_of_the_days_around_the_epoch_is_in_the_right_hour_and_minute() {
    for at in -2 * DAY_SECONDS..2 * DAY_SECONDS {
        // Counted up from a start well below, so that no division of a negative is involved.
        let hour = (at + 10 * DAY_SECONDS) / HOUR_SECONDS - 240;
        let minute = (at + 10 * DAY_SECONDS) / MINUTE_SECONDS - 240 * 60;
        assert_eq!(period(Unit::Hour, at), bounds(hour * HOUR_SECONDS, (hour + 1) * HOUR_SECONDS));
        let whole = bounds(minute * MINUTE_SECONDS, (minute + 1) * MINUTE_SECONDS);
        assert_eq!(period(Unit::Minute, at), whole);
    }
}

#[test]
fn every_week_from_1900_to_2100_starts_on_monday_midnight() {
    let mut monday = NaiveDate::from_ymd_opt(1900, 1, 1).unwrap();
    assert_eq!(monday.weekday(), Weekday::Mon);
    while monday.year() <= 2100 {
        let start = monday.and_time(NaiveTime::MIN).and_utc().timestamp();
        for day in 0..7 {
            for second in [0, 1, DAY_SECONDS - 1] {
                let at = start + day * DAY_SECONDS + second;
                assert_eq!(period(Unit::Week, at), bounds(start, start + WEEK_SECONDS));
            }
        }
        monday = monday + Days::new(7);
    }
}

#[test]
fn leap_days_belong_to_february() {
    for (year, leap) in [(1900, false), (1996, true), (2000, true), (2023, false), (2100, false)] {
        let last = if leap { 29 } else { 28 };
        let february = period(Unit::Month, utc(&format!("{year}-02-{last}T23:59:59Z")));
        assert_eq!(february.start, utc(&format!("{year}-02-01T00:00:00Z")));
        assert_eq!(february.end, Some(utc(&format!("{year}-03-01T00:00:00Z"))));
        let days = (utc(&format!("{}-01-01T00:00:00Z", year + 1)) - february.start) / DAY_SECONDS;
        assert_eq!(days, if leap { 335 } else { 334 });
    }
}

#[test]
fn one_second_before_the_epoch_is_in_the_periods_of_1969() {
    assert_eq!(period(Unit::Hour, -1), bounds(-HOUR_SECONDS, 0));
    assert_eq!(period(Unit::Day, -1), bounds(-DAY_SECONDS, 0));
    assert_eq!(period(Unit::Week, -1), bounds(-3 * DAY_SECONDS, 4 * DAY_SECONDS));
    assert_eq!(period(Unit::Month, -1), bounds(-31 * DAY_SECONDS, 0));
    assert_eq!(period(Unit::Year, -1), bounds(-365 * DAY_SECONDS, 0));
}

#[test]
fn periods_cut_by_the_end_of_the_number_range_stay_sound() {
    for unit in UNITS {
        let (first, last) = (period(unit, i64::MIN), period(unit, i64::MAX));
        assert_eq!(first.start, i64::MIN, "{unit:?}");
        assert_eq!(last.end, None, "{unit:?}");
        for offset in 0..2 * WEEK_SECONDS {
            // Every second of the first and last hour, then every minute and its neighbours.
            if offset < HOUR_SECONDS || (offset + 1) % 60 < 3 {
                assert_sound(Calendar::UTC, unit, i64::MIN + offset);
                assert_sound(Calendar::UTC, unit, i64::MAX - offset);
            }
        }
    }
}

#[test]
fn the_first_and_last_month_and_year_of_chrono_hold_all_beyond() {
    let first = NaiveDate::MIN.and_time(NaiveTime::MIN).and_utc().timestamp();
    let last = NaiveDate::MAX.and_hms_opt(23, 59, 59).unwrap().and_utc().timestamp();
    for unit in [Unit::Month, Unit::Year] {
        assert_eq!(period(unit, i64::MIN), period(unit, first), "{unit:?}");
        assert_eq!(period(unit, first - 1), period(unit, first), "{unit:?}");
        assert_eq!(period(unit, i64::MAX), period(unit, last), "{unit:?}");
        assert_eq!(period(unit, last + 1), period(unit, last), "{unit:?}");
    }
    assert_eq!(period(Unit::Month, first).end, Some(first + 31 * DAY_SECONDS));
    assert_eq!(period(Unit::Month, last).start, last + 1 - 31 * DAY_SECONDS);
    assert_eq!(period(Unit::Year, last).start, last + 1 - 365 * DAY_SECONDS);
    for unit in UNITS {
        for offset in -800 * 24..800 * 24 {
            assert_sound(Calendar::UTC, unit, first + offset * HOUR_SECONDS);
            assert_sound(Calendar::UTC, unit, last + offset * HOUR_SECONDS);
        }
    }
}

/// Every month from 1970 to 2100 as (year, month, its first day in days from the epoch).
fn months_by_hand() -> Vec<(i64, i64, i64)> {
    let mut day = 0;
    let mut months = Vec::new();
    for (year, month) in (1970..=2100).flat_map(|year| (1..=12).map(move |month| (year, month))) {
        months.push((year, month, day));
        day += month_days(year, month);
    }
    months
}

fn assert_periods(calendar: Calendar, unit: Unit, starts: &[i64]) {
    for (start, end) in starts.iter().zip(&starts[1..]) {
        for at in [*start, start + 1, (start + end) / 2, end - 1] {
            assert_eq!(
                calendar.period_of(unit, at),
                bounds(*start, *end),
                "{unit:?} of {calendar:?} at {at}"
            );
        }
    }
}

fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

#[test]
fn anchored_months_start_on_their_day_or_the_last_of_a_shorter_month() {
    for day in 1..=31 {
        let calendar = Calendar::UTC.anchored(date(2024, 1, day));
        let start = |(year, month, first): (i64, i64, i64)| {
            (first + i64::from(day).min(month_days(year, month)) - 1) * DAY_SECONDS
        };
        let starts: Vec<i64> = months_by_hand().into_iter().map(start).collect();
        assert_periods(calendar, Unit::Month, &starts);
    }
}

#[test]
fn anchored_years_start_on_their_date_or_the_last_of_a_shorter_february() {
    for (month, day) in (1..=12).flat_map(|month| (1..=31).map(move |day| (month, day))) {
        let Some(anchor) = NaiveDate::from_ymd_opt(2024, month, day) else { continue };
        let calendar = Calendar::UTC.anchored(anchor);
        let mut months = months_by_hand();
        months.retain(|(_, number, _)| *number == i64::from(month));
        let start = |(year, month, first): (i64, i64, i64)| {
            (first + i64::from(day).min(month_days(year, month)) - 1) * DAY_SECONDS
        };
        let starts: Vec<i64> = months.into_iter().map(start).collect();
        assert_periods(calendar, Unit::Year, &starts);
    }
}

#[test]
fn an_anchor_on_the_31st_returns_to_it_after_a_shorter_month() {
    let calendar = Calendar::UTC.anchored(date(2024, 1, 31));
    let starts = ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"];
    assert_periods(calendar, Unit::Month, &starts.map(|day| utc(&format!("{day}T00:00:00Z"))));
}

#[test]
fn only_units_by_dates_have_zones_and_only_weeks_months_and_years_anchors() {
    let (paris, anchor) = (Tz::Europe__Paris, date(2024, 3, 15));
    let at = utc("2024-03-20T12:34:56Z");
    for unit in UNITS {
        let goes_by_dates = UNITS[2..6].contains(&unit);
        let has_anchor = UNITS[3..6].contains(&unit);
        let plain = period(unit, at);
        let of = |calendar: Calendar| calendar.period_of(unit, at);
        assert_eq!(of(Calendar::UTC.in_zone(paris)) == plain, !goes_by_dates, "{unit:?}");
        assert_eq!(of(Calendar::UTC.anchored(anchor)) == plain, !has_anchor, "{unit:?}");
        // The first of a year that was a Monday.
        assert_eq!(of(Calendar::UTC.anchored(date(2001, 1, 1))), plain);
    }
    let month = |anchor| Calendar::UTC.anchored(anchor).period_of(Unit::Month, at);
    assert_eq!(month(anchor), month(date(1999, 12, 15)));
}

#[test]
fn weeks_start_on_the_weekday_of_their_anchor() {
    for day in 1..=7 {
        let calendar = Calendar::UTC.anchored(date(2024, 1, day));
        let first = utc(&format!("2024-01-0{day}T00:00:00Z"));
        let starts = (-3_000..3_000).map(|week| first + week * WEEK_SECONDS);
        assert_periods(calendar, Unit::Week, &starts.collect::<Vec<_>>());
    }
}

fn several(calendar: Calendar, unit: Unit, every: u32, at: i64) -> PeriodBounds {
    calendar.period_of_several(unit, NonZeroU32::new(every).unwrap(), at)
}

#[test]
fn several_units_are_counted_from_the_origins_of_the_calendar() {
    let cases = [
        (Unit::Hour, 6, "2024-05-14T13:00:00Z", "2024-05-14T12:00:00Z", "2024-05-14T18:00:00Z"),
        (Unit::Minute, 15, "2024-05-14T13:29:59Z", "2024-05-14T13:15:00Z", "2024-05-14T13:30:00Z"),
        (Unit::Day, 10, "1970-01-10T23:00:00Z", "1970-01-01T00:00:00Z", "1970-01-11T00:00:00Z"),
        (Unit::Week, 2, "1970-01-18T00:00:00Z", "1970-01-05T00:00:00Z", "1970-01-19T00:00:00Z"),
        (Unit::Month, 3, "2024-05-14T13:00:00Z", "2024-04-01T00:00:00Z", "2024-07-01T00:00:00Z"),
        // Year 0 is 24 288 months before 2024, of which 5 leave 3.
        (Unit::Month, 5, "2024-05-14T13:00:00Z", "2024-03-01T00:00:00Z", "2024-08-01T00:00:00Z"),
        (Unit::Year, 10, "2024-05-14T13:00:00Z", "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
    ];
    for (unit, every, at, start, end) in cases {
        let found = several(Calendar::UTC, unit, every, utc(at));
        assert_eq!(found, bounds(utc(start), utc(end)), "{every} {unit:?}");
    }
}

#[test]
fn a_quarter_runs_from_its_anchor() {
    let calendar = Calendar::UTC.anchored(date(2024, 1, 31));
    let quarters = ["2023-10-31", "2024-01-31", "2024-04-30", "2024-07-31", "2024-10-31"];
    for pair in quarters.windows(2) {
        let [start, end] = [pair[0], pair[1]].map(|day| utc(&format!("{day}T00:00:00Z")));
        for at in [start, (start + end) / 2, end - 1] {
            assert_eq!(several(calendar, Unit::Month, 3, at), bounds(start, end));
        }
    }
}

/// The answer of `chrono`, by stepping dates and times instead of counting.
fn chrono_period(unit: Unit, at: i64) -> PeriodBounds {
    let now = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN);
    let month = now.date().with_day(1).unwrap();
    let (start, end) = match unit {
        Unit::Minute => {
            let start = now.with_second(0).unwrap();
            (start, start + chrono::Duration::minutes(1))
        }
        Unit::Hour => {
            let start = now.with_minute(0).unwrap().with_second(0).unwrap();
            (start, start + chrono::Duration::hours(1))
        }
        Unit::Day => (midnight(now.date()), midnight(now.date().succ_opt().unwrap())),
        Unit::Week => {
            let week = now.date().week(Weekday::Mon);
            (midnight(week.first_day()), midnight(week.last_day().succ_opt().unwrap()))
        }
        Unit::Month => (midnight(month), midnight(month + Months::new(1))),
        Unit::Year => {
            let start = now.date().with_ordinal(1).unwrap();
            (midnight(start), midnight(start + Months::new(12)))
        }
        Unit::AllTime => unreachable!("has no bounds to compare"),
    };
    bounds(start.and_utc().timestamp(), end.and_utc().timestamp())
}

fn any_unit() -> impl Strategy<Value = Unit> {
    proptest::sample::select(&UNITS[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(4_096)))]

    #[test]
    fn any_instant_lies_in_exactly_one_period(unit in any_unit(), at in any::<i64>()) {
        assert_sound(Calendar::UTC, unit, at);
    }

    /// A period of several units is as many of one, laid end to end; one starts on the anchor.
    #[test]
    fn several_units_are_so_many_single_ones(
        unit in proptest::sample::select(&UNITS[..6]),
        every in 1_u32..40,
        zone in proptest::sample::select(vec![
            Tz::UTC, Tz::America__New_York, Tz::Asia__Kolkata, Tz::America__Havana,
        ]),
        anchor in proptest::option::of(-40_000_i32..80_000),
        at in -5_000_000_000_i64..10_000_000_000,
    ) {
        let anchor = anchor.and_then(NaiveDate::from_epoch_days);
        let calendar = Calendar::UTC.in_zone(zone);
        let calendar = anchor.map_or(calendar, |anchor| calendar.anchored(anchor));
        let here = several(calendar, unit, every, at);
        prop_assert!(here.contains(at));
        let mut end = here.start;
        for _ in 0..every {
            let single = calendar.period_of(unit, end);
            prop_assert_eq!(single.start, end);
            end = single.end.unwrap();
        }
        prop_assert_eq!(here.end, Some(end));
        prop_assert_eq!(several(calendar, unit, every, end).start, end);
        prop_assert_eq!(several(calendar, unit, every, here.start - 1).end, Some(here.start));
        if let Some(anchor) = anchor && UNITS[2..6].contains(&unit) {
            let begins = super::zone::beginning_of(anchor, zone);
            prop_assert_eq!(several(calendar, unit, every, begins).start, begins);
        }
    }

    #[test]
    fn any_instant_lies_in_exactly_one_period_of_several_units(
        unit in any_unit(),
        every in prop_oneof![1_u32..1_000, any::<u32>().prop_map(|every| every.max(1))],
        anchor in proptest::option::of(any::<i32>()),
        at in any::<i64>(),
    ) {
        let anchor = anchor.and_then(NaiveDate::from_epoch_days);
        let calendar = anchor.map_or(Calendar::UTC, |anchor| Calendar::UTC.anchored(anchor));
        let here = several(calendar, unit, every, at);
        prop_assert!(here.contains(at));
        prop_assert_eq!(several(calendar, unit, every, here.start), here);
        if let Some(end) = here.end {
            prop_assert_eq!(several(calendar, unit, every, end).start, end);
        }
    }

    #[test]
    fn any_dated_instant_lies_in_the_period_that_chrono_steps_to(
        unit in proptest::sample::select(&UNITS[..6]),
        // About 260 000 years either way from 1970, where chrono can still step on.
        at in -8_200_000_000_000_i64..8_200_000_000_000,
    ) {
        assert_sound(Calendar::UTC, unit, at);
        prop_assert_eq!(period(unit, at), chrono_period(unit, at));
    }

    #[test]
    fn instants_of_this_age_lie_in_the_period_that_chrono_steps_to(
        unit in proptest::sample::select(&UNITS[..6]),
        at in -5_000_000_000_i64..10_000_000_000,
    ) {
        prop_assert_eq!(period(unit, at), chrono_period(unit, at));
    }
}
