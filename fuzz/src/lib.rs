//! What is done with bytes that nobody would send. Each function takes any bytes and panics where
//! limitry breaks a promise: it panics itself, or what it took does not come out as it went in.
//!
//! `fuzz_targets` hands them to libFuzzer, and `tests/seeded.rs` runs them with a few hundred
//! inputs that are the same each time, on any compiler, so that they stay right.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a panic is what a fuzzer looks for"
)]

mod storage;

use std::sync::{Arc, OnceLock};

use limitry::events::EventQuery;
use limitry::rules::{MeterUpdate, QuotaUpdate, RateLimitUpdate};
use limitry::store::{BadLines, Durability, Durable};
use limitry::time::ManualClock;
use limitry::usage::{MeterQuery, UsageQuery};
use limitry::wire::EventBatch;
use limitry::{Engine, Event, Meter, Quota, RateLimit, RuleSet, bounds};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::storage::Bytes;

fn clock() -> ManualClock {
    ManualClock::new("2024-01-15T10:30:00Z".parse().expect("an instant"))
}

fn engine() -> Engine {
    Engine::builder().clock(clock()).build().expect("no rules are good rules")
}

fn export(engine: &Engine) -> Vec<u8> {
    let mut lines = Vec::new();
    engine
        .store()
        .export(&mut lines, &EventQuery::new(), |_| {})
        .expect("what was taken is written");
    lines
}

/// A body of an event: read or refused, whole or as a part; and what is recorded of it comes out as
/// it went in.
pub fn event_body(data: &[u8]) {
    let batch = serde_json::from_slice::<EventBatch>(data);
    if let Err(why) = &batch {
        assert!(why.to_string().len() < 10_000, "an error is of a readable length");
    }
    for event in batch.map(|batch| batch.events).unwrap_or_default() {
        taken(&event);
    }
    if let Ok(event) = serde_json::from_slice::<Event<'static>>(data) {
        taken(&event);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        if let Ok(event) = serde_json::from_value::<Event<'static>>(value.clone()) {
            taken(&event);
        }
        // What is no event may be a part of one.
        let event = Event::new("c", "e").property("p", value);
        taken(&event);
    }
}

fn taken(event: &Event<'static>) {
    let source = engine();
    let recorded = source.record(event);
    assert_eq!(recorded.is_ok(), source.check(event).is_ok(), "both look at the event alike");
    if recorded.is_err() {
        assert!(source.events().is_empty(), "an error records nothing");
        return;
    }
    let body = serde_json::to_string(event).expect("plain data");
    assert!(body.len() <= bounds::MAX_EVENT_BYTES, "{} bytes", body.len());
    let again: Event<'static> = serde_json::from_str(&body).expect("what is printed is read");
    // As text: the order of properties and values means nothing.
    assert_eq!(serde_json::to_string(&again).expect("plain data"), body);
    let lines = export(&source);
    let target = engine();
    let report = target.store().import(&lines[..], BadLines::Stop, |_| {});
    assert_eq!(report.expect("what is exported is imported").count, 1);
    // As it is listed: a total that was left to be computed is spelled out there.
    let shown = |engine: &Engine| {
        let mut listed = serde_json::to_value(engine.events().newest(1)).expect("plain data");
        listed[0].as_object_mut().and_then(|event| event.remove("id")).expect("it has an id");
        listed
    };
    assert_eq!(shown(&target), shown(&source));
}

/// A file of rules, and other plain data: read or refused; what is read is printed and read the
/// same; and a good rule set makes an engine that answers.
pub fn rule_file(data: &[u8]) {
    printed::<RateLimit>(data);
    printed::<Quota>(data);
    printed::<Meter>(data);
    printed::<RateLimitUpdate>(data);
    printed::<QuotaUpdate>(data);
    printed::<MeterUpdate>(data);
    printed::<EventQuery>(data);
    printed::<UsageQuery>(data);
    printed::<MeterQuery>(data);
    let Some(rules) = printed::<RuleSet>(data) else { return };
    let good = rules.validate().is_ok();
    let built = Engine::builder().clock(clock()).rule_set(rules).build();
    assert_eq!(built.is_ok(), good, "both look at the rules alike");
    let Ok(engine) = built else { return };
    for tokens in [0, 1, 7, 1_000_000_000_000_000] {
        let event = Event::new("cust_1", "model_call").model("gpt-4").total_tokens(tokens);
        let event = event.property("team_id", "eng").value("images", tokens);
        let decision = engine.track(&event).expect("no rule makes a good event bad");
        let refused = decision.status_code() == 429;
        assert_eq!(refused, decision.retry_after().is_some());
        serde_json::to_string(&decision).expect("plain data");
        assert_eq!(decision.headers().count(), decision.headers().collect::<Vec<_>>().len());
        let recorded = engine.record(&event).expect("a good event");
        assert!(recorded.is_allowed(), "recording refuses nothing");
        engine.explain(&event).expect("a good event");
    }
}

fn printed<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(
    data: &[u8],
) -> Option<T> {
    let read: T = match serde_json::from_slice(data) {
        Ok(read) => read,
        Err(why) => {
            assert!(why.to_string().len() < 10_000, "an error is of a readable length");
            return None;
        }
    };
    let text = serde_json::to_string(&read).ok()?;
    let again: T = serde_json::from_str(&text).expect("what is printed is read");
    assert_eq!(again, read, "{text}");
    Some(read)
}

/// Lines of an import: taken or refused, and what was taken is exported and known again.
pub fn import_line(data: &[u8]) {
    let engine = engine();
    let first = engine.store().import(data, BadLines::Stop, |_| {});
    if let Ok(report) = &first {
        assert_eq!(u64::try_from(engine.events().len()).ok(), Some(report.count));
    }
    let rest = engine.store().import(data, BadLines::Skip, |_| {}).expect("bad lines are skipped");
    assert_eq!(first.is_ok(), rest.skipped.is_empty());
    let kept = engine.events().len();
    let second = engine.store().import(data, BadLines::Stop, |_| {});
    assert_eq!(engine.events().len(), kept, "what is imported twice counts once");
    assert_eq!(first.is_ok(), second.is_ok());
    let lines = export(&engine);
    let other = self::engine();
    let report = other.store().import(&lines[..], BadLines::Stop, |_| {});
    let report = report.expect("what is exported is imported");
    assert_eq!(usize::try_from(report.count).ok(), Some(kept));
}

/// A store in which some bytes are not what was written: opened or refused, and never a panic,
/// neither then nor when it is used.
pub fn store_file(data: &[u8]) {
    quiet();
    let mut bytes = good_store().to_vec();
    for edit in data.chunks_exact(4) {
        let [low, middle, high, value] = edit else { continue };
        let at = usize::from(*low) | usize::from(*middle) << 8 | usize::from(*high) << 16;
        let at = at % bytes.len().max(1);
        match value {
            // The end is cut off, at a page and within one.
            0 => bytes.truncate(at),
            1 => bytes.truncate(at & !4_095),
            // A page is gone, or stands elsewhere.
            2 => bytes.iter_mut().skip(at & !4_095).take(4_096).for_each(|byte| *byte = 0),
            3 => {
                let page: Vec<_> = bytes.iter().skip(at & !4_095).take(4_096).copied().collect();
                let to = (at & !4_095) ^ 4_096;
                bytes.iter_mut().skip(to).zip(page).for_each(|(byte, other)| *byte = other);
            }
            value => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= *value;
                }
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    let Ok(store) = Durable::open_on(Bytes::new(bytes)) else { return };
    let Ok(engine) = builder(store).build() else { return };
    let query = UsageQuery::all_time();
    let _ = engine.store().verify(|_| {});
    let _ = engine.usage().summary(&query).map(|summary| serde_json::to_string(&summary));
    let _ = engine.store().export(&mut Vec::new(), &EventQuery::new(), |_| {});
    let _ = engine.track(&call(3).idempotency_key("key-3"));
    let _ = engine.track(&call(1_000));
    let _ = engine.store().flush();
    let _ = engine.store().close();
}

fn call(number: u64) -> Event<'static> {
    Event::new(format!("cust_{}", number % 5), "model_call").model("gpt-4").total_tokens(number)
}

fn builder(store: Durable) -> limitry::EngineBuilder {
    let rules = include_str!("../seeds/rule_file/rules.json");
    let rules: RuleSet = serde_json::from_str(rules).expect("a good file");
    Engine::builder().clock(clock()).rule_set(rules).durable(store.durability(Durability::Buffered))
}

/// The bytes of a small store.
fn good_store() -> &'static [u8] {
    static STORE: OnceLock<Vec<u8>> = OnceLock::new();
    STORE.get_or_init(|| {
        let bytes = Bytes::new(Vec::new());
        let kept = Arc::clone(&bytes.bytes);
        let engine = builder(Durable::open_on(bytes).expect("a new store")).build().expect("valid");
        for number in 0..40 {
            let event = call(number).property("team_id", "eng").value("images", "0.5");
            let event = event.property("context", serde_json::json!([number, null]));
            let event = event.idempotency_key(format!("key-{number}"));
            assert!(engine.record(&event).expect("valid").is_allowed());
        }
        engine.store().close().expect("everything is stored");
        drop(engine);
        let kept = kept.lock().expect("nobody panicked").clone();
        assert!(!kept.is_empty());
        kept
    })
}

/// What redb makes of damaged pages may be a panic, which limitry makes an error of: it is no
/// finding, and its message is of no use. A panic that comes out of a function is still one.
fn quiet() {
    static QUIET: OnceLock<()> = OnceLock::new();
    QUIET.get_or_init(|| std::panic::set_hook(Box::new(|_| {})));
}
