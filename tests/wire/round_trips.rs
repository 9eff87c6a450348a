//! Goal: what is printed reads back as what it was.
//!
//! Method: properties over everything that has a form on the wire.

use super::bodies::*;
use crate::support::config;
use chrono::NaiveDate;

use limitry::keys::RuleKey;
use limitry::rules::{Algorithm, Enforcement, Overflow, RateLimitUpdate};
use limitry::time::{ManualClock, Tz};
use limitry::wire::DecisionBody;
use limitry::{
    Amount, Condition, Engine, Event, Hold, Metric, Period, Quota, RateLimit, RuleSet, Timestamp,
    Window,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

/// The largest amount of an event, whole and in millionths.
const LARGEST: u64 = 1_000_000_000_000_000;

const MOST: i128 = 1_000_000_000_000_000_000_000;

fn key() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_]{1,64}"
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,40}", "\\PC{1,40}"]
}

fn length() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..=u64::MAX, 0_u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n)),
        (0_u64..100_000).prop_map(Duration::from_secs),
    ]
}

fn metric() -> impl Strategy<Value = Metric> {
    prop_oneof![
        Just(Metric::TotalEvents),
        Just(Metric::TotalTokens),
        Just(Metric::TotalCostCents),
        key().prop_map(|name| Metric::value(&name)),
        key().prop_map(Metric::unique),
    ]
}

/// An instant of the years 1 to 9999.
fn instant() -> impl Strategy<Value = Timestamp> {
    (-62_135_596_800_i64..253_402_300_800, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos))
}

fn condition() -> impl Strategy<Value = Condition> {
    let list = || prop::collection::vec(name(), 0..4);
    prop_oneof![
        name().prop_map(Condition::Is),
        list().prop_map(Condition::one_of),
        name().prop_map(Condition::Prefix),
        list().prop_map(Condition::none_of),
        Just(Condition::Present),
        Just(Condition::Absent),
    ]
}

prop_compose! {
    /// Any rate limit, valid or not, whose numbers are below a bound.
    fn rate_limit(most: u64)(
        name in name(),
        texts in prop::array::uniform3(prop::option::of(name())),
        filters in prop::collection::btree_map(name(), condition(), 0..4),
        per in prop::collection::vec(name(), 0..3),
        numbers in (0..=most, prop::option::of(0..=most), prop::option::of(0..=most)),
        window in length().prop_map(Window::every),
        metric in metric(),
        modes in (
            prop::sample::select(vec![
                Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow,
            ]),
            prop::sample::select(vec![Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow]),
            prop::sample::select(vec![Overflow::Share, Overflow::Deny, Overflow::Allow]),
        ),
        enabled: bool,
        limited in prop::bool::weighted(0.8),
        times in (prop::option::of(instant()), prop::option::of(instant())),
        priority in prop_oneof![Just(0), any::<i32>()],
    ) -> RateLimit {
        let mut rule = RateLimit::new(name, numbers.0, window).enabled(enabled);
        rule.limit_value = rule.limit_value.filter(|_| limited);
        [rule.id, rule.project_id, rule.policy] = texts;
        (rule.dimension_filters, rule.per, rule.metric) = (filters, per, metric);
        (rule.burst, rule.max_keys) = (numbers.1.map(Amount::from), numbers.2);
        (rule.algorithm, rule.enforcement, rule.overflow) = modes;
        rule.priority = priority;
        (rule.starts_at, rule.ends_at) = times;
        (rule.created_at, rule.updated_at) = times;
        rule
    }
}

prop_compose! {
    /// Any quota, valid or not, whose numbers are below a bound.
    fn quota(most: u64)(
        limit in rate_limit(most),
        period in prop_oneof![
            prop::sample::select(vec![
                Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year,
                Period::AllTime,
            ]),
            length().prop_map(Period::rolling),
        ],
        zone in prop::option::of(prop::sample::select(vec![Tz::UTC, Tz::America__St_Johns])),
        days in prop::option::of(0_i32..100_000),
        every in prop::option::of(any::<u32>()),
        values in prop::option::of(any::<u32>()),
    ) -> Quota {
        let mut rule = Quota::unlimited(limit.name, limit.metric, period);
        rule.limit_value = limit.limit_value;
        rule.time_zone = zone.map(Into::into);
        rule.anchor = days.and_then(NaiveDate::from_epoch_days);
        (rule.every, rule.max_values) = (every, values);
        (rule.id, rule.project_id, rule.policy) = (limit.id, limit.project_id, limit.policy);
        (rule.dimension_filters, rule.per) = (limit.dimension_filters, limit.per);
        (rule.max_keys, rule.enabled) = (limit.max_keys, limit.enabled);
        rule.priority = limit.priority;
        (rule.starts_at, rule.ends_at) = (limit.starts_at, limit.ends_at);
        (rule.enforcement, rule.overflow) = (limit.enforcement, limit.overflow);
        (rule.created_at, rule.updated_at) = (limit.created_at, limit.updated_at);
        rule
    }
}

fn rule_set(most: u64) -> impl Strategy<Value = RuleSet> {
    let limits = prop::collection::vec(rate_limit(most), 0..4);
    (limits, prop::collection::vec(quota(most), 0..4)).prop_map(|(limits, quotas)| {
        let set = limits.into_iter().fold(RuleSet::new(), RuleSet::rate_limit);
        quotas.into_iter().fold(set, RuleSet::quota)
    })
}

/// JSON without floats, which a reader may round.
fn exact_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn event()(
        ids in (name(), name(), prop::option::of(name()), prop::option::of(name())),
        numbers in prop::array::uniform5(prop::option::of(0..=LARGEST)),
        properties in prop::collection::btree_map(name(), exact_json(), 0..5),
        values in prop::collection::btree_map(key(), -MOST..=MOST, 0..4),
        idempotency_key in prop::option::of(name()),
        timestamp in prop::option::of(instant()),
    ) -> Event<'static> {
        let mut event = Event::new(ids.0, ids.1);
        if let Some(model) = ids.2 {
            event = event.model(model);
        }
        if let Some(provider) = ids.3 {
            event = event.provider(provider);
        }
        let setters = [
            Event::input_tokens, Event::output_tokens, Event::total_tokens, Event::cost_cents,
            Event::latency_ms,
        ];
        for (set, number) in setters.into_iter().zip(numbers) {
            if let Some(number) = number {
                event = set(event, number);
            }
        }
        for (key, value) in properties {
            event = event.property(key, value);
        }
        for (name, millionths) in values {
            event = event.value(format!("v{name}"), Amount::from_millionths(millionths));
        }
        if let Some(key) = idempotency_key {
            event = event.idempotency_key(key);
        }
        if let Some(timestamp) = timestamp {
            event = event.timestamp(timestamp);
        }
        event
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn a_rule_set_reads_as_it_was_printed(set in rule_set(u64::MAX)) {
        prop_assert_eq!(&read::<RuleSet>(&text(&set)), &set);
        let value = serde_json::to_value(&set).expect("plain data");
        prop_assert_eq!(&serde_json::from_value::<RuleSet>(value).expect("as printed"), &set);
    }

    /// TOML's integers end at 63 bits, and it has no null.
    #[test]
    fn a_rule_set_reads_as_it_was_printed_in_toml(mut set in rule_set(i64::MAX.unsigned_abs())) {
        let limits = set.rate_limits.iter_mut().map(|rule| &mut rule.limit_value);
        for limit in limits.chain(set.quotas.iter_mut().map(|rule| &mut rule.limit_value)) {
            let _: &mut Amount = limit.get_or_insert(Amount::ZERO);
        }
        let printed = toml::to_string(&set).expect("plain data");
        prop_assert_eq!(toml::from_str::<RuleSet>(&printed).expect("as printed"), set);
    }

    #[test]
    fn an_event_reads_as_it_was_printed(event in event()) {
        let printed = text(&event);
        let read: Event<'static> = read(&printed);
        prop_assert_eq!(&read, &event);
        let value = serde_json::to_value(&event).expect("plain data");
        let read: Event<'static> = serde_json::from_value(value).expect("as printed");
        prop_assert_eq!(read, event);
    }

    #[test]
    fn an_update_that_names_every_field_makes_the_rule_of_its_body(
        old in rate_limit(100),
        new in rate_limit(u64::MAX),
    ) {
        let mut body = serde_json::to_value(&new).expect("plain data");
        let fields = body.as_object_mut().expect("an object");
        for own in ["id", "projectId", "createdAt", "updatedAt"] {
            fields.remove(own);
        }
        // What a rule leaves out is a default, which an update has to name.
        for (field, default) in [
            ("per", json!([])), ("metric", json!("total_events")), ("burst", Value::Null),
            ("policy", Value::Null), ("maxKeys", Value::Null), ("overflow", json!("share")),
            ("enforcement", json!("hard")), ("algorithm", json!("token_bucket")),
            ("priority", json!(0)), ("startsAt", Value::Null), ("endsAt", Value::Null),
        ] {
            fields.entry(field).or_insert(default);
        }
        let update: RateLimitUpdate = serde_json::from_value(body.clone()).expect("a good body");
        prop_assert_eq!(serde_json::to_value(&update).expect("plain data"), body);
        let mut expected = new;
        (expected.id, expected.project_id) = (old.id.clone(), old.project_id.clone());
        (expected.created_at, expected.updated_at) = (old.created_at, old.updated_at);
        prop_assert_eq!(update.apply(&old), expected);
    }

    /// Whatever the engine says can be read as JSON, with the fields that it promises.
    #[test]
    fn decisions_are_json(tokens in 0_u64..200_000, calls in 1_usize..4) {
        let engine = example();
        for _ in 0..calls {
            let event = Event::new("c", "e").total_tokens(tokens);
            let decision = engine.track(&event).expect("a valid event");
            let body: Value = read(&text(&decision));
            let fields: Vec<&str> =
                body.as_object().expect("an object").keys().map(String::as_str).collect();
            if decision.is_allowed() {
                prop_assert_eq!(fields, ["allowed", "id", "quotas", "rateLimits"]);
            } else {
                prop_assert_eq!(fields, ["allowed", "error", "quotas", "rateLimits"]);
            }
            prop_assert_eq!(body, serde_json::to_value(&decision).expect("plain data"));
        }
    }
}

prop_compose! {
    /// Rules of an engine, by which some events of one token are refused.
    fn rules_of_an_engine()(
        windows in prop::collection::vec((length(), 1_u64..4, any::<bool>()), 0..4),
        periods in prop::collection::vec((0..6_usize, metric(), 1_u64..4, any::<bool>()), 0..4),
    ) -> RuleSet {
        let mut rules = RuleSet::default();
        for (index, (length, limit, is_soft)) in windows.into_iter().enumerate() {
            let length = length.clamp(Duration::from_secs(1), Duration::from_secs(86_400));
            let window = Window::every(Duration::from_secs(length.as_secs()));
            let mut rule = RateLimit::new(format!("limit {index}"), limit, window);
            if is_soft {
                rule = rule.enforcement(Enforcement::Soft);
            }
            rules.rate_limits.push(rule);
        }
        for (index, (period, metric, limit, has_limit)) in periods.into_iter().enumerate() {
            let rolling = Period::rolling(Duration::from_secs(3_600));
            let all =
                [Period::Hour, Period::Day, Period::Week, Period::Month, Period::AllTime, rolling];
            let name = format!("quota \u{e4} {index}");
            // What is used up does not drain.
            let drains = all[period] == rolling && matches!(metric, Metric::Unique(_));
            let metric = if drains { Metric::TotalEvents } else { metric };
            let mut rule = Quota::new(name, metric, limit, all[period]);
            if !has_limit {
                rule.limit_value = None;
            }
            rules.quotas.push(rule);
        }
        rules
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn the_body_of_a_decision_and_of_a_standing_reads_as_it_was_printed(
        rules in rules_of_an_engine(),
    ) {
        let clock = ManualClock::new(Timestamp::new(1_705_314_600, 0));
        let engine = Engine::builder().clock(clock).rule_set(rules).build().expect("good rules");
        let event = Event::new("cust_123", "model_call").total_tokens(1).cost_cents("0.4");
        for _ in 0..4 {
            let decision = engine.track(&event).expect("a good event");
            read_again(&decision, decision.body());
            let standing = engine.standing(&event).expect("a good event");
            read_again(&standing, standing.body());
        }
    }

    /// Of names that JSON escapes, of balances, of what is held and adjusted, of fractions and of
    /// replays.
    #[test]
    fn a_decision_is_appended_as_it_is_printed(
        rules in rules_of_an_engine(),
        name in "[a-z\"\\\\\u{e4}\u{1f980} ]{1,12}",
        cents in -3_000_000_i128..9_000_000,
    ) {
        let clock = ManualClock::new(Timestamp::new(1_705_314_600, 0));
        let cost = Quota::new(&name, Metric::TotalCostCents, 20, Period::Month).id("qta_cost");
        let credits = Quota::balance("credits", Metric::TotalTokens).per("customer_id").opening(7);
        let builder = Engine::builder().clock(clock).rule_set(rules).quota(cost).quota(credits);
        let engine = builder.build().expect("good rules");
        let cost = Amount::from_millionths(cents);
        let event = Event::new("cust_123", "model_call").total_tokens(1).cost_cents(cost);
        if cents != 0 {
            engine.rules().adjust("qta_cost", RuleKey::default(), cost, "").expect("a good one");
        }
        let keyed = event.clone().idempotency_key(&*name);
        let estimate = event.clone().cost_cents(Amount::from_millionths(cents.abs()));
        let reserved = engine.reserve(&estimate, Hold::default()).expect("a good event");
        for event in [&event, &keyed, &keyed, &event, &event] {
            let decision = engine.track(event).expect("a good event");
            let mut appended = b"so ".to_vec();
            decision.append_json(&mut appended);
            let appended = String::from_utf8(appended).expect("text");
            prop_assert_eq!(appended, format!("so {}", text(&decision)));
        }
        drop(reserved);
    }
}

/// Checks that a body is what is printed, and is read as it was but for the resets of quotas.
fn read_again(printed: &impl serde::Serialize, mut body: DecisionBody<'_>) {
    let text = serde_json::to_string(printed).expect("it prints");
    assert_eq!(serde_json::to_string(&body).expect("it prints"), text);
    let read: DecisionBody<'static> = serde_json::from_str(&text).expect("what was printed");
    assert_eq!(serde_json::to_string(&read).expect("it prints"), text);
    for quota in &mut body.quotas {
        quota.reset = None;
    }
    assert_eq!(read, body);
    let owned = body.rate_limits.into_iter().map(|status| status.into_owned());
    assert_eq!(owned.collect::<Vec<_>>(), read.rate_limits);
    let owned = body.quotas.into_iter().map(|status| status.into_owned());
    assert_eq!(owned.collect::<Vec<_>>(), read.quotas);
}
