//! Goal: an event has the same bounds in every way in (the builder, a body, a batch, an import): at
//! a bound it is taken and comes out as it went in, beyond it is an error that names the field, the
//! value and the rule, and nothing is counted. Reading stops at a bound, so that what a body costs
//! follows what is allowed, and not what is sent.
//!
//! Method: events at each bound and one step beyond it through each way in; random properties
//! measured by what `serde_json` prints; bodies that have no end.

use crate::support::{cases, engine};
use limitry::errors::{EventError, TrackError};
use limitry::events::EventQuery;
use limitry::store::BadLines;
use limitry::{Amount, Engine, Event, bounds};
use proptest::prelude::*;
use serde_json::{Value, json};

const LARGEST: u64 = 1_000_000_000_000_000;

fn call() -> Event<'static> {
    Event::new("c", "call")
}

fn fresh() -> Engine {
    engine(|builder| builder).0
}

/// A list of lists, so many within each other.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |within, _| json!([within]))
}

fn with_values(count: usize) -> Event<'static> {
    (0..count).fold(call(), |event, number| event.value(format!("v{number}"), 1))
}

fn with_properties(count: usize) -> Event<'static> {
    (0..count).fold(call(), |event, number| event.property(format!("p{number}"), "x"))
}

fn with_attached(count: usize) -> Event<'static> {
    (0..count).fold(call(), |event, number| event.attach(format!("a{number}"), "a\nline"))
}

/// Properties of so many bytes as compact JSON.
fn with_bytes(bytes: usize) -> Event<'static> {
    call().property("p", json!(["x".repeat(bytes - r#"{"p":[""]}"#.len())]))
}

/// Events at the bounds, which are good.
fn largest() -> Vec<(&'static str, Event<'static>)> {
    let values = ["999999999999999.999999", "-999999999999999.999999"];
    let escaped = "\"\\".repeat(bounds::MAX_TEXT_BYTES / 2);
    let texts = (0..28).fold(call(), |event, number| {
        event.property(format!("{}{number:02}", "k".repeat(62)), escaped.clone())
    });
    let all = Event::new(escaped.clone(), escaped.clone()).model(escaped.clone());
    let all = all.provider(escaped.clone()).idempotency_key(escaped);
    let all = (0..64).fold(all, |event, number| {
        let name = format!("{}{number:02}", "k".repeat(62));
        event.value(name.clone(), values[number % 2]).property(name, "x".repeat(185))
    });
    vec![
        ("tokens", call().input_tokens(LARGEST).latency_ms(LARGEST).cost_cents(LARGEST)),
        ("a total", call().total_tokens(LARGEST).input_tokens(LARGEST).output_tokens(LARGEST)),
        ("a sum", call().input_tokens(LARGEST - 7).output_tokens(7)),
        ("amounts", call().value("a", bounds::MAX_AMOUNT).value("b", values[1])),
        ("a negative amount", call().value("a", "-1000000000000000")),
        ("values", with_values(64)),
        ("properties", with_properties(64)),
        ("bytes", with_bytes(16_384)),
        ("attachments", with_attached(64)),
        ("bytes of both", with_bytes(8_192).attach("\n", "x".repeat(8_192 - 9))),
        ("depth of both", call().attach("p", deep(32)).property("p", deep(32))),
        ("depth", call().property("p", deep(32)).property("o", json!({ "o": deep(31) }))),
        ("texts", texts),
        ("all", all),
    ]
}

/// Events one step beyond a bound, the field and the value that are named, and the rule.
fn beyond() -> Vec<(&'static str, &'static str, &'static str, Event<'static>)> {
    let whole = "must be a whole number from 0 to 1000000000000000";
    let signed = "must be from -1000000000000000 to 1000000000000000";
    let bytes =
        "is too much: properties and attachments have at most 16384 bytes of compact JSON together";
    let more = LARGEST + 1;
    let step = Amount::from_millionths(1);
    let above = bounds::MAX_AMOUNT.checked_add(step).expect("fits");
    let below = Amount::ZERO.checked_sub(above).expect("fits");
    let reserved = "must have no key that begins with `$serde_json::private::`";
    let (raw, number) = ("$serde_json::private::RawValue", "$serde_json::private::Number");
    let huge = "-170141183460469231731687303715884.105728";
    vec![
        ("input_tokens", "1000000000000001", whole, call().input_tokens(more)),
        ("output_tokens", "1000000000000001", whole, call().output_tokens(more)),
        ("total_tokens", "18446744073709551615", whole, call().total_tokens(u64::MAX)),
        ("latency_ms", "1000000000000001", whole, call().latency_ms(more)),
        ("latency_ms", "1000000000000001", whole, call().value("latency_ms", more)),
        (
            "total_tokens",
            "1000000000000000 + 1",
            "must be at most 1000000000000000, input_tokens and output_tokens together",
            call().input_tokens(LARGEST).output_tokens(1),
        ),
        (
            "total_tokens",
            "1000000000000000 + 1000000000000000",
            "must be at most 1000000000000000, input_tokens and output_tokens together",
            call().input_tokens(LARGEST).output_tokens(LARGEST),
        ),
        ("gpu", "1000000000000000.000001", signed, call().value("gpu", above)),
        ("gpu", "-1000000000000000.000001", signed, call().value("gpu", below)),
        ("gpu", huge, signed, call().value("gpu", Amount::MIN)),
        ("values", "v64", "is one too many: an event has at most 64 values", with_values(65)),
        (
            "properties",
            "p64",
            "is one too many: an event has at most 64 properties",
            with_properties(100),
        ),
        ("properties", "p", bytes, with_bytes(16_385)),
        ("properties", "q", bytes, with_bytes(16_384).property("q", "x")),
        (
            "attached",
            "a64",
            "is one too many: an event has at most 64 attachments",
            with_attached(65),
        ),
        ("attached", "q", bytes, with_attached(3).attach("q", "x".repeat(16_384))),
        (
            "attached",
            "p",
            "must be at most 32 lists and objects deep",
            call().attach("p", deep(33)),
        ),
        (
            "properties",
            "p",
            "must be at most 32 lists and objects deep",
            call().property("p", deep(33)),
        ),
        (
            "properties",
            "p",
            "must be at most 32 lists and objects deep",
            call().property("p", json!({ "o": deep(32) })),
        ),
        ("properties", "p", reserved, call().property("p", json!({ raw: "1" }))),
        ("attached", "p", reserved, call().attach("p", json!([{ "o": { number: true } }]))),
        ("attached", number, reserved, call().attach(number, "1")),
    ]
}

fn export(engine: &Engine) -> String {
    let mut lines = Vec::new();
    engine.store().export(&mut lines, &EventQuery::new(), |_| {}).expect("written");
    String::from_utf8(lines).expect("text")
}

#[test]
fn an_event_at_a_bound_comes_out_as_it_went_in() {
    for (name, event) in largest() {
        let (tracked, recorded, imported) = (fresh(), fresh(), fresh());
        let _ = tracked.track(&event).unwrap_or_else(|why| panic!("{name}: {why}"));
        let body = serde_json::to_string(&event).expect("plain data");
        assert!(body.len() <= bounds::MAX_EVENT_BYTES, "{name}: {}", body.len());
        let read: Event<'static> = serde_json::from_str(&body).expect(name);
        recorded.record_batch(&[read]).unwrap_or_else(|why| panic!("{name}: {why}"));
        let lines = export(&tracked);
        let report = imported.store().import(lines.as_bytes(), BadLines::Stop, |_| {}).expect(name);
        assert_eq!(report.count, 1, "{name}");
        let shown = |engine: &Engine| {
            let mut event = serde_json::to_value(&engine.events().newest(1)[0]).expect("JSON");
            event.as_object_mut().expect("an object").remove("id");
            event
        };
        assert_eq!(shown(&recorded), shown(&tracked), "{name}");
        assert_eq!(shown(&imported), shown(&tracked), "{name}");
    }
}

#[test]
fn beyond_a_bound_is_an_error_that_names_the_field_the_value_and_the_rule() {
    for (field, value, rule, event) in beyond() {
        let engine = fresh();
        let expected = format!("{field}: {value:?} {rule}");
        assert_eq!(event.validate().expect_err(field).to_string(), expected);
        for answer in [engine.track(&event), engine.record(&event), engine.check(&event)] {
            let why = answer.expect_err(field);
            assert!(matches!(why, TrackError::Event(EventError::Invalid { .. })), "{why:?}");
            assert_eq!(why.to_string(), expected);
        }
        let batch = engine.record_batch(&[call(), event.clone()]).expect_err(field);
        assert!(matches!(batch.problems(), [only] if only.index == 1), "{batch}");
        assert!(batch.to_string().ends_with(&expected), "{batch}");
        assert!(engine.events().is_empty());
    }
}

/// Each as a line between two that are good.
#[test]
fn an_import_tells_lines_beyond_a_bound_by_number_and_goes_on() {
    let at = r#""createdAt":"2024-01-15T10:00:00Z""#;
    let line = |id: u32, more: &str| {
        format!(r#"{{"id":"x{id}","customerId":"c","eventType":"e",{more}{at}}}"#)
    };
    let wide = |count: usize, of: &str| {
        (0..count).map(|number| format!(r#""n{number}":{of}"#)).collect::<Vec<_>>().join(",")
    };
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases = [
        (format!(r#""values":{{{}}},"#, wide(65, "1")), "values: \"n64\" is one too many"),
        (format!(r#""properties":{{{}}},"#, wide(65, "1")), "properties: \"n64\" is one too many"),
        (format!(r#""properties":{{"d":{}}},"#, deep(33)), "properties: \"d\" must be at most 32"),
        (format!(r#""properties":{{"d":{}}},"#, deep(200)), "properties: \"d\" must be at most 32"),
        (
            format!(r#""properties":{{"d":["{}"]}},"#, "x".repeat(16_384)),
            "properties: \"d\" is too much",
        ),
        (r#""values":{"a":1e16},"#.into(), "values.a: 10000000000000000 must be from"),
        (r#""values":{"a":1e-400},"#.into(), "values.a: `1e-400` has more than six digits"),
        (r#""inputTokens":1000000000000001,"#.into(), "inputTokens: 1000000000000001 must be"),
        (r#""costCents":-1000000000000000.5,"#.into(), "costCents: -1000000000000000.5 must be"),
        (
            format!(r#""properties":{{"d":"{}"}},"#, "x".repeat(17 * 1_024 * 1_024)),
            "the line must be at most 16777216 bytes long",
        ),
    ];
    for (more, told) in cases {
        let lines = [line(1, ""), line(2, &more), line(3, "")].join("\n");
        let stopped = fresh();
        let why = stopped.store().import(lines.as_bytes(), BadLines::Stop, |_| {}).expect_err(told);
        assert!(why.to_string().starts_with(&format!("line 2: {told}")), "{why}");
        assert_eq!(stopped.events().len(), 1);
        let skipping = fresh();
        let report = skipping.store().import(lines.as_bytes(), BadLines::Skip, |_| {}).expect(told);
        assert_eq!((report.count, report.invalid), (2, 1), "{told}");
        assert_eq!(report.skipped[0].line, 2);
        assert!(report.skipped[0].reason.starts_with(told), "{}", report.skipped[0].reason);
    }
}

#[test]
fn a_setter_past_the_bound_adds_nothing() {
    let event = with_values(100_000).property("team", "eng");
    assert_eq!(event.amount("v63"), Some(Amount::from(1_u64)));
    assert_eq!(event.amount("v64"), None);
    let event = with_properties(100_000).value("v", 1);
    assert_eq!((event.dimension("p63"), event.dimension("p64")), (Some("x"), None));
    // A name that is there takes a new value all the same.
    let event = with_values(64).value("v7", 3);
    assert_eq!(event.validate(), Ok(()));
    assert_eq!(event.amount("v7"), Some(Amount::from(3_u64)));
}

/// Sums of what is allowed stay far inside their type, and one customer's spoil nobody's answer.
#[test]
fn the_largest_amounts_spoil_no_answer() {
    let engine = fresh();
    for _ in 0..1_000 {
        for amount in [Amount::from(LARGEST), Amount::from(LARGEST)] {
            let _ = engine.record(&call().value("x", amount).total_tokens(LARGEST)).expect("valid");
        }
    }
    for amount in [Amount::MAX, Amount::MIN] {
        engine.record(&call().value("x", amount)).expect_err("beyond");
    }
    let query = limitry::usage::UsageQuery::all_time();
    let usage = engine.usage();
    let summary = usage.summary(&query).expect("an answer");
    assert_eq!(summary.totals.values["x"], Amount::from(2_000 * LARGEST));
    assert_eq!(summary.totals.total_tokens, 2_000 * u128::from(LARGEST));
    assert_eq!(usage.breakdown(&query, "model").expect("an answer").rows.len(), 1);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\x00-\\x20\"\\\\\\x7f]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |within| {
        prop_oneof![
            proptest::collection::vec(within.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), within, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(200)) }
}

proptest! {
    #![proptest_config(config())]

    /// The bytes are those that are printed: filled up to the bound with another property an event
    /// is good, and with one byte more it is not.
    #[test]
    fn the_bytes_of_properties_are_those_of_compact_json(
        values in proptest::collection::vec(json_value(), 1..6),
    ) {
        let keyed = values.into_iter().enumerate();
        let event = keyed.fold(call(), |event, (place, value)| {
            match value {
                // A dimension has rules of its own.
                Value::String(text) => event.property(format!("k{place}"), json!([text])),
                value => event.property(format!("k{place}"), value),
            }
        });
        let printed = serde_json::to_value(&event).expect("plain data")["properties"].to_string();
        let rest = 16_384_usize.saturating_sub(printed.len() + r#","fill":[""]"#.len());
        prop_assume!(rest > 0);
        let fill = |bytes: usize| event.clone().property("fill", json!(["x".repeat(bytes)]));
        prop_assert_eq!(fill(rest).validate(), Ok(()));
        prop_assert!(fill(rest + 1).validate().is_err());
    }
}
