//! Questions about usage: the answers equal a naive fold over the events that were let in.

use std::time::Duration;

use chrono::{DateTime, Utc};
use limitry::{Engine, Event, Interval, ManualClock, Meter, MeterQuery, QueryError, UsageQuery};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn day() -> UsageQuery {
    UsageQuery::new(at("2024-01-15T00:00:00Z"), at("2024-01-16T00:00:00Z"))
}

#[test]
fn the_three_questions_answer_in_both_shapes() {
    let clock = ManualClock::new(at("2024-01-15T10:30:00Z"));
    let engine = Engine::builder().clock(clock.clone()).build().expect("no rules");
    for (model, tokens) in [(Some("gpt-4"), 900), (Some("gpt-4"), 100), (None, 50)] {
        let mut event = Event::new("cust_1", "model_call").total_tokens(tokens).value("images", 2);
        if let Some(model) = model {
            event = event.model(model);
        }
        let _ = engine.track(&event).expect("a good event");
        clock.advance(Duration::from_secs(3_600));
    }
    let usage = engine.usage();
    let summary = usage.summary(&day()).expect("a summary");
    assert_eq!(
        serde_json::to_string(&summary).expect("prints"),
        concat!(
            r#"{"totalEvents":3,"totalTokens":1050,"totalInputTokens":0,"#,
            r#""totalOutputTokens":0,"totalCostCents":0}"#
        )
    );
    assert_eq!(
        serde_json::to_string(&summary.generic()).expect("prints"),
        r#"{"totalEvents":3,"values":{"total_tokens":1050,"images":6}}"#
    );
    let by_model = usage.breakdown(&day(), "model").expect("a breakdown");
    assert_eq!(
        serde_json::to_string(&by_model.generic()).expect("prints"),
        concat!(
            r#"{"data":["#,
            r#"{"dimension":"gpt-4","totalEvents":2,"values":{"total_tokens":1000,"images":4}},"#,
            r#"{"dimension":null,"totalEvents":1,"values":{"total_tokens":50,"images":2}}]}"#
        )
    );
    let by_hour = usage.timeseries(&day(), Interval::Hour).expect("a series");
    let tokens: Vec<_> = by_hour.points.iter().map(|point| point.totals.total_tokens).collect();
    assert_eq!(tokens.len(), 24);
    assert_eq!(tokens[10..14], [900, 100, 50, 0]);
    assert!(by_hour.covers.is_complete);
}

#[test]
fn a_tenth_ten_times_is_one() {
    let engine = Engine::builder().build().expect("no rules");
    for _ in 0..10 {
        let _ = engine.record(&Event::new("c", "e").value("hours", "0.1")).expect("a good event");
    }
    let summary = engine.usage().summary(&UsageQuery::all_time()).expect("a summary");
    assert_eq!(summary.totals.values["hours"], 1_u64);
}

#[test]
fn a_meter_that_comes_later_knows_what_the_log_has() {
    let engine = Engine::builder().build().expect("no rules");
    for agents in [3_u64, 7, 5] {
        let _ = engine
            .record(&Event::new("c", "agents").value("agents", agents))
            .expect("a good event");
    }
    for (id, meter, value) in [
        ("max", Meter::max("m", "agents"), "7"),
        ("min", Meter::min("m", "agents"), "3"),
        ("latest", Meter::latest("m", "agents"), "5"),
        ("avg", Meter::avg("m", "agents"), "5"),
        ("sum", Meter::sum("m", "agents"), "15"),
        ("count", Meter::count("m"), "3"),
        ("unique", Meter::unique("m", "customer_id"), "1"),
    ] {
        engine.add_meter(meter.id(id)).expect("a good meter");
        let found = engine.meter(id).query(&MeterQuery::new().customer("c")).expect("a value");
        assert_eq!(found.value.to_string(), value, "{id}");
        let none = engine.meter(id).query(&MeterQuery::new().customer("d")).expect("a value");
        assert_eq!(none.value.to_string(), "0", "{id}");
    }
    let missing = engine.meter("none").query(&MeterQuery::new()).expect_err("no such meter");
    assert_eq!(missing, QueryError::MeterNotFound { id: "none".into() });
}

#[test]
fn a_meter_has_its_sum_beyond_the_names_that_have_room() {
    let engine = Engine::builder().build().expect("no rules");
    for name in 0..1_001 {
        let event = Event::new("c", "e").value(format!("v{name}"), 2);
        let _ = engine.record(&event).expect("a good event");
    }
    for (id, meter) in [("s", Meter::sum("s", "v1000")), ("a", Meter::avg("a", "v1000"))] {
        engine.add_meter(meter.id(id)).expect("a good meter");
    }
    let _ = engine.record(&Event::new("c", "e").value("v1000", 4)).expect("a good event");
    let value = |id| engine.meter(id).query(&MeterQuery::new()).expect("a value").value;
    assert_eq!((value("s"), value("a")), (6_u64.into(), 3_u64.into()));
    let summary = engine.usage().summary(&UsageQuery::all_time()).expect("a summary");
    assert_eq!(summary.totals.values.len(), 1_001);
}
