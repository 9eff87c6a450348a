//! The promise "a hot loop with borrowed strings allocates nothing".
//!
//! The allocator counts by thread, so only what a call itself asks of the heap shows. A call is
//! warm when its customer is known to every rule; before that, a row for the customer is made.

use std::time::Duration;

use allocation_counter::measure;
use limitry::events::Recording;
use limitry::time::ManualClock;
use limitry::{Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, Window};

const CUSTOMERS: usize = 1_000;
const CALLS: usize = 20_000;

/// Counts the allocations of `CALLS` warm calls by many customers in turn.
fn warm_allocations(engine: &Engine, call: impl Fn(&Engine, &str)) -> u64 {
    let names: Vec<String> = (0..CUSTOMERS).map(|number| format!("cust_{number}")).collect();
    for name in &names {
        call(engine, name);
        call(engine, name);
    }
    let calls = || names.iter().cycle().take(CALLS).for_each(|name| call(engine, name));
    measure(calls).count_total
}

fn model_call(customer: &str) -> Event<'_> {
    Event::new(customer, "model_call")
        .model("gpt-4")
        .provider("openai")
        .input_tokens(150)
        .output_tokens(50)
        .cost_cents(25)
        .property("team_id", "team_eng")
        .value("images", 4)
}

/// Four rules a customer and one shared one: two rows of the table a call.
fn engine(limit: u64) -> Engine {
    built(Engine::builder().recording(Recording::Off), limit)
}

fn built(builder: EngineBuilder, limit: u64) -> Engine {
    let quota = |name, metric, period| Quota::new(name, metric, 1_u64 << 40, period);
    builder
        .rate_limit(RateLimit::new("Calls an hour", limit, Window::Hour).per("customer_id"))
        .rate_limit(RateLimit::new("Calls a minute", 1_000_000, Window::Minute).per("customer_id"))
        .quota(quota("Tokens a day", Metric::TotalTokens, Period::Day).per("customer_id"))
        .quota(quota("Cents a month", Metric::TotalCostCents, Period::Month).per("customer_id"))
        .quota(quota("Team's images", Metric::value("images"), Period::Year).per("team_id"))
        .build()
        .expect("valid rules")
}

fn track(engine: &Engine, customer: &str) -> bool {
    engine.track(&model_call(customer)).expect("a valid event").is_allowed()
}

#[test]
fn an_allowed_call_allocates_nothing() {
    let engine = engine(1_000_000);
    let allocations = warm_allocations(&engine, |engine, name| assert!(track(engine, name)));
    assert_eq!(allocations, 0);
}

#[test]
fn an_allowed_call_that_is_recorded_allocates_nothing_while_the_log_is_at_its_bound() {
    // A new minute may need new rows of the roll-ups: it is not what this is about.
    let clock = ManualClock::new("2024-01-15T10:30:00.1Z".parse().expect("an instant"));
    let builder = Engine::builder().recording(Recording::Newest(1_500)).clock(clock.clone());
    let engine = built(builder, 1_000_000);
    let names: Vec<String> = (1_000..2_000).map(|number| format!("cust_{number}")).collect();
    for name in names.iter().cycle().take(10_000) {
        clock.advance(Duration::from_nanos(1));
        assert!(track(&engine, name));
    }
    // From here on each event has a timestamp that is a byte longer.
    clock.advance(Duration::from_millis(500));
    let calls = || assert!(names.iter().cycle().take(CALLS).all(|name| track(&engine, name)));
    assert_eq!(measure(calls).count_total, 0);
}

#[test]
fn a_refused_call_and_the_reading_of_its_statuses_allocate_nothing() {
    let engine = engine(1);
    let allocations = warm_allocations(&engine, |engine, name| {
        let decision = engine.track(&model_call(name)).expect("a valid event");
        let statuses = decision.rate_limits().count() + decision.quotas().count();
        assert_eq!(statuses, 5);
        assert_eq!(decision.is_allowed(), decision.retry_after().is_none());
    });
    assert_eq!(allocations, 0);
}

#[test]
fn check_and_record_and_standing_allocate_nothing() {
    let engine = engine(1_000_000);
    let allocations = warm_allocations(&engine, |engine, name| {
        let event = model_call(name);
        assert!(engine.check(&event).expect("a valid event").is_allowed());
        assert!(engine.standing(&event).expect("a valid event").is_allowed());
        assert!(engine.record(&event).expect("a valid event").is_allowed());
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_call_that_rules_compete_for_allocates_nothing() {
    let engine = engine(1_000_000);
    for model in [None, Some("gpt-4")] {
        let rule = RateLimit::new("Plan", 1_000_000, Window::Hour).per("customer_id").policy("p");
        let rule = model.iter().fold(rule, |rule, model| rule.filter("model", *model));
        engine.rules().add(rule).expect("a valid rule");
    }
    let allocations = warm_allocations(&engine, |engine, name| assert!(track(engine, name)));
    assert_eq!(allocations, 0);
}

#[test]
fn a_call_among_many_definitions_allocates_nothing() {
    let engine = engine(1_000_000);
    for number in 0..200 {
        let rule = RateLimit::new(format!("Other {number}"), 1_000, Window::Minute);
        let rule = match number % 3 {
            0 => rule.filter("model", format!("model-{number}")).per("customer_id"),
            1 => rule.filter("customer_id", format!("other_{number}")),
            _ => rule.filter("model", "gpt-4").filter("team_id", format!("team_{number}")),
        };
        engine.rules().add(rule).expect("a valid rule");
    }
    let allocations = warm_allocations(&engine, |engine, name| assert!(track(engine, name)));
    assert_eq!(allocations, 0);
}
