//! Goal: what an operator gives back or takes is counted exactly and once, says so, and is what an
//! event of the same amount would have done to that rule and key.
//!
//! Method: worked cases for each kind of counter, for holds, late events, changes of the rule and
//! waiting; random programs beside a twin that records events in place of adjustments are in
//! `tests/journal/adjustments.rs`.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::support::{START, date, engine, track};
use limitry::errors::AdjustError;
use limitry::events::Recording;
use limitry::explain::RuleOutcome;
use limitry::keys::{Adjust, AdjustmentQuery, KeyQuery, RuleKey};
use limitry::rules::{Algorithm, Enforcement, OnMissing, Overflow, QuotaUpdate, RateLimitUpdate};
use limitry::usage::MeterQuery;
use limitry::{
    Amount, Condition, Engine, Event, Hold, Meter, Metric, Period, Quota, RateLimit, Reserved,
    Window,
};

const ANN: (&str, &str) = ("customer_id", "ann");

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tokens(tokens: u64) -> Event<'static> {
    Event::new("ann", "call").input_tokens(tokens)
}

fn quota(period: Period) -> Quota {
    named("q", 100, period)
}

fn named(name: &str, limit: u64, period: Period) -> Quota {
    Quota::new(name, Metric::TotalTokens, limit, period).id(name).per("customer_id")
}

fn limit(algorithm: Algorithm) -> RateLimit {
    let limit = RateLimit::new("l", 100, Window::Minute).id("l").algorithm(algorithm);
    limit.per("customer_id").metric(Metric::TotalTokens)
}

/// Used, adjusted, held and remaining of the quota of ann.
fn stands(engine: &Engine) -> [Amount; 4] {
    let standing = engine.standing(&tokens(0)).expect("valid");
    let status = standing.quotas().next().expect("it matches").into_owned();
    [status.used, status.adjusted, status.held, status.remaining]
}

fn n(amount: i64) -> Amount {
    amount.into()
}

fn left(engine: &Engine) -> Amount {
    let standing = engine.standing(&tokens(0)).expect("valid");
    standing.rate_limits().next().expect("it matches").remaining
}

fn amounts(amounts: [i64; 4]) -> [Amount; 4] {
    amounts.map(Amount::from)
}

fn adjust(engine: &Engine, id: &str, amount: i64) {
    let made = engine.rules().adjust(id, ANN, amount, "a note").expect("good");
    assert_eq!((made.amount, made.is_reset), (n(amount), false));
}

#[test]
fn a_quota_is_its_meter_and_what_was_adjusted() {
    let meter = Meter::sum("Tokens", "total_tokens").id("m");
    let (engine, clock) = engine(|builder| builder.quota(quota(Period::Day)).meter(meter));
    assert!(track(&engine, &tokens(90)).is_allowed());
    assert!(!track(&engine, &tokens(60)).is_allowed());
    adjust(&engine, "q", -50);
    assert_eq!(stands(&engine), amounts([40, -50, 0, 60]));
    let decision = track(&engine, &tokens(60));
    assert!(decision.is_allowed());
    let body = serde_json::to_value(&decision).expect("a body");
    assert_eq!(body["quotas"][0]["used"], 100);
    assert_eq!(body["quotas"][0]["adjusted"], -50);
    adjust(&engine, "q", 7);
    assert_eq!(stands(&engine), amounts([107, -43, 0, 0]));
    let figure = engine.meters().query("m", &MeterQuery::new().customer("ann")).expect("it is");
    let query = AdjustmentQuery::new().rule("q").key(ANN);
    let total = engine.rules().adjustments(&query).expect("a page").total;
    assert_eq!((figure.value, total), (n(150), n(-43)));
    let explained = engine.explain(&tokens(1)).expect("valid");
    let RuleOutcome::Applies { adjusted, .. } = &explained.rules[0].outcome else {
        unreachable!("it applies")
    };
    assert_eq!(*adjusted, Amount::from(-43));
    let key = &engine.rules().keys("q", &KeyQuery::new()).expect("a page").items[0];
    assert_eq!((key.used, key.adjusted), (n(107), n(-43)));
    // Nothing of it is in the next period, nor in another key's.
    let bob = engine.standing(&Event::new("bob", "call")).expect("valid");
    assert_eq!(bob.quotas().next().expect("it matches").used, Amount::ZERO);
    clock.advance(secs(86_400));
    assert_eq!(stands(&engine), amounts([0, 0, 0, 100]));
    // Who never was adjusted has bodies as before.
    let body = serde_json::to_string(&engine.check(&tokens(1)).expect("valid")).expect("a body");
    assert!(!body.contains("adjusted"), "{body}");
}

#[test]
fn more_than_was_used_may_be_given_back_and_a_reset_takes_it_again() {
    let (engine, _) = engine(|builder| builder.quota(quota(Period::AllTime)));
    assert!(track(&engine, &tokens(20)).is_allowed());
    adjust(&engine, "q", -70);
    assert_eq!(stands(&engine), amounts([-50, -70, 0, 100]));
    assert!(track(&engine, &tokens(150)).is_allowed());
    let made = engine.rules().reset("q", ANN).expect("good");
    assert_eq!((made.amount, made.is_reset, made.note), (n(-100), true, None));
    assert_eq!(stands(&engine), amounts([0, -170, 0, 100]));
    let made = engine.rules().reset("q", ANN).expect("good");
    assert_eq!(made.amount, Amount::ZERO);
}

#[test]
fn rate_limits_get_back_what_was_taken_and_no_more() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (engine, clock) = engine(|builder| builder.rate_limit(limit(algorithm)));
        assert!(track(&engine, &tokens(80)).is_allowed());
        adjust(&engine, "l", -30);
        assert_eq!(left(&engine), n(50), "{algorithm:?}");
        adjust(&engine, "l", -1_000);
        assert_eq!(left(&engine), n(100), "{algorithm:?}");
        assert!(track(&engine, &tokens(90)).is_allowed());
        engine.rules().reset("l", ANN).expect("good");
        assert_eq!(left(&engine), n(100), "{algorithm:?}");
        adjust(&engine, "l", 130);
        assert_eq!(left(&engine), n(0), "{algorithm:?}");
        let refused = track(&engine, &tokens(100));
        assert!(!refused.is_allowed());
        let Some(limitry::RetryAfter::After(wait)) = refused.retry_after() else {
            unreachable!("it is paid back")
        };
        clock.advance(wait);
        assert!(track(&engine, &tokens(100)).is_allowed(), "{algorithm:?}");
    }
}

#[test]
fn a_reset_leaves_out_what_is_held_of_a_window_that_is_over() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        for now in [0, 10_i64] {
            let (engine, clock) = engine(|builder| builder.rate_limit(limit(algorithm)));
            let held = engine.reserve(&tokens(40), Hold::lasting(secs(600))).expect("valid");
            let Reserved::Held(held) = held else { unreachable!("there is room") };
            clock.advance(secs(120));
            if now > 0 {
                assert!(track(&engine, &tokens(now.unsigned_abs())).is_allowed());
            }
            let made = engine.rules().reset("l", ANN).expect("good");
            assert_eq!(made.amount, n(-now), "{algorithm:?}");
            assert_eq!(left(&engine), n(100), "{algorithm:?}, {now} now");
            let _ = held.commit(&tokens(40)).expect("valid");
            assert_eq!(left(&engine), n(100), "{algorithm:?}, {now} now: it was of its window");
        }
    }
}

#[test]
fn a_rolling_quota_counts_it_at_its_instant_and_begins_anew_with_a_reset() {
    let (engine, clock) = engine(|builder| builder.quota(quota(Period::Rolling(secs(3_600)))));
    assert!(track(&engine, &tokens(60)).is_allowed());
    clock.advance(secs(1_000));
    adjust(&engine, "q", -20);
    assert_eq!(stands(&engine), amounts([40, -20, 0, 60]));
    clock.advance(secs(1_000));
    assert!(track(&engine, &tokens(50)).is_allowed());
    let made = engine.rules().reset("q", ANN).expect("good");
    assert_eq!(made.amount, n(-90));
    assert_eq!(stands(&engine), amounts([0, 0, 0, 100]));
    assert!(track(&engine, &tokens(100)).is_allowed());
    assert!(!track(&engine, &tokens(1)).is_allowed());
    // What was used before the reset has gone with it: nothing comes back when it would have left.
    for _ in 0..3 {
        clock.advance(secs(1_000));
        assert_eq!(stands(&engine), amounts([100, 0, 0, 0]));
        assert!(!track(&engine, &tokens(1)).is_allowed());
    }
    // A nanosecond more: what came after the reset counts as after it.
    clock.advance(secs(601));
    assert_eq!(stands(&engine), amounts([0, 0, 0, 100]));
}

#[test]
fn what_is_held_stays_held() {
    let take = |engine: &Engine, amount| {
        let hold = Hold::lasting(secs(600));
        match engine.reserve(&tokens(amount), hold).expect("valid") {
            Reserved::Held(reservation) => reservation,
            other => unreachable!("{other:?}"),
        }
    };
    for period in [Period::Day, Period::Rolling(secs(3_600)), Period::AllTime] {
        let (engine, clock) = engine(|builder| builder.quota(quota(period)));
        assert!(track(&engine, &tokens(10)).is_allowed());
        let held = take(&engine, 40);
        let lost = take(&engine, 5).into_id();
        engine.rules().reset("q", ANN).expect("good");
        let [used, _, held_now, remaining] = stands(&engine);
        assert_eq!([used, held_now, remaining], [n(0), n(45), n(55)], "{period:?}");
        assert!(held.commit(&tokens(30)).expect("open").is_allowed());
        let [used, _, held_now, remaining] = stands(&engine);
        assert_eq!([used, held_now, remaining], [n(30), n(5), n(65)], "{period:?}");
        clock.advance(secs(600));
        let [used, _, held_now, remaining] = stands(&engine);
        assert_eq!([used, held_now, remaining], [n(30), n(0), n(70)], "{lost}");
    }
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (engine, _) = engine(|builder| builder.rate_limit(limit(algorithm)));
        assert!(track(&engine, &tokens(10)).is_allowed());
        let held = take(&engine, 40);
        engine.rules().reset("l", ANN).expect("good");
        assert_eq!(left(&engine), n(60), "{algorithm:?}");
        held.release().expect("open");
        assert_eq!(left(&engine), n(100), "{algorithm:?}");
    }
}

#[test]
fn changes_of_the_rule_keep_it_and_a_rule_that_is_added_again_does_not() {
    let (engine, clock) = engine(|builder| builder.quota(quota(Period::Day)));
    let update = |update: QuotaUpdate| engine.rules().update("q", update).expect("good");
    assert!(track(&engine, &tokens(90)).is_allowed());
    adjust(&engine, "q", -50);
    // A counter that begins with what is recorded begins with what was adjusted.
    update(QuotaUpdate::new().enabled(false));
    adjust(&engine, "q", -1);
    update(QuotaUpdate::new().enabled(true));
    assert_eq!(stands(&engine), amounts([39, -51, 0, 61]));
    update(QuotaUpdate::new().period(Period::Month).limit(200));
    assert_eq!(stands(&engine), amounts([39, -51, 0, 161]));
    update(QuotaUpdate::new().period(Period::Rolling(secs(7_200))));
    assert_eq!(stands(&engine), amounts([39, -51, 0, 161]));
    clock.advance(secs(60));
    engine.rules().reset("q", ANN).expect("good");
    assert!(track(&engine, &tokens(3)).is_allowed());
    update(QuotaUpdate::new().enabled(false));
    update(QuotaUpdate::new().enabled(true));
    assert_eq!(stands(&engine), amounts([3, 0, 0, 197]));
    update(QuotaUpdate::new().period(Period::Month));
    assert_eq!(stands(&engine), amounts([3, -90, 0, 197]));
    engine.rules().remove("q").expect("it is there");
    engine.rules().add(named("q", 200, Period::Month)).expect("good");
    assert_eq!(stands(&engine)[..2], amounts([93, 0, 0, 0])[..2]);
}

#[test]
fn a_late_event_in_a_closed_period_finds_it() {
    let (engine, clock) = engine(|builder| builder.quota(quota(Period::Hour)));
    let stamp = date(START);
    assert!(track(&engine, &tokens(90)).is_allowed());
    adjust(&engine, "q", -50);
    clock.advance(secs(3 * 3_600));
    let late = tokens(60).timestamp(stamp);
    let decision = track(&engine, &late);
    let status = decision.quotas().next().expect("it matches");
    assert_eq!((status.used, status.adjusted), (n(100), n(-50)));
    assert!(decision.is_allowed() && !track(&engine, &tokens(1).timestamp(stamp)).is_allowed());
}

#[test]
fn an_idempotency_key_makes_it_once() {
    let (engine, _) = engine(|builder| builder.quota(quota(Period::Day)));
    assert!(track(&engine, &tokens(90)).is_allowed());
    let refund = || Adjust::by("q", ANN, -50).note("ticket 7").idempotency_key("ticket-7");
    let first = engine.rules().apply(&refund()).expect("good");
    assert_eq!(engine.rules().apply(&refund()).expect("the same"), first);
    assert_eq!(stands(&engine), amounts([40, -50, 0, 60]));
    let others = [
        Adjust::by("q", ANN, -51).note("ticket 7"),
        Adjust::by("q", ANN, -50),
        Adjust::by("q", ("customer_id", "bob"), -50).note("ticket 7"),
        Adjust::reset("q", ANN).note("ticket 7"),
    ];
    for other in others {
        let why = engine.rules().apply(&other.idempotency_key("ticket-7")).expect_err("another");
        assert!(matches!(why, AdjustError::IdempotencyConflict { first: 0, .. }), "{why}");
    }
    assert_eq!(stands(&engine), amounts([40, -50, 0, 60]));
    let reset = || Adjust::reset("q", ANN).idempotency_key("r");
    engine.rules().apply(&reset()).expect("good");
    assert!(track(&engine, &tokens(90)).is_allowed());
    engine.rules().apply(&reset()).expect("the same");
    assert_eq!(stands(&engine)[0], n(90));
}

#[test]
fn adjustments_are_listed_by_page() {
    let (engine, clock) = engine(|builder| builder.quota(quota(Period::Day)));
    for amount in 1..=5 {
        adjust(&engine, "q", amount);
        clock.advance(secs(10));
    }
    let bob = ("customer_id", "bob");
    engine.rules().adjust("q", bob, 100, "bob's").expect("good");
    let list = |query: &AdjustmentQuery| engine.rules().adjustments(query).expect("a page");
    let page = list(&AdjustmentQuery::new().limit(2));
    let numbers: Vec<_> = page.items.iter().map(|one| one.number).collect();
    assert_eq!((numbers, page.total), (vec![5, 4], n(115)));
    let page = list(&AdjustmentQuery::new().limit(2).cursor(page.next_cursor.expect("more")));
    assert_eq!((page.items[0].number, page.total), (3, n(10)));
    let ann = AdjustmentQuery::new().key(ANN).rule("q");
    assert_eq!(list(&ann).items.len(), 5);
    let some = ann.between(date(START + 10_000_000_000), date(START + 30_000_000_000));
    assert_eq!((list(&some).items.len(), list(&some).total), (2, n(5)));
    let text = r#"{"ruleId": "q", "key": {"customer_id": "bob"}, "limit": 5}"#;
    let read: AdjustmentQuery = serde_json::from_str(text).expect("a query");
    let page = serde_json::to_value(list(&read)).expect("data");
    let expected = serde_json::json!({"items": [{
        "number": 5, "ruleId": "q", "key": {"customer_id": "bob"}, "amount": 100,
        "isReset": false, "note": "bob's", "idempotencyKey": null, "at": "2024-01-15T10:30:50Z",
    }], "total": 100, "nextCursor": null});
    assert_eq!(page, expected);
    for (query, told) in [
        (AdjustmentQuery::new().limit(0), "limit: \"0\" must be 1 to 100"),
        (AdjustmentQuery::new().limit(101), "limit: \"101\" must be 1 to 100"),
        (AdjustmentQuery::new().cursor("x"), "is the cursor of no page of adjustments"),
        (AdjustmentQuery::new().between(date(9), date(9)), "invalid date range"),
    ] {
        let why = engine.rules().adjustments(&query).expect_err("a bad query").to_string();
        assert!(why.contains(told), "{why}");
    }
}

#[test]
fn bad_input_is_an_error_and_changes_nothing() {
    let gauge = Meter::max("Agents", "agents").id("gauge");
    let (engine, _) = engine(|builder| {
        let highest = Quota::new("high", Metric::meter("gauge"), 9, Period::Day).id("high");
        let own = named("own", 100, Period::Day).filter("customer_id", "ann");
        builder
            .meter(gauge)
            .quota(quota(Period::Day))
            .quota(highest.per("customer_id"))
            .quota(own)
            .quota(Quota::concurrent("slots", 2).id("slots").per("customer_id"))
    });
    let rules = engine.rules();
    let long = "x".repeat(1_025);
    let told = |adjust: Adjust| rules.apply(&adjust).expect_err("bad").to_string();
    let cases = [
        (Adjust::by("no", ANN, 1), "no rule has the id \"no\""),
        (Adjust::by("q", (), 1), "rule \"q\": customer_id: \"\" must be there"),
        (Adjust::by("q", ("model", "x"), 1), "model: \"x\" is of a dimension that does not split"),
        (Adjust::by("q", ("customer_id", ""), 1), "customer_id: \"\" must be 1 to 256 bytes"),
        (Adjust::by("own", ("customer_id", "bob"), 1), "the rule's filter does not let in"),
        (Adjust::by("q", ANN, 0), "amount: \"0\" must not be 0"),
        (Adjust::by("q", ANN, "0.5"), "amount: \"0.5\" must be a whole number"),
        (Adjust::by("q", ANN, f64::NAN), "must be an exact amount"),
        (Adjust::by("q", ANN, u64::MAX), "must be from -1000000000000000 to 1000000000000000"),
        (Adjust::by("q", ANN, 1).note(&*long), "note: \"xxx"),
        (Adjust::by("q", ANN, 1).note("a\nb"), "must not hold control characters"),
        (Adjust::by("q", ANN, 1).idempotency_key(""), "idempotency_key: \"\" must be 1 to 256"),
        (Adjust::by("high", ANN, 1), "rule \"high\" cannot be adjusted: no amount is added"),
        (Adjust::reset("high", ANN), "rule \"high\" cannot be adjusted"),
        (Adjust::reset("slots", ANN), "rule \"slots\" cannot be adjusted: it counts open"),
    ];
    for (adjust, expected) in cases {
        let told = told(adjust);
        assert!(told.contains(expected), "{told}\n{expected}");
    }
    assert!(rules.adjustments(&AdjustmentQuery::new()).expect("a page").items.is_empty());
    assert_eq!(stands(&engine), amounts([0, 0, 0, 100]));
}

/// Found by the search of `model`: a key that only events without the dimension have.
#[test]
fn a_key_of_what_events_lack_is_adjusted() {
    let (engine, _) = engine(|builder| {
        let lacks = quota(Period::Day).filter("team", Condition::Absent).per("team");
        builder.quota(lacks.on_missing(OnMissing::Value("none".into())))
    });
    assert!(track(&engine, &tokens(90)).is_allowed());
    let none = [ANN, ("team", "none")];
    engine.rules().adjust("q", none, -50, "a note").expect("good");
    assert_eq!(stands(&engine), amounts([40, -50, 0, 60]));
    engine.rules().reset("q", none).expect("good");
    assert_eq!(stands(&engine), amounts([0, -90, 0, 100]));
    let red = engine.rules().reset("q", [ANN, ("team", "red")]).expect_err("no key of it");
    assert!(red.to_string().contains("filter does not let in"), "{red}");
}

#[test]
fn a_key_without_room_is_told_so() {
    for overflow in [Overflow::Share, Overflow::Deny, Overflow::Allow] {
        let capped = quota(Period::Day).max_keys(1).overflow(overflow);
        let (engine, _) = engine(|builder| builder.quota(capped));
        assert!(track(&engine, &tokens(1)).is_allowed());
        let why = engine.rules().reset("q", ("customer_id", "bob")).expect_err("no room");
        let key = Box::new(RuleKey::from(("customer_id", "bob")));
        assert_eq!(why, AdjustError::NoRoom { rule: "q".into(), key });
        adjust(&engine, "q", 5);
        assert_eq!(stands(&engine)[0], n(6));
    }
}

#[test]
fn rules_on_trial_and_rules_that_have_lost_are_adjusted_as_others() {
    let (engine, _) = engine(|builder| {
        let shadow = quota(Period::Day).enforcement(Enforcement::Shadow).policy("p");
        let own = named("own", 1_000, Period::Day).filter("customer_id", "ann");
        builder.recording(Recording::Off).quota(shadow).quota(own.policy("p"))
    });
    adjust(&engine, "q", 500);
    let key = &engine.rules().keys("q", &KeyQuery::new()).expect("a page").items[0];
    assert_eq!((key.used, key.adjusted), (n(500), n(500)));
    engine.rules().reset("q", ANN).expect("good");
    assert!(engine.rules().keys("q", &KeyQuery::new()).expect("a page").items.is_empty());
    let bucket = limit(Algorithm::TokenBucket).max_debt(50);
    engine.rules().add(bucket).expect("good");
    adjust(&engine, "l", 500);
    let raised = RateLimitUpdate::new().max_debt(n(0));
    engine.rules().update("l", raised).expect("good");
    assert_eq!(left(&engine), n(0));
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_waits_is_woken_by_what_is_given_back() {
    for is_reset in [false, true] {
        let (engine, _) = engine(|builder| builder.quota(quota(Period::Day)));
        assert!(track(&engine, &tokens(100)).is_allowed());
        let event = tokens(40);
        let mut wait = pin!(engine.wait(&event));
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut task = Context::from_waker(&waker);
        assert!(wait.as_mut().poll(&mut task).is_pending());
        adjust(&engine, "q", 3);
        if is_reset {
            engine.rules().reset("q", ANN).expect("good");
        } else {
            adjust(&engine, "q", -50);
        }
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        let Poll::Ready(Ok(decision)) = wait.as_mut().poll(&mut task) else {
            unreachable!("there is room")
        };
        assert!(decision.is_allowed());
    }
}

#[test]
fn threads_lose_and_double_nothing() {
    let (engine, _) = engine(|builder| builder.quota(named("q", 1_000_000, Period::Day)));
    thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0..200 {
                    if thread % 2 == 0 {
                        assert!(track(engine, &tokens(3)).is_allowed());
                    } else {
                        let key = format!("{thread}-{}", number / 2);
                        let once = Adjust::by("q", ANN, -2).idempotency_key(key);
                        engine.rules().apply(&once).expect("good");
                    }
                }
            });
        }
    });
    assert_eq!(stands(&engine)[..2], amounts([1_200 - 400, -400, 0, 0])[..2]);
}
