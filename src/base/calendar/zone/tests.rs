//! Goal: days, weeks, months and years are those of the zone's wall clock, whatever it does.
//! Method: a walk through 70 years of each odd zone that looks at nothing but the clock and notes
//! when each date is first seen; the product's worked numbers; clock changes from the news of
//! their day; all zones at random instants.

#![allow(clippy::arithmetic_side_effects, reason = "an overflow here fails the test, as it should")]

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;

use crate::base::calendar::tests::{UNITS, assert_sound, bounds, utc};
use crate::base::calendar::{Calendar, Unit};

const HOUR: i64 = 3_600;
const QUARTER: i64 = 900;

/// Zones in which something is odd, and what.
const ZONES: [Tz; 16] = [
    Tz::America__New_York,
    Tz::Europe__Berlin,
    // Clocks change at midnight: midnights that do not exist, and ones that exist twice.
    Tz::America__Sao_Paulo,
    Tz::Africa__Cairo,
    Tz::Asia__Beirut,
    Tz::America__Havana,
    Tz::America__Asuncion,
    // They changed at a minute past midnight: the day before was shown again.
    Tz::America__St_Johns,
    // Half hours, 45 minutes, half an hour of daylight saving, two hours of it.
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
    Tz::Pacific__Chatham,
    Tz::Australia__Lord_Howe,
    Tz::Antarctica__Troll,
    // Seconds in the offset until 1972.
    Tz::Africa__Monrovia,
    // Dates that were left out.
    Tz::Pacific__Apia,
    Tz::Pacific__Kwajalein,
];

fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

fn offset(zone: Tz, at: i64) -> i64 {
    let utc = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc().into()
}

/// The days from the epoch that the wall clock shows.
fn day(zone: Tz, at: i64) -> i64 {
    (at + offset(zone, at)).div_euclid(24 * HOUR)
}

/// Walks the clock from 1970 to 2040 and notes the instant at which each date or a later one is
/// first seen: the days from the epoch of the first, and the instants.
fn walk(zone: Tz) -> (i64, Vec<i64>) {
    let (from, to) = (utc("1970-01-02T00:00:00Z"), utc("2040-01-02T00:00:00Z"));
    let first = day(zone, from) + 1;
    let mut seen = Vec::new();
    let mut see = |at| {
        while first + seen.len() as i64 <= day(zone, at) {
            seen.push(at);
        }
    };
    for at in (from..to).step_by(QUARTER as usize) {
        let next = at + QUARTER;
        let is_even = offset(zone, at) % QUARTER == 0 && offset(zone, at) == offset(zone, next);
        if is_even {
            see(next);
        } else {
            (at..=next).for_each(&mut see);
        }
    }
    (first, seen)
}

/// The dates on which the periods of a unit start, by a calendar's own rules.
fn starts_on(unit: Unit, day: NaiveDate, anchor: NaiveDate) -> bool {
    let is_last = day.succ_opt().unwrap().month() != day.month();
    let is_day = day.day() == anchor.day() || (is_last && day.day() < anchor.day());
    match unit {
        Unit::Day => true,
        Unit::Week => day.weekday() == anchor.weekday(),
        Unit::Month => is_day,
        Unit::Year => is_day && day.month() == anchor.month(),
        _ => unreachable!("goes by UTC"),
    }
}

#[test]
fn seventy_years_of_odd_clocks_are_cut_where_each_date_is_first_seen() {
    let epoch = date(1970, 1, 1);
    for zone in ZONES {
        let (first, seen) = walk(zone);
        for unit in [Unit::Day, Unit::Week, Unit::Month, Unit::Year] {
            for anchor in [date(2024, 1, 1), date(2024, 2, 15), date(2024, 5, 31)] {
                let calendar = Calendar::UTC.in_zone(zone).anchored(anchor);
                let day = |place: usize| epoch + Days::new(first as u64 + place as u64);
                let starting = (0..seen.len()).filter(|place| starts_on(unit, day(*place), anchor));
                let starts: Vec<i64> = starting.map(|place| seen[place]).collect();
                assert!(starts.len() >= 69, "{zone} {unit:?}");
                for (start, end) in starts.iter().zip(&starts[1..]).filter(|(a, b)| a < b) {
                    for at in [*start, start + 1, (start + end) / 2, end - 1] {
                        let found = calendar.period_of(unit, at);
                        assert_eq!(found, bounds(*start, *end), "{unit:?} of {calendar:?} at {at}");
                    }
                }
            }
        }
    }
}

fn assert_day(zone: Tz, at: &str, start: &str, end: &str) {
    let found = Calendar::UTC.in_zone(zone).period_of(Unit::Day, utc(at));
    assert_eq!(found, bounds(utc(start), utc(end)), "{zone} at {at}");
}

#[test]
fn the_products_worked_numbers_hold() {
    let zone = Tz::America__New_York;
    // 23 hours, and 25.
    assert_day(zone, "2024-03-10T12:00:00Z", "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z");
    assert_day(zone, "2024-11-03T12:00:00Z", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z");
    let calendar = Calendar::UTC.in_zone(zone).anchored(date(2023, 12, 15));
    let period = calendar.period_of(Unit::Month, utc("2024-03-01T00:00:00Z"));
    assert_eq!(period, bounds(utc("2024-02-15T05:00:00Z"), 1_710_475_200));
}

#[test]
fn a_midnight_that_does_not_exist_is_the_first_instant_of_its_day() {
    // 00:00 became 01:00.
    let zone = Tz::America__Sao_Paulo;
    assert_day(zone, "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
    assert_day(
        Tz::Africa__Cairo,
        "2024-04-26T12:00:00Z",
        "2024-04-25T22:00:00Z",
        "2024-04-26T21:00:00Z",
    );
}

#[test]
fn of_a_midnight_that_exists_twice_the_first_counts() {
    // 01:00 became 00:00.
    let zone = Tz::America__Havana;
    assert_day(zone, "2023-11-05T12:00:00Z", "2023-11-05T04:00:00Z", "2023-11-06T05:00:00Z");
    // 00:01 became 23:01, and the new day went on through it.
    let zone = Tz::America__St_Johns;
    for at in ["2010-11-07T02:30:00Z", "2010-11-07T02:31:00Z", "2010-11-07T03:29:59Z"] {
        assert_day(zone, at, "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
    }
}

#[test]
fn a_date_that_is_left_out_is_in_no_period_of_its_own() {
    let zone = Tz::Pacific__Apia;
    let border = "2011-12-30T10:00:00Z";
    assert_day(zone, "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", border);
    assert_day(zone, border, border, "2011-12-31T10:00:00Z");
    assert_eq!(super::beginning_of(date(2011, 12, 30), zone), utc(border));
    assert_eq!(super::beginning_of(date(2011, 12, 31), zone), utc(border));
    // A month that is anchored to the day begins with the next.
    let calendar = Calendar::UTC.in_zone(zone).anchored(date(2011, 1, 30));
    assert_eq!(calendar.period_of(Unit::Month, utc(border)).start, utc(border));
}

#[test]
fn minutes_and_hours_are_those_of_utc_in_every_zone() {
    let at = utc("2024-03-10T12:34:56Z");
    for zone in TZ_VARIANTS {
        let hour = Calendar::UTC.in_zone(zone).period_of(Unit::Hour, at);
        assert_eq!(hour, bounds(utc("2024-03-10T12:00:00Z"), utc("2024-03-10T13:00:00Z")));
        let minute = Calendar::UTC.in_zone(zone).period_of(Unit::Minute, at);
        assert_eq!(minute, bounds(utc("2024-03-10T12:34:00Z"), utc("2024-03-10T12:35:00Z")));
    }
}

#[test]
fn all_zones_begin_each_day_when_their_clock_first_shows_it() {
    for zone in TZ_VARIANTS {
        let mut before = i64::MIN;
        let mut day = date(1970, 1, 1);
        while day.year() < 2040 {
            let start = super::beginning_of(day, zone);
            let midnight = day.and_time(NaiveTime::MIN).and_utc().timestamp();
            let shown = |at: i64| at + offset(zone, at);
            assert!(shown(start) >= midnight, "{zone} {day}");
            assert!(shown(start - 1) < midnight, "{zone} {day}");
            assert!(before <= start, "{zone} {day}");
            before = start;
            day = day.succ_opt().unwrap();
        }
    }
}

/// The first second of each offset of a zone from 1970 to 2037, but for the one before it.
fn transitions(zone: Tz) -> Vec<i64> {
    let (from, to) = (utc("1970-01-01T00:00:00Z"), utc("2038-01-01T00:00:00Z"));
    let (step, mut found) = (12 * HOUR, Vec::new());
    let mut before = offset(zone, from);
    for at in (from..to).step_by(step as usize) {
        let after = offset(zone, at + step);
        if after == before {
            continue;
        }
        // No zone has two changes within half a day.
        let (mut low, mut high) = (at, at + step);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let bound = if offset(zone, middle) == before { &mut low } else { &mut high };
            *bound = middle;
        }
        found.push(high);
        before = after;
    }
    found
}

/// A day begins when the clock first shows its date, and ends when it first shows a later one.
fn assert_first_seen(zone: Tz, at: i64, transition: i64) {
    let found = Calendar::UTC.in_zone(zone).period_of(Unit::Day, at);
    for start in [Some(found.start), found.end].into_iter().flatten() {
        let date = day(zone, start);
        assert!(day(zone, start - 1) < date, "{zone} at {at}: {start}");
        // The clock was set back since it showed what it had reached before.
        let is_since = (start - 48 * HOUR..=start).contains(&transition);
        assert!(!is_since || day(zone, transition - 1) < date, "{zone} at {at}: {start}");
    }
}

#[test]
fn every_transition_of_every_zone_leaves_each_instant_in_one_period() {
    let mut known = std::collections::HashSet::new();
    let mut checked = 0;
    for zone in TZ_VARIANTS {
        let found = transitions(zone);
        // Most names of a zone are of one that has another name, too.
        let clock: Vec<_> = found.iter().map(|at| (*at, offset(zone, *at))).collect();
        if !known.insert((offset(zone, 0), clock)) {
            continue;
        }
        let plain = Calendar::UTC.in_zone(zone);
        let last = plain.anchored(date(2020, 1, 31));
        for transition in found {
            checked += 1;
            for at in [transition - 24 * HOUR, transition - 1, transition, transition + 24 * HOUR] {
                assert_sound(plain, Unit::Day, at);
                assert_first_seen(zone, at, transition);
            }
            for at in [transition - 1, transition] {
                assert_sound(plain, Unit::Week, at);
                assert_sound(plain, Unit::Month, at);
                assert_sound(last, Unit::Month, at);
            }
        }
    }
    assert!(checked > 10_000, "{checked} transitions");
}

#[test]
fn the_ends_of_time_stay_sound_in_every_zone() {
    let first = NaiveDate::MIN.and_time(NaiveTime::MIN).and_utc().timestamp();
    let last = NaiveDate::MAX.and_hms_opt(23, 59, 59).unwrap().and_utc().timestamp();
    for zone in [Tz::Pacific__Kiritimati, Tz::Etc__GMTPlus12, Tz::America__New_York] {
        for unit in UNITS {
            for anchor in [date(2024, 1, 1), date(2024, 7, 31)] {
                let calendar = Calendar::UTC.in_zone(zone).anchored(anchor);
                assert_eq!(calendar.period_of(unit, i64::MIN).start, i64::MIN);
                assert_eq!(calendar.period_of(unit, i64::MAX).end, None);
                for hours in -800..800 {
                    for at in [first + hours * HOUR, last + hours * HOUR] {
                        assert_sound(calendar, unit, at);
                    }
                }
                for offset in 0..HOUR {
                    assert_sound(calendar, unit, i64::MIN + offset);
                    assert_sound(calendar, unit, i64::MAX - offset);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(8_192)))]

    #[test]
    fn any_instant_lies_in_exactly_one_period_of_any_zone(
        zone in proptest::sample::select(&TZ_VARIANTS[..]),
        unit in proptest::sample::select(&UNITS[..]),
        anchor in 0_u64..1_000,
        at in prop_oneof![any::<i64>(), -6_000_000_000_i64..6_000_000_000],
    ) {
        let anchor = date(2023, 1, 1) + Days::new(anchor);
        assert_sound(Calendar::UTC.in_zone(zone).anchored(anchor), unit, at);
    }
}
