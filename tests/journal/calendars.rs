//! Goal: whatever zones and anchors customers, teams and the engine get, in whichever order, and
//! however often it is closed, dropped or crashes in between, a quota's figure is what is recorded
//! of the period, and the period is cut by the calendar of now.
//!
//! Method: a random life of an engine, in memory and on a medium in memory. After each step every
//! quota of every key is compared with a fold over all events that were let in, whose periods are
//! found by walking from date to date.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, Utc, Weekday};
use limitry::customer::Customer;
use limitry::store::{Durability, Durable};
use limitry::time::{ManualClock, Tz};
use limitry::{Engine, Event, Hold, Metric, Period, Quota, Reserved, Timestamp};

use crate::support::medium::{Medium, Unsynced};
use crate::support::{Dice, cases, seed};

const ZONES: [Tz; 5] = [
    Tz::America__New_York,
    Tz::Europe__Berlin,
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
    Tz::Pacific__Auckland,
];
const CUSTOMERS: [&str; 3] = ["acme", "globex", "initech"];
const TEAMS: [&str; 2] = ["red", "blue"];

/// What a value has of its own.
type Own = (Option<Tz>, Option<NaiveDate>);

#[derive(Default)]
struct World {
    engine_zone: Option<Tz>,
    customers: BTreeMap<&'static str, Own>,
    teams: BTreeMap<&'static str, Own>,
    /// The second, the customer and the team of each event.
    events: Vec<(i64, &'static str, &'static str)>,
}

impl World {
    /// The calendar of the first that has one, and else of the engine.
    fn calendar(&self, owns: &[Own]) -> Own {
        let zone = owns.iter().find_map(|own| own.0).or(self.engine_zone);
        (zone, owns.iter().find_map(|own| own.1))
    }

    fn of_customer(&self, customer: &str) -> Own {
        self.customers.get(customer).copied().unwrap_or_default()
    }

    fn of_team(&self, team: &str) -> Own {
        self.teams.get(team).copied().unwrap_or_default()
    }
}

fn second(at: Timestamp) -> i64 {
    at.unix_seconds()
}

/// The period that holds a second: between two dates on which one begins.
fn period(of: Period, (zone, anchor): Own, second: i64) -> (i64, i64) {
    let zone = zone.unwrap_or(Tz::UTC);
    let begins = |date: NaiveDate| match of {
        Period::Day => true,
        Period::Week => date.weekday() == anchor.map_or(Weekday::Mon, |it| it.weekday()),
        _ => {
            let day = anchor.map_or(1, |it| it.day());
            let is_last = date.succ_opt().expect("a date").day() == 1;
            date.day() == day || (is_last && date.day() < day)
        }
    };
    let now = DateTime::<Utc>::from_timestamp(second, 0).expect("a time").with_timezone(&zone);
    let (mut first, mut next) = (now.date_naive(), now.date_naive());
    while !begins(first) {
        first = first.pred_opt().expect("a date");
    }
    loop {
        next = next.succ_opt().expect("a date");
        if begins(next) {
            break;
        }
    }
    let beginning = |date: NaiveDate| {
        let midnight = date.and_hms_opt(0, 0, 0).expect("midnight");
        midnight.and_local_timezone(zone).earliest().expect("none skips midnight").timestamp()
    };
    (beginning(first), beginning(next))
}

fn quotas() -> [Quota; 4] {
    let quota = |name, period| Quota::new(name, Metric::TotalEvents, 1_000_000, period);
    [
        quota("day", Period::Day).per("customer_id"),
        quota("month", Period::Month).per("customer_id"),
        quota("week", Period::Week).per("customer_id").per("team_id"),
        quota("red", Period::Day).filter("team_id", "red"),
    ]
}

fn build(world: &World, clock: &ManualClock, medium: Option<&Medium>) -> Engine {
    let builder = quotas().into_iter().fold(Engine::builder(), limitry::EngineBuilder::quota);
    let builder = builder.clock(clock.clone()).late_events(Duration::from_secs(6 * 3_600));
    let builder = builder.time_zone(world.engine_zone.unwrap_or(Tz::UTC));
    let builder = match medium {
        Some(medium) => {
            let store = Durable::open_on(medium.clone()).expect("it opens");
            builder.durable(store.durability(Durability::Synced))
        }
        None => builder,
    };
    builder.build().expect("it is built")
}

fn event(customer: &'static str, team: &'static str) -> Event<'static> {
    Event::new(customer, "call").property("team_id", team)
}

/// Compares each quota of each key with the fold.
fn compare(engine: &Engine, world: &World, step: &str) {
    let now = second(engine.now());
    for customer in CUSTOMERS {
        for team in TEAMS {
            let standing = engine.standing(&event(customer, team)).expect("a good event");
            for quota in standing.quotas() {
                let owns = match &*quota.name {
                    "week" => vec![world.of_customer(customer), world.of_team(team)],
                    "red" => vec![world.of_team(team)],
                    _ => vec![world.of_customer(customer)],
                };
                let (start, end) = period(quota.period, world.calendar(&owns), now);
                let counts = |(at, of, team_of): &&(i64, &str, &str)| {
                    let is_of_key = match &*quota.name {
                        "week" => (*of, *team_of) == (customer, team),
                        "red" => *team_of == "red",
                        _ => *of == customer,
                    };
                    is_of_key && (start..end).contains(at)
                };
                let used = world.events.iter().filter(counts).count() as u64;
                let found = (quota.used, quota.reset.map(second));
                let what = format!("{step}: {} of {customer} and {team}", quota.name);
                assert_eq!(found, (used.into(), Some(end)), "{what}");
            }
        }
    }
}

fn own(dice: &mut Dice) -> Own {
    let zone = dice.chance(60).then(|| dice.pick(&ZONES));
    let day = |dice: &mut Dice| {
        let (month, day) = (dice.range(1, 12), dice.range(1, 31));
        let date = |day| NaiveDate::from_ymd_opt(2024, month as u32, day as u32);
        date(day).or_else(|| date(28)).expect("a date")
    };
    (zone, dice.chance(50).then(|| day(dice)))
}

fn customer(id: &str, (zone, anchor): Own) -> Customer {
    let mut customer = Customer::new(id);
    customer.time_zone = zone.map(Into::into);
    customer.billing_anchor = anchor;
    customer
}

fn live(dice: &mut Dice, is_durable: bool) {
    let clock = ManualClock::new("2024-02-26T20:00:00Z".parse().expect("a time"));
    let (mut world, mut medium) = (World::default(), is_durable.then(Medium::new));
    let mut engine = build(&world, &clock, medium.as_ref());
    for step in 0..40 {
        let what = dice.below(100);
        match what {
            0..50 => {
                clock.advance(Duration::from_secs(dice.below(12 * 3_600)));
                let (of, team) = (dice.pick(&CUSTOMERS), dice.pick(&TEAMS));
                let now = second(engine.now());
                let at = match dice.below(6) {
                    0 => now - dice.below(40 * 3_600) as i64,
                    1 => now + dice.below(23 * 3_600) as i64,
                    _ => now,
                };
                let dated = Timestamp::from(DateTime::from_timestamp(at, 0).expect("a time"));
                let call = event(of, team);
                let call = if at == now { call } else { call.timestamp(dated) };
                assert!(engine.track(&call).expect("a good event").is_allowed());
                world.events.push((at, of, team));
            }
            50..70 => {
                let (id, own) = (dice.pick(&CUSTOMERS), own(dice));
                engine.customers().upsert(customer(id, own)).expect("it is good");
                world.customers.insert(id, own);
            }
            70..80 => {
                let (id, own) = (dice.pick(&TEAMS), own(dice));
                let teams = engine.customers().of("team_id").expect("a good name");
                teams.upsert(customer(id, own)).expect("it is good");
                world.teams.insert(id, own);
            }
            80..85 => {
                let id = dice.pick(&CUSTOMERS);
                engine.customers().remove(id).expect("it is good");
                world.customers.remove(id);
            }
            85..90 => clock.advance(Duration::from_secs(dice.below(20 * 24 * 3_600))),
            _ => {
                let Some(disk) = &mut medium else { continue };
                if dice.chance(40) {
                    world.engine_zone = dice.chance(70).then(|| dice.pick(&ZONES));
                }
                match dice.below(3) {
                    0 => {
                        engine.store().verify(|_| ()).expect("it is whole");
                        engine.store().close().expect("it closes");
                    }
                    1 => drop(std::mem::replace(&mut engine, build(&world, &clock, None))),
                    _ => {
                        let crashed = disk.after_crash(Unsynced::Seed(dice.next()));
                        drop(std::mem::replace(&mut engine, build(&world, &clock, None)));
                        *disk = crashed;
                    }
                }
                engine = build(&world, &clock, medium.as_ref());
                for (id, own) in &world.customers {
                    let known = engine.customers().get(id).expect("it was set");
                    assert_eq!(
                        (known.time_zone, known.billing_anchor),
                        (own.0.map(Into::into), own.1)
                    );
                }
            }
        }
        compare(&engine, &world, &format!("step {step} ({what})"));
    }
}

#[test]
fn figures_are_what_is_recorded_of_the_periods_of_now() {
    for case in 0..u64::from(cases(60)) {
        let seed = seed("calendars", case);
        live(&mut Dice::new(seed), case.is_multiple_of(2));
    }
}

/// A hold that was taken in a period which is cut otherwise meanwhile ends in the one of now, after
/// a restart as well.
#[test]
fn a_hold_ends_in_the_period_that_its_own_became() {
    let clock = ManualClock::new("2024-05-15T02:00:00Z".parse().expect("a time"));
    let (world, medium) = (World::default(), Medium::new());
    let engine = build(&world, &clock, Some(&medium));
    let held = |engine: &Engine| {
        let standing = engine.standing(&event("acme", "blue")).expect("a good event");
        let quota = standing.quotas().next().expect("it matches");
        (quota.used.to_string(), quota.held.to_string(), quota.reset.map(second))
    };
    let tokyo = Some("2024-05-15T15:00:00Z".parse().map(second).expect("a time"));
    let figures = |used: &str, held: &str| (used.to_owned(), held.to_owned(), tokyo);
    let hold = Hold::lasting(Duration::from_secs(3_600));
    let reserve = || match engine.reserve(&event("acme", "blue"), hold).expect("it is good") {
        Reserved::Held(held) => held,
        other => panic!("{other:?}"),
    };
    let ids = [reserve(), reserve(), reserve()].map(limitry::Reservation::into_id);
    let acme = customer("acme", (Some(Tz::Asia__Tokyo), None));
    engine.customers().upsert(acme).expect("it is good");
    assert_eq!(held(&engine), figures("0", "3"));
    engine.release(ids[0]).expect("it is open");
    assert_eq!(held(&engine), figures("0", "2"));
    let crashed = medium.after_crash(Unsynced::Lost);
    drop(engine);
    let engine = build(&world, &clock, Some(&crashed));
    assert_eq!(held(&engine), figures("0", "2"));
    let _ = engine.commit(ids[1], &event("acme", "blue")).expect("it is open");
    assert_eq!(held(&engine), figures("1", "1"));
    clock.advance(Duration::from_secs(2 * 3_600));
    assert_eq!(held(&engine), figures("1", "0"));
}
