//! Goal: who is erased is nowhere any more, what is nobody's stays as it was, and a later call is
//! that of somebody new; also with calls under way.
//!
//! Method: random events of some customers, with every question about usage asked before and after;
//! one case of each kind of thing that is known of a customer; threads that call meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use limitry::alerts::AlertQuery;
use limitry::balances::{BalanceQuery, NewBalance};
use limitry::customer::Customer;
use limitry::events::EventQuery;
use limitry::keys::AdjustmentQuery;
use limitry::reservations::ReservationQuery;
use limitry::rules::Threshold;
use limitry::store::MemoryStore;
use limitry::time::{Clock, ManualClock};
use limitry::usage::{Interval, UsageQuery};
use limitry::{
    Engine, Event, Hold, Metric, Outcome, Period, Quota, RateLimit, Reserved, Timestamp, Window,
};

use crate::support::{Dice, START, cases, clock, date, seed};

const CUSTOMERS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];

fn engine(clock: &ManualClock) -> limitry::EngineBuilder {
    let events = |name: &str| Quota::new(name, Metric::TotalEvents, 1_000_000, Period::Day);
    Engine::builder()
        .clock(clock.clone())
        .quota(events("own").id("q_own").per("customer_id"))
        .quota(events("team").id("q_team").per("team_id"))
        .quota(events("all").id("q_all"))
        .quota(events("acme's").id("q_acme").filter("customer_id", "acme"))
        .rate_limit(RateLimit::new("burst", 1_000_000_000, Window::Hour).per("customer_id"))
}

/// What is used in total, by model, by team, by type, by the hour, and by the other customers.
fn others(engine: &Engine, erased: &str) -> String {
    let usage = engine.usage();
    let query = UsageQuery::new(date(START), date(START + 40 * 3_600_000_000_000));
    let mut all = format!("{:?}\n", usage.summary(&query).expect("good"));
    for dimension in ["model", "team_id", "event_type"] {
        all += &format!("{:?}\n", usage.breakdown(&query, dimension).expect("good"));
    }
    all += &format!("{:?}\n", usage.timeseries(&query, Interval::Hour).expect("good"));
    // A range whose edges are no whole minutes is answered by the events themselves.
    let odd = UsageQuery::new(date(START + 7), date(START + 9_000_000_000_123));
    all += &format!("{:?}\n", usage.summary(&odd.clone().filter("team_id", "red")).expect("good"));
    for customer in CUSTOMERS.iter().filter(|customer| **customer != erased) {
        let own = query.clone().customer(*customer);
        all += &format!("{:?}\n", usage.summary(&own).expect("good"));
        all += &format!("{:?}\n", usage.breakdown(&own, "model").expect("good"));
        let standing = engine.standing(&Event::new(*customer, "call").property("team_id", "red"));
        all += &format!("{:?}\n", standing.expect("good").quotas().collect::<Vec<_>>());
    }
    all
}

fn used(engine: &Engine, customer: &str, rule: &str) -> String {
    let event = Event::new(customer, "call").property("team_id", "red");
    let standing = engine.standing(&event).expect("good");
    let found = standing.quotas().find(|quota| quota.id == rule).map(|it| it.used.to_string());
    found.unwrap_or_default()
}

fn held(engine: &Engine, rule: &str) -> String {
    let event = Event::new("x", "call").property("team_id", "red");
    let standing = engine.standing(&event).expect("good");
    let found = standing.quotas().find(|quota| quota.id == rule).map(|it| it.held.to_string());
    found.unwrap_or_default()
}

fn live(dice: &mut Dice, memory: Option<&MemoryStore>) {
    let clock = ManualClock::new(date(START));
    let build = || {
        let builder = engine(&clock);
        match memory {
            Some(memory) => builder.durable(memory.open().expect("it opens")).build(),
            None => builder.build(),
        }
        .expect("an engine")
    };
    let mut engine = build();
    for step in 0..30 {
        for _ in 0..dice.below(20) {
            clock.advance(Duration::from_millis(dice.below(200_000)));
            let event = Event::new(dice.pick(&CUSTOMERS), dice.pick(&["call", "embed"]))
                .model(dice.pick(&["large", "small"]))
                .total_tokens(dice.below(100));
            let event = match dice.below(3) {
                0 => event,
                _ => event.property("team_id", dice.pick(&["red", "blue"])),
            };
            let _ = engine.record(&event).expect("good");
        }
        let erased = dice.pick(&CUSTOMERS);
        let before = others(&engine, erased);
        let events = EventQuery::new().customer(erased);
        let known = engine.events().iter(events.clone()).expect("good").count() as u64;
        let report = engine.customers().erase(erased).expect("it is erased");
        assert_eq!(report.events, known, "step {step}");
        assert_eq!(others(&engine, erased), before, "step {step}");
        let all = UsageQuery::all_time().customer(erased);
        let left = engine.usage().summary(&all).expect("good");
        assert_eq!(left.totals.total_events, 0, "step {step}");
        assert_eq!(engine.events().iter(events).expect("good").count(), 0);
        assert_eq!(used(&engine, erased, "q_own"), "0", "step {step}");
        if erased == "acme" {
            assert_eq!((used(&engine, erased, "q_acme"), report.rules.len()), ("0".into(), 1));
        }
        assert!(engine.customers().get(erased).is_none());
        if memory.is_some() && dice.chance(40) {
            engine.store().verify(|_| ()).expect("it is whole");
            if dice.chance(50) {
                engine.store().close().expect("it closes");
            } else {
                engine.store().flush().expect("it is kept");
            }
            drop(engine);
            engine = build();
            assert_eq!(others(&engine, erased), before, "step {step}, opened again");
        }
    }
}

#[test]
fn what_is_nobodys_stays_as_it_was() {
    for case in 0..u64::from(cases(8)) {
        let mut dice = Dice::new(seed("erase", case));
        let memory = MemoryStore::new();
        live(&mut dice, case.is_multiple_of(2).then_some(&memory));
    }
}

#[test]
fn everything_that_is_known_of_a_customer_goes() {
    let memory = MemoryStore::new();
    for durable in [false, true] {
        let clock = clock();
        let alerting = Quota::new("few", Metric::TotalEvents, 4, Period::Day).id("q_few");
        let builder = engine(&clock)
            .quota(alerting.per("customer_id").alert_at(Threshold::percent(50)))
            .quota(Quota::balance("credits", Metric::TotalTokens).per("customer_id"));
        let builder =
            if durable { builder.durable(memory.open().expect("it opens")) } else { builder };
        let engine = builder.build().expect("an engine");
        for owner in ["acme", "globex"] {
            engine.balances().create(&NewBalance::new(owner, "credits").initial(50)).expect("new");
            engine.customers().upsert(Customer::new(owner).name("Jo Doe")).expect("good");
            engine.rules().adjust("q_few", [("customer_id", owner)], 1, "sorry").expect("good");
            let event = Event::new(owner, "call").total_tokens(3).idempotency_key("once");
            assert!(engine.track(&event).expect("good").is_allowed());
        }
        let hold = Hold::lasting(Duration::from_secs(600));
        let event = Event::new("acme", "call").property("team_id", "red").total_tokens(1);
        let Reserved::Held(open) = engine.reserve(&event, hold).expect("good") else {
            panic!("it is held")
        };
        let id = open.into_id();
        assert_eq!(held(&engine, "q_team"), "1");

        let report = engine.customers().erase("acme").expect("it is erased");
        assert_eq!((report.events, report.idempotency_keys, report.reservations), (1, 1, 1));
        assert_eq!((report.keys, report.balances, report.adjustments), (1, 1, 1));
        assert_eq!(
            (report.alerts, report.was_set, &*report.rules),
            (1, true, &["q_acme".into()][..])
        );

        assert!(engine.reservation(id).is_none(), "it was given back, and is forgotten");
        assert_eq!(engine.reservations().count(&ReservationQuery::new()), 0);
        assert_eq!(held(&engine, "q_team"), "0");
        assert_eq!(used(&engine, "x", "q_all"), "2", "what it used in total stays");
        let owners: Vec<String> = {
            let page = engine.balances().list(&BalanceQuery::new());
            page.balances.into_iter().map(|balance| balance.owner).collect()
        };
        assert_eq!(owners, ["globex"]);
        let alerts = engine.alerts().list(&AlertQuery::new()).alerts;
        assert!(alerts.iter().all(|alert| alert.customer_id.as_deref() == Some("globex")));
        let adjusted = engine.rules().adjustments(&AdjustmentQuery::new()).expect("good");
        assert_eq!(adjusted.items.len(), 1);
        let known = engine.customers().list(None, 10).expect("good").customers;
        assert_eq!(known.iter().map(|it| &*it.id).collect::<Vec<_>>(), ["globex"]);
        // Its key is free; that of the other is not.
        engine.balances().create(&NewBalance::new("acme", "credits").initial(50)).expect("new");
        for (owner, outcome) in [("acme", Outcome::Admitted), ("globex", Outcome::Replayed)] {
            let event = Event::new(owner, "call").total_tokens(3).idempotency_key("once");
            assert_eq!(engine.track(&event).expect("good").outcome(), outcome, "{owner}");
        }
        assert_eq!(used(&engine, "acme", "q_few"), "1");
        // Nobody twice.
        let again = engine.customers().erase("nobody").expect("it is nothing");
        assert_eq!(again, limitry::customer::EraseReport::default());
    }
}

#[test]
fn a_value_of_another_dimension_goes_and_the_customer_keeps_the_event() {
    let clock = clock();
    let engine = engine(&clock).build().expect("an engine");
    let users = Quota::new("users", Metric::TotalEvents, 10, Period::Day).id("q_user");
    engine.rules().add(users.per("user_id")).expect("good");
    let event = Event::new("acme", "call").property("user_id", "jo").property("note", "a secret");
    for _ in 0..3 {
        assert!(engine.track(&event).expect("good").is_allowed());
    }
    let users = engine.customers().of("user_id").expect("a good name");
    let report = users.erase("jo").expect("it is erased");
    assert_eq!((report.events, report.keys), (3, 1));
    let page = engine.events().list(&EventQuery::new().customer("acme")).expect("good");
    assert_eq!(page.data.len(), 3);
    let named = |name| page.data.iter().any(|event| event.event.dimension(name).is_some());
    assert!(!named("user_id") && !named("note") && named("customer_id"));
    assert_eq!(used(&engine, "acme", "q_own"), "3");
    let standing = engine.standing(&event).expect("good");
    let own = standing.quotas().find(|quota| quota.id == "q_user").expect("it matches");
    assert_eq!(own.used, 0);
}

#[test]
fn what_cannot_be_erased_is_an_error() {
    let engine = engine(&clock()).build().expect("an engine");
    let customers = engine.customers();
    for id in ["", "a\nb", &*"x".repeat(257)] {
        let why = customers.erase(id).expect_err("no id").to_string();
        assert!(why.contains("id: "), "{why}");
    }
    let why = customers.of("event_type").expect("a name").erase("call").expect_err("nobody");
    assert!(why.to_string().contains("event_type"), "{why}");
}

/// Threads that reserve, commit and track meanwhile: what is left is of calls after the last time.
/// Says that it never goes back, and does: it says one second and the other in turn.
#[derive(Debug, Default)]
struct Broken {
    seconds: [AtomicI64; 2],
    readings: AtomicUsize,
}

impl Broken {
    fn set(&self, seconds: [i64; 2]) {
        self.seconds
            .iter()
            .zip(seconds)
            .for_each(|(to, second)| to.store(second, Ordering::Relaxed));
    }
}

impl Clock for Broken {
    fn now(&self) -> Timestamp {
        let reading = self.readings.fetch_add(1, Ordering::Relaxed);
        Timestamp::new(1_760_000_000 + self.seconds[reading % 2].load(Ordering::Relaxed), 0)
    }

    fn is_monotonic(&self) -> bool {
        true
    }
}

#[test]
fn a_hold_that_was_over_before_the_clock_went_back_is_in_no_ones_way() {
    for (tracks, seconds) in [(true, [5, 5]), (false, [5, 100]), (false, [100, 5])] {
        let clock = Arc::new(Broken::default());
        let calls = Quota::new("Calls", Metric::TotalEvents, 10, Period::Day).per("customer_id");
        let engine = Engine::builder().clock(Arc::clone(&clock)).quota(calls).build().unwrap();
        let call = Event::new("acme", "call");
        let reserved = engine.reserve(&call, Hold::lasting(Duration::from_secs(10))).unwrap();
        let Reserved::Held(reservation) = reserved else { panic!("there is room") };
        let _ = reservation.into_id();
        if tracks {
            clock.set([100, 100]);
            assert!(engine.track(&call).unwrap().is_allowed());
        }
        clock.set(seconds);
        assert_eq!(engine.customers().erase("acme").unwrap().events, u64::from(tracks));
    }
}

#[test]
fn calls_that_are_under_way_are_before_it_or_after_it() {
    for durable in [false, true] {
        let memory = MemoryStore::new();
        let builder = engine(&clock());
        let builder =
            if durable { builder.durable(memory.open().expect("it opens")) } else { builder };
        let engine = builder.build().expect("an engine");
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (engine, stop) = (engine.clone(), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut dice = Dice::new(number);
                    let mut others = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let customer = dice.pick(&["acme", "globex"]);
                        let event = Event::new(customer, "call").property("team_id", "red");
                        let hold = Hold::lasting(Duration::from_secs(60));
                        if dice.chance(30) {
                            if let Ok(Reserved::Held(held)) = engine.reserve(&event, hold) {
                                // It may have been erased meanwhile.
                                let done = held.commit(&event);
                                others += u64::from(customer == "globex" && done.is_ok());
                            }
                        } else {
                            // However fast the machine is: the limits may be reached.
                            let decision = engine.track(&event).expect("good");
                            others += u64::from(customer == "globex" && decision.is_allowed());
                        }
                    }
                    others
                })
            })
            .collect();
        for _ in 0..30 {
            engine.customers().erase("acme").expect("it is erased");
        }
        stop.store(true, Ordering::Relaxed);
        let others: u64 = threads.into_iter().map(|it| it.join().expect("it ends")).sum();
        assert_eq!(used(&engine, "globex", "q_own"), others.to_string());
        let own = UsageQuery::all_time().customer("acme");
        let left = engine.usage().summary(&own).expect("good").totals.total_events;
        assert_eq!(used(&engine, "acme", "q_own"), left.to_string());
        assert_eq!(used(&engine, "acme", "q_acme"), left.to_string());
        let all =
            engine.usage().summary(&UsageQuery::all_time()).expect("good").totals.total_events;
        assert_eq!(used(&engine, "x", "q_all"), all.to_string());
        assert_eq!(used(&engine, "x", "q_team"), all.to_string());
        engine.customers().erase("acme").expect("it is erased");
        assert_eq!(used(&engine, "acme", "q_own"), "0");
        assert_eq!(engine.reservations().count(&ReservationQuery::new().customer("acme")), 0);
        if durable {
            engine.store().verify(|_| ()).expect("it is whole");
            let before = others_of(&engine);
            engine.store().close().expect("it closes");
            drop(engine);
            let again = self::engine(&clock()).durable(memory.open().expect("it opens"));
            let again = again.build().expect("an engine");
            assert_eq!(others_of(&again), before);
        }
    }
}

fn others_of(engine: &Engine) -> (String, String, String) {
    let rules = ["q_all", "q_own", "q_team"];
    let [all, own, team] = rules.map(|rule| used(engine, "globex", rule));
    (all, own, team)
}
