//! Goal: any client can read the headers of a decision, whatever names and figures rules have.
//!
//! Method: a property over names, figures and dialects whose output a small strict parser of
//! structured fields (RFC 9651) reads back.

use super::headers::*;
use crate::support::track;
use crate::support::{config, engine};
use limitry::decision::RateLimitStatus;
use limitry::rules::Algorithm;
use limitry::wire::HeaderDialect;
use limitry::{Decision, EngineBuilder, Metric, Period, Quota, RateLimit, Window};
use proptest::prelude::*;
use std::time::Duration;

/// A bare item of a structured field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BareItem {
    Text(String),
    Integer(i64),
}

/// A member of a list: a string with parameters.
#[derive(Debug)]
pub(crate) struct Item {
    name: String,
    parameters: Vec<(String, BareItem)>,
}

impl Item {
    fn integer(&self, key: &str) -> Option<i64> {
        match self.parameters.iter().find(|(known, _)| known == key) {
            Some((_, BareItem::Integer(number))) => Some(*number),
            Some((_, other)) => panic!("{key} is {other:?}"),
            None => None,
        }
    }
}

/// Reads a list as RFC 9651 has it (section 4.2.1), of strings with parameters; panics at the
/// first byte that is not as it should be.
pub(crate) fn read_list(text: &str) -> Vec<Item> {
    let mut reader = Reader { rest: text };
    let mut items = Vec::new();
    loop {
        items.push(reader.item());
        reader.skip(" \t");
        if reader.rest.is_empty() {
            return items;
        }
        reader.eat(',');
        reader.skip(" \t");
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn next(&mut self) -> char {
        let next = self.rest.chars().next().expect("the field ends too early");
        self.rest = &self.rest[next.len_utf8()..];
        next
    }

    fn eat(&mut self, wanted: char) {
        let next = self.next();
        assert_eq!(next, wanted, "before {:?}", self.rest);
    }

    fn skip(&mut self, letters: &str) {
        self.rest = self.rest.trim_start_matches(|letter| letters.contains(letter));
    }

    fn item(&mut self) -> Item {
        let BareItem::Text(name) = self.bare() else { panic!("a member is a string") };
        let mut parameters: Vec<(String, BareItem)> = Vec::new();
        while self.rest.starts_with(';') {
            self.eat(';');
            self.skip(" ");
            let key = self.key();
            self.eat('=');
            assert!(parameters.iter().all(|(known, _)| *known != key), "{key} stands twice");
            parameters.push((key, self.bare()));
        }
        Item { name, parameters }
    }

    fn key(&mut self) -> String {
        let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
        let end = self.rest.find(|c| !is_key(c)).expect("a value follows");
        let (key, rest) = self.rest.split_at(end);
        assert!(key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*'), "{key:?}");
        self.rest = rest;
        key.to_owned()
    }

    fn bare(&mut self) -> BareItem {
        if self.rest.starts_with('"') { self.text() } else { self.integer() }
    }

    fn text(&mut self) -> BareItem {
        self.eat('"');
        let mut text = String::new();
        loop {
            match self.next() {
                '"' => return BareItem::Text(text),
                '\\' => {
                    let escaped = self.next();
                    assert!(matches!(escaped, '"' | '\\'), "\\{escaped} is no escape");
                    text.push(escaped);
                }
                plain => {
                    assert!((' '..='~').contains(&plain), "{plain:?} in a string");
                    text.push(plain);
                }
            }
        }
    }

    fn integer(&mut self) -> BareItem {
        let sign = usize::from(self.rest.starts_with('-'));
        let digits = self.rest[sign..].find(|c: char| !c.is_ascii_digit());
        let end = digits.map_or(self.rest.len(), |digits| digits + sign);
        let (number, rest) = self.rest.split_at(end);
        assert!((1..=15).contains(&(end - sign)), "{number:?} has 1 to 15 digits");
        assert!(!rest.starts_with('.'), "an integer, no decimal");
        self.rest = rest;
        BareItem::Integer(number.parse().expect("digits"))
    }
}

#[test]
fn the_parser_is_strict() {
    let items = read_list("\"a\\\"b\";q=1;qu=\"x\" , \"c\";r=-0");
    assert_eq!((items.len(), items[0].name.as_str()), (2, "a\"b"));
    assert_eq!(items[0].parameters[1], ("qu".to_owned(), BareItem::Text("x".to_owned())));
    for bad in [
        "",
        "\"a\",",
        ",\"a\"",
        "\"a\"; q",
        "\"a\";Q=1",
        "\"a\";q=1;q=2",
        "\"a",
        "\"\\n\"",
        "\"a\" b",
        "\"a\";q=1234567890123456",
        "\"a\";q=1.5",
        "\"a\";q=",
        "\"\u{e9}\"",
        "a;q=1",
    ] {
        let read = std::panic::catch_unwind(|| read_list(bad));
        assert!(read.is_err(), "{bad:?} was read as {read:?}");
    }
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,20}", "[\"\\\\;=, ]{1,8}", "[a-z\u{e9}\u{1f600}]{1,8}"]
}

#[derive(Clone, Debug)]
struct DrawnRule {
    name: String,
    limit: u64,
    window_nanos: u64,
    algorithm: Algorithm,
    period: Option<Period>,
    metric: Metric,
}

fn rules() -> impl Strategy<Value = DrawnRule> {
    let limit = prop_oneof![1_u64..5, Just(1 << 40)];
    let window_nanos = prop_oneof![
        1_u64..10,
        1_u64..100_000_000_000,
        (1_u64..100).prop_map(|s| s * 1_000_000_000)
    ];
    let algorithm = prop::sample::select(vec![
        Algorithm::TokenBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
    ]);
    let period = prop::option::of(prop::sample::select(vec![
        Period::Hour,
        Period::Day,
        Period::Week,
        Period::Month,
        Period::Year,
        Period::AllTime,
        Period::rolling(Duration::from_secs(100)),
        Period::rolling(Duration::from_millis(1_500)),
    ]));
    let metric = prop::sample::select(vec![
        Metric::TotalEvents,
        Metric::TotalTokens,
        Metric::value("latency_ms"),
        Metric::value("images"),
    ]);
    (names(), limit, window_nanos, algorithm, period, metric).prop_map(
        |(name, limit, window_nanos, algorithm, period, metric)| DrawnRule {
            name,
            limit,
            window_nanos,
            algorithm,
            period,
            metric,
        },
    )
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn every_header_can_be_read_and_agrees_with_the_statuses(
        drawn in prop::collection::vec(rules(), 0..6),
        calls in prop::collection::vec((0_u64..4, 0_u64..5_000_000_000), 1..12),
    ) {
        let add = |builder: EngineBuilder, rule: &DrawnRule| {
            if let Some(period) = rule.period {
                let metric = rule.metric.clone();
                return builder.quota(Quota::new(&rule.name, metric, rule.limit, period));
            }
            let window = Window::every(Duration::from_nanos(rule.window_nanos));
            let limit = RateLimit::new(&rule.name, rule.limit, window);
            builder.rate_limit(limit.algorithm(rule.algorithm).metric(rule.metric.clone()))
        };
        let (engine, clock) = engine(|builder| drawn.iter().fold(builder, add));
        for (amount, pause) in calls {
            clock.advance(Duration::from_nanos(pause));
            let event = call().total_tokens(amount).latency_ms(amount).value("images", amount);
            check_headers(&track(&engine, &event));
        }
    }
}

fn check_headers(decision: &Decision) {
    let find = |pairs: &[(&'static str, String)], wanted: &str| {
        let mut found = pairs.iter().filter(|(name, _)| *name == wanted);
        let first = found.next().map(|(_, value)| value.clone());
        assert!(found.next().is_none(), "{wanted} stands once");
        first
    };
    let plain = pairs(decision);
    let draft: Vec<_> = decision.headers_in(HeaderDialect::Draft10).collect();
    for (name, value) in plain.iter().chain(&draft) {
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {value}");
    }

    // Every rule is a hard one of these tests, and without a burst.
    let told = |status: &RateLimitStatus<'_>| {
        let limit = status.limit.expect("a limit");
        let found = |name: &str| find(&plain, name);
        found("X-RateLimit-Limit") == Some(limit.to_string())
            && found("X-RateLimit-Remaining") == Some(status.remaining.to_string())
    };
    if decision.is_allowed() {
        let share = |status: &RateLimitStatus<'_>| {
            (status.remaining.millionths(), status.limit.expect("a limit").millionths())
        };
        let least = decision.rate_limits().min_by(|a, b| {
            let ((a_left, a_most), (b_left, b_most)) = (share(a), share(b));
            (a_left * b_most).cmp(&(b_left * a_most)).then(b.reset.cmp(&a.reset))
        });
        assert!(least.as_ref().is_none_or(told), "{decision:?} {plain:?}");
        let reset = least.map(|status| status.reset.unix_seconds().to_string());
        assert_eq!(find(&plain, "X-RateLimit-Reset"), reset);
        assert_eq!(find(&plain, "X-Quota-Metric"), None);
    } else {
        let of_limit = find(&plain, "X-RateLimit-Limit").is_some();
        assert_ne!(of_limit, find(&plain, "X-Quota-Metric").is_some(), "one rule is told");
        let mut refusing = decision.rate_limits().filter(|status| status.exceeded);
        assert!(!of_limit || refusing.any(|status| told(&status)), "{decision:?} {plain:?}");
        let mut quotas = decision.quotas().filter(|status| status.exceeded);
        let metric = find(&plain, "X-Quota-Metric");
        assert!(of_limit || quotas.any(|quota| Some(quota.metric.to_string()) == metric));
    }

    let wait = decision.retry_after().and_then(limitry::RetryAfter::whole_seconds);
    for pairs in [&plain, &draft] {
        let told = find(pairs, "Retry-After");
        assert_eq!(told, wait.map(|seconds| seconds.to_string()));
        assert!(wait.is_none_or(|seconds| seconds >= 1));
    }
    let is_told = |exceeded: bool| exceeded || decision.is_allowed();
    let rules = decision.rate_limits().filter(|status| is_told(status.exceeded)).count()
        + decision.quotas().filter(|status| is_told(status.exceeded)).count();
    let field = |name: &str| find(&draft, name).map_or_else(Vec::new, |value| read_list(&value));
    let (policies, limits) = (field("RateLimit-Policy"), field("RateLimit"));
    assert_eq!((policies.len(), limits.len()), (rules, rules));
    for (policy, limit) in policies.iter().zip(&limits) {
        assert_eq!(policy.name, limit.name);
        let keys =
            |item: &Item| item.parameters.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert!(keys(policy).iter().all(|key| ["q", "qu", "w"].contains(&key.as_str())));
        assert!(keys(limit).iter().all(|key| ["r", "t"].contains(&key.as_str())));
        assert!(policy.integer("q").is_some_and(|quota| quota > 0));
        assert!(policy.integer("w").is_none_or(|seconds| seconds > 0));
        assert!(limit.integer("r").is_some_and(|remaining| remaining >= 0));
        assert!(limit.integer("t").is_none_or(|seconds| seconds >= 0));
        // A client waits for Retry-After, and no rule says that it has to wait longer.
        let wait = wait.map(|seconds| i64::try_from(seconds).expect("few"));
        assert!(wait.is_none_or(|wait| limit.integer("t").is_none_or(|t| t <= wait)));
    }
}
