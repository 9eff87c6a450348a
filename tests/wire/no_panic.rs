//! Goal: no call panics, on any input: the answer is a value or an error. And what is said is
//! never absurd: nothing left of a limit beyond the limit, no wait on an allowed call.
//!
//! Method: properties over texts, numbers, instants, rule sets, settings, clocks and histories of
//! all verbs, drawn from the ends of every type as well as from the middle, with every answer
//! printed in all its forms; and arbitrary and spoilt bodies through every decoder. The test
//! profile checks overflow and assertions, so that a sum that wraps is a panic.

use std::fmt::{Debug, Display};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use limitry::{
    Algorithm, Amount, Clock, Decision, Enforcement, Engine, Event, EventId, EventQuery,
    HeaderDialect, ManualClock, Metric, Outcome, Overflow, Period, Quota, QuotaUpdate, RateLimit,
    RateLimitUpdate, Recording, RuleSet, Standing, SyncOptions, Timestamp, TrackError, Window,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// So many cases, or `LIMITRY_CASES`; the seeds of failures are kept beside this file.
fn config(cases: u32) -> ProptestConfig {
    let given = std::env::var("LIMITRY_CASES").ok().and_then(|text| text.parse().ok());
    let seeds = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig {
        cases: given.unwrap_or(cases),
        failure_persistence: Some(Box::new(seeds)),
        ..ProptestConfig::default()
    }
}

/// Texts that are wrong in some place or other, and a few that are right.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["c", "gpt-4", "team", "customer_id", "model", "a_b"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", " ", "\0", "\n", "\u{7f}", "\u{85}", "\u{feff}"])
            .prop_map(str::to_owned),
        1 => (0_usize..4).prop_map(|over| "x".repeat(254 + over)),
        1 => (0_usize..4).prop_map(|over| "\u{1f600}".repeat(62 + over)),
        1 => ".{0,20}",
        1 => "\\PC{0,300}",
    ]
}

/// The largest amount of an event.
const LARGEST: u64 = 1_000_000_000_000_000;

fn number() -> impl Strategy<Value = u64> {
    let edges = [0, 1 << 31, 1 << 32, LARGEST, 1 << 53, 1 << 61, 1 << 62, 1 << 63, u64::MAX];
    prop_oneof![
        0_u64..10,
        (prop::sample::select(edges.to_vec()), -2_i64..=2)
            .prop_map(|(edge, off)| edge.saturating_add_signed(off)),
        any::<u64>(),
    ]
}

fn length() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        Just(Duration::from_secs(3_155_760_000)),
        Just(Duration::new(3_155_760_000, 1)),
        (1_u64..1_000).prop_map(Duration::from_nanos),
        (1_u64..100_000).prop_map(Duration::from_secs),
        any::<u64>().prop_map(Duration::from_nanos),
        (any::<u64>(), 0_u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n)),
    ]
}

/// Instants of this era, and the ends of every line: chrono's, the calendar's, Unix time's.
fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    let from = |text: &str| text.parse::<DateTime<Utc>>().expect("an instant");
    prop_oneof![
        4 => (0_i64..400_000_000, 0_u32..1_000_000_000).prop_map(|(seconds, nanos)| {
            DateTime::from_timestamp(1_500_000_000 + seconds, nanos).expect("this era")
        }),
        1 => Just(DateTime::<Utc>::MIN_UTC),
        1 => Just(DateTime::<Utc>::MAX_UTC),
        1 => Just(from("9999-12-31T23:59:59.999999999Z")),
        1 => Just(from("1969-12-31T23:59:59.999999999Z")),
        1 => Just(from("1900-02-28T12:00:00Z")),
        1 => Just(from("0000-01-01T00:00:00Z")),
        1 => Just(from("2016-12-31T23:59:60.5Z")),
        1 => Just(DateTime::<Utc>::UNIX_EPOCH),
        1 => (i64::MIN..=i64::MAX).prop_map(|seconds| {
            DateTime::from_timestamp(seconds, 1).unwrap_or(DateTime::<Utc>::MAX_UTC)
        }),
    ]
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => instant().prop_map(Timestamp::from),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
        1 => (any::<i64>(), any::<u32>()).prop_map(|(s, n)| Timestamp::new(s, n)),
    ]
}

/// Any JSON at all.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn metric() -> impl Strategy<Value = Metric> {
    prop_oneof![
        Just(Metric::TotalEvents),
        Just(Metric::TotalTokens),
        Just(Metric::TotalCostCents),
        prop::sample::select(vec!["input_tokens", "latency_ms", "images", "tokens"])
            .prop_map(Metric::value),
        text().prop_map(|name| Metric::value(&name)),
    ]
}

fn period() -> impl Strategy<Value = Period> {
    prop_oneof![
        Just(Period::Hour),
        Just(Period::Day),
        Just(Period::Week),
        Just(Period::Month),
        Just(Period::Year),
        Just(Period::AllTime),
        length().prop_map(Period::rolling),
    ]
}

prop_compose! {
    /// A rate limit: mostly a valid one, with numbers from the ends, else any at all.
    fn rate_limit()(
        good in prop::bool::weighted(0.93),
        texts in (text(), prop::option::weighted(0.2, text()), prop::option::weighted(0.2, text())),
        filters in prop::collection::btree_map(text(), text(), 0..3),
        good_filter in prop::option::of(prop::sample::select(vec![
            ("model", "gpt-4"), ("team", "a"), ("customer_id", "c"), ("event_type", "call"),
        ])),
        in_policy in prop::bool::weighted(0.2),
        per in prop::collection::btree_set(
            prop::sample::select(vec!["customer_id", "model", "team"]), 0..3,
        ),
        bad_per in prop::collection::vec(text(), 0..3),
        numbers in (number(), prop::option::of(number()), prop::option::of(number())),
        window in length(),
        metric in metric(),
        algorithm in prop::sample::select(vec![
            Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow,
        ]),
        enforcement in prop::sample::select(vec![
            Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow,
        ]),
        overflow in prop::sample::select(vec![Overflow::Share, Overflow::Deny, Overflow::Allow]),
        enabled in prop::bool::weighted(0.9),
    ) -> RateLimit {
        let mut rule = RateLimit::new(texts.0, numbers.0, Window::Every(window)).enabled(enabled);
        (rule.algorithm, rule.enforcement, rule.overflow) = (algorithm, enforcement, overflow);
        let burst = numbers.1.map(Amount::from);
        (rule.burst, rule.max_keys, rule.metric) = (burst, numbers.2, metric);
        if !good {
            (rule.id, rule.policy) = (texts.1, texts.2);
            (rule.dimension_filters, rule.per) = (filters, bad_per);
            return rule;
        }
        "good".clone_into(&mut rule.name);
        let known = ["total_events", "total_tokens", "total_cost_cents", "latency_ms"];
        let most = if known.contains(&rule.metric.to_string().as_str()) {
            1_u64 << 62
        } else {
            rule.metric = Metric::value("images");
            (1 << 62) / 1_000_000
        };
        let (least, most) = (Amount::from(1), Amount::from(most));
        let limited = numbers.0 % 8 != 5;
        let limit = rule.limit_value.map(|limit| limit.clamp(Amount::ZERO, most));
        rule.limit_value = limit.filter(|_| limited);
        rule.burst = rule.burst.map(|burst| burst.clamp(least, most));
        let blocks = rule.limit_value == Some(Amount::ZERO);
        if algorithm != Algorithm::TokenBucket || blocks || !limited {
            rule.burst = None;
        }
        let length = window.clamp(Duration::from_nanos(1), Duration::from_secs(3_155_760_000));
        rule.window = Window::every(length);
        rule.max_keys = rule.max_keys.map(|keys| keys.max(1));
        rule.policy = in_policy.then(|| "limits".to_owned());
        rule.per = per.into_iter().map(str::to_owned).collect();
        good_filter.into_iter().fold(rule, |rule, (key, value)| rule.filter(key, value))
    }
}

fn quota() -> impl Strategy<Value = Quota> {
    (rate_limit(), period(), any::<bool>()).prop_map(|(rule, period, late)| {
        let mut quota = Quota::unlimited(rule.name, rule.metric, period);
        quota.limit_value = rule.limit_value;
        (quota.id, quota.policy, quota.max_keys) = (rule.id, rule.policy, rule.max_keys);
        (quota.dimension_filters, quota.per) = (rule.dimension_filters, rule.per);
        (quota.enforcement, quota.overflow) = (rule.enforcement, rule.overflow);
        quota.enabled = rule.enabled || late;
        if quota.policy.as_deref() == Some("limits") {
            quota.policy = Some("quotas".to_owned());
        }
        if let ("good", Period::Rolling(length)) = (quota.name.as_str(), period) {
            let century = Duration::from_secs(3_155_760_000);
            quota.period = Period::rolling(length.clamp(Duration::from_nanos(1), century));
        }
        quota
    })
}

fn rule_set() -> impl Strategy<Value = RuleSet> {
    let limits = prop::collection::vec(rate_limit(), 0..4);
    (limits, prop::collection::vec(quota(), 0..4)).prop_map(|(limits, quotas)| {
        let set = limits.into_iter().fold(RuleSet::new(), RuleSet::rate_limit);
        quotas.into_iter().fold(set, RuleSet::quota)
    })
}

prop_compose! {
    fn event()(
        good in prop::bool::weighted(0.75),
        ids in (text(), text(), prop::option::of(text()), prop::option::of(text())),
        numbers in prop::array::uniform5(prop::option::of(number())),
        properties in prop::collection::vec((text(), any_json()), 0..3),
        team in prop::option::of(prop::sample::select(vec!["a", "b"])),
        amounts in prop::collection::vec((text(), any::<i128>()), 0..2),
        value in prop_oneof![
            any::<f64>().prop_map(|value| value.to_string()), text(), "[0-9]{1,40}(\\.[0-9]{1,8})?",
        ],
        key in prop::option::weighted(0.3, text()),
        timestamp in prop::option::weighted(0.3, instant()),
    ) -> Event<'static> {
        let mut event = if good {
            Event::new("c", "call").model("gpt-4")
        } else {
            Event::new(ids.0, ids.1)
        };
        let most = if good { LARGEST } else { u64::MAX };
        if !good {
            event = ids.2.into_iter().fold(event, Event::model);
            event = ids.3.into_iter().fold(event, Event::provider);
            for (key, value) in properties {
                event = event.property(key, value);
            }
            event = event.value("images", value);
            for (name, millionths) in amounts {
                event = event.value(name, Amount::from_millionths(millionths));
            }
        }
        let setters = [
            Event::input_tokens, Event::output_tokens, Event::total_tokens, Event::cost_cents,
            Event::latency_ms,
        ];
        for (set, number) in setters.into_iter().zip(numbers) {
            event = number.map(|number: u64| number.min(most)).into_iter().fold(event, set);
        }
        event = team.into_iter().fold(event, |event, team| event.property("team", team));
        event = key.into_iter().fold(event, Event::idempotency_key);
        timestamp.into_iter().fold(event, Event::timestamp)
    }
}

/// A clock that shows what it was given, in turn, whatever it claims.
#[derive(Debug)]
struct Scripted {
    readings: Vec<Timestamp>,
    next: AtomicUsize,
    claims_monotonic: bool,
}

impl Clock for Scripted {
    fn now(&self) -> Timestamp {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.readings[next % self.readings.len()]
    }

    fn is_monotonic(&self) -> bool {
        self.claims_monotonic
    }
}

/// What somebody may do to an engine.
#[derive(Clone, Debug)]
enum Act {
    Track,
    Check,
    Record,
    Standing,
    Explain,
    Batch,
    AddLimit(RateLimit),
    AddQuota(Quota),
    UpdateLimit(RateLimitUpdate),
    UpdateQuota(QuotaUpdate),
    Remove,
    Sync(RuleSet, bool, bool),
    Advance(Duration),
    Set(DateTime<Utc>),
    LookAround,
}

fn act() -> impl Strategy<Value = Act> {
    let update = rate_limit().prop_map(|rule| {
        let mut update = RateLimitUpdate::new().window(rule.window);
        update.limit_value = Some(rule.limit_value);
        let update = update.burst(rule.burst).max_keys(rule.max_keys).algorithm(rule.algorithm);
        Act::UpdateLimit(update.enforcement(rule.enforcement).overflow(rule.overflow))
    });
    let quota_update = quota().prop_map(|rule| {
        let mut update = QuotaUpdate::new().period(rule.period);
        update.limit_value = Some(rule.limit_value);
        Act::UpdateQuota(update.metric(rule.metric).max_keys(rule.max_keys))
    });
    prop_oneof![
        6 => Just(Act::Track),
        1 => Just(Act::Check),
        2 => Just(Act::Record),
        1 => Just(Act::Standing),
        1 => Just(Act::Explain),
        1 => Just(Act::Batch),
        1 => rate_limit().prop_map(Act::AddLimit),
        1 => quota().prop_map(Act::AddQuota),
        1 => update,
        1 => quota_update,
        1 => Just(Act::Remove),
        1 => (rule_set(), any::<bool>(), any::<bool>())
            .prop_map(|(rules, write, keep)| Act::Sync(rules, write, keep)),
        3 => length().prop_map(Act::Advance),
        3 => instant().prop_map(Act::Set),
        1 => Just(Act::LookAround),
    ]
}

fn print(value: &(impl Debug + Display)) {
    assert!(!format!("{value:?}").is_empty());
    assert!(!value.to_string().is_empty());
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data")
}

/// Looks at a decision from all sides.
fn inspect(decision: &Decision, event: &Event<'_>) {
    print(decision);
    let body = json(decision);
    let passes = decision.outcome() != Outcome::Refused;
    assert_eq!(body["allowed"], json!(passes));
    assert_eq!(decision.status_code(), if passes { 201 } else { 429 });
    assert_eq!(decision.retry_after().is_none(), passes, "{decision:?}");
    if let Some(wait) = decision.retry_after() {
        print(&wait);
        assert!(wait.whole_seconds().is_none_or(|seconds| seconds >= 1));
        let hard = decision.rate_limits().any(|status| status.exceeded);
        assert!(hard || decision.quotas().any(|status| status.exceeded), "{decision:?}");
    }
    for dialect in [HeaderDialect::XRateLimit, HeaderDialect::Draft10] {
        for (name, value) in decision.headers_in(dialect) {
            let plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            assert!(plain(name) && plain(&value), "{name}: {value}");
        }
    }
    for status in decision.rate_limits() {
        assert!(!format!("{status:?} {}", json(&status)).is_empty());
        let bounded = status.limit.is_none() || status.remaining <= Amount::from(1_u64 << 62);
        assert!(bounded, "{status:?}");
    }
    for status in decision.quotas() {
        assert!(!format!("{status:?} {}", json(&status)).is_empty());
        assert!(status.limit.is_none_or(|limit| status.remaining <= limit), "{status:?}");
    }
    assert!(!format!("{:?}", decision.clone()).is_empty());
    let (id, printed) = (decision.event_id(), decision.event_id().map(|id| id.to_string()));
    assert_eq!(printed.map(|text| text.parse::<EventId>().expect("as printed")), id);
    assert!(!format!("{event:?} {}", json(event)).is_empty());
}

fn inspect_standing(standing: &Standing) {
    assert!(!format!("{standing:?} {}", json(standing)).is_empty());
    assert_eq!(json(standing)["allowed"], json!(standing.is_allowed()));
}

fn answer(outcome: Result<Decision, TrackError>, event: &Event<'_>) {
    match outcome {
        Ok(decision) => inspect(&decision, event),
        Err(error) => print(&error),
    }
}

/// Lists events, and prints what is found: in no shape where the calendar has no such year.
fn list(engine: &Engine, query: &EventQuery) {
    match engine.events().list(query) {
        Ok(page) => {
            assert_eq!(
                serde_json::to_value(&page).is_ok(),
                serde_json::to_value(page.generic()).is_ok()
            );
            let next = page.next_cursor.unwrap_or_default();
            assert_eq!(engine.events().list(&query.clone().cursor(next)).is_ok(), page.has_more);
        }
        Err(error) => print(&error),
    }
}

/// Does to an engine what `acts` say; `hands` move its clock, if it has any.
fn live(engine: &Engine, hands: Option<&ManualClock>, acts: &[Act], events: &[Event<'static>]) {
    for (turn, act) in acts.iter().enumerate() {
        let event = &events[turn % events.len()];
        let ids = || {
            let rules = engine.rule_set();
            let limits = rules.rate_limits.into_iter().filter_map(|rule| rule.id);
            limits.chain(rules.quotas.into_iter().filter_map(|rule| rule.id)).collect::<Vec<_>>()
        };
        match act.clone() {
            Act::Track => answer(engine.track(event), event),
            Act::Check => answer(engine.check(event), event),
            Act::Record => answer(engine.record(event), event),
            Act::Standing => match engine.standing(event) {
                Ok(standing) => inspect_standing(&standing),
                Err(error) => print(&error),
            },
            Act::Explain => match engine.explain(event) {
                Ok(explanation) => {
                    print(&explanation);
                    json(&explanation);
                }
                Err(error) => print(&error),
            },
            Act::Batch => {
                let answers = engine.track_batch(events);
                assert_eq!(answers.len(), events.len());
                answers.into_iter().zip(events).for_each(|(one, event)| answer(one, event));
                match engine.record_batch(events) {
                    Ok(report) => assert_eq!(report.count + report.duplicates, events.len()),
                    Err(error) => print(&error),
                }
            }
            Act::AddLimit(rule) => engine.add_rate_limit(rule).err().iter().for_each(print),
            Act::AddQuota(rule) => engine.add_quota(rule).err().iter().for_each(print),
            Act::UpdateLimit(update) => ids().iter().for_each(|id| {
                engine.update_rate_limit(id, update.clone()).err().iter().for_each(print);
            }),
            Act::UpdateQuota(update) => ids().iter().for_each(|id| {
                engine.update_quota(id, update.clone()).err().iter().for_each(print);
            }),
            Act::Remove => {
                let first = ids().into_iter().next().unwrap_or_default();
                engine.remove(&first).err().iter().for_each(print);
            }
            Act::Sync(rules, write, keep) => {
                let options = if write { SyncOptions::apply() } else { SyncOptions::preview() };
                let options = if keep { options.keep_missing() } else { options };
                match engine.sync(rules, options) {
                    Ok(report) => assert!(!format!("{report:?} {}", json(&report)).is_empty()),
                    Err(error) => print(&error),
                }
            }
            Act::Advance(by) => hands.iter().for_each(|clock| clock.advance(by)),
            Act::Set(to) => hands.iter().for_each(|clock| clock.set(to.into())),
            Act::LookAround => {
                print(&engine.now());
                assert!(!format!("{engine:?} {:?}", engine.events()).is_empty());
                let newest = engine.events().newest(3);
                assert!(newest.len() <= 3 && engine.live_keys() < 1_000);
                assert!(newest.iter().all(|found| !format!("{found:?}").is_empty()));
                list(engine, &EventQuery::new());
                for rule in engine.rate_limits() {
                    let id = rule.id.clone().expect("made");
                    assert_eq!(engine.rate_limit(&id).as_ref(), Some(&rule));
                    assert!(rule.worst_case().is_none_or(|most| most >= Amount::ZERO));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn no_history_on_a_clock_that_is_set_both_ways_panics(
        rules in rule_set(),
        start in instant(),
        acts in prop::collection::vec(act(), 1..40),
        events in prop::collection::vec(event(), 1..6),
    ) {
        let clock = ManualClock::new(start.into());
        match Engine::builder().clock(clock.clone()).rule_set(rules).build() {
            Ok(engine) => live(&engine, Some(&clock), &acts, &events),
            Err(error) => print(&error),
        }
    }

    #[test]
    fn no_clock_makes_an_engine_panic(
        rules in rule_set(),
        readings in prop::collection::vec(timestamp(), 1..12),
        claims_monotonic: bool,
        acts in prop::collection::vec(act(), 1..40),
        events in prop::collection::vec(event(), 1..6),
    ) {
        let clock = Scripted { readings, next: AtomicUsize::new(0), claims_monotonic };
        if let Ok(engine) = Engine::builder().clock(clock).rule_set(rules).build() {
            live(&engine, None, &acts, &events);
        }
    }

    #[test]
    fn no_setting_makes_an_engine_panic(
        max_keys in number(),
        idempotency_max_keys in number(),
        retention in length(),
        late in length(),
        newest in prop::option::of(number()),
        acts in prop::collection::vec(act(), 1..30),
        events in prop::collection::vec(event(), 1..6),
        start in instant(),
    ) {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let clock = ManualClock::new(start.into());
        let builder = Engine::builder()
            .clock(clock.clone())
            .max_keys(max_keys)
            .idempotency_max_keys(size(idempotency_max_keys))
            .idempotency_retention(retention)
            .late_events(late)
            .recording(newest.map_or(Recording::Off, |newest| Recording::Newest(size(newest))))
            .quota(Quota::new("day", Metric::TotalTokens, 100, Period::Day).per("customer_id"));
        assert!(!format!("{builder:?}").is_empty());
        match builder.build() {
            Ok(engine) => live(&engine, Some(&clock), &acts, &events),
            Err(error) => print(&error),
        }
    }
}

/// Every numeric edge of a rule against every numeric edge of an event, exhaustively.
#[test]
fn the_ends_of_every_number_meet() {
    let limits = [0, 1, 2, (1 << 31) + 1, 1_u64 << 32, (1 << 62) - 1, 1 << 62];
    let costs = [0, 1, 2, 1 << 31, (1 << 31) + 1, 1 << 32, LARGEST - 1, LARGEST];
    let lengths = [1, 59, 60, 61, 1_000_000_007, 3_155_760_000_000_000_000];
    for limit in limits {
        for length in lengths.map(Duration::from_nanos) {
            let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
            let rule = |algorithm| {
                let rule = RateLimit::new("r", limit, Window::every(length));
                rule.algorithm(algorithm).metric(Metric::TotalTokens)
            };
            let bucket = |burst: u64| match rule(Algorithm::TokenBucket) {
                blocks if limit == 0 => blocks,
                rule => rule.burst(burst),
            };
            let quota = |period| Quota::new("q", Metric::TotalTokens, limit, period);
            let soft = Enforcement::Soft;
            let builder = Engine::builder()
                .clock(clock.clone())
                .rate_limit(bucket(1 << 62).enforcement(soft))
                .rate_limit(bucket(1).enforcement(Enforcement::Shadow))
                .rate_limit(rule(Algorithm::FixedWindow).enforcement(soft))
                .rate_limit(rule(Algorithm::SlidingWindow).enforcement(soft))
                .quota(quota(Period::rolling(length)).enforcement(soft))
                .quota(quota(Period::Day).enforcement(soft))
                .quota(quota(Period::AllTime));
            let engine = builder.build().expect("valid");
            for cost in costs {
                let event = Event::new("c", "call").total_tokens(cost);
                answer(engine.track(&event), &event);
                answer(engine.record(&event), &event);
                answer(engine.check(&event), &event);
                inspect_standing(&engine.standing(&event).expect("a valid event"));
                clock.advance(length / 3);
            }
            clock.advance(Duration::MAX);
            let event = Event::new("c", "call").total_tokens(1);
            answer(engine.track(&event), &event);
        }
    }
}

#[test]
fn the_ends_of_every_clock_are_lived_through() {
    let event = Event::new("c", "call").total_tokens(1);
    let ends = [
        Timestamp::MIN,
        Timestamp::new(i64::MIN, 1),
        Timestamp::from(DateTime::<Utc>::MIN_UTC),
        Timestamp::new(-1, 999_999_999),
        Timestamp::UNIX_EPOCH,
        Timestamp::from(DateTime::<Utc>::MAX_UTC),
        Timestamp::new(i64::MAX, 0),
        Timestamp::MAX,
    ];
    for first in ends {
        for second in ends {
            for claims_monotonic in [false, true] {
                let readings = vec![first, first, first, first, second];
                let next = AtomicUsize::new(0);
                let mut builder =
                    Engine::builder().clock(Scripted { readings, next, claims_monotonic });
                for period in [
                    Period::Hour,
                    Period::Week,
                    Period::Month,
                    Period::Year,
                    Period::AllTime,
                    Period::rolling(Duration::from_secs(1)),
                ] {
                    builder = builder.quota(Quota::new("q", Metric::TotalTokens, 3, period));
                }
                for algorithm in
                    [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow]
                {
                    let rule = RateLimit::new("r", 4, Window::Second).algorithm(algorithm);
                    builder = builder.rate_limit(rule);
                }
                let engine = builder.build().expect("valid");
                for _ in 0..8 {
                    answer(engine.track(&event), &event);
                    print(&engine.now());
                    for instant in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
                        let dated = event.clone().timestamp(instant);
                        answer(engine.track(&dated), &dated);
                        answer(engine.record(&dated), &dated);
                    }
                }
            }
        }
    }
}

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
            for rule in engine.rate_limits() {
                let id = rule.id.expect("made");
                engine.update_rate_limit(&id, update.clone()).err().iter().for_each(print);
            }
        }
        if let Some(update) = read::<QuotaUpdate>(body) {
            json(&update);
            for rule in engine.quotas() {
                let id = rule.id.expect("made");
                engine.update_quota(&id, update.clone()).err().iter().for_each(print);
            }
        }
        answer(engine.track(&event), &event);
        engine.sync(rules, SyncOptions::apply()).err().iter().for_each(print);
    }
    read::<Window>(body);
    read::<Period>(body);
    read::<Metric>(body);
    read::<Amount>(body);
    read::<EventId>(body);
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
            "enforcement": "soft", "maxKeys": 5, "overflow": "deny"
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
