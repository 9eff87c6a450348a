//! Arbitrary and spoilt bodies through every decoder.

use super::draw::*;
use super::*;
use crate::support::config;
use chrono::{DateTime, Utc};
use limitry::alerts::{Alert, AlertId};
use limitry::events::{CorrectionQuery, EventId, EventQuery};
use limitry::rules::{QuotaUpdate, RateLimitUpdate, SyncOptions, Threshold};
use limitry::time::ManualClock;
use limitry::{
    Amount, Engine, Event, Metric, Period, Quota, RateLimit, RuleSet, Timestamp, Window,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::Debug;
use std::time::Duration;

/// Reads a body as everything that can be read, and uses what comes of it.
fn decode(body: &str) {
    fn read<T: DeserializeOwned + Debug>(body: &str) -> Option<T> {
        match serde_json::from_str::<T>(body) {
            Ok(read) => {
                assert!(!format!("{read:?}").is_empty());
                Some(read)
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                None
            }
        }
    }
    if let Some(event) = read::<Event<'static>>(body) {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let quota = Quota::new("q", Metric::TotalTokens, 100, Period::Month);
        let engine = Engine::builder().clock(clock).quota(quota).build().expect("valid");
        answer(engine.record(&event), &event);
        assert!(engine.events().newest(1).len() <= 1);
    }
    if let Some(query) = read::<EventQuery>(body) {
        json(&query);
        let engine = Engine::builder().build().expect("valid");
        let _ = engine.record(&Event::new("cust_123", "call")).expect("valid");
        list(&engine, &query);
        let iter = engine.events().iter(query);
        assert!(iter.map_or(0, Iterator::count) <= 1);
    }
    if let Some(query) = read::<CorrectionQuery>(body) {
        json(&query);
        let engine = Engine::builder().build().expect("valid");
        let call = Event::new("cust_123", "call");
        let id = engine.record(&call).expect("valid").event_id().expect("recorded");
        engine.void(id, "").expect("it is there");
        let page = engine.events().corrections(&query);
        assert!(page.map_or(0, |page| page.data.len()) <= 1);
    }
    let limit = read::<RateLimit>(body);
    let quota = read::<Quota>(body);
    let mut rules = read::<RuleSet>(body).unwrap_or_default();
    rules.rate_limits.extend(limit);
    rules.quotas.extend(quota);
    json(&rules);
    rules.validate().err().iter().for_each(print);
    if let Ok(engine) = Engine::builder().rule_set(rules.clone()).build() {
        let event = Event::new("c", "call").model("gpt-4").property("team_id", "team_eng");
        let event = event.total_tokens(10).value("images", 1);
        answer(engine.track(&event), &event);
        if let Some(update) = read::<RateLimitUpdate>(body) {
            json(&update);
            for rule in engine.rules().rate_limits() {
                let id = rule.id.expect("made");
                engine.rules().update(&id, update.clone()).err().iter().for_each(print);
            }
        }
        if let Some(update) = read::<QuotaUpdate>(body) {
            json(&update);
            for rule in engine.rules().quotas() {
                let id = rule.id.expect("made");
                engine.rules().update(&id, update.clone()).err().iter().for_each(print);
            }
        }
        answer(engine.track(&event), &event);
        engine.rules().sync(rules, SyncOptions::apply()).err().iter().for_each(print);
    }
    read::<Window>(body);
    read::<Period>(body);
    read::<Metric>(body);
    read::<Amount>(body);
    read::<EventId>(body);
    read::<AlertId>(body);
    read::<Threshold>(body);
    if let Some(alert) = read::<Alert>(body) {
        assert_eq!(read::<Alert>(&json(&alert).to_string()), Some(alert));
    }
    read::<Timestamp>(body);
}

/// Good bodies, to be spoilt.
fn good_bodies() -> Vec<Value> {
    vec![
        json!({
            "customerId": "cust_123", "eventType": "model_call", "model": "gpt-4",
            "provider": "openai", "inputTokens": 150, "outputTokens": 50, "totalTokens": 200,
            "latencyMs": 1200, "costCents": 25, "properties": {"team_id": "team_eng", "n": 7},
            "dimensions": {"region": "eu"}, "values": {"images": 4, "seconds": 0.25},
            "idempotencyKey": "req_abc123", "timestamp": "2024-01-15T10:30:00Z"
        }),
        json!({
            "id": "rl_1", "projectId": "proj_1", "name": "API", "limitValue": 1000,
            "dimensionFilters": {"model": "gpt-4"}, "window": "1h", "enabled": true,
            "metric": "values.images", "per": ["customer_id", "team_id"], "burst": 2000,
            "algorithm": "token_bucket", "enforcement": "hard", "policy": "plan",
            "maxKeys": 100, "overflow": "share", "createdAt": "2024-01-15T10:30:00Z"
        }),
        json!({
            "name": "Daily", "metric": "total_tokens", "limitValue": 100_000, "period": "day",
            "dimensionFilters": {"team_id": "team_eng"}, "per": "customer_id",
            "enforcement": "soft", "maxKeys": 5, "overflow": "deny",
            "alertThresholds": [80, {"amount": 5000}, {"percent": 100}]
        }),
        json!({
            "id": "alt_00000000000000000000000001", "event": "limit.exceeded",
            "timestamp": "2024-01-15T10:30:00Z",
            "data": {
                "customerId": "cust_123", "limitId": "qta_daily", "limitName": "Daily",
                "metric": "total_tokens", "key": {"customer_id": "cust_123"}, "threshold": 100,
                "limit": 1000, "currentUsage": 1000, "percentage": 100, "remaining": 0,
                "period": "day", "windowStart": "2024-01-15T00:00:00Z", "windowEnd": null
            }
        }),
        json!({
            "rateLimits": [{"name": "a", "limitValue": 1, "window": "second"}],
            "quotas": [
                {"name": "b", "limitValue": 1, "metric": "total_events", "period": "rolling:30d"}
            ]
        }),
        json!({"limitValue": 7, "burst": null, "window": "5m", "per": []}),
        json!({
            "customerId": "cust_123", "filters": {"team_id": "eng"}, "limit": "20",
            "cursor": "evt_0", "startDate": "2024-01-15T10:30:00Z",
            "endDate": "2024-01-16T10:30:00Z"
        }),
    ]
}

/// Puts `with` in the place of one of the values in a tree, by number.
fn replace(tree: &mut Value, number: &mut usize, with: &Value) {
    if *number == 0 {
        *tree = with.clone();
    }
    *number = number.wrapping_sub(1);
    match tree {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, number, with)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| replace(field, number, with));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn no_json_makes_a_decoder_panic(body in any_json()) {
        decode(&body.to_string());
    }

    #[test]
    fn no_spoilt_body_makes_a_decoder_panic(
        mut body in prop::sample::select(good_bodies()),
        number in 0_usize..30,
        with in any_json(),
        (old_key, new_key) in (any::<prop::sample::Index>(), text()),
        spoil_key: bool,
    ) {
        if let (true, Value::Object(fields)) = (spoil_key, &mut body) {
            let key = fields.keys().nth(old_key.index(fields.len())).cloned().expect("a key");
            let value = fields.remove(&key).expect("it is there");
            fields.insert(new_key, value);
        } else {
            replace(&mut body, &mut number.clone(), &with);
        }
        decode(&body.to_string());
    }

    #[test]
    fn no_text_makes_a_decoder_panic(
        body in prop::sample::select(good_bodies()),
        at in any::<prop::sample::Index>(),
        instead in prop_oneof![
            any::<char>().prop_map(String::from), Just(String::new()), text(),
            "[\\[\\]{}\",:0-9e.-]{1,4}",
        ],
        cut: bool,
    ) {
        let mut text = body.to_string();
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        let place = *at.get(&places);
        if cut {
            text.truncate(place);
        } else {
            let next = text[place..].chars().next().map_or(0, char::len_utf8);
            text.replace_range(place..place + next, &instead);
        }
        decode(&text);
    }

    #[test]
    fn no_text_makes_a_parser_panic(
        text in prop_oneof![text(), "[0-9]{0,40}[a-z:]{0,10}", ".{0,60}"],
    ) {
        let shown = [
            text.parse::<Window>().map(|window| window.to_string()).map_err(|e| e.to_string()),
            text.parse::<Period>().map(|period| period.to_string()).map_err(|e| e.to_string()),
            text.parse::<Metric>().map(|metric| metric.to_string()).map_err(|e| e.to_string()),
            text.parse::<Amount>().map(|amount| amount.to_string()).map_err(|e| e.to_string()),
            text.parse::<EventId>().map(|id| id.to_string()).map_err(|e| e.to_string()),
        ];
        for shown in shown {
            prop_assert!(!shown.unwrap_or_else(|error| error).is_empty());
        }
    }

    #[test]
    fn instants_and_amounts_stop_at_their_ends(
        a in timestamp(),
        b in timestamp(),
        by in length(),
        (x, y) in (any::<i128>(), any::<i128>()),
    ) {
        prop_assert!(a.saturating_add(by) >= a);
        prop_assert_eq!(a.saturating_since(b) > Duration::ZERO, a > b);
        print(&a);
        prop_assert_eq!(Timestamp::new(a.unix_seconds(), a.subsec_nanos()), a);
        if let Ok(date) = DateTime::<Utc>::try_from(a) {
            prop_assert_eq!(Timestamp::from(date), a);
        }
        let (x, y) = (Amount::from_millionths(x), Amount::from_millionths(y));
        print(&x);
        prop_assert!(x.to_u64_floor() <= x.to_u64_ceil());
        let back = x.checked_add(y).and_then(|sum| sum.checked_sub(y));
        prop_assert!(back.is_none_or(|back| back == x));
    }

    #[test]
    fn an_event_can_be_asked_for_anything(event in event(), name in text()) {
        let dimension = event.dimension(&name).map(str::to_owned);
        let amount = event.amount(&name);
        let owned = event.clone().into_owned();
        prop_assert_eq!(owned.dimension(&name).map(str::to_owned), dimension);
        prop_assert_eq!(owned.amount(&name), amount);
        prop_assert_eq!(owned.validate(), event.validate());
        prop_assert!(json(&event).as_object().is_some_and(|fields: &Map<_, _>| fields.len() >= 2));
    }
}
