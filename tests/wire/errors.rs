//! Goal: what is wrong with a body is told as what is wrong with an event that is built: the field
//! with its path, the value and the rule, and the word that was probably meant; and a body that is
//! too wide or too deep is not read to its end.
//!
//! Method: bodies of every kind, each with one thing wrong, and the whole message; bodies that
//! never end.

use std::io::{self, Read};

use limitry::events::{CorrectionQuery, EventQuery};
use limitry::rules::RateLimitUpdate;
use limitry::usage::{MeterQuery, UsageQuery};
use limitry::wire::EventBatch;
use limitry::{Amount, Engine, Event, Quota, RateLimit, RuleSet};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is said of a body, without the place in the text.
fn told<T: DeserializeOwned>(body: &str) -> String {
    let why = serde_json::from_str::<T>(body).err().unwrap_or_else(|| panic!("{body} is read"));
    assert!(why.is_data(), "{body}: {why}");
    let told = why.to_string();
    told.rsplit_once(" at line ").expect("serde_json says where").0.to_owned()
}

fn event(more: &str) -> String {
    format!(r#"{{"customerId":"c","eventType":"e",{more}}}"#)
}

const WHOLE: &str = "must be a whole number from 0 to 1000000000000000";
const SIGNED: &str = "must be from -1000000000000000 to 1000000000000000";

const PRECISE: &str = "has more than six digits after the decimal point, and none is rounded away \
                       unasked: `Amount::from_f64_rounded_up` rounds a float up at the sixth";

/// What is wrong with an event, and how it is told.
fn spoilt() -> Vec<(String, String)> {
    let nested = format!(r#""properties":{{"a":{{"b":{}1{}}}}}"#, "[".repeat(32), "]".repeat(32));
    let deep = format!(r#""properties":{{"ctx":{}"#, "[".repeat(1_000_000));
    let wide = |count: usize, value: &str| {
        (0..count).map(|number| format!(r#""n{number}":{value}"#)).collect::<Vec<_>>().join(",")
    };
    let long = format!(r#""properties":{{"p":1,"ctx":["{}"]}}"#, "x".repeat(16_400));
    [
        (r#""inputTokens":-1"#, format!("inputTokens: -1 {WHOLE}")),
        (r#""outputTokens":1.5"#, format!("outputTokens: 1.5 {WHOLE}")),
        (r#""totalTokens":"7""#, format!("totalTokens: \"7\" {WHOLE}")),
        (r#""latencyMs":1e3"#, format!("latencyMs: 1e3 {WHOLE}")),
        (r#""latencyMs":1e400"#, format!("latencyMs: 1e400 {WHOLE}")),
        (r#""latencyMs":true"#, format!("latencyMs: true {WHOLE}")),
        (r#""latencyMs":[7]"#, format!("latencyMs: a list {WHOLE}")),
        (r#""inputTokens":1000000000000001"#, format!("inputTokens: 1000000000000001 {WHOLE}")),
        (
            r#""inputTokens":100000000000000000000"#,
            format!("inputTokens: 100000000000000000000 {WHOLE}"),
        ),
        (
            r#""costCents":-0.5"#,
            "costCents: -0.5 must not be negative; a refund is `cost_cents` in `values`".into(),
        ),
        (r#""costCents":1e16"#, format!("costCents: 10000000000000000 {SIGNED}")),
        (r#""model":7"#, "model: 7 must be a string".into()),
        (r#""model":{"a":1}"#, "model: an object must be a string".into()),
        (r#""properties":[]"#, "properties: a list must be an object".into()),
        (r#""properties":null"#, "properties: null must be an object".into()),
        (r#""dimensions":{"a":7}"#, "dimensions.a: 7 must be a string".into()),
        (r#""dimensions":7"#, "dimensions: 7 must be an object of texts".into()),
        (r#""values":7"#, "values: 7 must be an object of numbers".into()),
        (
            r#""values":{"a":"much"}"#,
            "values.a: `much` is not a decimal number such as 12, -0.5 or 1.2e3".into(),
        ),
        (
            r#""values":{"a":true}"#,
            "values.a: true must be a number, or a string with a decimal number, of at most six \
             decimal places"
                .into(),
        ),
        (r#""values":{"a":1e-7}"#, format!("values.a: `1e-7` {PRECISE}")),
        (r#""values":{"a":1e-400}"#, format!("values.a: `1e-400` {PRECISE}")),
        (r#""values":{"a":0.1000001}"#, format!("values.a: `0.1000001` {PRECISE}")),
        (
            r#""values":{"a":1e400}"#,
            "values.a: `1e400` is out of range: an amount reaches about 1.7e32 either side of zero"
                .into(),
        ),
        (
            r#""values":{"a":-1000000000000000.000001}"#,
            format!("values.a: -1000000000000000.000001 {SIGNED}"),
        ),
        (r#""values":{"input_tokens":-1}"#, format!("values.input_tokens: -1 {WHOLE}")),
        (r#""values":{"latency_ms":0.5}"#, format!("values.latency_ms: 0.5 {WHOLE}")),
        (
            r#""timestamp":"yesterday""#,
            "timestamp: \"yesterday\" must be an instant such as \"2024-01-15T10:30:00Z\"".into(),
        ),
        (
            r#""timestamp":1705314600"#,
            "timestamp: 1705314600 must be an instant such as \"2024-01-15T10:30:00Z\"".into(),
        ),
        (r#""idempotencyKey":7"#, "idempotencyKey: 7 must be a string".into()),
        (r#""model":"a","model":"b""#, "duplicate field `model`".into()),
        (
            r#""inputToken":1"#,
            "unknown field `inputToken`, expected one of `customerId`, `eventType`, `model`, \
             `provider`, `inputTokens`, `outputTokens`, `totalTokens`, `latencyMs`, `costCents`, \
             `properties`, `attached`, `dimensions`, `values`, `idempotencyKey`, `timestamp`; did \
             you mean `inputTokens`?"
                .into(),
        ),
        (&nested, "properties: \"a\" must be at most 32 lists and objects deep".into()),
        (&deep, "properties: \"ctx\" must be at most 32 lists and objects deep".into()),
        (
            &long,
            "properties: \"ctx\" is too much: properties and attachments have at most 16384 \
             bytes of compact JSON together"
                .into(),
        ),
        (
            &format!(r#""values":{{{}}}"#, wide(65, "1")),
            "values: \"n64\" is one too many: an event has at most 64 values".into(),
        ),
        (
            &format!(r#""properties":{{{}}}"#, wide(65, "1")),
            "properties: \"n64\" is one too many: an event has at most 64 properties".into(),
        ),
        (
            &format!(r#""dimensions":{{{}}}"#, wide(67, "\"x\"")),
            "dimensions: \"n66\" is one too many: an event has at most 64 properties".into(),
        ),
        (
            &format!(r#""dimensions":{{{}}}"#, wide(65, "\"x\"")),
            "properties: \"n64\" is one too many: an event has at most 64 properties".into(),
        ),
    ]
    .into_iter()
    .map(|(more, expected)| (event(more), expected))
    .chain([
        (
            r#"{"customerId":null,"eventType":"e"}"#.into(),
            "customerId: null must be a string".into(),
        ),
        (r#"{"customerId":"c"}"#.into(), "missing field `eventType`".into()),
        ("[]".into(), "a list must be an event as a JSON object".into()),
        ("7".into(), "7 must be an event as a JSON object".into()),
    ])
    .collect()
}

#[test]
fn what_is_wrong_with_an_event_is_named() {
    for (body, expected) in spoilt() {
        assert_eq!(told::<Event<'static>>(&body), expected, "{body:.200}");
    }
}

/// A reader of another kind says the same, but for digits that it has rounded.
#[test]
fn what_is_wrong_with_an_event_is_named_by_every_reader() {
    for (body, expected) in spoilt() {
        let Ok(value) = serde_json::from_str::<Value>(&body) else { continue };
        let why = serde_json::from_value::<Event<'static>>(value).err();
        let Some(why) = why else {
            let rounded = ["1e-400", "0.000001}", "\"model\":\"a\""];
            assert!(rounded.iter().any(|digits| body.contains(digits)), "{body}");
            continue;
        };
        let rounded = ["1e3", "100000000000000000000", "1e-7", "1000000000000000.000001", "n6"];
        if rounded.iter().all(|digits| !body.contains(digits)) {
            assert_eq!(why.to_string(), expected, "{body:.200}");
        }
    }
    let body = "customerId = 'c'\neventType = 'e'\n[values]\ngpu = 1.5\n[properties]\nteam = 'x'";
    let event: Event<'static> = toml::from_str(body).expect("a good body");
    assert_eq!((event.amount("gpu"), event.dimension("team")), ("1.5".parse().ok(), Some("x")));
    let why = toml::from_str::<Event<'static>>(&body.replace("1.5", "true")).expect_err("bad");
    assert!(why.to_string().contains("values.gpu: true must be a number"), "{why}");
}

#[test]
fn what_is_wrong_with_a_batch_is_named_with_the_item_s_place() {
    let good = event(r#""model":"m""#);
    let bad = event(r#""values":{"gpu":"1 2"}"#);
    let rest = "values.gpu: `1 2` is not a decimal number such as 12, -0.5 or 1.2e3";
    for (body, start) in [
        (format!(r#"{{"events":[{good},{good},{bad}]}}"#), "events[2]"),
        (format!("[{good},{bad}]"), "[1]"),
    ] {
        assert_eq!(told::<EventBatch>(&body), format!("{start}.{rest}"));
    }
    for (body, expected) in [
        ("{}", "missing field `events`"),
        (r#"{"events":7}"#, "events: 7 must be an object with `events`, or a list of events"),
        (
            r#"{"event":[]}"#,
            "unknown field `event`, expected one of `events`; did you mean `events`?",
        ),
        (r#"[{"customerId":"c"}]"#, "[0]: missing field `eventType`"),
        (r#"{"events":[7]}"#, "events[0]: 7 must be an event as a JSON object"),
    ] {
        assert_eq!(told::<EventBatch>(body), expected);
    }
    let thousand = vec![good.as_str(); 1_000].join(",");
    let batch: EventBatch = serde_json::from_str(&format!("[{thousand}]")).expect("a good body");
    let engine = Engine::builder().build().expect("valid");
    assert_eq!(engine.record_batch(&batch.events).expect("good events").count, 1_000);
    let told = told::<EventBatch>(&format!(r#"{{"events":[{thousand},{good}]}}"#));
    assert_eq!(told, "events: a batch must have at most 1000 events");
}

/// Digits that a float does not keep are read, from text.
#[test]
fn numbers_are_read_to_the_last_digit() {
    let read = |number: &str| {
        let event: Event<'static> =
            serde_json::from_str(&event(&format!(r#""values":{{"a":{number}}}"#))).expect(number);
        event.amount("a").expect("it is there")
    };
    for (number, exact) in [
        ("999999999999999.999999", "999999999999999.999999"),
        ("-123456789012345.000001", "-123456789012345.000001"),
        ("0.000001", "0.000001"),
        ("1000000e-12", "0.000001"),
        ("0.0000000", "0"),
        ("-0", "0"),
        ("0e400", "0"),
        ("0e-400", "0"),
        ("1.000000000000000000000000000000", "1"),
        ("1e15", "1000000000000000"),
        ("\"1e-6\"", "0.000001"),
        ("\"\\u0031.5\"", "1.5"),
    ] {
        let exact: Amount = exact.parse().expect("an amount");
        assert_eq!(read(number), exact, "{number}");
        let spaced = format!(" \n{number} ");
        assert_eq!(read(&spaced), exact, "{spaced}");
    }
}

/// Gives a beginning, and then the same again and again, each time with the next number. Counts.
struct EndlessBody<'b> {
    begins: &'b [u8],
    again: fn(u64) -> String,
    number: u64,
    waiting: Vec<u8>,
    given: usize,
}

impl Read for EndlessBody<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.begins.is_empty() {
            let read = self.begins.read(out)?;
            self.given += read;
            return Ok(read);
        }
        if self.waiting.is_empty() {
            self.waiting = (self.again)(self.number).into_bytes();
            self.number += 1;
        }
        let count = out.len().min(self.waiting.len());
        let rest = self.waiting.split_off(count);
        out.get_mut(..count).expect("so many").copy_from_slice(&self.waiting);
        self.waiting = rest;
        self.given += count;
        Ok(count)
    }
}

#[test]
fn a_body_beyond_a_bound_is_not_read_to_its_end() {
    let text = |number: u64| format!("{}\"n{number}\":\"x\"", if number == 0 { "" } else { "," });
    let same = |number: u64| format!("{}\"n\":[1]", if number == 0 { "" } else { "," });
    let values = |number: u64| format!("{}\"n{number}\":1", if number == 0 { "" } else { "," });
    /// How a body goes on, with what for each number, and how many numbers are read at most.
    type Case = (&'static str, fn(u64) -> String, usize);
    let cases: [Case; 7] = [
        (r#""values":{"#, values, 1_000),
        (r#""properties":{"#, text, 1_000),
        (r#""dimensions":{"#, text, 1_000),
        (r#""properties":{"same":1,"#, same, 20_000),
        (r#""properties":{"deep":"#, |_| "[".into(), 100),
        (r#""properties":{"deep":"#, |_| "{\"a\":".into(), 300),
        (r#""properties":{"long":[1"#, |_| ",1".into(), 20_000),
    ];
    for (begins, again, most) in cases {
        let begins = format!(r#"{{"customerId":"c","eventType":"e",{begins}"#);
        let mut body =
            EndlessBody { begins: begins.as_bytes(), again, number: 0, waiting: vec![], given: 0 };
        let why = serde_json::from_reader::<_, Event<'static>>(&mut body).expect_err("too much");
        assert!(why.is_data(), "{why}");
        assert!(body.given <= most, "{begins}: {} bytes for {why}", body.given);
    }
    let mut batch = EndlessBody {
        begins: b"[",
        again: |number| {
            format!(
                "{}{{\"customerId\":\"c\",\"eventType\":\"e\"}}",
                if number == 0 { "" } else { "," }
            )
        },
        number: 0,
        waiting: vec![],
        given: 0,
    };
    let why = serde_json::from_reader::<_, EventBatch>(&mut batch).expect_err("too many");
    assert!(why.to_string().starts_with("a batch must have at most 1000 events"), "{why}");
    assert!(batch.given < 40_000);
}

/// As many names as one likes, of those that there are, cost no more each.
#[test]
fn a_name_that_is_set_again_keeps_the_last_value() {
    let many: Vec<_> =
        (0..200_000).map(|number| format!(r#""n{}":{number}"#, number % 64)).collect();
    let body = event(&format!(r#""values":{{{}}}"#, many.join(",")));
    let event: Event<'static> = serde_json::from_str(&body).expect("64 values");
    assert_eq!(event.amount("n63"), Some(Amount::from(199_999_u64)));
}

/// Rule sets say which rule, and rules alone the field.
#[test]
fn what_is_wrong_with_a_rule_is_named() {
    let u64s = "must be a whole number from 0 to 18446744073709551615";
    let limit = |more: &str| format!(r#"{{"name":"n","limitValue":5,"window":"hour",{more}}}"#);
    let quota = |more: &str| {
        format!(r#"{{"name":"n","limitValue":5,"metric":"total_events","period":"day",{more}}}"#)
    };
    let cases = [
        (r#""name":7"#, "duplicate field `name`"),
        (r#""burst":"a lot""#, "burst: `a lot` is not a decimal number such as 12, -0.5 or 1.2e3"),
        (r#""maxKeys":-1"#, &format!("maxKeys: -1 {u64s}")),
        (r#""enabled":"yes""#, "enabled: \"yes\" must be true or false"),
        (r#""per":7"#, "per: 7 must be a dimension's key or a list of them"),
        (r#""per":["a",7]"#, "per[1]: 7 must be a string"),
        (
            r#""dimensionFilters":{"team_id":42}"#,
            "dimensionFilters.team_id: 42 must be a string, a list of strings, or an object with \
             `prefix`, `not` or `present`",
        ),
        (r#""dimensionFilters":{"a":["b",7]}"#, "dimensionFilters.a[1]: 7 must be a string"),
        (
            r#""dimensionFilters":{"a":{"prefx":"b"}}"#,
            "dimensionFilters.a: unknown field `prefx`, expected one of `prefix`, `not`, \
             `present`; did you mean `prefix`?",
        ),
        (
            r#""dimensionFilters":{"a":{"prefix":7}}"#,
            "dimensionFilters.a.prefix: 7 must be a string",
        ),
        (
            r#""dimensionFilters":{"a":{"not":{}}}"#,
            "dimensionFilters.a.not: an object must be a string or a list of strings",
        ),
        (
            r#""dimensionFilters":{"a":{"present":"yes"}}"#,
            "dimensionFilters.a.present: \"yes\" must be true or false",
        ),
        (
            r#""dimensionFilters":{"a":{}}"#,
            "dimensionFilters.a: {} must have one of `prefix`, `not`, `present`",
        ),
        (
            r#""dimensionFilters":{"a":{"prefix":"b","not":"c"}}"#,
            "dimensionFilters.a: `prefix` stands beside `not`: give one of them",
        ),
        (r#""dimensionFilters":["a"]"#, "dimensionFilters: a list must be an object"),
        (
            r#""algorithm":"slidng_window""#,
            "algorithm: unknown variant `slidng_window`, expected one of `token_bucket`, \
             `fixed_window`, `sliding_window`; did you mean `sliding_window`?",
        ),
        (r#""policy":[]"#, "policy: a list must be a string"),
    ];
    for (more, expected) in cases {
        assert_eq!(told::<RateLimit>(&limit(more)), expected);
    }
    assert_eq!(told::<RateLimit>("{}"), "missing field `name`");
    for (more, start, end) in [
        (r#""createdAt":"noon""#, "createdAt: \"noon\"", ""),
        (
            r#""dimensionFliters":{}"#,
            "unknown field `dimensionFliters`",
            "mean `dimensionFilters`?",
        ),
        (r#""limit_values":1"#, "unknown field `limit_values`", "did you mean `limitValue`?"),
    ] {
        let told = told::<Quota>(&quota(more));
        assert!(told.starts_with(start) && told.ends_with(end), "{told}");
    }
    for (body, start) in [
        (
            r#"{"rateLimits":[{"name":"a","limitValue":true,"window":"hour"}]}"#,
            "rateLimits[0].limitValue: true must be",
        ),
        (
            r#"{"rateLimits":[{"name":"a","limitValue":1,"window":"hourly!"}]}"#,
            "rateLimits[0].window: \"hourly!\" must be `second`",
        ),
        (r#"{"quotas":[{"name":"a"},7]}"#, "quotas[0]: missing field `metric`"),
        (
            r#"{"quotas":[{"name":"a","metric":"totl_tokens"}]}"#,
            "quotas[0].metric: \"totl_tokens\" must be `total_events`",
        ),
        (
            r#"{"quotas":[{"name":"a","period":"dayly"}]}"#,
            "quotas[0].period: \"dayly\" must be `hour`",
        ),
        (
            r#"{"meters":[{"name":"a","aggregation":"summ"}]}"#,
            "meters[0].aggregation: \"summ\" must be one of `count`",
        ),
        (
            r#"{"meters":[{"name":"a","eventFilter":{"dimensions":{"a":1}}}]}"#,
            "meters[0].eventFilter.dimensions.a: 1 must be a string",
        ),
        (r#"{"meters":[{"name":"a","field":"values."}]}"#, "meters[0].field: \"values.\" must be"),
        (
            r#"{"rateLimit":[]}"#,
            "unknown field `rateLimit`, expected one of `meters`, `rateLimits`, `quotas`; did you \
             mean `rateLimits`?",
        ),
        ("7", "7 must be an object"),
    ] {
        let told = told::<RuleSet>(body);
        assert!(told.starts_with(start), "{told}");
    }
    let told_of = told::<RateLimitUpdate>(r#"{"window":"5x"}"#);
    assert!(told_of.starts_with("window: \"5x\" must be"), "{told_of}");
    let told_of = told::<RateLimitUpdate>(r#"{"burst":"x"}"#);
    assert!(told_of.starts_with("burst: `x` is not a decimal number"), "{told_of}");
    let toml = "[[rateLimits]]\nname = 'a'\nlimitValue = 5\nwindow = 'hour'\nbrust = 9";
    let why = toml::from_str::<RuleSet>(toml).expect_err("a typing error").to_string();
    assert!(why.contains("rateLimits[0]: unknown field `brust`"), "{why}");
    assert!(why.contains("did you mean `burst`?"), "{why}");
}

/// What serde derives reads a list as fields in their order.
#[test]
fn a_list_is_no_body() {
    for told in [
        told::<Quota>(r#"["n"]"#),
        told::<RateLimit>("[]"),
        told::<RateLimitUpdate>("[null]"),
        told::<RuleSet>("[[], []]"),
        told::<UsageQuery>("[]"),
    ] {
        assert_eq!(told, "a list must be an object");
    }
    let nested = told::<RuleSet>(r#"{"quotas": [["n", "total_events", 7, "day"]]}"#);
    assert_eq!(nested, "quotas[0]: a list must be an object");
}

#[test]
fn a_field_is_named_once() {
    let quota = r#"{"name":"Q","limitValue":1,"period":"day","metric":"tokens?"}"#;
    let alone = limitry::wire::from_json::<Quota>(quota.as_bytes()).unwrap_err().to_string();
    assert!(alone.starts_with("metric: \"tokens?\""), "{alone}");
    let set = format!(r#"{{"quotas":[{quota}]}}"#);
    let nested = limitry::wire::from_json::<RuleSet>(set.as_bytes()).unwrap_err().to_string();
    assert!(nested.starts_with("quotas[0].metric: \"tokens?\""), "{nested}");
}

#[test]
fn what_is_wrong_with_a_query_is_named() {
    for (body, start) in [
        (r#"{"customer":"c"}"#, "unknown field `customer`, expected one of `customerId`"),
        (r#"{"filters":{"team":1}}"#, "filters.team: 1 must be a string"),
        (r#"{"limit":"many"}"#, "limit: \"many\" must be a whole number from 1 to 100"),
        (r#"{"limit":-1}"#, "limit: -1 must be a whole number from 1 to 100"),
        (r#"{"startDate":"yesterday"}"#, "startDate: \"yesterday\""),
        (r#"{"startDate":7}"#, "startDate: 7 must be"),
    ] {
        let told = told::<EventQuery>(body);
        assert!(told.starts_with(start), "{told}");
    }
    for (body, start) in [
        (r#"{"event":"evt_1"}"#, "unknown field `event`, expected one of `eventId`"),
        (r#"{"eventId":"evt_1"}"#, "eventId: event id \"evt_1\" must be `evt_` and 26 letters"),
        (r#"{"limit":"1"}"#, "limit: \"1\" must be a whole number"),
    ] {
        let told = told::<CorrectionQuery>(body);
        assert!(told.starts_with(start), "{told}");
    }
    for (body, part) in [
        (
            r#"{"timeZone":"Berlin"}"#,
            "timeZone: time zone \"Berlin\" must be a name of the IANA database such as \
             Europe/Berlin",
        ),
        (r#"{"anchor":"2024-02-30"}"#, "anchor: \"2024-02-30\""),
        (r#"{"endDte":1}"#, "did you mean `endDate`?"),
    ] {
        let told = told::<UsageQuery>(body);
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(told::<MeterQuery>(r#"{"dimensions":7}"#), "dimensions: 7 must be an object");
    for (body, part) in [
        (r#"{"groupBy":{}}"#, "groupBy"),
        (r#"{"sumOver":[7]}"#, "sumOver"),
        (r#"{"interval":"year"}"#, "interval: \"year\" must be `minute`"),
        (r#"{"limit":-1}"#, "limit: "),
    ] {
        let told = told::<MeterQuery>(body);
        assert!(told.starts_with(part), "{told}");
    }
}
