//! Goal: a rule's keys come by use, the most first, each as its status says it, a page at a time;
//! what one page leaves out is on the next.
//!
//! Method: worked cases; random calls, holds and times over rules of every algorithm, after which
//! the pages are held against the standing of each customer, asked one by one; and pages that are
//! asked for while threads make and drop keys.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::oracle::{MINUTE, SECOND};
use crate::support::{Dice, cases, duration, engine, seed, track};
use limitry::errors::QueryError;
use limitry::keys::{KeyPage, KeyQuery, KeyUse, RuleKey};
use limitry::rules::{Algorithm, Overflow, QuotaUpdate};
use limitry::{
    Amount, Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, Timestamp, Window,
};

const ALL: &str = "all of them";

fn page(engine: &Engine, id: &str, query: &KeyQuery) -> KeyPage {
    engine.rules().keys(id, query).expect("a rule, and a page of it")
}

/// All keys of a rule, by pages of so many.
fn all(engine: &Engine, id: &str, limit: u32) -> Vec<KeyUse> {
    let (mut found, mut query) = (Vec::new(), KeyQuery::new().limit(limit));
    loop {
        let page = page(engine, id, &query);
        assert!(page.items.len() <= limit as usize);
        assert!(page.next_cursor.is_none() || page.items.len() == limit as usize);
        found.extend(page.items);
        match page.next_cursor {
            Some(cursor) => query = query.cursor(cursor),
            None => return found,
        }
    }
}

fn tokens(customer: &str, tokens: u64) -> Event<'_> {
    Event::new(customer, "call").input_tokens(tokens)
}

fn daily() -> Quota {
    Quota::new("daily", Metric::TotalTokens, 1_000, Period::Day).id("daily").per("customer_id")
}

#[test]
fn the_most_used_come_first_and_ties_by_their_values() {
    let (engine, clock) = engine(|builder| builder.quota(daily()));
    for (customer, used) in [("dora", 5), ("bob", 900), ("ann", 5), ("cid", 400)] {
        assert!(track(&engine, &tokens(customer, used)).is_allowed());
    }
    let keys = all(&engine, "daily", 1);
    let names: Vec<_> = keys.iter().map(|one| one.key.get("customer_id").unwrap_or("")).collect();
    assert_eq!(names, ["bob", "cid", "ann", "dora"]);
    let bob = &keys[0];
    assert_eq!((bob.used, bob.held), (Amount::from(900), Amount::ZERO));
    assert_eq!((bob.limit, bob.remaining), (Some(1_000.into()), Some(100.into())));
    assert_eq!(bob.reset.map(Timestamp::unix_seconds), Some(1_705_363_200));
    let text = serde_json::to_value(page(&engine, "daily", &KeyQuery::new().limit(1))).expect(ALL);
    let expected = serde_json::json!({
        "ruleId": "daily",
        "items": [{
            "key": {"customer_id": "bob"}, "used": 900, "held": 0, "adjusted": 0, "limit": 1000,
            "remaining": 100, "reset": 1_705_363_200,
        }],
        "shared": null,
        "nextCursor": "[\"900\",\"bob\"]",
    });
    assert_eq!(text, expected);
    // A new day is a new count.
    clock.advance(Duration::from_secs(86_400));
    assert!(all(&engine, "daily", 10).is_empty());
}

#[test]
fn a_raised_limit_shows_at_once_and_another_period_keeps_what_was_used() {
    let (engine, _) = engine(|builder| builder.quota(daily()));
    assert!(track(&engine, &tokens("ann", 700)).is_allowed());
    assert!(track(&engine, &tokens("bob", 300)).is_allowed());
    let raised = QuotaUpdate::new().limit(2_000);
    engine.rules().update("daily", raised).expect("a good limit");
    assert_eq!(all(&engine, "daily", 10)[0].remaining, Some(1_300.into()));
    let monthly = QuotaUpdate::new().period(Period::Rolling(Duration::from_secs(86_400)));
    engine.rules().update("daily", monthly).expect("a good period");
    let used: Vec<_> = all(&engine, "daily", 10).iter().map(|one| one.used).collect();
    assert_eq!(used, [Amount::from(700), Amount::from(300)]);
}

#[test]
fn keys_are_told_by_all_their_dimensions() {
    let rule = daily().per("model").filter("team", "red");
    let (engine, _) = engine(|builder| builder.quota(rule));
    for (customer, model, team) in
        [("ann", "gpt", "red"), ("ann", "opus", "red"), ("bob", "gpt", "blue")]
    {
        let event = tokens(customer, 10).model(model).property("team", team);
        assert!(track(&engine, &event).is_allowed());
    }
    let keys: Vec<_> = all(&engine, "daily", 10).into_iter().map(|one| one.key).collect();
    let key = |model| RuleKey::from([("customer_id", "ann"), ("model", model)]);
    assert_eq!(keys, [key("gpt"), key("opus")]);
}

#[test]
fn a_rule_that_is_not_split_has_one_key_and_those_without_room_are_shown_together() {
    let total = Quota::new("total", Metric::TotalTokens, 1_000, Period::Day).id("total");
    let capped = daily().max_keys(1).overflow(Overflow::Share);
    let (engine, _) = engine(|builder| builder.quota(total).quota(capped));
    for customer in ["ann", "bob", "cid"] {
        assert!(track(&engine, &tokens(customer, 10)).is_allowed());
    }
    let total = all(&engine, "total", 10);
    assert_eq!((total.len(), &total[0].key, total[0].used), (1, &RuleKey::new(), 30.into()));
    let capped = page(&engine, "daily", &KeyQuery::new());
    assert_eq!((capped.items.len(), capped.items[0].used), (1, 10.into()));
    assert_eq!(capped.shared.map(|shared| shared.used), Some(20.into()));
}

#[test]
fn what_is_held_is_said_and_comes_back_when_it_expires() {
    let (engine, clock) = engine(|builder| builder.quota(daily()));
    let hold = Hold::lasting(Duration::from_secs(60));
    let Reserved::Held(reservation) = engine.reserve(&tokens("ann", 70), hold).expect("valid")
    else {
        unreachable!("it fits")
    };
    let _ = reservation.into_id();
    assert!(track(&engine, &tokens("ann", 7)).is_allowed());
    let ann = &all(&engine, "daily", 10)[0];
    assert_eq!((ann.used, ann.held, ann.remaining), (7.into(), 70.into(), Some(923.into())));
    clock.advance(Duration::from_secs(60));
    let ann = &all(&engine, "daily", 10)[0];
    assert_eq!((ann.used, ann.held, ann.remaining), (7.into(), 0.into(), Some(993.into())));
}

#[test]
fn a_key_of_a_rule_with_another_period_stands_where_its_standing_says() {
    for period in [Period::Month, Period::Rolling(Duration::from_secs(43_200))] {
        let (engine, clock) = engine(|builder| builder.quota(daily()));
        assert!(track(&engine, &tokens("bob", 900)).is_allowed());
        clock.advance(Duration::from_secs(86_400));
        let hold = Hold::lasting(Duration::from_secs(60));
        let Reserved::Held(held) = engine.reserve(&tokens("ann", 70), hold).expect("valid") else {
            unreachable!("it fits")
        };
        assert!(track(&engine, &tokens("ann", 7)).is_allowed());
        assert!(track(&engine, &tokens("bob", 1)).is_allowed());
        engine.rules().update("daily", QuotaUpdate::new().period(period)).expect("a good period");
        let compare = || {
            for found in all(&engine, "daily", 10) {
                let name = found.key.get("customer_id").expect("it is split");
                let standing = engine.standing(&Event::new(name, "call")).expect("valid");
                let status = standing.quotas().next().expect("it matches");
                assert_eq!((found.used, found.held), (status.used, status.held), "{period:?}");
                let (left, reset) = (Some(status.remaining), status.reset);
                assert_eq!((found.remaining, found.reset), (left, reset), "{period:?}");
            }
        };
        compare();
        held.release().expect("it is open");
        compare();
        let keys = all(&engine, "daily", 10);
        let ann = keys.iter().find(|one| one.key.get("customer_id") == Some("ann"));
        let ann = ann.expect("it has used something");
        assert_eq!((ann.used, ann.held), (7.into(), 0.into()), "{period:?}");
    }
}

#[test]
fn bad_questions_are_errors() {
    let (engine, _) = engine(|builder| builder.quota(daily()));
    let ask = |id, query: KeyQuery| engine.rules().keys(id, &query);
    let missing = ask("monthly", KeyQuery::new());
    assert_eq!(missing, Err(QueryError::RuleNotFound { id: "monthly".into() }));
    for limit in [0, 1_001, u32::MAX] {
        let error = ask("daily", KeyQuery::new().limit(limit)).expect_err("no such page");
        assert_eq!(error.to_string(), format!("limit: \"{limit}\" must be 1 to 1000"));
    }
    for cursor in ["", "[]", "{}", "[\"x\"]", "[1]", "7"] {
        let error = ask("daily", KeyQuery::new().cursor(cursor)).expect_err("no such place");
        assert!(error.to_string().ends_with("is the cursor of no page of keys"), "{error}");
    }
}

/// A rule of each algorithm, all by customer.
fn rules() -> (Vec<RateLimit>, Vec<Quota>) {
    let limits = [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];
    let limits = limits.map(|algorithm| {
        let name = format!("{algorithm:?}");
        let limit = RateLimit::new(&*name, 40, Window::Minute).id(&*name);
        limit.algorithm(algorithm).per("customer_id").metric(Metric::TotalTokens)
    });
    let quota = |name: &str, metric, period| {
        Quota::new(name, metric, 90, period).id(name).per("customer_id")
    };
    let hour = Period::Rolling(Duration::from_secs(3_600));
    let quotas = vec![
        quota("day", Metric::TotalTokens, Period::Day),
        quota("rolling", Metric::TotalTokens, hour),
        Quota::concurrent("slots", 3).id("slots").per("customer_id"),
    ];
    (limits.into(), quotas)
}

#[test]
fn pages_say_what_the_standing_of_each_customer_says() {
    let mut dice = Dice::new(seed("pages_say_what_the_standing_of_each_customer_says", 77));
    for _ in 0..cases(30) {
        let (limits, quotas) = rules();
        let ids: Vec<String> = limits.iter().filter_map(|rule| rule.id.clone()).collect();
        let ids: Vec<String> =
            ids.into_iter().chain(quotas.iter().filter_map(|rule| rule.id.clone())).collect();
        let (engine, clock) = engine(|builder| {
            let builder = limits.into_iter().fold(builder, limitry::EngineBuilder::rate_limit);
            quotas.into_iter().fold(builder, limitry::EngineBuilder::quota)
        });
        let names: Vec<String> = (0..30).map(|number| format!("c{number}")).collect();
        for _ in 0..dice.below(300) {
            let name = &names[dice.below(30) as usize];
            let event = tokens(name, dice.below(20));
            match dice.below(8) {
                0 => clock.advance(duration(i128::from(dice.below(30)) * SECOND)),
                1 => clock.advance(duration(i128::from(dice.below(40)) * MINUTE)),
                2 => {
                    let hold = Hold::lasting(Duration::from_secs(1 + dice.below(600)));
                    if let Reserved::Held(held) = engine.reserve(&event, hold).expect("valid") {
                        let _ = held.into_id();
                    }
                }
                _ => drop(engine.track(&event).expect("valid")),
            }
        }
        for id in &ids {
            let keys = all(&engine, id, 7);
            assert_eq!(keys, all(&engine, id, 1_000));
            let taken = |one: &KeyUse| match id.contains("Window") || id.contains("Bucket") {
                true => one.used,
                false => one.used.saturating_add(one.held),
            };
            assert!(keys.windows(2).all(|two| {
                let ranks = [taken(&two[0]), taken(&two[1])];
                ranks[0] > ranks[1] || ranks[0] == ranks[1] && two[0].key < two[1].key
            }));
            for name in &names {
                let standing = engine.standing(&Event::new(&**name, "call")).expect("valid");
                let found = keys.iter().find(|one| one.key.get("customer_id") == Some(name));
                let limit = standing.rate_limits().find(|status| status.id == **id);
                let quota = standing.quotas().find(|status| status.id == **id);
                if let Some(status) = quota {
                    let nothing = status.used == 0_u64 && status.held == 0_u64;
                    assert_eq!(found.is_none(), nothing, "{id} of {name}");
                    if let Some(found) = found {
                        assert_eq!((found.used, found.held), (status.used, status.held));
                        assert_eq!(found.remaining, Some(status.remaining));
                        assert_eq!(found.reset, status.reset);
                    }
                } else if let (Some(status), Some(found)) = (limit, found) {
                    assert_eq!(found.remaining, Some(status.remaining), "{id} of {name}");
                    assert_eq!(found.reset, Some(status.reset), "{id} of {name}");
                    assert_eq!(found.held, status.held, "{id} of {name}");
                }
            }
        }
    }
}

#[test]
fn pages_come_while_keys_are_made_and_dropped() {
    let (engine, clock) = engine(|builder| {
        let minute = RateLimit::new("calls", 100, Window::Second).id("calls").per("customer_id");
        builder.quota(daily()).rate_limit(minute)
    });
    // Who is there before and uses no more is on every page that reaches down to it.
    for number in 0..50 {
        let customer = format!("early{number}");
        assert!(track(&engine, &tokens(&customer, 900)).is_allowed());
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (engine, is_over) = (&engine, &is_over);
        for thread in 0..3 {
            scope.spawn(move || {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) && number < 5_000 {
                    let customer = format!("late{thread}-{number}");
                    let _ = track(engine, &tokens(&customer, 1));
                    number += 1;
                }
            });
        }
        for _ in 0..30 {
            clock.advance(Duration::from_millis(300));
            let page = page(engine, "daily", &KeyQuery::new().limit(60));
            let names: BTreeSet<_> = page.items.iter().map(|one| one.key.clone()).collect();
            assert_eq!(names.len(), page.items.len());
            let early = page.items.iter().filter(|one| one.used == 900_u64).count();
            assert_eq!(early, 50);
            let _ = engine.rules().keys("calls", &KeyQuery::new()).expect(ALL);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
