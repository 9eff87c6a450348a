//! Goal: the worked numbers of the product come out of the engine, digit for digit: the verdict,
//! the figures, the headers and the bodies.
//!
//! Method: each case of the fact sheet's table that a decision can show, as one test of that
//! number. The clock stands where the case says.

use crate::support::oracle::{HOUR, MINUTE, Nanos, SECOND};
use crate::support::{START, duration, engine, engine_at};
use limitry::errors::TrackError;
use limitry::rules::Algorithm;
use limitry::time::ManualClock;
use limitry::{Decision, Engine, Event, Metric, Period, Quota, RateLimit, RetryAfter, Window};
use serde_json::{Value, json};

/// Noon of the day that the cases play on.
const NOON: Nanos = START + 90 * MINUTE;

fn daily_tokens() -> (Engine, ManualClock) {
    engine(|builder| {
        builder.quota(
            Quota::new("Daily Token Limit", Metric::TotalTokens, 100, Period::Day)
                .id("qta_def456")
                .per("customer_id"),
        )
    })
}

fn call(tokens: u64) -> Event<'static> {
    Event::new("cust_123", "model_call").total_tokens(tokens)
}

fn track(engine: &Engine, event: &Event<'_>) -> Decision {
    engine.track(event).expect("the event is valid")
}

fn header(decision: &Decision, name: &str) -> Option<String> {
    let mut found = decision.headers().filter(|(key, _)| *key == name).map(|(_, value)| value);
    let first = found.next();
    assert_eq!(found.next(), None, "{name} stands once");
    first
}

/// Used, remaining and whether this quota refused.
fn quota(decision: &Decision) -> (u64, u64, bool) {
    let status = decision.quotas().next().expect("the quota applies");
    (status.used.to_u64_ceil(), status.remaining.to_u64_floor(), status.exceeded)
}

fn body(decision: &Decision) -> Value {
    serde_json::to_value(decision).expect("a decision is plain data")
}

/// 60 and 30 of 100 pass and the next 20 do not.
#[test]
fn case_1_a_daily_quota_of_a_hundred_tokens() {
    let (engine, _clock) = daily_tokens();
    let first = track(&engine, &call(60));
    assert_eq!((first.status_code(), quota(&first)), (201, (60, 40, false)));
    let second = track(&engine, &call(30));
    assert_eq!((second.status_code(), quota(&second)), (201, (90, 10, false)));
    let third = track(&engine, &call(20));
    assert_eq!((third.status_code(), quota(&third)), (429, (90, 10, true)));
    assert_eq!(third.event_id(), None);

    // Half past ten: the day ends in thirteen and a half hours, at 1705363200.
    let rest = 13 * HOUR + 30 * MINUTE;
    assert_eq!(third.retry_after(), Some(RetryAfter::After(duration(rest))));
    assert_eq!(header(&third, "X-Quota-Period").as_deref(), Some("day"));
    assert_eq!(header(&third, "X-Quota-Metric").as_deref(), Some("total_tokens"));
    assert_eq!(header(&third, "X-Quota-Reset").as_deref(), Some("1705363200"));
    assert_eq!(header(&third, "Retry-After").as_deref(), Some("48600"));
    assert_eq!(header(&third, "X-RateLimit-Limit"), None, "no rate limit matches");

    let mut created = body(&second);
    let id = created["id"].take();
    assert!(id.as_str().is_some_and(|id| id.starts_with("evt_")), "{id}");
    assert_eq!(
        created,
        json!({
            "id": null,
            "allowed": true,
            "rateLimits": [],
            "quotas": [{
                "id": "qta_def456", "name": "Daily Token Limit", "metric": "total_tokens",
                "period": "day", "limit": 100, "used": 90, "remaining": 10, "exceeded": false
            }]
        })
    );
    assert_eq!(
        body(&third),
        json!({
            "allowed": false,
            "error": "Quota exceeded",
            "rateLimits": [],
            "quotas": [{
                "id": "qta_def456", "name": "Daily Token Limit", "metric": "total_tokens",
                "period": "day", "limit": 100, "used": 90, "remaining": 10, "exceeded": true
            }]
        })
    );
}

/// The last ten fit exactly: not exceeded for the event, and no room for another.
#[test]
fn case_2_an_event_that_fits_exactly() {
    let (engine, _clock) = daily_tokens();
    for tokens in [60, 30] {
        assert!(track(&engine, &call(tokens)).is_allowed());
    }
    let last = track(&engine, &call(10));
    assert_eq!((last.status_code(), quota(&last)), (201, (100, 0, false)));
    let standing = engine.standing(&call(10)).expect("the event is valid");
    assert!(!standing.is_allowed());
    let status = standing.quotas().next().expect("the quota applies");
    assert_eq!((status.used, status.remaining, status.exceeded), (100.into(), 0.into(), true));
    // An event without tokens takes nothing and passes at the limit.
    assert!(track(&engine, &call(0)).is_allowed());
    assert!(!track(&engine, &call(1)).is_allowed());
}

/// Only a string is a dimension.
#[test]
fn case_3_a_number_matches_no_filter() {
    let (engine, _clock) = engine(|builder| {
        builder
            .quota(Quota::new("eng", Metric::TotalEvents, 1, Period::Day).filter("team_id", "eng"))
            .quota(Quota::new("7", Metric::TotalEvents, 1, Period::Day).filter("team_id", "7"))
            .quota(Quota::new("each", Metric::TotalEvents, 1, Period::Day).per("team_id"))
    });
    let number = Event::new("c", "call").property("team_id", 7);
    for _ in 0..3 {
        let decision = track(&engine, &number);
        assert!(decision.is_allowed());
        assert_eq!(decision.quotas().count(), 0, "{decision:?}");
    }
    for value in [json!(null), json!(true), json!(["eng"]), json!({"eng": "eng"}), json!(7.5)] {
        let decision = track(&engine, &Event::new("c", "call").property("team_id", value));
        assert_eq!(decision.quotas().count(), 0, "{decision:?}");
    }
    let text = Event::new("c", "call").property("team_id", "eng");
    let decision = track(&engine, &text);
    let names: Vec<_> = decision.quotas().map(|status| status.name).collect();
    assert_eq!(names, ["eng", "each"]);
    assert!(!track(&engine, &text).is_allowed());
}

/// The total is what went in and what came out, where it is not given.
#[test]
fn case_4_the_total_of_tokens() {
    let (engine, _clock) = daily_tokens();
    let event = |input, output| {
        Event::new(format!("{input} {output}"), "model_call")
            .input_tokens(input)
            .output_tokens(output)
    };
    let decision = engine.check(&event(150, 50)).expect("valid");
    assert_eq!(quota(&decision), (0, 100, true), "two hundred do not fit a hundred");
    assert_eq!(decision.retry_after(), Some(RetryAfter::Never));
    assert_eq!(quota(&track(&engine, &event(15, 5))), (20, 80, false));
    // A total that is given is trusted.
    assert_eq!(quota(&track(&engine, &event(90, 5).total_tokens(30))), (30, 70, false));
    let output_only = Event::new("out", "model_call").output_tokens(8);
    assert_eq!(quota(&track(&engine, &output_only)), (8, 92, false));
}

fn two_a_minute() -> (Engine, ManualClock) {
    engine_at(NOON, |builder| {
        builder.rate_limit(
            RateLimit::new("API Rate Limit", 2, Window::Minute)
                .id("rl_xyz789")
                .algorithm(Algorithm::FixedWindow),
        )
    })
}

/// At 12:00:10, :20 and :30, and again at 12:01:00.
#[test]
fn cases_5_and_6_two_a_minute_in_fixed_windows() {
    let (engine, clock) = two_a_minute();
    let event = Event::new("cust_123", "model_call");
    let minute_end = 1_705_320_060;
    for remaining in [1, 0] {
        clock.advance(duration(10 * SECOND));
        let decision = track(&engine, &event);
        assert_eq!(decision.status_code(), 201);
        let status = decision.rate_limits().next().expect("the rate limit applies");
        assert_eq!(
            (status.remaining, status.reset.unix_seconds(), status.exceeded),
            (remaining.into(), minute_end, false)
        );
    }
    clock.advance(duration(10 * SECOND));
    let refused = track(&engine, &event);
    assert_eq!(refused.status_code(), 429);
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(duration(30 * SECOND))));
    for (name, value) in [
        ("Retry-After", "30"),
        ("X-RateLimit-Limit", "2"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Reset", "1705320060"),
    ] {
        assert_eq!(header(&refused, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(
        body(&refused),
        json!({
            "allowed": false,
            "error": "Rate limit exceeded",
            "rateLimits": [{
                "id": "rl_xyz789", "name": "API Rate Limit", "window": "1m", "limit": 2,
                "remaining": 0, "reset": minute_end, "exceeded": true
            }],
            "quotas": []
        })
    );
    clock.advance(duration(30 * SECOND));
    let next = track(&engine, &event);
    assert_eq!(next.status_code(), 201, "12:01:00.000 is a new window");
    let status = next.rate_limits().next().expect("the rate limit applies");
    assert_eq!((status.remaining, status.reset.unix_seconds()), (1.into(), minute_end + 60));
}

/// The last nanosecond of a window belongs to it.
#[test]
fn case_6_not_a_nanosecond_earlier() {
    let (engine, clock) = two_a_minute();
    let event = Event::new("cust_123", "model_call");
    for _ in 0..2 {
        assert!(track(&engine, &event).is_allowed());
    }
    clock.advance(duration(MINUTE - 1));
    assert!(!track(&engine, &event).is_allowed());
    clock.advance(duration(1));
    assert!(track(&engine, &event).is_allowed());
}

/// A repeat with the same key answers the first decision and counts nothing.
#[test]
fn case_7_the_same_idempotency_key_again() {
    let (engine, clock) = daily_tokens();
    let event = call(60).idempotency_key("req_abc123");
    let first = track(&engine, &event);
    assert!(!first.is_replay());
    clock.advance(duration(MINUTE));
    assert!(track(&engine, &call(30)).is_allowed());
    let again = track(&engine, &event);
    assert!(again.is_replay());
    assert_eq!(again.status_code(), 201);
    assert_eq!(again.event_id(), first.event_id());
    assert_eq!(body(&again), body(&first), "the original body");
    let standing = engine.standing(&call(0)).expect("valid");
    assert_eq!(standing.quotas().next().expect("the quota applies").used, 90);
    assert_eq!(engine.events().len(), 2);
}

/// Of a batch, a bad item is an error of its own; nothing of it is stored or counted.
#[test]
fn case_8_a_bad_item_counts_nowhere() {
    let (engine, _clock) = daily_tokens();
    let mut batch: Vec<Event<'_>> = (0..5).map(|_| call(10)).collect();
    batch[3] = Event::new("", "model_call").total_tokens(10);
    let answers = engine.track_batch(&batch);
    assert_eq!(answers.len(), 5);
    for (place, answer) in answers.iter().enumerate() {
        match answer {
            Ok(decision) => assert!(place != 3 && decision.is_allowed()),
            Err(TrackError::Event(error)) => {
                assert_eq!(place, 3, "{error}");
                assert!(error.to_string().contains("customer_id"), "{error}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(engine.events().len(), 4);
    assert_eq!(quota(&track(&engine, &call(0))), (40, 60, false));
}

/// The two examples of a whole answer, in the order of the product's fields.
#[test]
fn the_bodies_have_the_fields_in_order() {
    let (engine, _clock) = engine_at(1_705_312_800 * SECOND - HOUR, |builder| {
        builder
            .rate_limit(
                RateLimit::new("API Rate Limit", 1_000, Window::Hour)
                    .id("rl_xyz789")
                    .algorithm(Algorithm::FixedWindow),
            )
            .quota(
                Quota::new("Daily Token Limit", Metric::TotalTokens, 100_000, Period::Day)
                    .id("qta_def456"),
            )
    });
    for _ in 0..152 {
        assert!(track(&engine, &call(0)).is_allowed());
    }
    let decision = track(&engine, &call(45_230));
    let id = decision.event_id().expect("it is recorded").to_string();
    assert_eq!(
        serde_json::to_string(&decision).expect("plain data"),
        format!(r#"{{"id":"{id}","allowed":true,"rateLimits":[{{"id":"rl_xyz789","#)
            + r#""name":"API Rate Limit","window":"1h","limit":1000,"remaining":847,"#
            + r#""reset":1705312800,"exceeded":false}],"quotas":[{"id":"qta_def456","#
            + r#""name":"Daily Token Limit","metric":"total_tokens","period":"day","#
            + r#""limit":100000,"used":45230,"remaining":54770,"exceeded":false}]}"#
    );
    for (name, value) in [
        ("X-RateLimit-Limit", "1000"),
        ("X-RateLimit-Remaining", "847"),
        ("X-RateLimit-Reset", "1705312800"),
    ] {
        assert_eq!(header(&decision, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(header(&decision, "Retry-After"), None);
    assert_eq!(header(&decision, "X-Quota-Reset"), None);
}

/// Both kinds refuse: both are listed in full, and the headers are those of the longer wait.
#[test]
fn a_refusal_lists_both_kinds() {
    let (engine, _clock) = engine(|builder| {
        builder
            .rate_limit(RateLimit::new("r", 1, Window::Minute).algorithm(Algorithm::FixedWindow))
            .quota(Quota::new("q", Metric::TotalEvents, 1, Period::Hour))
    });
    assert!(track(&engine, &call(1)).is_allowed());
    let refused = track(&engine, &call(1));
    let rates: Vec<bool> = refused.rate_limits().map(|status| status.exceeded).collect();
    let quotas: Vec<bool> = refused.quotas().map(|status| status.exceeded).collect();
    assert_eq!((rates, quotas), (vec![true], vec![true]));
    // 10:30:00: the minute ends in 60 s and the hour in 1800 s.
    assert_eq!(header(&refused, "Retry-After").as_deref(), Some("1800"));
    assert_eq!(header(&refused, "X-RateLimit-Reset"), None);
    assert_eq!(header(&refused, "X-Quota-Reset").as_deref(), Some("1705316400"));
    assert_eq!(header(&refused, "X-Quota-Period").as_deref(), Some("hour"));
    assert_eq!(body(&refused)["error"], "Rate limit exceeded");
}

/// The headers speak of the rate limit with the least left; of equals, the one that resets last.
#[test]
fn the_headers_speak_of_the_tightest_rate_limit() {
    let fixed = |name: &str, limit, window| {
        RateLimit::new(name, limit, window).algorithm(Algorithm::FixedWindow)
    };
    let (engine, _clock) = engine(|builder| {
        builder
            .rate_limit(fixed("second", 5, Window::Second))
            .rate_limit(fixed("hour", 5, Window::Hour))
            .rate_limit(fixed("minute", 5, Window::Minute))
            .rate_limit(fixed("roomy", 100, Window::Hour))
    });
    let decision = track(&engine, &call(1));
    assert_eq!(header(&decision, "X-RateLimit-Limit").as_deref(), Some("5"));
    assert_eq!(header(&decision, "X-RateLimit-Remaining").as_deref(), Some("4"));
    assert_eq!(header(&decision, "X-RateLimit-Reset").as_deref(), Some("1705316400"));
}
