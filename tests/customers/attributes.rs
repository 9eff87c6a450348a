//! Goal: a string attribute of a customer is a dimension of its events, as if each had said it:
//! for rules, sums, holds, refusals and simulations; what is recorded or held keeps what it was.
//!
//! Method: two engines with the same rules and calls. One is told of customers, the other of none:
//! there the test states in every event what a map of its own says. Both answer the same, through
//! changes of rules and customers and, for the first, restarts. Then worked cases, and threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use limitry::customer::Customer;
use limitry::events::{EventQuery, Recording};
use limitry::explain::Explanation;
use limitry::refusals::RefusalQuery;
use limitry::rules::SyncOptions;
use limitry::simulation::Attempt;
use limitry::store::{Durability, MemoryStore};
use limitry::time::ManualClock;
use limitry::usage::{RollupOptions, UsageQuery};
use limitry::{
    Condition, Decision, Engine, Event, Hold, Meter, Metric, Outcome, Period, Quota, RateLimit,
    Reservation, Reserved, RuleSet, Window,
};

use crate::support::{Dice, START, cases, date, engine, goes_straight, seed, track};

const CUSTOMERS: [&str; 3] = ["acme", "globex", "initech"];
const PLANS: [&str; 3] = ["free", "pro", "team"];

/// A quota of calls by whatever the plan is, with one for an own plan in its place, and what else
/// may name an attribute.
fn rules(number: u64) -> RuleSet {
    let calls = |name: &str, limit: u64| Quota::new(name, Metric::TotalEvents, limit, Period::Day);
    let plans = calls("plans", 6).id("q_plans").policy("calls").per("customer_id");
    let own = |plan: &str, limit| {
        calls(plan, limit).id(format!("q_{plan}")).policy("calls").per("customer_id")
    };
    let set = RuleSet::new().quota(plans).quota(own("pro", 9).filter("customer_plan", "pro"));
    match number {
        0 => set,
        1 => set
            .quota(calls("by plan", 20).per("customer_plan"))
            .rate_limit(RateLimit::new("burst", 9, Window::Minute).per("customer_plan")),
        2 => set
            .quota(calls("planless", 5).filter("customer_plan", Condition::Absent))
            .quota(calls("eu", 8).filter("customer_region", "eu").per("customer_plan")),
        _ => set
            .quota(calls("no team", 11).filter("customer_plan", Condition::none_of(["team"])))
            .meter(Meter::count("free calls").id("m_free").filter("customer_plan", "free"))
            .quota(Quota::new("metered", Metric::meter("m_free"), 7, Period::Day)),
    }
}

/// What happened, with what the event of the reserve says of the customer.
fn with_attributes_of(stated: &Event<'static>, actual: Event<'static>) -> Event<'static> {
    ["customer_plan", "customer_region"].iter().fold(actual, |it, key| {
        let value = stated.dimension(key).map(str::to_owned);
        value.into_iter().fold(it, |it, value| it.property(*key, value))
    })
}

/// What is shown of a decision, but for the names of events and reservations.
fn shown(decision: &Decision) -> String {
    let quotas: Vec<_> = decision.quotas().collect();
    let rates: Vec<_> = decision.rate_limits().collect();
    format!("{:?} {:?} {quotas:?} {rates:?}", decision.outcome(), decision.retry_after())
}

fn builder(clock: &ManualClock) -> limitry::EngineBuilder {
    let rollups = RollupOptions::new().dimension("customer_region");
    Engine::builder().clock(clock.clone()).rollups(rollups)
}

/// The two engines, and what is known of customers.
struct Pair {
    told: Engine,
    plain: Engine,
    known: BTreeMap<&'static str, BTreeMap<&'static str, &'static str>>,
    held: Vec<(Reservation, Reservation, Event<'static>)>,
}

impl Pair {
    /// The event as the plain engine is given it.
    fn stated(&self, event: &Event<'static>, customer: &str) -> Event<'static> {
        let known = self.known.get(customer).into_iter().flatten();
        known.fold(event.clone(), |event, (key, value)| {
            let dimension = format!("customer_{key}");
            // An event's own word stays.
            if event.dimension(&dimension).is_some() {
                event
            } else {
                event.property(dimension, *value)
            }
        })
    }

    fn call(&mut self, dice: &mut Dice) {
        let customer = dice.pick(&CUSTOMERS);
        let mut event = Event::new(customer, "call").total_tokens(dice.below(5));
        if dice.chance(15) {
            event = event.property("customer_plan", dice.pick(&PLANS));
        }
        let stated = self.stated(&event, customer);
        let (told, plain) = (&self.told, &self.plain);
        let both = match dice.below(6) {
            0 => [told.check(&event), plain.check(&stated)],
            1 => [told.record(&event), plain.record(&stated)],
            2 => {
                let of = |engine: &Engine, event| {
                    engine.track_batch(&[event]).pop().expect("one answer")
                };
                [of(told, event), of(plain, stated)]
            }
            3 => {
                let standing = |engine: &Engine, event: &Event<'_>| {
                    let standing = engine.standing(event).expect("good");
                    format!("{:?}", standing.quotas().collect::<Vec<_>>())
                };
                assert_eq!(standing(told, &event), standing(plain, &stated));
                return;
            }
            4 => {
                let hold = Hold::lasting(Duration::from_secs(3_600));
                let made = [told.reserve(&event, hold), plain.reserve(&stated, hold)];
                match made.map(|made| made.expect("good")) {
                    [Reserved::Held(told), Reserved::Held(plain)] => {
                        assert_eq!(shown(told.decision()), shown(plain.decision()));
                        self.held.push((told, plain, stated));
                    }
                    [Reserved::Refused(told), Reserved::Refused(plain)] => {
                        assert_eq!(shown(&told), shown(&plain));
                    }
                    other => panic!("{other:?}"),
                }
                return;
            }
            _ => [told.track(&event), plain.track(&stated)],
        };
        let [told, plain] = both.map(|answer| shown(&answer.expect("good")));
        assert_eq!(told, plain);
    }

    /// Commits a hold: whatever is known of the customer now, it is what it was at the reserve.
    fn commit(&mut self, dice: &mut Dice) {
        if self.held.is_empty() {
            return;
        }
        let place = dice.below(self.held.len() as u64) as usize;
        let (told, plain, stated) = self.held.swap_remove(place);
        let actual = Event::new(stated.customer_id().to_owned(), "call").total_tokens(2);
        let due = with_attributes_of(&stated, actual.clone());
        let both = [told.commit(&actual), plain.commit(&due)];
        let [told, plain] = both.map(|answer| shown(&answer.expect("good")));
        assert_eq!(told, plain);
    }

    fn change(&mut self, dice: &mut Dice) {
        let id = dice.pick(&CUSTOMERS);
        if dice.chance(20) {
            self.told.customers().remove(id).expect("good");
            self.known.remove(id);
            return;
        }
        let mut known = BTreeMap::new();
        let mut customer = Customer::new(id).metadata("seats", 7);
        if dice.chance(80) {
            known.insert("plan", dice.pick(&PLANS));
        }
        if dice.chance(50) {
            known.insert("region", dice.pick(&["eu", "us"]));
        }
        for (key, value) in &known {
            customer = customer.metadata(*key, *value);
        }
        self.told.customers().upsert(customer).expect("good");
        self.known.insert(id, known);
    }

    /// What is used, by whatever may name an attribute.
    fn usage(engine: &Engine) -> String {
        let all = UsageQuery::all_time();
        let by = ["customer_plan", "customer_region", "customer_id"];
        let by = by.map(|key| engine.usage().breakdown(&all, key).expect("good"));
        format!("{by:?}")
    }
}

fn live(dice: &mut Dice, memory: Option<&MemoryStore>) {
    let clock = ManualClock::new(date(START));
    let number = dice.below(4);
    let changes_rules = memory.is_none() && dice.chance(50);
    let build = || {
        let builder = builder(&clock).rule_set(rules(number));
        let engine = match memory {
            Some(memory) => {
                let store = memory.open().expect("it opens").durability(Durability::Synced);
                builder.durable(store).build()
            }
            None => builder.build(),
        }
        .expect("an engine");
        engine.go_straight(goes_straight());
        engine
    };
    let plain = builder(&clock).rule_set(rules(number)).build().expect("an engine");
    let mut pair = Pair { told: build(), plain, known: BTreeMap::new(), held: Vec::new() };
    for _ in 0..80 {
        clock.advance(Duration::from_millis(dice.below(900_000)));
        match dice.below(12) {
            0..7 => pair.call(dice),
            7 => pair.commit(dice),
            8 | 9 => pair.change(dice),
            10 if changes_rules => {
                let number = dice.below(4);
                for engine in [&pair.told, &pair.plain] {
                    let set = rules(number);
                    engine.rules().sync(set, SyncOptions::apply()).expect("good");
                }
            }
            11 if memory.is_some() => {
                let held = std::mem::take(&mut pair.held);
                let ids: Vec<_> = held
                    .into_iter()
                    .map(|(told, plain, stated)| (told.into_id(), plain, stated))
                    .collect();
                if dice.chance(50) {
                    pair.told.store().close().expect("it closes");
                }
                let Pair { told, plain, known, .. } = pair;
                drop(told);
                pair = Pair { told: build(), plain, known, held: Vec::new() };
                // Guards do not outlive an engine: what was held is committed by its id.
                for (id, plain, stated) in ids {
                    let actual = Event::new(stated.customer_id().to_owned(), "call");
                    let due = with_attributes_of(&stated, actual.clone());
                    let told = shown(&pair.told.commit(id, &actual).expect("good"));
                    assert_eq!(told, shown(&plain.commit(&due).expect("good")));
                }
            }
            _ => {}
        }
        assert_eq!(Pair::usage(&pair.told), Pair::usage(&pair.plain));
    }
}

#[test]
fn an_attribute_is_as_if_every_event_had_said_it() {
    for case in 0..u64::from(cases(40)) {
        let mut dice = Dice::new(seed("attributes", case));
        let memory = MemoryStore::new();
        live(&mut dice, case.is_multiple_of(2).then_some(&memory));
    }
}

fn plan(id: &str, plan: &str) -> Customer {
    Customer::new(id).metadata("plan", plan)
}

/// Two calls a day, and five for those who pay.
fn plans(builder: limitry::EngineBuilder) -> limitry::EngineBuilder {
    let calls = |name: &str, limit: u64| {
        let quota = Quota::new(name, Metric::TotalEvents, limit, Period::Day);
        quota.policy("calls").per("customer_id")
    };
    builder
        .quota(calls("calls", 2).id("q_calls"))
        .quota(calls("pro", 5).id("q_pro").filter("customer_plan", "pro"))
}

fn call(customer: &'static str) -> Event<'static> {
    Event::new(customer, "call")
}

#[test]
fn a_change_of_plan_holds_from_the_next_decision_on() {
    let (engine, _clock) = engine(plans);
    let customers = engine.customers();
    for allowed in [true, true, false] {
        assert_eq!(track(&engine, &call("acme")).is_allowed(), allowed);
    }
    customers.upsert(plan("acme", "pro")).expect("good");
    // Its own rule counts what came on that plan.
    for allowed in [true, true, true, true, true, false] {
        assert_eq!(track(&engine, &call("acme")).is_allowed(), allowed);
    }
    // Back on the smaller plan more is used than it has.
    customers.upsert(plan("acme", "free")).expect("good");
    assert!(!track(&engine, &call("acme")).is_allowed());
    customers.upsert(plan("acme", "pro")).expect("good");
    assert_eq!(track(&engine, &call("acme")).quotas().next().expect("it matches").used, 5_u64);
    customers.remove("acme").expect("good");
    assert!(!track(&engine, &call("acme")).is_allowed());
    assert!(track(&engine, &call("unknown")).is_allowed());
}

#[test]
fn what_is_recorded_keeps_what_it_was() {
    let (engine, _clock) = engine(plans);
    let customers = engine.customers();
    let _ = track(&engine, &call("acme"));
    customers.upsert(plan("acme", "pro")).expect("good");
    let _ = track(&engine, &call("acme"));
    customers.upsert(plan("acme", "team")).expect("good");
    let own = call("acme").property("customer_plan", "pro");
    let _ = track(&engine, &own);
    let odd = call("acme").property("customer_plan", 7);
    let _ = engine.record(&odd).expect("good");
    let said: Vec<_> = engine
        .events()
        .iter(EventQuery::new())
        .expect("good")
        .map(|it| it.event.dimension("customer_plan").map(str::to_owned))
        .collect();
    let mut said: Vec<_> = said.iter().map(|plan| plan.as_deref()).collect();
    said.sort_unstable();
    assert_eq!(said, [None, None, Some("pro"), Some("pro")]);
    let all = UsageQuery::all_time();
    let pro = engine.usage().summary(&all.filter("customer_plan", "pro")).expect("good");
    assert_eq!(pro.totals.total_events, 2);
}

#[test]
fn nothing_is_looked_up_that_nothing_names() {
    let (engine, _clock) = engine(plans);
    let acme = plan("acme", "pro").metadata("tier", "gold");
    engine.customers().upsert(acme).expect("good");
    let _ = track(&engine, &call("acme"));
    let tier = |engine: &Engine| {
        let newest = engine.events().iter(EventQuery::new()).expect("good").next();
        newest.expect("one is there").event.dimension("customer_tier").map(str::to_owned)
    };
    assert_eq!(tier(&engine), None);
    let gold = Quota::new("gold", Metric::TotalEvents, 10, Period::Day).id("q_gold");
    engine.rules().add(gold.filter("customer_tier", "gold")).expect("good");
    let decision = track(&engine, &call("acme"));
    let gold = decision.quotas().find(|quota| quota.id == "q_gold").expect("it matches");
    // What is recorded of before says nothing of it.
    assert_eq!((gold.used, tier(&engine)), (1_u64.into(), Some("gold".to_owned())));
    engine.rules().remove("q_gold").expect("good");
    let _ = track(&engine, &call("acme"));
    assert_eq!(tier(&engine), None);
}

#[test]
fn a_retry_after_a_change_of_plan_is_a_replay() {
    let memory = MemoryStore::new();
    let clock = ManualClock::new(date(START));
    let build = |durable: bool| {
        let builder = plans(Engine::builder().clock(clock.clone()));
        let builder =
            if durable { builder.durable(memory.open().expect("it opens")) } else { builder };
        builder.build().expect("an engine")
    };
    for durable in [false, true] {
        let mut engine = build(durable);
        engine.customers().upsert(plan("acme", "pro")).expect("good");
        let event = call("acme").idempotency_key("once").property("team", "red");
        let first = track(&engine, &event);
        for plan_then in [Some("team"), None] {
            match plan_then {
                Some(then) => drop(engine.customers().upsert(plan("acme", then)).expect("good")),
                None => drop(engine.customers().remove("acme").expect("good")),
            }
            let again = track(&engine, &event);
            assert_eq!((again.outcome(), again.event_id()), (Outcome::Replayed, first.event_id()));
            // As it is listed, it is the same event, too; with another plan it is another one.
            let listed = event.clone().property("customer_plan", "pro");
            assert_eq!(track(&engine, &listed).outcome(), Outcome::Replayed);
            let other = event.clone().property("customer_plan", "team");
            assert!(engine.track(&other).is_err());
            if durable {
                engine.store().close().expect("it closes");
                drop(engine);
                engine = build(true);
            }
        }
    }
}

#[test]
fn explain_says_where_a_value_comes_from() {
    let (engine, _clock) = engine(plans);
    engine.customers().upsert(plan("acme", "pro")).expect("good");
    let explain = |event: &Event<'_>| -> Explanation { engine.explain(event).expect("good") };
    let text = explain(&call("acme")).to_string();
    assert!(text.contains("customer_plan is \"pro\", an attribute of the customer"), "{text}");
    let json = serde_json::to_value(explain(&call("acme"))).expect("prints");
    assert_eq!(json["attributes"], serde_json::json!({"customer_plan": "pro"}));
    let own = explain(&call("acme").property("customer_plan", "team"));
    assert!(own.attributes.is_empty());
    assert!(own.to_string().contains("customer_plan is \"team\", not \"pro\""), "{own}");
    let json = serde_json::to_value(explain(&call("nobody"))).expect("prints");
    assert!(json.get("attributes").is_none());
}

#[test]
fn refusals_and_simulations_are_by_the_attribute() {
    let (engine, _clock) = engine(|it| {
        let calls = Quota::new("calls", Metric::TotalEvents, 1, Period::Day).id("q_calls");
        it.quota(calls.per("customer_plan")).recording(Recording::default().refusals(10))
    });
    engine.customers().upsert(plan("acme", "pro")).expect("good");
    let _ = track(&engine, &call("acme"));
    assert!(!track(&engine, &call("acme")).is_allowed());
    let page = engine.refusals().counts(&RefusalQuery::new()).expect("good");
    assert_eq!(page.items[0].key.get("customer_plan"), Some("pro"));
    let kept = engine.refusals().list(&RefusalQuery::new()).expect("good").items;
    assert_eq!(kept[0].event.dimension("customer_plan"), Some("pro"));
    // A simulation takes what is recorded, and of other calls what customers are now.
    let region = Quota::new("eu", Metric::TotalEvents, 1, Period::Day);
    let set = RuleSet::new().quota(region.filter("customer_region", "eu").per("customer_plan"));
    let acme = plan("acme", "pro").metadata("region", "eu");
    engine.customers().upsert(acme).expect("good");
    let report = engine.simulate(set.clone(), EventQuery::new()).expect("good");
    assert_eq!((report.calls.calls, report.calls.refused), (2, 1));
    assert_eq!(report.rules[0].worst[0].key.get("customer_plan"), Some("pro"));
    let mut simulation = engine.simulation(set).expect("good");
    let allowed = [0, 1].map(|second| {
        let at = date(START + second * 1_000_000_000);
        let decision = simulation.replay(&Attempt::new(at, call("acme"))).expect("good");
        decision.is_allowed()
    });
    assert_eq!(allowed, [true, false]);
}

#[test]
fn who_is_erased_has_no_attributes_any_more() {
    let memory = MemoryStore::new();
    let build = || {
        let builder = plans(Engine::builder().clock(ManualClock::new(date(START))));
        builder.durable(memory.open().expect("it opens")).build().expect("an engine")
    };
    let engine = build();
    engine.customers().upsert(plan("acme", "pro")).expect("good");
    let _ = track(&engine, &call("acme"));
    let pro = |engine: &Engine| {
        let query = UsageQuery::all_time().filter("customer_plan", "pro");
        engine.usage().summary(&query).expect("good").totals.total_events
    };
    engine.customers().erase("acme").expect("it is erased");
    assert!(track(&engine, &call("acme")).quotas().all(|quota| quota.id == "q_calls"));
    // Sums that are not by the customer stay.
    assert_eq!(pro(&engine), 1);
    engine.store().close().expect("it closes");
    drop(engine);
    let engine = build();
    assert_eq!(pro(&engine), 1);
    assert!(track(&engine, &call("acme")).quotas().all(|quota| quota.id == "q_calls"));
}

#[test]
fn an_event_without_room_for_them_is_an_error_that_names_one() {
    let (engine, _clock) = engine(plans);
    engine.customers().upsert(plan("acme", "pro")).expect("good");
    let full = (0..64).fold(call("acme"), |it, key| it.property(format!("p{key}"), "x"));
    for why in [engine.track(&full), engine.check(&full), engine.record(&full)] {
        let why = why.expect_err("it is too much").to_string();
        assert!(why.contains("customer_plan") && why.contains("at most 64 properties"), "{why}");
    }
    assert!(engine.reserve(&full, Hold::default()).is_err());
    assert_eq!(engine.events().len(), 0);
    let most = (0..63).fold(call("acme"), |it, key| it.property(format!("p{key}"), "x"));
    let id = track(&engine, &most).event_id().expect("it is recorded");
    // What the event had stays with it when it is amended.
    let why = engine.amend(id, &full, "more").expect_err("it is too much").to_string();
    assert!(why.contains("customer_plan") && why.contains("at most 64 properties"), "{why}");
    assert!(engine.amend(id, &most.total_tokens(9), "less").is_ok());
}

#[test]
fn who_waits_is_let_in_by_a_better_plan() {
    let (engine, _clock) = engine(plans);
    let waiting = engine.clone();
    for _ in 0..2 {
        assert!(track(&engine, &call("acme")).is_allowed());
    }
    let waiter = std::thread::spawn(move || waiting.wait_blocking(&call("acme")));
    while engine.waiting().is_empty() {
        std::thread::yield_now();
    }
    engine.customers().upsert(plan("acme", "pro")).expect("good");
    let decision = waiter.join().expect("it ends").expect("good");
    assert!(decision.is_allowed());
    assert_eq!(decision.quotas().next().expect("it matches").id, "q_pro");
}

#[test]
fn threads_find_one_of_the_values_that_a_customer_had() {
    let (engine, _clock) = engine(|it| {
        let calls = Quota::new("calls", Metric::TotalEvents, 1_000_000, Period::Day);
        it.quota(calls.id("q").per("customer_plan"))
    });
    engine.customers().upsert(plan("acme", "pro")).expect("good");
    let done = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for name in ["team", "pro"] {
                    engine.customers().upsert(plan("acme", name)).expect("good");
                }
            }
        });
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..300 {
                        assert_eq!(track(&engine, &call("acme")).quotas().count(), 1);
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().expect("it ends"));
        done.store(true, Ordering::Relaxed);
    });
    let by_plan = engine.usage().breakdown(&UsageQuery::all_time(), "customer_plan").expect("good");
    let counted: u64 = by_plan.rows.iter().map(|row| row.totals.total_events).sum();
    assert_eq!((counted, by_plan.rows.iter().all(|row| row.dimension.is_some())), (900, true));
    for row in &by_plan.rows {
        let event = call("x").property("customer_plan", row.dimension.clone().expect("one"));
        let standing = engine.standing(&event).expect("good");
        let quota = standing.quotas().next().expect("it matches");
        assert_eq!(quota.used, row.totals.total_events);
    }
}
