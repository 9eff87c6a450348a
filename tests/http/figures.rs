//! Goal: `GET /metrics` is Prometheus' text format, says what the Rust API says, of the key's
//! project alone, and never more lines than its bounds let it.
//!
//! Method: a strict reader of the format (each family whole and once, with its help and its kind;
//! each series once; labels unescaped), and worked cases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use limitry::events::Recording;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};

use crate::app::{App, ENDED, KEY, OTHER, READ, RECORD, SECOND, THIRD_READ};

/// A series: its name, and its labels.
type Series = (String, BTreeMap<String, String>);

/// What a page says: the value of each series as it is written.
struct Page(BTreeMap<Series, String>);

fn is_name(text: &str) -> bool {
    text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
}

/// Reads the labels behind a brace, to the brace that ends them.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    loop {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name), "{name:?}");
        let (mut value, mut letters) = (String::new(), behind.chars());
        loop {
            match letters.next().expect("a value has an end") {
                '"' => break,
                '\\' => value.push(match letters.next().expect("something is escaped") {
                    'n' => '\n',
                    other => {
                        assert!(other == '"' || other == '\\', "\\{other}");
                        other
                    }
                }),
                other => value.push(other),
            }
        }
        assert!(found.insert(name.to_owned(), value).is_none(), "{name} is there once");
        rest = letters.as_str();
        match rest.split_at_checked(1).expect("labels have an end") {
            ("}", behind) => return (found, behind),
            (",", behind) => rest = behind,
            (other, _) => panic!("{other:?} behind a label"),
        }
    }
}

impl Page {
    fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let (mut found, mut families) = (BTreeMap::new(), BTreeSet::new());
        let mut family = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a text");
                assert!(is_name(name) && !help.is_empty(), "{line}");
                let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
                let kind = kind.and_then(|kind| kind.strip_prefix(name)).expect("its kind");
                assert!([" counter", " gauge"].contains(&kind), "{line}: {kind}");
                assert_eq!(kind == " counter", name.ends_with("_total"), "{name}");
                assert!(families.insert(name.to_owned()), "{name} is begun once");
                family = name.to_owned();
                continue;
            }
            let end = line.find(['{', ' ']).expect("a name");
            let (name, rest) = line.split_at(end);
            assert_eq!(name, family, "{line}");
            let (labels, rest) = match rest.strip_prefix('{') {
                Some(rest) => labels(rest),
                None => (BTreeMap::new(), rest),
            };
            let value = rest.strip_prefix(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            assert!(found.insert((name.to_owned(), labels), value.to_owned()).is_none(), "{line}");
        }
        Self(found)
    }

    fn of(app: &App, key: &str) -> Self {
        let (status, kind, text) = app.text(key, "/metrics");
        assert_eq!((status, &*kind), (200, "text/plain; version=0.0.4; charset=utf-8"), "{text}");
        Self::read(&text)
    }

    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        self.0.get(&(name.to_owned(), labels.collect())).map(String::as_str)
    }

    fn count(&self, name: &str) -> usize {
        self.0.keys().filter(|(known, _)| known == name).count()
    }
}

fn call(customer: &str, tokens: u64) -> Event<'_> {
    Event::new(customer, "call").input_tokens(tokens).output_tokens(1).cost_cents(2)
}

fn tokens() -> Quota {
    Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id")
}

#[test]
fn a_page_says_what_the_engine_says() {
    let cents = Quota::new("Cents", Metric::TotalCostCents, 50, Period::Month);
    let app = App::with(Engine::builder().quota(tokens()).quota(cents));
    for (customer, tokens) in [("ann", 99), ("bob", 9), ("ann", 100)] {
        assert!(app.engine.track(&call(customer, tokens)).expect("a good event").is_allowed());
    }
    let page = Page::of(&app, READ);
    let is = |name, labels: &[(&str, &str)], value| {
        assert_eq!(page.get(name, labels), Some(value), "{name} {labels:?}");
    };
    is("limitry_up", &[], "1");
    is("limitry_rules", &[], "2");
    is("limitry_usage_events", &[], "3");
    is("limitry_usage_tokens", &[("kind", "input")], "208");
    is("limitry_usage_tokens", &[("kind", "output")], "3");
    is("limitry_usage_tokens", &[("kind", "total")], "211");
    is("limitry_usage_cost_cents", &[], "6");
    let limit = [("rule", "qta_tokens"), ("metric", "total_tokens")];
    is("limitry_rule_limit", &limit, "1000");
    let ann = [limit[0], limit[1], ("key", "customer_id=ann")];
    let bob = [limit[0], limit[1], ("key", "customer_id=bob")];
    is("limitry_rule_used", &ann, "201");
    is("limitry_rule_used", &bob, "10");
    is("limitry_rule_remaining", &ann, "799");
    let all = [("rule", "qta_cents"), ("metric", "total_cost_cents"), ("key", "all")];
    is("limitry_rule_used", &all, "6");
    is("limitry_rule_remaining", &all, "44");
    is("limitry_rule_held", &all, "0");
    // Those of rules are kept for a while, those of the engine are not.
    let _ = app.engine.track(&call("bob", 0)).expect("a good event");
    app.clock.advance(Duration::from_nanos(14_999_999_999));
    let page = Page::of(&app, READ);
    assert_eq!(page.get("limitry_rule_used", &bob), Some("10"));
    assert_eq!(page.get("limitry_usage_events", &[]), Some("4"));
    app.clock.advance(Duration::from_nanos(1));
    assert_eq!(Page::of(&app, READ).get("limitry_rule_used", &bob), Some("11"));
}

#[test]
fn it_needs_a_key_that_reads_and_is_of_its_project_alone() {
    let app = App::with(Engine::builder().quota(tokens()));
    app.post("/v1/track", r#"{"customerId": "secret", "eventType": "e"}"#).ok(201);
    for (key, status) in [("", 401), ("lm_wrong", 401), (ENDED, 401), (RECORD, 403)] {
        let (found, kind, text) = app.text(key, "/metrics");
        assert_eq!((found, &*kind), (status, "application/problem+json"), "{text}");
    }
    for key in [KEY, READ, SECOND, THIRD_READ] {
        let page = Page::of(&app, key);
        let first = [("api", "first"), ("status", "2xx")];
        assert_eq!(page.get("limitry_http_answers_total", &first), Some("1"));
        assert_eq!(page.get("limitry_usage_events", &[]), Some("1"));
    }
    let other = app.text(OTHER, "/metrics").2;
    assert!(!other.contains("secret") && !other.contains("qta_"), "{other}");
    assert_eq!(Page::read(&other).get("limitry_usage_events", &[]), Some("0"));
    assert_eq!(app.send(KEY, "POST", "/metrics", "").status, 405);
    // What it answered itself is counted as well, by its class.
    let page = Page::of(&app, KEY);
    let own =
        |status| page.get("limitry_http_answers_total", &[("api", "engine"), ("status", status)]);
    assert_eq!((own("2xx"), own("4xx")), (Some("4"), Some("2")));
}

#[test]
fn labels_are_bounded_and_escaped() {
    let mut builder = Engine::builder();
    for number in 0..120 {
        let rule = RateLimit::new(format!("r{number}"), 1_000, Window::Hour).per("customer_id");
        builder = builder.rate_limit(rule);
    }
    let app = App::with(builder);
    for number in 0..9 {
        let customer = format!("\"c\\{number}\", \u{e9} {{n}}");
        let _ = app.engine.track(&call(&customer, 1)).expect("a good event");
    }
    let page = Page::of(&app, KEY);
    assert_eq!(page.get("limitry_rules_left_out", &[]), Some("20"));
    assert_eq!(page.count("limitry_rule_limit"), 100);
    for name in ["limitry_rule_used", "limitry_rule_held", "limitry_rule_remaining"] {
        assert_eq!(page.count(name), 500, "{name}");
    }
    // Of as much the values that come first.
    let first = "customer_id=\"c\\0\", \u{e9} {n}";
    let labels = [("rule", "rl_r7"), ("metric", "total_events"), ("key", first)];
    assert_eq!(page.get("limitry_rule_used", &labels), Some("1"));
}

#[test]
fn an_engine_that_records_nothing_has_no_usage() {
    let app = App::with(Engine::builder().quota(tokens()).recording(Recording::Off));
    let _ = app.engine.track(&call("ann", 9)).expect("a good event");
    let page = Page::of(&app, KEY);
    assert_eq!(page.count("limitry_usage_events") + page.count("limitry_usage_tokens"), 0);
    assert_eq!(page.count("limitry_rule_used"), 1);
}

/// What the engine counts of its own work stands on the page of its project, and of no other.
#[cfg(feature = "metrics")]
#[test]
fn an_engines_own_figures_are_added() {
    use limitry::http::Figures;

    let (figures, other) = (Figures::new(), Figures::new());
    let page = figures.clone();
    let builder = Engine::builder().recorder(std::sync::Arc::new(figures));
    let rule = RateLimit::new("Calls", 2, Window::Hour).id("rl_\"calls\"").per("customer_id");
    let app = App::served("2024-01-15T10:30:00Z", builder.rate_limit(rule), move |options| {
        let options = options.figures("proj_xyz", move || page.page());
        options.figures("proj_other", move || other.page())
    });
    for _ in 0..3 {
        let _ = app.engine.track(&call("ann", 9)).expect("a good event");
    }
    let late = RateLimit::new("Late", 0, Window::Hour).id("rl_late");
    app.engine.rules().add(late).expect("a good rule");
    let _ = app.engine.track(&call("bob", 9)).expect("a good event");
    let page = Page::of(&app, KEY);
    let tracked =
        |outcome| page.get("limitry_decisions_total", &[("verb", "track"), ("outcome", outcome)]);
    assert_eq!((tracked("allowed"), tracked("refused")), (Some("2"), Some("2")));
    let refusals = |rule| page.get("limitry_refusals_total", &[("rule", rule)]);
    assert_eq!((refusals("rl_\"calls\""), refusals("rl_late")), (Some("1"), Some("1")));
    assert_eq!(page.get("limitry_live_keys", &[]), page.get("limitry_keys", &[]));
    assert_eq!(Page::of(&app, OTHER).count("limitry_decisions_total"), 0);
}
