//! What is drawn: from the ends of every type as well as from the middle.

use chrono::{DateTime, NaiveDate, Utc};
use limitry::rules::{Algorithm, Enforcement, Overflow, Threshold};
use limitry::time::Tz;
use limitry::{
    Amount, Condition, Event, Metric, Period, Quota, RateLimit, RuleSet, Timestamp, Window,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;
use std::time::Duration;

/// Texts that are wrong in some place or other, and a few that are right.
pub(super) fn text() -> BoxedStrategy<String> {
    prop_oneof![
        4 => select(vec!["c", "gpt-4", "team", "customer_id", "model", "a_b", "customer_plan"])
            .prop_map(str::to_owned),
        1 => select(vec!["", " ", "\0", "\n", "\u{7f}", "\u{85}", "\u{feff}"])
            .prop_map(str::to_owned),
        1 => (0_usize..4).prop_map(|over| "x".repeat(254 + over)),
        1 => (0_usize..4).prop_map(|over| "\u{1f600}".repeat(62 + over)),
        1 => ".{0,20}",
        1 => "\\PC{0,300}",
    ]
    .boxed()
}

/// The largest amount of an event.
pub(super) const LARGEST: u64 = 1_000_000_000_000_000;

pub(super) fn number() -> BoxedStrategy<u64> {
    let edges = [0, 1 << 31, 1 << 32, LARGEST, 1 << 53, 1 << 61, 1 << 62, 1 << 63, u64::MAX];
    prop_oneof![
        0_u64..10,
        (select(edges.to_vec()), -2_i64..=2)
            .prop_map(|(edge, off)| edge.saturating_add_signed(off)),
        any::<u64>(),
    ]
    .boxed()
}

/// Any amount, of adjustments: the ends of what one may be, and beyond.
pub(super) fn amount() -> impl Strategy<Value = Amount> {
    let most = i128::from(LARGEST) * 1_000_000;
    let ends = vec![i128::MIN, i128::MAX, -most - 1, -most, most, most + 1, 0, 1];
    prop_oneof![
        2 => any::<i64>().prop_map(Amount::from),
        1 => any::<i128>().prop_map(Amount::from_millionths),
        2 => select(ends).prop_map(Amount::from_millionths),
    ]
}

pub(super) fn length() -> BoxedStrategy<Duration> {
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
    .boxed()
}

/// Instants of this era, and the ends of every line: chrono's, the calendar's, Unix time's.
pub(super) fn instant() -> BoxedStrategy<DateTime<Utc>> {
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
    .boxed()
}

pub(super) fn timestamp() -> BoxedStrategy<Timestamp> {
    prop_oneof![
        4 => instant().prop_map(Timestamp::from),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
        1 => (any::<i64>(), any::<u32>()).prop_map(|(s, n)| Timestamp::new(s, n)),
    ]
    .boxed()
}

/// Any JSON at all.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
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

pub(super) fn metric() -> BoxedStrategy<Metric> {
    prop_oneof![
        Just(Metric::TotalEvents),
        Just(Metric::TotalTokens),
        Just(Metric::TotalCostCents),
        select(vec!["input_tokens", "latency_ms", "images", "tokens"]).prop_map(Metric::value),
        text().prop_map(|name| Metric::value(&name)),
        text().prop_map(Metric::unique),
    ]
    .boxed()
}

pub(super) fn period() -> impl Strategy<Value = Period> {
    prop_oneof![
        Just(Period::Hour),
        Just(Period::Day),
        Just(Period::Week),
        Just(Period::Month),
        Just(Period::Year),
        Just(Period::AllTime),
        Just(Period::Concurrent),
        length().prop_map(Period::rolling),
    ]
}

fn condition() -> BoxedStrategy<Condition> {
    let list = || prop::collection::vec(text(), 0..3);
    prop_oneof![
        2 => text().prop_map(Condition::Is),
        1 => list().prop_map(Condition::one_of),
        1 => prop::collection::vec("[a-z]{1,2}", 60..70).prop_map(Condition::one_of),
        1 => text().prop_map(Condition::Prefix),
        1 => list().prop_map(Condition::none_of),
        1 => Just(Condition::Present),
        1 => Just(Condition::Absent),
    ]
    .boxed()
}

prop_compose! {
    /// A rate limit: mostly a valid one, with numbers from the ends, else any at all.
    fn drawn_rate_limit()(
        good in prop::bool::weighted(0.93),
        texts in (text(), prop::option::weighted(0.2, text()), prop::option::weighted(0.2, text())),
        filters in prop::collection::btree_map(text(), condition(), 0..3),
        good_filter in prop::option::of(select(vec![
            ("model", "gpt-4".into()), ("team", "a".into()), ("customer_id", "c".into()),
            ("event_type", "call".into()), ("model", Condition::prefix("gpt")),
            ("model", ["gpt-4", "o3"].into()), ("team", Condition::not("b")),
            ("team", Condition::Present), ("provider", Condition::Absent),
        ])),
        in_policy in prop::bool::weighted(0.2),
        per in prop::collection::btree_set(
            select(vec!["customer_id", "model", "team", "customer_plan"]), 0..3,
        ),
        bad_per in prop::collection::vec(text(), 0..3),
        numbers in (number(), prop::option::of(number()), prop::option::of(number())),
        window in length(),
        metric in metric(),
        algorithm in select(vec![
            Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow,
        ]),
        enforcement in select(vec![
            Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow,
        ]),
        overflow in select(vec![Overflow::Share, Overflow::Deny, Overflow::Allow]),
        enabled in prop::bool::weighted(0.9),
        priority in prop_oneof![3 => Just(0), 1 => any::<i32>()],
        times in prop::option::weighted(0.3, (timestamp(), prop::option::of(timestamp()))).boxed(),
    ) -> RateLimit {
        let mut rule = RateLimit::new(texts.0, numbers.0, Window::Every(window)).enabled(enabled);
        (rule.algorithm, rule.enforcement, rule.overflow) = (algorithm, enforcement, overflow);
        let burst = numbers.1.map(Amount::from);
        (rule.burst, rule.max_keys, rule.metric) = (burst, numbers.2, metric);
        if !good {
            rule.priority = priority;
            (rule.starts_at, rule.ends_at) = times.map_or((None, None), |it| (Some(it.0), it.1));
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
        rule.priority = if in_policy { priority } else { 0 };
        if let Some((start, end)) = times {
            (rule.starts_at, rule.ends_at) = (Some(start), end.filter(|end| *end > start));
        }
        rule.per = per.into_iter().map(str::to_owned).collect();
        good_filter.into_iter().fold(rule, |rule, (key, value)| rule.filter(key, value))
    }
}

/// Boxed, as trees of many strategies take much of a stack.
pub(super) fn rate_limit() -> BoxedStrategy<RateLimit> {
    drawn_rate_limit().boxed()
}

pub(super) fn quota() -> BoxedStrategy<Quota> {
    let zone = prop::option::of(select(vec![Tz::Pacific__Apia, Tz::Europe__Berlin]));
    let anchor =
        prop::option::of(select(vec![NaiveDate::MIN, NaiveDate::MAX, NaiveDate::default()]));
    let every = prop::option::of(select(vec![0, 1, 7, 100, 876_600, u32::MAX]));
    let thresholds = [0, 1, 80, 100, 1_000, u32::MAX].map(Threshold::percent).into_iter();
    let ends = [Amount::MIN, Amount::ZERO, Amount::from(1), Amount::MAX].map(Threshold::Amount);
    let thresholds =
        prop::collection::vec(select(thresholds.chain(ends).collect::<Vec<_>>()), 0..3);
    let cut = (zone, anchor, every, thresholds).boxed();
    let values = prop::option::of(select(vec![0, 1, 3, 10_000_000, u32::MAX]));
    let unique = (select(vec!["model", "customer_id", "team"]), values, any::<bool>());
    let unique = (unique, prop::bool::weighted(0.3)).boxed();
    let drawn = (rate_limit(), period(), any::<bool>(), cut, unique);
    let drawn = drawn.prop_map(|(rule, period, late, cut, unique)| {
        let (zone, anchor, every, thresholds) = cut;
        let ((dimension, values, is_unique), first_use) = unique;
        let mut quota = Quota::unlimited(rule.name, rule.metric, period);
        let by_dates = [Period::Day, Period::Week, Period::Month, Period::Year].contains(&period);
        if quota.name != "good" || by_dates {
            (quota.time_zone, quota.anchor) = (zone.map(Into::into), anchor);
            quota.every = every.filter(|every| quota.name != "good" || (1..=100).contains(every));
        }
        quota.limit_value = rule.limit_value;
        (quota.id, quota.policy, quota.max_keys) = (rule.id, rule.policy, rule.max_keys);
        (quota.dimension_filters, quota.per) = (rule.dimension_filters, rule.per);
        (quota.enforcement, quota.overflow) = (rule.enforcement, rule.overflow);
        quota.priority = rule.priority;
        (quota.starts_at, quota.ends_at) = (rule.starts_at, rule.ends_at);
        quota.enabled = rule.enabled || late;
        if quota.policy.as_deref() == Some("limits") {
            quota.policy = Some("quotas".to_owned());
        }
        if quota.name == "good" && period == Period::Concurrent {
            quota.metric = Metric::TotalEvents;
        }
        let drains = matches!(period, Period::Rolling(_) | Period::Concurrent);
        if quota.name != "good" {
            quota.max_values = values;
        } else if is_unique && !drains && quota.limit_value.is_none_or(|limit| limit <= 3_u64) {
            quota.metric = Metric::unique(dimension);
            quota.max_values = Some(values.map_or(3, |values| values.clamp(3, 10_000_000)));
        }
        let is_good = [Period::Hour, Period::Day, Period::Week].contains(&period) && !is_unique;
        if first_use && (quota.name != "good" || is_good) {
            quota.first_use = Some(true);
            if quota.name == "good" {
                (quota.time_zone, quota.anchor) = (None, None);
            }
        }
        quota.alert_thresholds = match (quota.name.as_str(), period) {
            ("good", Period::Concurrent) => Vec::new(),
            ("good", _) => vec![Threshold::amount(1)],
            _ => thresholds,
        };
        if let ("good", Period::Rolling(length)) = (quota.name.as_str(), period) {
            let century = Duration::from_secs(3_155_760_000);
            quota.period = Period::rolling(length.clamp(Duration::from_nanos(1), century));
        }
        quota
    });
    (drawn, prop::bool::weighted(0.15), prop::option::of(number())).prop_map(of_balance).boxed()
}

/// Some take from a balance, and good ones as they should.
fn of_balance((mut quota, takes, opening): (Quota, bool, Option<u64>)) -> Quota {
    if !takes {
        return quota;
    }
    (quota.balance, quota.opening) = (Some("credits".to_owned()), opening.map(Amount::from));
    if quota.name == "good" {
        let cut = Quota::balance("credits", Metric::TotalTokens).per("customer_id").opening(100);
        (quota.metric, quota.period, quota.per) = (cut.metric, cut.period, cut.per);
        (quota.opening, quota.limit_value) = (cut.opening, None);
        (quota.time_zone, quota.anchor, quota.every) = (None, None, None);
        quota.first_use = None;
        (quota.max_keys, quota.max_values) = (None, None);
        quota.alert_thresholds = vec![Threshold::amount(-5), Threshold::amount(90)];
    }
    quota
}

pub(super) fn rule_set() -> impl Strategy<Value = RuleSet> {
    let limits = prop::collection::vec(rate_limit(), 0..4);
    (limits, prop::collection::vec(quota(), 0..4)).prop_map(|(limits, quotas)| {
        let set = limits.into_iter().fold(RuleSet::new(), RuleSet::rate_limit);
        quotas.into_iter().fold(set, RuleSet::quota)
    })
}

prop_compose! {
    pub(super) fn event()(
        good in prop::bool::weighted(0.75),
        ids in (text(), text(), prop::option::of(text()), prop::option::of(text())),
        numbers in prop::array::uniform5(prop::option::of(number())),
        properties in prop::collection::vec((text(), any_json()), 0..3),
        team in prop::option::of(select(vec!["a", "b"])),
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
