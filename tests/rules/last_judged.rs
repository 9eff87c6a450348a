//! Goal: when a rule last judged a call is what the answers said.
//!
//! Method: worked cases; random calls of rules that compete and have times, beside the newest
//! answer that named the rule.

use std::collections::BTreeMap;

use limitry::errors::QueryError;
use limitry::events::Recording;
use limitry::rules::{Enforcement, QuotaUpdate};
use limitry::time::Clock;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Timestamp, Window};

use crate::support::oracle::{DAY, SECOND};
use crate::support::{Dice, START, cases, date, duration, engine, seed, track};

fn last(engine: &Engine, id: &str) -> Option<Timestamp> {
    engine.rules().last_judged(id).expect("a rule").at
}

fn calls(limit: u64) -> Quota {
    Quota::new("Calls", Metric::TotalEvents, limit, Period::Day)
}

#[test]
fn it_is_the_latest_decision_that_the_rule_had_a_say_in() {
    let o3 = RateLimit::new("O3", 2, Window::Minute).filter("model", "o3");
    let (engine, clock) = engine(|it| it.quota(calls(3)).rate_limit(o3));
    let call = |model: &str| track(&engine, &Event::new("ann", "call").model(model)).is_allowed();
    assert_eq!((last(&engine, "qta_calls"), last(&engine, "rl_o3")), (None, None));
    assert!(call("o3"));
    clock.advance(duration(SECOND));
    assert!(call("o4"));
    assert_eq!(last(&engine, "qta_calls"), Some(date(START + SECOND)));
    assert_eq!(last(&engine, "rl_o3"), Some(date(START)));
    clock.advance(duration(SECOND));
    // One that is refused by the quota: it judged, and nothing is known of the other.
    assert!(call("o4") && !call("o3"));
    assert_eq!(last(&engine, "qta_calls"), Some(date(START + 2 * SECOND)));
    assert_eq!(last(&engine, "rl_o3"), Some(date(START)));
    // A check judges nothing.
    clock.advance(duration(SECOND));
    let _ = engine.check(&Event::new("ann", "call").model("o3")).expect("valid");
    assert_eq!(last(&engine, "rl_o3"), Some(date(START)));
    // Archived: up to then.
    let _ = engine.rules().archive("qta_calls").expect("it is there");
    clock.advance(duration(SECOND));
    assert!(call("o3"));
    assert_eq!(last(&engine, "qta_calls"), Some(date(START + 2 * SECOND)));
    assert_eq!(last(&engine, "rl_o3"), Some(date(START + 4 * SECOND)));
    let _ = engine.rules().restore("qta_calls").expect("it is there");
    assert!(!call("o3"));
    assert_eq!(last(&engine, "qta_calls"), Some(date(START + 4 * SECOND)));
    // A rule of the same id that is added later has judged nothing.
    engine.rules().remove("qta_calls").expect("it is there");
    clock.advance(duration(SECOND));
    let _ = engine.rules().add(calls(9)).expect("good");
    assert_eq!(last(&engine, "qta_calls"), None);
    let unknown = engine.rules().last_judged("other");
    assert!(matches!(unknown, Err(QueryError::RuleNotFound { .. })));
    let (off, _) = self::engine(|it| it.recording(Recording::Off).quota(calls(1)));
    assert_eq!(off.rules().last_judged("qta_calls"), Err(QueryError::RecordingOff));
}

#[test]
fn it_says_from_when_on_it_knows() {
    let o3 = calls(9).filter("model", "o3").enforcement(Enforcement::Soft);
    let (engine, clock) = engine(|it| it.recording(Recording::Newest(1_024)).quota(o3));
    assert!(track(&engine, &Event::new("ann", "call").model("o3")).is_allowed());
    assert_eq!(engine.rules().last_judged("qta_calls").expect("a rule").since, None);
    for _ in 0..3_000 {
        clock.advance(duration(SECOND));
        assert!(track(&engine, &Event::new("ann", "call")).is_allowed());
    }
    let found = engine.rules().last_judged("qta_calls").expect("a rule");
    let kept = engine.events().newest(3_000);
    assert_eq!((found.at, found.since), (None, kept.last().map(|oldest| oldest.decided_at)));
    let printed = serde_json::to_value(found).expect("it prints");
    assert!(printed["at"].is_null() && printed["since"].is_string(), "{printed}");
}

#[test]
fn it_is_what_the_answers_said() {
    let seed = seed("it_is_what_the_answers_said", 9);
    for case in 0..u64::from(cases(30)) {
        let mut dice = Dice::new(seed + case);
        let at = |day: i128| date(START + day * DAY / 24);
        let plan = |name: &str| calls(5 + case % 7).policy("plan").per("customer_id").id(name);
        let rules = [
            plan("a"),
            plan("b").filter("model", "o3"),
            plan("c").priority(1).starts_at(at(3)).ends_at(at(9)),
            plan("d").filter("model", "o4").enforcement(Enforcement::Shadow),
            calls(20).id("e").filter("team", "red"),
        ];
        let (engine, clock) = engine(|it| rules.into_iter().fold(it, |it, rule| it.quota(rule)));
        let mut said: BTreeMap<String, Timestamp> = BTreeMap::new();
        for _ in 0..80 {
            let event = Event::new(["ann", "bob"][dice.below(2) as usize], "call");
            let event = event.model(["o3", "o4", "o5"][dice.below(3) as usize]);
            let event = if dice.below(2) == 0 { event.property("team", "red") } else { event };
            let answer = track(&engine, &event);
            for status in answer.quotas() {
                // Of a refused call only the rules that refused it are known.
                if answer.is_allowed() || (status.exceeded && status.id != "d") {
                    said.insert(status.id.to_string(), clock.now());
                }
            }
            clock.advance(duration(i128::from(dice.below(900)) * SECOND));
            if dice.below(40) == 0 {
                let update = QuotaUpdate::new().limit(30 + dice.below(9));
                let _ = engine.rules().update("a", update).expect("good");
            }
        }
        for id in ["a", "b", "c", "d", "e"] {
            assert_eq!(last(&engine, id), said.get(id).copied(), "case {case}, {id}");
        }
    }
}
