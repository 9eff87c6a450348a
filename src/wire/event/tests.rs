//! Goal: a line or a body that is read without the paths of its values is the same event as where
//! it is read with them, and what an export writes is read so. Method: random fields with good, odd
//! and bad values, in any order; and lines as they are written.

use std::borrow::Cow;

use proptest::prelude::*;

use super::fields::LINE;
use super::{Line, event_from_json};
use crate::base::clock::Timestamp;
use crate::event::{Event, EventId};
use crate::wire::ExportLine;

const VALUES: &[&str] = &[
    "null",
    "7",
    "0",
    "-0",
    "-7",
    "7.0",
    "7e1",
    "1e400",
    "0.25",
    "1000000000000000",
    "1000000000000001",
    "18446744073709551616",
    "\"7\"",
    "\"a\\u00e4\\n\"",
    "\"\"",
    "true",
    "[]",
    "{}",
    "{\"a\":1,\"b_\":\"x\"}",
    "{\"a\":\"x\",\"model\":\"\\\"\",\"a\":\"y\"}",
    "{\"a\":0.1,\"cost_cents\":-3}",
    "\"2024-01-15T10:30:00Z\"",
    "\"2024-01-15T10:30:00.5+01:00\"",
];

fn field() -> impl Strategy<Value = String> {
    let names = [LINE, &["custmer"]].concat();
    let odd = (prop::sample::select(names), prop::sample::select(VALUES));
    let good = prop::sample::select(vec![
        r#""customerId":"c""#,
        r#""eventType":"e""#,
        r#""inputTokens":7"#,
        r#""createdAt":"2024-01-15T10:30:00.123Z""#,
    ]);
    prop_oneof![
        2 => odd.prop_map(|(name, value)| format!("{name:?}:{value}")),
        3 => good.prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn a_plain_line_is_the_same_as_any(
        fields in prop::collection::vec(field(), 0..7),
        end in "[ }]?",
    ) {
        let line = format!("{{{}}}{end}", fields.join(","));
        let any = Line::of_any(line.as_bytes());
        if let Some(plain) = Line::plain(line.as_bytes()) {
            prop_assert_eq!(Some(&plain), any.as_ref().ok(), "{}", line);
        }
        let told = |read: serde_json::Result<Line<'_>>| {
            read.map_err(|why| why.to_string()).map(|it| format!("{it:?}"))
        };
        prop_assert_eq!(told(Line::of(line.as_bytes())), told(any), "{}", line);
    }
}

proptest! {
    #[test]
    fn a_body_is_the_same_in_either_way(
        fields in prop::collection::vec(field(), 0..7),
        end in "[ }]?",
    ) {
        let body = format!("{{{}}}{end}", fields.join(","));
        let any = serde_json::from_str(&body).map_err(|why| why.to_string());
        let lent = event_from_json(body.as_bytes()).map_err(|why| why.to_string());
        prop_assert_eq!(lent, any, "{}", body);
    }
}

#[test]
fn a_body_lends_its_texts() {
    let body =
        br#"{"customerId": "cust_1", "eventType": "call", "properties": {"team": "t\u0031"}}"#;
    let event = event_from_json(body).expect("an event");
    assert!(matches!(event.customer_id, Cow::Borrowed("cust_1")), "{event:?}");
    assert!(matches!(&event.properties[0].0, Cow::Borrowed("team")), "{event:?}");
}

#[test]
fn what_an_export_writes_is_read_as_a_plain_line() {
    let bare = Event::new("c", "e");
    let full = Event::new("c\u{e4}", "e\"").model("m").provider("p").input_tokens(1);
    let full = full.output_tokens(2).total_tokens(3).latency_ms(4).cost_cents("0.25");
    let full = full.property("team", "x").property("n", 7).attach("k", "v").value("images", "-1.5");
    for (event, key) in [(&bare, None), (&full, Some("key"))] {
        let named = (EventId::new(7, 8), Timestamp::new(1_700_000_000, 5));
        let mut line = Vec::new();
        let (id, created_at) = named;
        ExportLine { id, created_at, event, key }.append(&mut line).expect("JSON");
        assert!(Line::plain(&line).is_some(), "{}", String::from_utf8_lossy(&line));
    }
}
