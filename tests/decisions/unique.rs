//! Goal: a quota on different values has counted exactly the values that had an event in the period
//! whose use is not over: each once, whatever order they come in; what it holds and gives back, and
//! what it starts from, are those values too.
//!
//! Method: worked cases; random events, reservations and times beside a set of values for each key
//! and day; the figure beside that of a `unique` meter.

use std::collections::BTreeSet;
use std::time::Duration;

use limitry::events::{EventQuery, Recording};
use limitry::rules::{QuotaUpdate, Threshold};
use limitry::time::ManualClock;
use limitry::usage::{MeterQuery, RollupOptions};
use limitry::{
    Decision, Engine, Event, Hold, Meter, Metric, Period, Quota, Reservation, Reserved, RetryAfter,
    RuleSet,
};

use crate::support::oracle::values::Values;
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos};
use crate::support::{Dice, START, cases, date, duration, engine, nanos, seed, track};

fn users(limit: u64) -> Quota {
    Quota::new("Users", Metric::unique("user"), limit, Period::Day).per("customer_id")
}

fn with_limit(mut quota: Quota, limit: Option<u64>) -> Quota {
    quota.limit_value = limit.map(Into::into);
    quota
}

fn call<'a>(customer: &'a str, user: &'a str) -> Event<'a> {
    Event::new(customer, "call").property("user", user)
}

/// What is used and held of the only quota.
fn figures(decision: &Decision) -> (u64, u64) {
    let quota = decision.quotas().next().expect("it matches");
    assert_eq!(decision.quotas().count(), 1, "marks stand in no answer");
    (quota.used.to_u64_ceil(), quota.held.to_u64_ceil())
}

fn reserve(engine: &Engine, event: &Event<'_>) -> Option<Reservation> {
    let hold = Hold::lasting(Duration::from_secs(600));
    match engine.reserve(event, hold).expect("a valid event") {
        Reserved::Held(reservation) => Some(reservation),
        _ => None,
    }
}

#[test]
fn each_value_counts_once_a_period() {
    let (engine, clock) = engine(|builder| builder.quota(users(2)));
    let used = |customer, user| figures(&track(&engine, &call(customer, user)));
    assert_eq!([used("a", "ann"), used("a", "ann"), used("a", "bob")], [(1, 0), (1, 0), (2, 0)]);
    let refused = track(&engine, &call("a", "cid"));
    assert!(!refused.is_allowed());
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(duration(13 * HOUR + 30 * MINUTE))));
    // Who is known is let in, another customer has its own values, and no user is none.
    assert!(track(&engine, &call("a", "ann")).is_allowed());
    assert_eq!(used("b", "cid"), (1, 0));
    let nobody = track(&engine, &Event::new("a", "call"));
    assert_eq!((nobody.is_allowed(), figures(&nobody)), (true, (2, 0)));
    assert!(!engine.check(&call("a", "cid")).expect("valid").is_allowed());
    assert!(engine.check(&call("a", "bob")).expect("valid").is_allowed());
    let standing = engine.standing(&call("a", "bob")).expect("valid");
    let quota = standing.quotas().next().expect("it matches");
    assert!(quota.exceeded && quota.used == 2_u64);
    assert_eq!(engine.rules().list().len(), 1);
    let explained = engine.explain(&call("a", "bob")).expect("valid");
    assert_eq!(explained.rules.len(), 1);
    clock.advance(duration(13 * HOUR + 30 * MINUTE));
    assert_eq!(used("a", "cid"), (1, 0), "the next day");
    assert_eq!(figures(&engine.record(&call("a", "ann")).expect("valid")), (2, 0));
    assert_eq!(figures(&engine.record(&call("a", "bob")).expect("valid")), (3, 0));
}

#[test]
fn a_value_that_is_refused_by_another_rule_is_not_counted() {
    let tokens = Quota::new("Tokens", Metric::TotalTokens, 10, Period::Day).per("customer_id");
    let (engine, _) = engine(|builder| builder.quota(users(5)).quota(tokens));
    let used = |event: &Event<'_>| {
        let decision = track(&engine, event);
        let used = decision.quotas().find(|quota| quota.name == "Users").expect("it matches").used;
        (decision.is_allowed(), used.to_u64_ceil())
    };
    assert_eq!(used(&call("a", "ann").total_tokens(11)), (false, 0));
    assert_eq!(used(&call("a", "ann").total_tokens(10)), (true, 1));
    assert_eq!(used(&call("a", "bob").total_tokens(1)), (false, 1));
    assert_eq!(used(&call("a", "bob")), (true, 2));
}

#[test]
fn a_reservation_holds_a_value_that_is_not_counted_yet() {
    let (engine, clock) = engine(|builder| builder.quota(users(2)));
    let standing = |customer: &str| {
        let standing = engine.standing(&Event::new(customer, "call")).expect("valid");
        let quota = standing.quotas().next().expect("it matches");
        (quota.used.to_u64_ceil(), quota.held.to_u64_ceil())
    };
    let first = reserve(&engine, &call("a", "ann")).expect("there is room");
    let second = reserve(&engine, &call("a", "ann")).expect("there is room");
    assert_eq!(standing("a"), (0, 2), "each holds one");
    assert!(!track(&engine, &call("a", "bob")).is_allowed());
    assert_eq!(figures(&first.commit(&call("a", "ann")).expect("open")), (1, 1));
    assert_eq!(
        figures(&second.commit(&call("a", "ann")).expect("open")),
        (1, 0),
        "she is known by then"
    );
    // Of one who is known it holds nothing, and a call of hers takes nothing.
    let third = reserve(&engine, &call("a", "ann")).expect("she is known");
    assert_eq!(standing("a"), (1, 0));
    third.release().expect("open");
    let fourth = reserve(&engine, &call("a", "bob")).expect("there is room");
    assert_eq!(standing("a"), (1, 1));
    clock.advance(Duration::from_secs(601));
    assert_eq!(standing("a"), (1, 0), "it has expired");
    assert!(track(&engine, &call("a", "cid")).is_allowed());
    assert_eq!(
        figures(&fourth.commit(&call("a", "bob")).expect("late")),
        (3, 0),
        "what happened is counted"
    );
    // A call counts for the value meanwhile.
    let fifth = reserve(&engine, &call("b", "dan")).expect("there is room");
    assert_eq!(figures(&track(&engine, &call("b", "dan"))), (1, 1));
    assert_eq!(figures(&fifth.commit(&call("b", "dan")).expect("open")), (1, 0));
}

#[test]
fn at_the_cap_no_new_value_is_counted() {
    let quota = |limit| with_limit(users(3).max_values(3), limit);
    for limit in [Some(3), None] {
        let (engine, clock) = engine(|builder| builder.quota(quota(limit)));
        let used = |user: &str| figures(&engine.record(&call("a", user)).expect("valid")).0;
        assert_eq!(["a", "b", "c", "d", "e", "d", "a"].map(used), [1, 2, 3, 3, 3, 3, 3]);
        assert_eq!(track(&engine, &call("a", "f")).is_allowed(), limit.is_none());
        assert!(track(&engine, &call("a", "b")).is_allowed());
        clock.advance(duration(DAY));
        assert_eq!(used("f"), 1);
    }
}

/// The last value under the cap can be held and committed.
#[test]
fn what_is_held_at_the_cap_is_counted() {
    let (engine, _) = engine(|builder| builder.quota(users(2).max_values(2)));
    let _ = track(&engine, &call("a", "ann"));
    let held = reserve(&engine, &call("a", "bob")).expect("there is room");
    assert_eq!(figures(&held.commit(&call("a", "bob")).expect("open")), (2, 0));
    assert_eq!(figures(&track(&engine, &call("a", "bob"))), (2, 0));
    assert!(!track(&engine, &call("a", "cid")).is_allowed());
}

#[test]
fn a_rule_that_comes_later_knows_the_values_of_the_recorded_events() {
    for declared in [false, true] {
        let rollups = RollupOptions::new();
        let rollups = if declared { rollups.dimension("user") } else { rollups };
        let (engine, _) = engine(|builder| builder.rollups(rollups));
        for user in ["ann", "bob", "ann"] {
            let _ = track(&engine, &call("a", user));
        }
        engine.rules().add(users(3)).expect("a good rule");
        let used = |user| figures(&track(&engine, &call("a", user)));
        assert_eq!([used("ann"), used("bob"), used("cid")], [(2, 0), (2, 0), (3, 0)]);
        assert!(!track(&engine, &call("a", "dan")).is_allowed());
        let more = QuotaUpdate::new().limit(4);
        engine.rules().update("qta_users", more).expect("a good change");
        assert_eq!(used("dan"), (4, 0), "a raised limit helps at once, and all are known");
        assert_eq!(used("ann"), (4, 0));
        // Another dimension counts what is recorded of it.
        let by_type = QuotaUpdate::new().metric(Metric::unique("event_type"));
        engine.rules().update("qta_users", by_type).expect("a good change");
        assert_eq!(used("eve"), (1, 0));
        let by_user = QuotaUpdate::new().metric(Metric::unique("user"));
        engine.rules().update("qta_users", by_user).expect("a good change");
        assert!(!track(&engine, &call("a", "fay")).is_allowed());
        engine.rules().remove("qta_users").expect("it is there");
        assert!(track(&engine, &call("a", "fay")).is_allowed());
    }
}

#[test]
fn late_events_count_in_their_own_day() {
    let (engine, clock) = engine(|builder| builder.quota(users(2)));
    let _ = track(&engine, &call("a", "ann"));
    clock.advance(duration(2 * DAY));
    let yesterday = |user| call("a", user).timestamp(date(START));
    assert_eq!(figures(&track(&engine, &call("a", "ann"))), (1, 0));
    assert_eq!(figures(&track(&engine, &yesterday("ann"))), (1, 0));
    assert_eq!(figures(&track(&engine, &yesterday("bob"))), (2, 0));
    assert!(!track(&engine, &yesterday("cid")).is_allowed());
    assert!(track(&engine, &yesterday("bob")).is_allowed(), "he is known there");
    assert_eq!(figures(&track(&engine, &call("a", "bob"))), (2, 0));
}

#[test]
fn a_meter_names_the_values_and_its_filter_joins() {
    let meter = Meter::unique("Users", "user").id("users").filter("event_type", "call");
    let quota = Quota::new("Users", Metric::meter("users"), 2, Period::AllTime).per("customer_id");
    let (engine, _) = engine(|builder| builder.meter(meter).quota(quota));
    let _ = track(&engine, &call("a", "ann"));
    let other = Event::new("a", "other").property("user", "bob");
    assert_eq!(track(&engine, &other).quotas().count(), 0);
    assert_eq!(figures(&track(&engine, &call("a", "cid"))), (2, 0));
    assert!(!track(&engine, &call("a", "bob")).is_allowed());
    let query = MeterQuery::new().customer("a");
    assert_eq!(engine.meters().query("users", &query).expect("a value").value, 2_u64);
}

#[test]
fn a_threshold_is_reached_by_a_value_that_is_new() {
    let (engine, _) = engine(|builder| {
        builder.quota(users(4).alert_at(Threshold::percent(50)).alert_at(Threshold::percent(75)))
    });
    let fired = |user| {
        let _ = track(&engine, &call("a", user));
        engine.alerts().poll().map(|alert| (alert.threshold, alert.used.to_u64_ceil()))
    };
    assert_eq!([fired("ann"), fired("ann")], [None, None]);
    assert_eq!(fired("bob"), Some((Threshold::percent(50), 2)));
    assert_eq!([fired("bob"), fired("ann")], [None, None]);
    assert_eq!(fired("cid"), Some((Threshold::percent(75), 3)));
    assert_eq!([fired("dan"), fired("eve")], [None, None]);
}

#[test]
fn a_simulation_counts_values_as_calls_do() {
    let (engine, clock) = engine(|builder| builder.quota(users(5)));
    for user in ["ann", "bob", "ann", "cid", "dan", "bob", "cid"] {
        assert!(track(&engine, &call("a", user)).is_allowed());
        clock.advance(duration(MINUTE));
    }
    for (limit, refused) in [(5, 0), (4, 0), (3, 1), (2, 3), (0, 7)] {
        let rules = RuleSet::new().quota(users(limit));
        let report = engine.simulate(rules, EventQuery::new()).expect("good rules");
        assert_eq!((report.calls.calls, report.calls.refused), (7, refused), "{limit}");
        assert_eq!(report.rules.len(), 1, "marks are in no report");
    }
}

/// Where there is no room for another key, values are not told from those that are known.
#[test]
fn without_room_for_marks_no_new_value_is_counted() {
    let (engine, _) = engine(|builder| builder.quota(users(5)).max_keys(2));
    let used = |user| figures(&track(&engine, &call("a", user)));
    assert_eq!(["ann", "bob", "bob", "ann", "cid"].map(used), [(1, 0); 5]);
}

/// Whoever waits as long as is said is let in, and nobody is before.
fn wait_is_exact(
    model: &Values,
    (customer, user): (&str, Option<&str>),
    now: Nanos,
    refused: &Decision,
) {
    match refused.retry_after() {
        Some(RetryAfter::After(wait)) => {
            let then = now + nanos(wait);
            assert!(model.fits(customer, user, then, then), "{customer} {user:?} {wait:?}");
            let before = then - 1;
            assert!(!model.fits(customer, user, before, before), "{customer} {user:?} {wait:?}");
        }
        other => assert_eq!((other, model.limit), (Some(RetryAfter::Never), Some(0))),
    }
}

/// Threads that call for the same users count each of them once, and never more than there is room
/// for.
#[test]
fn threads_count_each_value_once() {
    for limit in [5, 40] {
        let (engine, _) = engine(|builder| builder.quota(users(limit)));
        let admitted: BTreeSet<String> = std::thread::scope(|scope| {
            let live = |thread: u64| {
                let engine = &engine;
                scope.spawn(move || {
                    let mut dice = Dice::new(thread);
                    let mut admitted = BTreeSet::new();
                    for _ in 0..300 {
                        let user = format!("user_{}", dice.below(20));
                        let event = call("a", &user);
                        let is_in = if dice.chance(30) {
                            let held = reserve(engine, &event);
                            held.is_some_and(|held| held.commit(&event).is_ok())
                        } else {
                            track(engine, &event).is_allowed()
                        };
                        if is_in {
                            admitted.insert(user.clone());
                        }
                    }
                    admitted
                })
            };
            let threads: Vec<_> = (0..4).map(live).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("it lives")).collect()
        });
        let known = u64::try_from(admitted.len()).expect("a few");
        assert!(known <= limit, "{known} users");
        assert_eq!(figures(&engine.record(&Event::new("a", "call")).expect("valid")), (known, 0));
        for user in &admitted {
            assert!(engine.check(&call("a", user)).expect("valid").is_allowed(), "{user}");
        }
    }
}

struct History {
    engine: Engine,
    clock: ManualClock,
    now: Nanos,
    dice: Dice,
    model: Values,
    open: Vec<(usize, Reservation, Event<'static>)>,
    made: usize,
}

impl History {
    fn step(&mut self) {
        if self.dice.chance(30) {
            let length = self.dice.pick(&[1, MINUTE, 3 * MINUTE, HOUR, 7 * HOUR]);
            self.now += length;
            self.clock.advance(duration(length));
        }
        let customer = self.dice.pick(&["a", "b"]);
        let user = format!("user_{}", self.dice.below(6));
        let user = self.dice.chance(95).then_some(&*user);
        let plain = user.map_or_else(|| Event::new(customer, "call"), |user| call(customer, user));
        let (mut event, mut at) = (plain.clone(), self.now);
        if self.dice.chance(15) {
            at -= Nanos::from(self.dice.below(3)) * HOUR;
            event = event.timestamp(date(at));
        }
        let (now, model) = (self.now, &mut self.model);
        match self.dice.below(10) {
            0..=4 => {
                let fits = model.fits(customer, user, at, now);
                let check = self.engine.check(&event).expect("valid");
                assert_eq!(check.is_allowed(), fits, "{event:?}");
                if event == plain && !fits {
                    wait_is_exact(model, (customer, user), now, &check);
                }
                let decision = track(&self.engine, &event);
                assert_eq!(decision.is_allowed(), fits, "{event:?}");
                if fits {
                    model.count(customer, user, at, now);
                }
                self.compare(customer, at, &decision);
            }
            5 => {
                model.count(customer, user, at, now);
                let decision = self.engine.record(&event).expect("valid");
                self.compare(customer, at, &decision);
            }
            6 | 7 => {
                let event = plain;
                let fits = model.fits(customer, user, now, now);
                let reserved = reserve(&self.engine, &event);
                assert_eq!(reserved.is_some(), fits, "{event:?}");
                if let Some(reservation) = reserved {
                    self.made += 1;
                    let until = now + 600_000_000_000;
                    model.hold(self.made, (customer, user), now, until);
                    self.open.push((self.made, reservation, event.into_owned()));
                }
            }
            _ if !self.open.is_empty() => {
                let place = self.dice.below(u64::try_from(self.open.len()).expect("a few"));
                let place = usize::try_from(place).expect("a few");
                let (id, reservation, event) = self.open.swap_remove(place);
                // One that ended long ago is not known any more.
                let commits = self.dice.chance(60);
                let is_done = if commits {
                    reservation.commit(&event).is_ok()
                } else {
                    reservation.release().is_ok()
                };
                model.end(id, commits && is_done, now);
            }
            _ => {}
        }
        let standing = self.engine.standing(&Event::new(customer, "call")).expect("valid");
        let quota = standing.quotas().next().expect("it matches");
        let found = (quota.used.to_u64_ceil(), quota.held.to_u64_ceil());
        let expected = (self.model.committed(customer, now), self.model.held(customer, now, now));
        assert_eq!(found, expected, "{customer}");
    }

    fn compare(&self, customer: &str, at: Nanos, decision: &Decision) {
        let expected =
            (self.model.committed(customer, at), self.model.held(customer, at, self.now));
        assert_eq!(figures(decision), expected, "{customer} at {at}");
    }
}

#[test]
fn the_figure_is_the_number_of_values_that_had_an_event() {
    let first = seed("the_figure_is_the_number_of_values_that_had_an_event", 71);
    for case in 0..u64::from(cases(60)) {
        let mut dice = Dice::new(first + case);
        let limit = dice.chance(80).then(|| dice.below(6));
        let most = dice.pick(&[4, 5, 100_000]).max(limit.unwrap_or(0));
        let quota = users(0).max_values(u32::try_from(most).expect("a few"));
        let quota = with_limit(quota, limit);
        let recording = dice.pick(&[Recording::Off, Recording::Newest(100_000)]);
        // Without recording closed periods are judged by nothing.
        let lateness = duration(4 * HOUR);
        let (engine, clock) =
            engine(|builder| builder.quota(quota).recording(recording).late_events(lateness));
        let model = Values::new(limit, most);
        let (open, made) = (Vec::new(), 0);
        let mut history = History { engine, clock, now: START, dice, model, open, made };
        for _ in 0..200 {
            history.step();
        }
    }
}
