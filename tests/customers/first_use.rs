//! Goal: the periods of a quota with `first_use` run from the first use of each key, never move,
//! and follow each other for ever; what is dated before one counts in usage alone; also over
//! reservations, restarts and crashes, and at the nanosecond that a refusal says.
//!
//! Method: random lives beside a naive statement, which keeps every use with its second and sums
//! up anew; one case of each thing that is an error.

use std::collections::BTreeMap;
use std::time::Duration;

use limitry::alerts::AlertQuery;
use limitry::rules::{QuotaUpdate, Rule, Threshold};
use limitry::store::{Durability, MemoryStore};
use limitry::time::{ManualClock, Tz};
use limitry::{
    Engine, EngineBuilder, Event, Hold, Metric, Period, Quota, Reserved, RetryAfter, RuleSet,
    Timestamp,
};

use crate::support::{Dice, START, cases, clock, date, seed};

const LIMIT: u64 = 20;
const HOUR: i64 = 3_600;
const DAY: Duration = Duration::from_secs(86_400);
/// Two hours.
const LENGTH: i64 = 2 * HOUR;
const CUSTOMERS: [&str; 3] = ["acme", "globex", "initech"];

fn trial() -> Quota {
    let trial = Quota::new("trial", Metric::TotalTokens, LIMIT, Period::Hour).every(2);
    trial.first_use().id("q_trial").per("customer_id")
}

fn builder(clock: &ManualClock) -> EngineBuilder {
    Engine::builder().clock(clock.clone()).quota(trial().alert_at(Threshold::percent(50)))
}

/// What is known of a key: when it began, and each use with the second at which it was taken.
#[derive(Default)]
struct Key {
    first: Option<i64>,
    uses: Vec<(i64, i64)>,
}

impl Key {
    /// The start of the period of now, for an event of a second.
    fn start(&self, now: i64, second: i64) -> i64 {
        let mut start = self.first.unwrap_or(second.min(now));
        while start + LENGTH <= now {
            start += LENGTH;
        }
        start
    }

    fn used(&self, now: i64) -> i64 {
        let start = self.start(now, now);
        self.uses.iter().filter(|(at, _)| *at >= start).map(|(_, units)| units).sum()
    }

    /// Whether an event fits.
    fn fits(&self, now: i64, second: i64, units: i64) -> bool {
        let is_before = second < self.start(now, second);
        units == 0 || is_before || self.used(now) + units <= LIMIT as i64
    }

    fn take(&mut self, now: i64, second: i64, units: i64) {
        if units == 0 {
            return;
        }
        let start = self.start(now, second);
        self.first.get_or_insert(second.min(now));
        if second >= start {
            self.uses.push((now, units));
        }
    }
}

struct Held {
    id: limitry::reservations::ReservationId,
    customer: &'static str,
    at: i64,
    units: i64,
}

fn compare(engine: &Engine, keys: &BTreeMap<&str, Key>, held: &[Held], step: &str) {
    let now = engine.now().unix_seconds();
    for customer in CUSTOMERS {
        let standing = engine.standing(&Event::new(customer, "call")).expect("good");
        let quota = standing.quotas().next().expect("it matches");
        let none = Key::default();
        let key = keys.get(customer).unwrap_or(&none);
        let start = key.start(now, now);
        let open = held.iter().filter(|held| held.customer == customer && held.at >= start);
        let open: i64 = open.map(|held| held.units).sum();
        let found = (quota.used, quota.held, quota.reset.map(Timestamp::unix_seconds));
        let due = ((key.used(now) - open).into(), open.into(), Some(start + LENGTH));
        assert_eq!(found, due, "{step}: {customer} at {now}");
    }
}

fn live(dice: &mut Dice, memory: Option<&MemoryStore>) {
    let clock = ManualClock::new(date(START));
    let mut memory = memory.cloned();
    let build = |memory: &Option<MemoryStore>| {
        let builder = builder(&clock);
        match memory {
            Some(memory) => {
                let store = memory.open().expect("it opens").durability(Durability::Synced);
                builder.durable(store).build()
            }
            None => builder.build(),
        }
        .expect("an engine")
    };
    let mut engine = build(&memory);
    let (mut keys, mut held) = (BTreeMap::<&str, Key>::new(), Vec::<Held>::new());
    for step in 0..120 {
        clock.advance(Duration::from_millis(dice.below(1_500_000)));
        let (now, customer) = (engine.now().unix_seconds(), dice.pick(&CUSTOMERS));
        let key = keys.entry(customer).or_default();
        let units = dice.below(9) as i64;
        let event = Event::new(customer, "call").total_tokens(units as u64);
        let what = dice.below(10);
        match what {
            0..5 => {
                let second = match dice.below(4) {
                    0 => now - dice.below(3 * LENGTH as u64) as i64,
                    1 => now + dice.below(LENGTH as u64) as i64,
                    _ => now,
                };
                let event =
                    if second == now { event } else { event.timestamp(Timestamp::new(second, 0)) };
                let fits = key.fits(now, second, units);
                let decision = engine.track(&event).expect("good");
                assert_eq!(decision.is_allowed(), fits, "step {step}");
                if fits {
                    key.take(now, second, units);
                } else if let Some(RetryAfter::After(wait)) = decision.retry_after() {
                    // Without holds nothing changes until then but the time.
                    if held.is_empty() && second == now {
                        clock.advance(wait - Duration::from_nanos(1));
                        assert!(!engine.check(&event).expect("good").is_allowed(), "step {step}");
                        clock.advance(Duration::from_nanos(1));
                        assert!(engine.check(&event).expect("good").is_allowed(), "step {step}");
                    }
                } else {
                    panic!("step {step}: it would pass one day");
                }
            }
            5 | 6 => {
                let hold = Hold::lasting(Duration::from_secs(24 * 3_600));
                let fits = key.fits(now, now, units);
                match engine.reserve(&event, hold).expect("good") {
                    Reserved::Held(made) => {
                        assert!(fits, "step {step}");
                        key.take(now, now, units);
                        held.push(Held { id: made.into_id(), customer, at: now, units });
                    }
                    Reserved::Refused(_) => assert!(!fits, "step {step}"),
                    other => panic!("{other:?}"),
                }
            }
            7 | 8 if !held.is_empty() => {
                let place = dice.below(held.len() as u64) as usize;
                let Held { id, customer, at, units: before } = held.swap_remove(place);
                let key = keys.get_mut(customer).expect("it was held");
                let actual = if dice.chance(40) { 0 } else { units };
                if actual == 0 && dice.chance(50) {
                    engine.release(id).expect("it is open");
                } else {
                    let event = Event::new(customer, "call").total_tokens(actual as u64);
                    let _ = engine.commit(id, &event).expect("it is open");
                }
                if actual < before {
                    // What is given back was used when it was taken.
                    key.uses.push((at, actual - before));
                } else {
                    // What is committed happened when it was reserved.
                    key.take(now, at, actual - before);
                }
            }
            9 => {
                let Some(store) = &memory else { continue };
                if dice.chance(50) {
                    engine.store().verify(|_| ()).expect("it is whole");
                    engine.store().close().expect("it closes");
                } else {
                    memory = Some(store.after_crash());
                }
                drop(engine);
                engine = build(&memory);
            }
            _ => {}
        }
        compare(&engine, &keys, &held, &format!("step {step} ({what})"));
    }
}

#[test]
fn periods_run_from_the_first_use_of_each_key() {
    for case in 0..u64::from(cases(60)) {
        let mut dice = Dice::new(seed("first_use", case));
        let memory = MemoryStore::new();
        live(&mut dice, case.is_multiple_of(2).then_some(&memory));
    }
}

#[test]
fn a_period_begins_with_what_is_let_in_and_counts() {
    let clock = clock();
    let engine = builder(&clock).build().expect("an engine");
    let event = |tokens| Event::new("acme", "call").total_tokens(tokens);
    let ends = |engine: &Engine| {
        let standing = engine.standing(&event(1)).expect("good");
        let quota = standing.quotas().next().expect("it matches");
        quota.reset.expect("it ends").unix_seconds()
    };
    // Neither what is refused nor what counts nothing, nor a look.
    assert!(!engine.track(&event(LIMIT + 1)).expect("good").is_allowed());
    assert_eq!(
        engine.track(&event(LIMIT + 1)).expect("good").retry_after(),
        Some(RetryAfter::Never)
    );
    assert!(engine.track(&event(0)).expect("good").is_allowed());
    assert!(engine.check(&event(3)).expect("good").is_allowed());
    clock.advance(Duration::from_millis(90_700));
    let began = engine.now().unix_seconds();
    assert!(engine.track(&event(10)).expect("good").is_allowed());
    let alerts = engine.alerts().list(&AlertQuery::new()).alerts;
    let window = alerts.first().map(|it| (it.window_start, it.window_end)).expect("half is used");
    let at = |second| Some(Timestamp::new(second, 0));
    assert_eq!(window, (at(began), at(began + LENGTH)));
    assert_eq!(ends(&engine), began + LENGTH);
    // A day with nothing: periods have followed each other meanwhile.
    clock.advance(Duration::from_secs(24 * 3_600 + 1_800));
    assert_eq!(ends(&engine), began + 13 * LENGTH);
    // An adjustment counts in the period of now, and a reset begins it anew where it is.
    engine.rules().adjust("q_trial", [("customer_id", "acme")], 5, "more").expect("good");
    let standing = engine.standing(&event(1)).expect("good");
    let quota = standing.quotas().next().expect("it matches");
    assert_eq!((quota.used.to_string(), quota.adjusted.to_string()), ("5".into(), "5".into()));
    engine.rules().reset("q_trial", [("customer_id", "acme")]).expect("good");
    assert_eq!(ends(&engine), began + 13 * LENGTH);
    // Another limit leaves the periods where they are; another length begins them with the change.
    engine.rules().update("q_trial", QuotaUpdate::new().limit(50)).expect("good");
    assert_eq!(ends(&engine), began + 13 * LENGTH);
    engine.rules().update("q_trial", QuotaUpdate::new().every(3)).expect("good");
    assert_eq!(ends(&engine), engine.now().unix_seconds() + 3 * HOUR);
}

#[test]
fn what_makes_no_sense_is_an_error_and_the_data_come_back() {
    let quota = |period| Quota::new("q", Metric::TotalEvents, 5, period).first_use();
    let anchor = "2024-01-31".parse().expect("a date");
    for (quota, part) in [
        (quota(Period::Month), "not for month"),
        (quota(Period::AllTime), "not for all_time"),
        (quota(Period::rolling(Duration::from_secs(60))), "not for rolling:1m"),
        (quota(Period::Day).time_zone(Tz::UTC), "a time zone or an anchor"),
        (quota(Period::Week).anchor(anchor), "a time zone or an anchor"),
        (
            Quota::new("q", Metric::unique("user_id"), 5, Period::Day).first_use(),
            "different values",
        ),
    ] {
        let why = Engine::builder().quota(quota).build().expect_err("no sense").to_string();
        assert!(why.contains("firstUse") && why.contains(part), "{why}");
    }
    let set = RuleSet::new().quota(trial());
    let text = serde_json::to_string(&set).expect("data");
    assert!(text.contains("\"firstUse\":true"), "{text}");
    let read: RuleSet = serde_json::from_str(&text.replace("firstUse", "first_use")).expect("data");
    assert_eq!(read.quotas.first().and_then(|quota| quota.first_use), Some(true));
    let rule = Rule::from(trial());
    let Rule::Quota(quota) = rule else { panic!("a quota") };
    assert!(quota.period_at(date(START), Tz::UTC).is_none());
}

/// Found by the search of `decisions::model`: what was never counted was given back, and what would
/// pass uncounted was told to wait for ever.
#[test]
fn what_is_dated_before_a_period_is_neither_held_nor_given_back() {
    let clock = clock();
    let engine = builder(&clock).build().expect("an engine");
    let event = |tokens| Event::new("acme", "call").total_tokens(tokens);
    assert!(engine.track(&event(5)).expect("good").is_allowed());
    let stands = |engine: &Engine| {
        let standing = engine.standing(&event(1)).expect("good");
        let quota = standing.quotas().next().expect("it matches");
        (quota.used.to_string(), quota.held.to_string())
    };
    let now = engine.now().unix_seconds();
    let before = event(7).timestamp(Timestamp::new(now - 1, 0));
    let Reserved::Held(held) = engine.reserve(&before, Hold::default()).expect("good") else {
        panic!("it is of no period")
    };
    assert_eq!(stands(&engine), ("5".into(), "0".into()));
    held.release().expect("it is open");
    assert_eq!(stands(&engine), ("5".into(), "0".into()));
    // More than the limit, but of its own time: in the next period it is dated before that.
    let large = event(LIMIT + 1).timestamp(Timestamp::new(now, 0));
    let wait = Duration::from_secs(LENGTH.unsigned_abs());
    assert_eq!(engine.track(&large).expect("good").retry_after(), Some(RetryAfter::After(wait)));
    clock.advance(wait - Duration::from_nanos(1));
    assert!(!engine.track(&large).expect("good").is_allowed());
    clock.advance(Duration::from_nanos(1));
    assert!(engine.track(&large).expect("good").is_allowed());
    assert_eq!(stands(&engine), ("0".into(), "0".into()));
}

/// Where nothing is ever counted the first period begins when the event says that it happens: the
/// wait was one as if it had begun with the refusal.
#[test]
fn a_key_that_was_never_used_waits_from_the_date_of_the_event() {
    for ahead in [-3_000, 0, 1, 5_000, 86_000] {
        let clock = clock();
        let engine = builder(&clock).build().expect("an engine");
        let dated = Timestamp::new(engine.now().unix_seconds() + ahead, 0);
        let large = Event::new("acme", "call").total_tokens(LIMIT + 1).timestamp(dated);
        let wait = Duration::from_secs((ahead + LENGTH).unsigned_abs());
        let due = Some(RetryAfter::After(wait));
        assert_eq!(engine.track(&large).expect("good").retry_after(), due, "{ahead}");
        clock.advance(wait - Duration::from_nanos(1));
        assert!(!engine.check(&large).expect("good").is_allowed(), "{ahead}");
        clock.advance(Duration::from_nanos(1));
        assert!(engine.check(&large).expect("good").is_allowed(), "{ahead}");
    }
}

/// Found by the search of `decisions::model`: what was held when the period changed stayed used for
/// ever.
#[test]
fn what_is_held_goes_through_a_change_of_the_period() {
    let day = || QuotaUpdate::new().period(Period::Day).every(1);
    let changes = [day().first_use(None), day(), day().period(Period::rolling(DAY))];
    for (number, change) in changes.into_iter().enumerate() {
        let clock = clock();
        let engine = builder(&clock).build().expect("an engine");
        let event = Event::new("acme", "call").total_tokens(7);
        let hold = Hold::lasting(Duration::from_secs(60));
        let Reserved::Held(held) = engine.reserve(&event, hold).expect("good") else {
            panic!("there is room")
        };
        let _ = held.into_id();
        clock.advance(Duration::from_secs(1));
        let change = if number == 2 { change.first_use(None).every(None) } else { change };
        engine.rules().update("q_trial", change).expect("good");
        let stands = |engine: &Engine| {
            let standing = engine.standing(&event).expect("good");
            let quota = standing.quotas().next().expect("it matches");
            (quota.used.to_string(), quota.held.to_string())
        };
        assert_eq!(stands(&engine), ("0".into(), "7".into()), "change {number}");
        clock.advance(Duration::from_secs(60));
        assert_eq!(stands(&engine), ("0".into(), "0".into()), "change {number}");
    }
}
