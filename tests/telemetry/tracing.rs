//! Goal: with the feature `tracing`, building an engine and changing its rules is a span each, with
//! what came of it; calls are not traced, and nothing that is traced names a customer.
//!
//! Method: a subscriber that writes down every span and event as a line.

use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use limitry::rules::{QuotaUpdate, SyncOptions};
use limitry::{Engine, Event, Meter, RateLimit, RuleSet, Window};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

/// Writes down what it is told, a line each.
#[derive(Clone, Default)]
struct Diary {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = if field.name() == "message" { "" } else { field.name() };
        let equals = if name.is_empty() { "" } else { "=" };
        write!(self.0, " {name}{equals}{value:?}").expect("a String takes all");
    }
}

impl Diary {
    fn note(&self, line: Line) {
        self.lines.lock().expect("not poisoned").push(line.0);
    }

    /// The lines since the last look.
    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().expect("not poisoned"))
    }
}

impl Subscriber for Diary {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("limitry")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("span {}", span.metadata().name()));
        span.record(&mut line);
        self.note(line);
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.note(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn calls(limit: u64) -> RateLimit {
    RateLimit::new("calls", limit, Window::Minute).id("rl_calls").per("customer_id")
}

#[test]
fn building_and_changing_rules_are_spans_with_what_came_of_them() {
    let diary = Diary::default();
    crate::support::with_collector(diary.clone(), || {
        let engine = Engine::builder().rate_limit(calls(2)).build().expect("valid rules");
        let in_force = |version: u32, rules: u32, meters: u32| {
            format!("INFO rules in force version={version} rules={rules} meters={meters}")
        };
        assert_eq!(diary.read(), ["span build".to_owned(), in_force(1, 1, 0)]);

        let other = RateLimit::new("other", 1, Window::Hour).id("rl_other");
        engine.rules().add(other).expect("a valid rule");
        assert_eq!(diary.read(), ["span add_rule rule=\"other\"".to_owned(), in_force(2, 2, 0)]);

        engine.rules().remove("rl_other").expect("it is there");
        assert_eq!(
            diary.read(),
            ["span remove_rule id=\"rl_other\"".to_owned(), in_force(3, 1, 0)]
        );

        engine.meters().add(Meter::count("all")).expect("a valid meter");
        assert_eq!(diary.read(), ["span add_meter meter=\"all\"".to_owned(), in_force(4, 1, 1)]);

        let mut wanted = RuleSet::new();
        wanted.rate_limits = vec![calls(5)];
        engine.rules().sync(wanted, SyncOptions::apply()).expect("valid rules");
        let compared = "INFO rules compared created=0 updated=1 removed=";
        let lines = diary.read();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines.first().map(String::as_str), Some("span sync write=true"));
        assert!(lines.iter().any(|line| line.starts_with(compared)), "{lines:?}");
    });
}

#[test]
fn a_change_that_is_turned_down_says_why() {
    let diary = Diary::default();
    crate::support::with_collector(diary.clone(), || {
        let engine = Engine::builder().rate_limit(calls(2)).build().expect("valid rules");
        diary.read();
        let error =
            engine.rules().update("qta_none", QuotaUpdate::new()).expect_err("no such quota");
        let expected =
            ["span update_rule id=\"qta_none\"".to_owned(), format!("ERROR error={error}")];
        assert_eq!(diary.read(), expected);
        Engine::builder().rate_limit(calls(u64::MAX)).build().expect_err("a limit beyond all");
        let lines = diary.read();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("ERROR error=")), "{lines:?}");
    });
}

#[test]
fn calls_are_not_traced() {
    let diary = Diary::default();
    crate::support::with_collector(diary.clone(), || {
        let engine = Engine::builder().rate_limit(calls(2)).build().expect("valid rules");
        diary.read();
        let event = Event::new("cust_1", "call").idempotency_key("req_1");
        for _ in 0..3 {
            let _ = engine.track(&event).expect("a valid event");
            let _ = engine.check(&Event::new("cust_1", "call")).expect("a valid event");
            let _ = engine.record(&Event::new("cust_1", "call")).expect("a valid event");
        }
        assert!(diary.read().is_empty());
        engine.rules().remove("rl_calls").expect("it is there");
        assert!(diary.read().iter().all(|line| !line.contains("cust_1")));
    });
}
