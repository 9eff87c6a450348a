//! Goal: nothing is counted twice. A key that is used again answers its first decision and counts
//! nothing, a key used for something else is a conflict, a refused request leaves its key free,
//! keys are kept exactly as long as they are said to be, and they take bounded room.
//!
//! Method: worked cases on a manual clock; what threads do to keys is in `threads/races.rs`.

use std::time::Duration;

use crate::support::oracle::{DAY, HOUR, SECOND};
use crate::support::{START, date, duration, engine};
use limitry::errors::TrackError;
use limitry::explain::{Precedence, RuleOutcome};
use limitry::time::ManualClock;
use limitry::wire::HeaderDialect;
use limitry::{Decision, Engine, Event, Metric, Outcome, Period, Quota, RateLimit, Window};

fn roomy() -> (Engine, ManualClock) {
    engine(|builder| {
        builder.quota(Quota::new("tokens", Metric::TotalTokens, 1_000_000, Period::AllTime))
    })
}

fn used(engine: &Engine) -> u64 {
    let standing = engine.standing(&Event::new("c", "call")).expect("valid");
    standing.quotas().next().expect("the quota applies").used.to_u64_ceil()
}

fn request() -> Event<'static> {
    Event::new("c", "call").total_tokens(10).idempotency_key("req_1")
}

fn track(engine: &Engine, event: &Event<'_>) -> Decision {
    engine.track(event).expect("no conflict")
}

fn assert_conflict(engine: &Engine, event: &Event<'_>) {
    match engine.track(event) {
        Err(TrackError::IdempotencyConflict { customer, key }) => {
            assert_eq!((&*customer, &*key), ("c", "req_1"));
        }
        other => panic!("{event:?} is another payload: {other:?}"),
    }
}

fn body(decision: &Decision) -> String {
    serde_json::to_string(decision).expect("a decision is plain data")
}

#[test]
fn a_repeat_answers_the_first_decision_and_counts_nothing() {
    let (engine, clock) = roomy();
    let first = track(&engine, &request());
    assert!(!first.is_replay());
    assert!(first.event_id().is_some());
    for turn in 0..10 {
        clock.advance(Duration::from_secs(600));
        // What happens in between shows in no replay.
        let other = Event::new("c", "call").total_tokens(1);
        assert!(track(&engine, &other).is_allowed());
        let again = track(&engine, &request());
        assert!(again.is_replay());
        assert_eq!(again.event_id(), first.event_id());
        assert_eq!(body(&again), body(&first));
        assert_eq!(again.status_code(), 201);
        assert_eq!(used(&engine), 10 + turn + 1);
    }
    assert_eq!(engine.events().len(), 11);
}

/// Of a thousand answers to one key on a limit of one, one says that the model is to be called.
#[test]
fn an_application_that_goes_by_the_answer_acts_once() {
    let (engine, _clock) =
        engine(|builder| builder.rate_limit(RateLimit::new("r", 1, Window::Hour)));
    let (mut admitted, mut by_is_allowed, mut replayed) = (0, 0, 0);
    for _ in 0..1_000 {
        assert_ne!(
            engine.check(&request()).expect("valid").is_allowed(),
            replayed + admitted > 0,
            "a check says whether to go ahead, too"
        );
        let decision = track(&engine, &request());
        by_is_allowed += u32::from(decision.is_allowed());
        match decision.outcome() {
            Outcome::Admitted => admitted += 1,
            Outcome::Replayed => replayed += 1,
            Outcome::Refused => panic!("{decision}"),
        }
    }
    assert_eq!((admitted, by_is_allowed, replayed), (1, 1, 999));
    let other = track(&engine, &Event::new("c", "call"));
    assert_eq!((other.outcome(), other.is_allowed()), (Outcome::Refused, false));
}

/// The first answer to the letter, and one header that says which of the two this is.
#[test]
fn a_replay_on_the_wire_is_the_first_answer_with_a_header() {
    let (engine, clock) = engine(|builder| {
        builder.rate_limit(RateLimit::new("r", 9, Window::Minute)).quota(Quota::new(
            "q",
            Metric::TotalTokens,
            100,
            Period::Day,
        ))
    });
    let first = track(&engine, &request());
    clock.advance(Duration::from_secs(7));
    let other = Event::new("c", "call").total_tokens(50);
    assert!(track(&engine, &other).is_allowed());
    let replayed = ("Idempotent-Replayed", "true".to_owned());
    for again in [track(&engine, &request()), engine.check(&request()).expect("known")] {
        assert_eq!((again.outcome(), again.status_code()), (Outcome::Replayed, 201));
        assert_eq!(body(&again), body(&first));
        assert!(body(&again).contains(r#""allowed":true"#), "{}", body(&again));
        assert_eq!(again.retry_after(), None);
        assert_eq!(again.to_string(), "replayed");
        for dialect in [HeaderDialect::XRateLimit, HeaderDialect::Draft10] {
            let mut expected: Vec<_> = first.headers_in(dialect).collect();
            assert!(!expected.contains(&replayed), "{expected:?}");
            expected.push(replayed.clone());
            assert_eq!(again.headers_in(dialect).collect::<Vec<_>>(), expected);
        }
    }
    let refused = track(&engine, &Event::new("c", "call").total_tokens(99));
    assert_eq!((refused.outcome(), refused.status_code()), (Outcome::Refused, 429));
    assert!(!refused.headers().any(|(name, _)| name == replayed.0));
}

#[test]
fn an_outcome_reads_as_it_prints() {
    for (outcome, text) in [
        (Outcome::Admitted, "admitted"),
        (Outcome::Replayed, "replayed"),
        (Outcome::Refused, "refused"),
    ] {
        assert_eq!(outcome.to_string(), text);
        assert_eq!(serde_json::to_string(&outcome).expect("plain"), format!("{text:?}"));
        let read: Outcome = serde_json::from_str(&format!("{text:?}")).expect("its own text");
        assert_eq!(read, outcome);
    }
}

#[test]
fn a_key_is_shared_by_all_verbs() {
    let (engine, _clock) = roomy();
    let first = engine.record(&request()).expect("valid");
    assert!(!first.is_replay());
    for again in [track(&engine, &request()), engine.record(&request()).expect("valid")] {
        assert!(again.is_replay());
        assert_eq!(again.event_id(), first.event_id());
    }
    let batch = [request(), request().total_tokens(11)];
    let answers = engine.track_batch(&batch);
    assert!(matches!(&answers[0], Ok(again) if again.is_replay()));
    assert!(matches!(&answers[1], Err(TrackError::IdempotencyConflict { .. })));
    assert_eq!(used(&engine), 10);
    assert_eq!(engine.events().len(), 1);
}

#[test]
fn within_a_batch_the_second_copy_is_a_replay() {
    let (engine, _clock) = roomy();
    let batch = [request(), request(), request()];
    let replays: Vec<bool> = engine
        .track_batch(&batch)
        .into_iter()
        .map(|answer| answer.expect("no conflict").is_replay())
        .collect();
    assert_eq!(replays, [false, true, true]);
    assert_eq!(used(&engine), 10);
}

/// A check of a known request answers what tracking it would: the first decision.
#[test]
fn a_check_answers_what_track_would_and_keeps_no_key() {
    let (engine, _clock) = roomy();
    let check = engine.check(&request()).expect("valid");
    assert!(check.is_allowed() && !check.is_replay());
    let first = track(&engine, &request());
    assert!(!first.is_replay(), "the check has left the key free");
    let check = engine.check(&request()).expect("valid");
    assert!(check.is_replay());
    assert_eq!(body(&check), body(&first));
    match engine.check(&request().total_tokens(11)) {
        Err(TrackError::IdempotencyConflict { .. }) => {}
        other => panic!("tracking it would be a conflict: {other:?}"),
    }
    assert_eq!(used(&engine), 10);
}

#[test]
fn every_part_of_the_payload_tells_requests_apart() {
    let (engine, _clock) = roomy();
    let full = || {
        request()
            .model("gpt-4")
            .provider("openai")
            .input_tokens(6)
            .output_tokens(4)
            .cost_cents(3)
            .latency_ms(1_200)
            .property("team", "red")
            .property("flag", true)
            .value("images", "1.5")
    };
    assert!(!track(&engine, &full()).is_replay());
    assert!(track(&engine, &full()).is_replay());
    let others = [
        Event::new("c", "embed").total_tokens(10).idempotency_key("req_1"),
        request(),
        full().model("gpt-5"),
        full().provider("azure"),
        full().input_tokens(7),
        full().output_tokens(5),
        full().total_tokens(11),
        full().cost_cents(4),
        full().latency_ms(1_201),
        full().property("team", "blue"),
        full().property("flag", false),
        full().property("flag", "true"),
        full().property("more", "red"),
        full().value("images", "1.500001"),
        full().value("pages", 1),
    ];
    for other in &others {
        assert_conflict(&engine, other);
    }
    assert_eq!(used(&engine), 10, "a conflict counts nothing");
    assert_eq!(engine.events().len(), 1);
    assert!(track(&engine, &full()).is_replay(), "a conflict leaves the first one as it was");
}

/// A client that tries again may stamp its event anew, and may say the total of its tokens where it
/// left that to be computed, or the other way round.
#[test]
fn what_a_retry_may_say_anew_is_no_other_payload() {
    let parts = || Event::new("c", "call").input_tokens(6).output_tokens(4);
    for first in [parts(), parts().total_tokens(10), parts().timestamp(date(START - HOUR))] {
        let (engine, clock) = roomy();
        let first = first.idempotency_key("req_1");
        let answer = track(&engine, &first);
        assert_eq!(answer.outcome(), Outcome::Admitted);
        clock.advance(duration(5 * SECOND));
        let again = [
            parts(),
            parts().total_tokens(10),
            parts().timestamp(date(START)),
            parts().timestamp(date(START - HOUR)),
            parts().total_tokens(10).timestamp(date(START + 5 * SECOND)),
            // Too far ahead and too late for a first event, and no error for a second.
            parts().timestamp(date(START + 9 * DAY)),
            parts().timestamp(date(START - 900 * DAY)),
        ];
        for again in again.map(|again| again.idempotency_key("req_1")) {
            let text = format!("{first:?} and {again:?}");
            let checked = engine.check(&again).expect("no conflict");
            assert_eq!(checked.outcome(), Outcome::Replayed, "{text}");
            let again = track(&engine, &again);
            assert_eq!(again.outcome(), Outcome::Replayed, "{text}");
            assert_eq!(body(&again), body(&answer), "{text}");
        }
        let others = [
            parts().total_tokens(11),
            parts().output_tokens(5),
            Event::new("c", "call").total_tokens(10),
            Event::new("c", "call").input_tokens(10),
        ];
        for other in others {
            assert_conflict(&engine, &other.idempotency_key("req_1"));
        }
        assert_eq!((used(&engine), engine.events().len()), (10, 1));
    }
}

/// The error says what must be the same.
#[test]
fn a_conflict_says_what_a_retry_must_have_in_common() {
    let (engine, _clock) = roomy();
    assert!(track(&engine, &request()).is_allowed());
    let why = engine.track(&request().cost_cents(1)).expect_err("another payload").to_string();
    assert_eq!(
        why,
        "idempotency_key: \"req_1\" of customer \"c\" was used for another event: a retry must \
         have the same type, model, provider, tokens, cost, latency, properties, values and \
         attachments"
    );
}

/// Nobody's key is anybody else's.
#[test]
fn a_key_is_its_customers() {
    let (engine, clock) = roomy();
    let of = |customer: &str| Event::new(customer.to_owned(), "call").total_tokens(10);
    let first = track(&engine, &of("c").idempotency_key("1"));
    clock.advance(duration(SECOND));
    for customer in ["d", "e"] {
        let event = of(customer).cost_cents(7).idempotency_key("1");
        assert_eq!(engine.check(&event).expect("valid").outcome(), Outcome::Admitted);
        let own = track(&engine, &event);
        assert_eq!(own.outcome(), Outcome::Admitted);
        assert_ne!(own.event_id(), first.event_id());
        assert_eq!(track(&engine, &event).event_id(), own.event_id());
    }
    let again = track(&engine, &of("c").idempotency_key("1"));
    assert_eq!((again.outcome(), body(&again)), (Outcome::Replayed, body(&first)));
    // Customers and keys that read the same when they are put together.
    for (customer, key) in [("ab", "c"), ("a", "bc"), ("abc", "d")] {
        let event = of(customer).idempotency_key(key);
        assert_eq!(track(&engine, &event).outcome(), Outcome::Admitted, "{customer} {key}");
    }
    assert_eq!((used(&engine), engine.events().len()), (60, 6));
}

/// The order of properties and values, and how a number is written, say nothing.
#[test]
fn what_means_the_same_is_the_same_request() {
    let (engine, _clock) = roomy();
    let one = request().property("a", "1").property("b", "2").value("x", 1).value("y", "2.50");
    let two = request().value("y", 2.5).value("x", 1_u8).property("b", "2").property("a", "1");
    assert!(!track(&engine, &one).is_replay());
    assert!(track(&engine, &two).is_replay());
    assert!(track(&engine, &one.clone().into_owned()).is_replay());
}

#[test]
fn a_refused_request_leaves_its_key_free() {
    let (engine, clock) =
        engine(|builder| builder.rate_limit(RateLimit::new("r", 1, Window::Second)));
    assert!(track(&engine, &Event::new("c", "first")).is_allowed());
    for _ in 0..3 {
        let refused = track(&engine, &request());
        assert!(!refused.is_allowed() && !refused.is_replay());
    }
    // Another payload may take the key as long as nobody has it.
    let other = request().total_tokens(99);
    assert!(!track(&engine, &other).is_allowed());
    clock.advance(Duration::from_secs(1));
    let first = track(&engine, &request());
    assert!(first.is_allowed() && !first.is_replay());
    // The bucket is empty again, and the repeat is answered all the same.
    let again = track(&engine, &request());
    assert_eq!(again.outcome(), Outcome::Replayed);
    assert_conflict(&engine, &other);
}

#[test]
fn an_error_leaves_the_key_free() {
    let (engine, _clock) = roomy();
    let ahead = request().timestamp(date(START + 2 * DAY));
    assert!(matches!(engine.track(&ahead), Err(TrackError::Event(_))));
    assert!(!track(&engine, &request()).is_replay());
}

#[test]
fn a_key_is_kept_to_the_nanosecond() {
    for retention in [DAY, 3 * DAY] {
        let (engine, clock) = engine(|builder| {
            builder
                .quota(Quota::new("tokens", Metric::TotalTokens, 1_000_000, Period::AllTime))
                .idempotency_retention(duration(retention))
        });
        let first = track(&engine, &request());
        clock.advance(duration(retention - 1));
        let last = track(&engine, &request());
        assert!(last.is_replay());
        assert_conflict(&engine, &request().total_tokens(11));
        // A replay does not make the key younger.
        clock.advance(duration(1));
        let fresh = track(&engine, &request().total_tokens(11));
        assert!(!fresh.is_replay());
        assert_ne!(fresh.event_id(), first.event_id());
        assert_eq!(used(&engine), 21);
        // And the new use counts its own time.
        clock.advance(duration(retention - 1));
        assert!(track(&engine, &request().total_tokens(11)).is_replay());
        assert_conflict(&engine, &request());
        clock.advance(duration(1));
        assert!(!track(&engine, &request()).is_replay());
    }
}

/// A clock that is set back makes no key older and none younger.
#[test]
fn a_clock_that_runs_back_frees_no_key() {
    let (engine, clock) = roomy();
    assert!(!track(&engine, &request()).is_replay());
    for back in [10 * DAY, 30 * DAY] {
        clock.set(date(START - back));
        assert!(track(&engine, &request()).is_replay());
    }
    // From there on it gets older as the clock says.
    assert!(track(&engine, &request()).is_replay());
    clock.advance(duration(DAY - 1));
    assert!(track(&engine, &request()).is_replay());
    clock.advance(duration(1));
    assert!(!track(&engine, &request()).is_replay());
}

/// A replay is answered whatever has happened to the rules since.
#[test]
fn a_replay_outlives_its_rules() {
    let (engine, clock) = engine(|builder| {
        builder
            .quota(Quota::new("q", Metric::TotalEvents, 5, Period::Hour).id("qta_1"))
            .rate_limit(RateLimit::new("r", 5, Window::Second).id("rl_1"))
    });
    let dated = request().timestamp(date(START));
    let first = track(&engine, &dated);
    engine.rules().remove("qta_1").expect("it is there");
    let update = limitry::rules::RateLimitUpdate::new().limit(1);
    engine.rules().update("rl_1", update).expect("it is there");
    // By now the period of the event takes nothing more.
    clock.advance(duration(5 * HOUR));
    engine.rules().add(Quota::new("new", Metric::TotalEvents, 1, Period::Hour)).expect("valid");
    for again in [track(&engine, &dated), engine.check(&dated).expect("as track answers")] {
        assert!(again.is_replay());
        assert_eq!(body(&again), body(&first));
    }
    let other = dated.total_tokens(11);
    assert_conflict(&engine, &other);
    match engine.check(&other) {
        Err(TrackError::IdempotencyConflict { .. }) => {}
        answer => panic!("tracking it is a conflict: {answer:?}"),
    }
}

/// At the most keys that the engine is told to keep, the oldest is forgotten.
#[test]
fn the_keys_are_bounded_and_the_oldest_goes_first() {
    let keys: u64 = 1_000;
    let (engine, clock) = engine(|builder| {
        builder
            .quota(Quota::new("tokens", Metric::TotalTokens, 1_u64 << 40, Period::AllTime))
            .idempotency_max_keys(1_000)
    });
    let event = |number: u64| {
        Event::new("c", "call").total_tokens(1).idempotency_key(format!("key {number}"))
    };
    for number in 0..keys {
        assert!(!track(&engine, &event(number)).is_replay());
        clock.advance(duration(SECOND));
    }
    // Exactly as many as it may keep: all of them are there.
    for number in 0..keys {
        assert!(track(&engine, &event(number)).is_replay(), "key {number} of {keys}");
    }
    // Ten more: the ten oldest go, in order, and no other.
    for number in keys..keys + 10 {
        assert!(!track(&engine, &event(number)).is_replay());
        clock.advance(duration(SECOND));
    }
    for number in 10..keys + 10 {
        assert!(track(&engine, &event(number)).is_replay(), "key {number} is not the oldest");
    }
    assert_eq!(used(&engine), keys + 10);
    assert!(!track(&engine, &event(0)).is_replay(), "the oldest was forgotten");
}

/// Many more keys than are kept: each counts once while it is kept, and none is lost early.
#[test]
fn many_keys_come_and_go() {
    let kept: u64 = 5_000;
    let (engine, clock) = engine(|builder| {
        builder
            .quota(Quota::new("tokens", Metric::TotalTokens, 1_u64 << 40, Period::AllTime))
            .idempotency_max_keys(5_000)
    });
    let event = |number: u64| {
        Event::new("c", "call").total_tokens(1).idempotency_key(format!("key {number}"))
    };
    let all = 100_000;
    for number in 0..all {
        assert!(!track(&engine, &event(number)).is_replay(), "key {number} is new");
        clock.advance(Duration::from_millis(1));
        let recent = number.saturating_sub(number % kept);
        assert!(track(&engine, &event(recent)).is_replay(), "key {recent} at {number}");
    }
    assert_eq!(used(&engine), all);
}

/// Keys that expire make room before any that are still good.
#[test]
fn expired_keys_make_room() {
    let (engine, clock) = engine(|builder| {
        builder
            .quota(Quota::new("tokens", Metric::TotalTokens, 1_u64 << 40, Period::AllTime))
            .idempotency_max_keys(100)
    });
    let event = |day: u64, number: u64| {
        Event::new("c", "call").total_tokens(1).idempotency_key(format!("{day} {number}"))
    };
    for day in 0..20 {
        for number in 0..100 {
            assert!(!track(&engine, &event(day, number)).is_replay());
        }
        for number in 0..100 {
            assert!(track(&engine, &event(day, number)).is_replay(), "{number} of day {day}");
        }
        clock.advance(duration(DAY));
    }
    assert_eq!(used(&engine), 2_000);
}

/// Keys are told apart byte for byte, and events without a key are never copies.
#[test]
fn keys_are_exact() {
    let (engine, _clock) = roomy();
    for key in ["a", "A", "a ", "ab", "\u{e4}", "a\u{308}"] {
        let event = Event::new("c", "call").idempotency_key(key);
        assert!(!track(&engine, &event).is_replay(), "{key:?}");
    }
    for _ in 0..3 {
        assert!(!track(&engine, &Event::new("c", "call")).is_replay());
    }
    assert_eq!(engine.events().len(), 9);
}

/// The answer to a retry knows nothing of rules that came after it, so nothing has replaced them.
#[test]
fn a_rule_that_came_after_the_first_answer_is_not_said_to_be_replaced() {
    let limit = |name: &str, limit| RateLimit::new(name, limit, Window::Hour).policy("calls");
    let engine = Engine::builder().rate_limit(limit("default", 9)).build().expect("valid");
    let call = Event::new("vip", "call").idempotency_key("k");
    assert!(engine.track(&call).expect("valid").is_allowed());
    let outcomes = |event| {
        let explained = engine.explain(event).expect("valid").rules;
        explained.into_iter().map(|rule| (rule.name, rule.outcome)).collect::<Vec<_>>()
    };
    let later = Quota::new("later", Metric::TotalEvents, 9, Period::Day).policy("budget");
    engine.rules().add(later).expect("valid");
    let names: Vec<_> = outcomes(&call).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["default"]);
    // Of the rules of one policy all but one are replaced.
    engine.rules().add(limit("special", 99).filter("customer_id", "vip")).expect("valid");
    let replaced = RuleOutcome::Replaced {
        policy: "calls".to_owned(),
        by: "rl_special".to_owned(),
        because: Precedence::Conditions,
    };
    let fresh = Event::new("vip", "call");
    let found: Vec<_> = outcomes(&fresh).into_iter().map(|(_, it)| it == replaced).collect();
    assert_eq!(found, [true, false, false]);
}
