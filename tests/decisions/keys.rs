//! Goal: an event finds exactly the rules that match it, and exactly its own counter of each. No
//! two partition values ever share a counter, however they are spelled; a missing dimension never
//! matches; of a policy the most specific rule applies, then the newest.
//!
//! Method: worked cases, and two properties: distinct tuples of awkward values against a plain
//! map of counts, and random rule sets and events against a matcher that reads the rules one by
//! one.

use crate::support::{clock, config, track};
use std::collections::{BTreeMap, BTreeSet};

use limitry::errors::{EventError, TrackError};
use limitry::rules::RateLimitUpdate;
use limitry::{
    Decision, Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, RuleSet, Window,
};
use proptest::prelude::*;
use serde_json::json;

fn engine(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    let clock = clock();
    build(Engine::builder().clock(clock)).build().expect("the rules of this test are valid")
}

/// A quota without end that counts the events of each value of `dimensions`.
fn count_by(dimensions: &[&str]) -> Quota {
    let quota = Quota::new("count", Metric::TotalEvents, 1_u64 << 40, Period::AllTime);
    dimensions.iter().fold(quota, |quota, dimension| quota.per(*dimension))
}

/// What is used of the one quota that matches.
fn used(engine: &Engine, event: &Event<'_>) -> u64 {
    let standing = engine.standing(event).expect("a valid event");
    let mut used = standing.quotas().map(|status| status.used.to_u64_ceil());
    let first = used.next().expect("one quota matches");
    assert_eq!(used.next(), None, "one quota matches");
    first
}

/// The ids of the rules that a decision lists, in its order.
fn ids(decision: &Decision) -> Vec<String> {
    let limits = decision.rate_limits().map(|status| status.id.into_owned());
    limits.chain(decision.quotas().map(|status| status.id.into_owned())).collect()
}

fn call<'a>() -> Event<'a> {
    Event::new("c", "call")
}

fn pair<'a>(a: &'a str, b: &'a str) -> Event<'a> {
    call().property("x", a).property("y", b)
}

#[test]
fn neighbours_of_two_values_do_not_run_into_each_other() {
    let engine = engine(|builder| builder.quota(count_by(&["x", "y"])));
    let pairs = [("a_b", "c"), ("a", "b_c"), ("a_", "b_c"), ("a_b_", "c"), ("a_b_c", " ")];
    for (count, (a, b)) in (1..).zip(pairs) {
        for _ in 0..count {
            let _ = track(&engine, &pair(a, b));
        }
    }
    for (count, (a, b)) in (1..).zip(pairs) {
        assert_eq!(used(&engine, &pair(a, b)), count, "({a:?}, {b:?})");
    }
    assert_eq!(engine.live_keys(), 5);
}

#[test]
fn lengths_around_whole_words_and_prefixes_are_keys_of_their_own() {
    let engine = engine(|builder| builder.quota(count_by(&["x"])));
    // Every length from 1 to 256 of one letter: each is a prefix of all longer ones.
    let texts: Vec<String> = (1..=256).map(|length| "x".repeat(length)).collect();
    for text in &texts {
        for _ in 0..=text.len() % 3 {
            let _ = track(&engine, &call().property("x", text));
        }
    }
    for text in &texts {
        let expected = text.len() as u64 % 3 + 1;
        assert_eq!(used(&engine, &call().property("x", text)), expected, "{} bytes", text.len());
    }
    assert_eq!(engine.live_keys(), 256);
}

#[test]
fn values_that_look_alike_are_not_the_same() {
    let engine = engine(|builder| builder.quota(count_by(&["x"])));
    let texts = [
        " ",
        "  ",
        "\u{a0}",
        "\u{200b}",
        "\u{feff}",
        "0",
        "00",
        "null",
        "a",
        "A",
        "\u{e9}",
        "e\u{301}",
        "\u{ff41}",
        "\u{1f600}",
        "\u{10ffff}",
        "~",
        "12345678",
        "12345678 ",
    ];
    for (count, text) in (1..).zip(texts) {
        for _ in 0..count {
            let _ = track(&engine, &call().property("x", text));
        }
    }
    for (count, text) in (1..).zip(texts) {
        assert_eq!(used(&engine, &call().property("x", text)), count, "{text:?}");
    }
}

#[test]
fn the_order_of_the_dimensions_of_a_partition_means_nothing_and_that_of_the_values_does() {
    let engine = engine(|builder| {
        builder.quota(count_by(&["x", "y"]).id("xy")).quota(count_by(&["y", "x"]).id("yx"))
    });
    let _ = track(&engine, &pair("1", "2"));
    let standing = engine.standing(&pair("1", "2")).expect("a valid event");
    assert_eq!(
        standing.quotas().map(|status| status.used.to_u64_ceil()).collect::<Vec<_>>(),
        [1, 1]
    );
    let standing = engine.standing(&pair("2", "1")).expect("a valid event");
    assert_eq!(
        standing.quotas().map(|status| status.used.to_u64_ceil()).collect::<Vec<_>>(),
        [0, 0]
    );
    assert_eq!(engine.live_keys(), 1, "rules of one partition share a key");
}

#[test]
fn rules_of_one_partition_count_by_themselves() {
    let tokens = Quota::new("tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id");
    let filtered = count_by(&["customer_id"]).id("gpt").filter("model", "gpt-4");
    let engine = engine(|builder| {
        builder.quota(tokens.id("tokens")).quota(count_by(&["customer_id"])).quota(filtered)
    });
    let _ = track(&engine, &call().model("gpt-4").total_tokens(7));
    let _ = track(&engine, &call().model("other").total_tokens(5));
    let standing = engine.standing(&call().model("gpt-4")).expect("a valid event");
    assert_eq!(
        standing.quotas().map(|status| status.used.to_u64_ceil()).collect::<Vec<_>>(),
        [12, 2, 1]
    );
}

#[test]
fn a_filter_chooses_and_a_partition_splits() {
    let engine = engine(|builder| {
        let shared = count_by(&[]).id("shared").filter("team", "eng");
        let split = count_by(&["team"]).id("split");
        let both = count_by(&["team"]).id("both").filter("team", "eng");
        builder.quota(shared).quota(split).quota(both)
    });
    let eng = |customer| Event::new(customer, "call").property("team", "eng");
    let ops = |customer| Event::new(customer, "call").property("team", "ops");
    assert_eq!(ids(&track(&engine, &eng("a"))), ["shared", "split", "both"]);
    assert_eq!(ids(&track(&engine, &eng("b"))), ["shared", "split", "both"]);
    assert_eq!(ids(&track(&engine, &ops("a"))), ["split"]);
    let standing = engine.standing(&eng("c")).expect("a valid event");
    assert_eq!(
        standing.quotas().map(|status| status.used.to_u64_ceil()).collect::<Vec<_>>(),
        [2, 2, 2]
    );
    let standing = engine.standing(&ops("c")).expect("a valid event");
    assert_eq!(standing.quotas().map(|status| status.used.to_u64_ceil()).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_missing_dimension_matches_neither_a_filter_nor_a_partition() {
    let engine = engine(|builder| {
        let by_model = count_by(&["model"]).id("by model");
        let by_team = count_by(&["customer_id", "team"]).id("by team");
        let of_team = count_by(&[]).id("of team").filter("team", "eng");
        let all = count_by(&[]).id("all");
        builder.quota(by_model).quota(by_team).quota(of_team).quota(all)
    });
    assert_eq!(ids(&track(&engine, &call())), ["all"]);
    assert_eq!(ids(&track(&engine, &call().model("m"))), ["by model", "all"]);
    let eng = call().property("team", "eng");
    assert_eq!(ids(&track(&engine, &eng)), ["by team", "of team", "all"]);
    // Only strings are dimensions.
    for value in [json!(7), json!(true), json!(null), json!(["eng"]), json!({"team": "eng"})] {
        assert_eq!(ids(&track(&engine, &call().property("team", value))), ["all"]);
    }
}

#[test]
fn a_built_in_dimension_wins_over_a_property_of_its_name() {
    let engine = engine(|builder| {
        let built_in = count_by(&[]).id("built in").filter("customer_id", "c");
        let property = count_by(&[]).id("property").filter("customer_id", "p");
        let model = count_by(&[]).id("model").filter("model", "m");
        builder.quota(built_in).quota(property).quota(model)
    });
    let event = call().property("customer_id", "p").property("model", "m");
    assert_eq!(ids(&track(&engine, &event)), ["built in"]);
}

#[test]
fn a_rule_that_is_off_is_neither_evaluated_nor_listed_nor_chosen() {
    let engine = engine(|builder| {
        let off = RateLimit::new("off", 1, Window::Hour).id("off").enabled(false);
        let special = RateLimit::new("special", 1, Window::Hour).id("special").policy("p");
        let default = RateLimit::new("default", 5, Window::Hour).id("default").policy("p");
        builder
            .rate_limit(off)
            .rate_limit(special.filter("customer_id", "c").enabled(false))
            .rate_limit(default)
    });
    for _ in 0..5 {
        let decision = track(&engine, &call());
        assert!(decision.is_allowed());
        assert_eq!(ids(&decision), ["default"]);
    }
    engine.rules().update("special", RateLimitUpdate::new().enabled(true)).expect("valid");
    let decision = track(&engine, &call());
    assert!(decision.is_allowed());
    assert_eq!(ids(&decision), ["special"]);
}

#[test]
fn a_policy_applies_its_most_specific_match_alone() {
    let rule = |id: &str| Quota::new(id, Metric::TotalEvents, 100, Period::AllTime).id(id);
    let engine = engine(|builder| {
        builder
            .quota(rule("all").policy("plan"))
            .quota(
                rule("gpt of c").policy("plan").filter("model", "gpt").filter("customer_id", "c"),
            )
            .quota(rule("gpt").policy("plan").filter("model", "gpt"))
            .quota(rule("free").filter("model", "gpt"))
            .quota(rule("of d").policy("plan").filter("customer_id", "d").per("team"))
    });
    let of = |customer, model| Event::new(customer, "call").model(model);
    assert_eq!(ids(&track(&engine, &of("x", "other"))), ["all"]);
    assert_eq!(ids(&track(&engine, &of("x", "gpt"))), ["gpt", "free"]);
    assert_eq!(ids(&track(&engine, &of("c", "gpt"))), ["gpt of c", "free"]);
    assert_eq!(ids(&track(&engine, &of("c", "other"))), ["all"]);
    // A rule that lacks its partition's dimension does not match, so it does not compete.
    assert_eq!(ids(&track(&engine, &of("d", "other"))), ["all"]);
    assert_eq!(ids(&track(&engine, &of("d", "other").property("team", "t"))), ["of d"]);
}

#[test]
fn of_equally_specific_rules_the_newest_applies_also_after_changes() {
    let rule = |id: &str, dimension: &str| {
        RateLimit::new(id, 100, Window::Hour).id(id).policy("plan").filter(dimension, "v")
    };
    let engine =
        engine(|builder| builder.rate_limit(rule("first", "x")).rate_limit(rule("second", "y")));
    let both = pair("v", "v");
    assert_eq!(ids(&track(&engine, &both)), ["second"]);
    engine.rules().add(rule("third", "x")).expect("valid");
    assert_eq!(ids(&track(&engine, &both)), ["third"]);
    // An update is no new rule.
    engine.rules().update("first", RateLimitUpdate::new().limit(7)).expect("valid");
    assert_eq!(ids(&track(&engine, &both)), ["third"]);
    engine.rules().remove("third").expect("it is there");
    assert_eq!(ids(&track(&engine, &both)), ["second"]);
    let narrower = RateLimitUpdate::new().filter("x", "v").filter("y", "v");
    engine.rules().update("first", narrower).expect("valid");
    assert_eq!(ids(&track(&engine, &both)), ["first"]);
}

#[test]
fn both_sides_of_every_limit_on_an_events_texts() {
    let engine = engine(|builder| builder.quota(count_by(&[])));
    let (most, more) = ("x".repeat(256), "x".repeat(257));
    let (key, longer_key) = ("k".repeat(64), "k".repeat(65));
    let wide = "\u{1f600}".repeat(64);
    let good = [
        Event::new(most.as_str(), most.as_str()).model(most.as_str()).provider(most.as_str()),
        Event::new(wide.as_str(), "\u{e9}").property(key.as_str(), most.as_str()),
        call().value(key.as_str(), 1).idempotency_key(most.as_str()),
        call().property("k", json!("\u{20}")).property("AZaz09_", true),
    ];
    for event in good {
        assert!(track(&engine, &event).is_allowed(), "{event:?}");
    }
    let wider = format!("{wide}x");
    let bad = [
        ("customer_id", Event::new("", "call")),
        ("customer_id", Event::new(more.as_str(), "call")),
        ("customer_id", Event::new(wider.as_str(), "call")),
        ("customer_id", Event::new("a\nb", "call")),
        ("event_type", Event::new("c", "")),
        ("event_type", Event::new("c", "\u{0}")),
        ("event_type", Event::new("c", "\u{7f}")),
        ("model", call().model(more.as_str())),
        ("model", call().model("\u{85}")),
        ("provider", call().provider("")),
        ("k", call().property("k", more.as_str())),
        ("k", call().property("k", "")),
        ("k", call().property("k", "\t")),
        ("properties", call().property(longer_key.as_str(), "v")),
        ("properties", call().property("", 1)),
        ("properties", call().property("a-b", 1)),
        ("properties", call().property("\u{e9}", 1)),
        ("values", call().value(longer_key.as_str(), 1)),
        ("values", call().value("a b", 1)),
        ("idempotency_key", call().idempotency_key("")),
        ("idempotency_key", call().idempotency_key(more.as_str())),
        ("idempotency_key", call().idempotency_key("\r")),
        ("total_tokens", call().input_tokens(1_000_000_000_000_000).output_tokens(1)),
        ("input_tokens", call().value("input_tokens", -1)),
        ("latency_ms", call().value("latency_ms", "0.5")),
    ];
    for (name, event) in bad {
        let error = engine.track(&event).expect_err(name);
        let TrackError::Event(EventError::Invalid { field, rule, .. }) = &error else {
            unreachable!("{error:?}")
        };
        assert_eq!(&**field, name, "{error}");
        assert!(!rule.is_empty() && error.to_string().starts_with(name), "{error}");
        assert_eq!(engine.check(&event).expect_err(name), error);
        assert_eq!(engine.record(&event).expect_err(name), error);
        assert_eq!(engine.standing(&event).expect_err(name), error);
    }
    assert_eq!(used(&engine, &call()), 4, "an error counts nowhere");
}

/// Texts that a careless key would confuse.
fn awkward_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "_",
        ",",
        "|",
        ":",
        "\"",
        "\\",
        " ",
        "\u{a0}",
        "\u{e9}",
        "\u{1f600}",
        "0",
        "abcdefgh",
        "abcdefg",
        "12345678",
    ]);
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn distinct_tuples_never_share_a_counter(
        tuples in prop::collection::vec(
            ((awkward_text(), awkward_text(), awkward_text()), 1_u64..4),
            1..40,
        ),
    ) {
        let engine = engine(|builder| builder.quota(count_by(&["x", "y", "z"])));
        let mut expected: BTreeMap<&(String, String, String), u64> = BTreeMap::new();
        let event = |(x, y, z): &(String, String, String)| {
            call().property("x", x.clone()).property("y", y.clone()).property("z", z.clone())
        };
        for (tuple, count) in &tuples {
            for _ in 0..*count {
                let _ = track(&engine, &event(tuple));
            }
            *expected.entry(tuple).or_default() += count;
        }
        for (tuple, count) in &expected {
            prop_assert_eq!(used(&engine, &event(tuple)), *count, "{:?}", tuple);
        }
        prop_assert_eq!(engine.live_keys(), expected.len() as u64);
    }
}

const DIMENSIONS: [&str; 6] = ["customer_id", "event_type", "model", "provider", "team", "tier"];
const VALUES: [&str; 3] = ["a", "b", "ab"];

/// A rule as the naive matcher reads it.
#[derive(Clone, Debug)]
struct Plain {
    is_quota: bool,
    filter: BTreeMap<&'static str, &'static str>,
    per: BTreeSet<&'static str>,
    policy: Option<&'static str>,
    enabled: bool,
}

fn plain_rule() -> impl Strategy<Value = Plain> {
    let dimension = || prop::sample::select(DIMENSIONS.to_vec());
    let value = prop::sample::select(VALUES.to_vec());
    let filter = prop::collection::btree_map(dimension(), value, 0..4);
    let per = prop::collection::btree_set(dimension(), 0..3);
    let policy = prop::option::weighted(0.4, prop::sample::select(vec!["p", "q"]));
    (any::<bool>(), filter, per, policy, prop::bool::weighted(0.9)).prop_map(
        |(is_quota, filter, per, policy, enabled)| {
            // A policy is for rules of one kind.
            let policy = policy.map(|name| match (name, is_quota) {
                ("p", false) => "limits p",
                ("p", true) => "quotas p",
                (_, false) => "limits q",
                (_, true) => "quotas q",
            });
            Plain { is_quota, filter, per, policy, enabled }
        },
    )
}

/// The values of an event's dimensions; the first two are always there.
fn plain_event() -> impl Strategy<Value = Vec<Option<&'static str>>> {
    let value = || prop::sample::select(VALUES.to_vec());
    let needed = prop::collection::vec(value().prop_map(Some), 2);
    let others = prop::collection::vec(prop::option::of(value()), DIMENSIONS.len() - 2);
    (needed, others).prop_map(|(needed, others)| [needed, others].concat())
}

fn event_of(values: &[Option<&'static str>]) -> Event<'static> {
    let mut event = Event::new(values[0].expect("given"), values[1].expect("given"));
    for (dimension, value) in DIMENSIONS.iter().zip(values).skip(2) {
        event = match (*dimension, *value) {
            (_, None) => event,
            ("model", Some(value)) => event.model(value),
            ("provider", Some(value)) => event.provider(value),
            (dimension, Some(value)) => event.property(dimension, value),
        };
    }
    event
}

fn rule_set(rules: &[Plain]) -> RuleSet {
    let mut set = RuleSet::new();
    for (number, rule) in rules.iter().enumerate() {
        let id = format!("rule {number}");
        if rule.is_quota {
            let mut quota = count_by(&[]).id(id).enabled(rule.enabled);
            quota.per = rule.per.iter().map(ToString::to_string).collect();
            quota.policy = rule.policy.map(str::to_owned);
            for (key, value) in &rule.filter {
                quota = quota.filter(*key, *value);
            }
            set = set.quota(quota);
        } else {
            let mut limit = RateLimit::new("limit", 1_u64 << 40, Window::Hour).id(id);
            limit.enabled = rule.enabled;
            limit.per = rule.per.iter().map(ToString::to_string).collect();
            limit.policy = rule.policy.map(str::to_owned);
            for (key, value) in &rule.filter {
                limit = limit.filter(*key, *value);
            }
            set = set.rate_limit(limit);
        }
    }
    set
}

/// The rules that apply, by reading them one after the other; the later a rule the newer.
fn naive_matches(rules: &[Plain], values: &[Option<&'static str>]) -> BTreeSet<String> {
    let of = |name: &str| {
        let place = DIMENSIONS.iter().position(|dimension| *dimension == name);
        values[place.expect("one of the six")]
    };
    let matching: Vec<(usize, &Plain)> = rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| {
            rule.enabled
                && rule.filter.iter().all(|(key, value)| of(key) == Some(*value))
                && rule.per.iter().all(|key| of(key).is_some())
        })
        .collect();
    // A rule for the very key: it fixes what it, or where it is split by nothing another of its
    // policy, is split by.
    let has_own_key = |rule: &Plain| {
        let fixes = |per: &BTreeSet<_>| per.iter().all(|key| rule.filter.contains_key(key));
        let mut rivals = rules.iter().filter(|other| other.enabled && other.policy == rule.policy);
        let is_split = |other: &&Plain| !other.per.is_empty();
        if is_split(&rule) {
            fixes(&rule.per)
        } else {
            rivals.any(|other| is_split(&other) && fixes(&other.per))
        }
    };
    let rank = |(number, rule): &(usize, &Plain)| (has_own_key(rule), rule.filter.len(), *number);
    let applies = |candidate: &&(usize, &Plain)| {
        let rivals = matching.iter().filter(|(_, rule)| rule.policy == candidate.1.policy);
        candidate.1.policy.is_none() || rivals.map(rank).max() == Some(rank(candidate))
    };
    matching.iter().filter(applies).map(|(number, _)| format!("rule {number}")).collect()
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn the_index_finds_what_a_naive_matcher_finds(
        rules in prop::collection::vec(plain_rule(), 0..24),
        events in prop::collection::vec(plain_event(), 1..24),
    ) {
        let engine = engine(|builder| builder.rule_set(rule_set(&rules)));
        for values in &events {
            let event = event_of(values);
            let expected = naive_matches(&rules, values);
            let decision = track(&engine, &event);
            let listed = ids(&decision);
            let found: BTreeSet<String> = listed.iter().cloned().collect();
            prop_assert_eq!(listed.len(), found.len(), "each rule once");
            prop_assert_eq!(&found, &expected, "{:?}", event);
            prop_assert_eq!(ids(&engine.check(&event).expect("a valid event")), listed);
        }
    }

    /// The same rules, added, changed and removed one by one, find the same.
    #[test]
    fn the_index_is_right_after_any_history_of_changes(
        before in prop::collection::vec(plain_rule(), 0..8),
        after in prop::collection::vec(plain_rule(), 0..12),
        events in prop::collection::vec(plain_event(), 1..12),
    ) {
        let engine = engine(|builder| {
            let mut rules = rule_set(&before);
            rules.rate_limits.iter_mut().for_each(|rule| rule.id = None);
            rules.quotas.iter_mut().for_each(|rule| rule.id = None);
            builder.rule_set(rules)
        });
        for values in &events {
            let _ = track(&engine, &event_of(values));
        }
        let old: Vec<String> = {
            let rules = engine.rules().set();
            let limits = rules.rate_limits.into_iter().filter_map(|rule| rule.id);
            limits.chain(rules.quotas.into_iter().filter_map(|rule| rule.id)).collect()
        };
        let mut old = old.iter();
        for (number, rule) in after.iter().enumerate() {
            // One out, one in; a policy that both kinds would share is not possible here.
            if let Some(id) = old.next() {
                engine.rules().remove(id).expect("it is there");
            }
            let mut one = rule_set(std::slice::from_ref(rule));
            if let Some(mut limit) = one.rate_limits.pop() {
                limit.id = Some(format!("rule {number}"));
                engine.rules().add(limit).expect("valid");
            } else if let Some(mut quota) = one.quotas.pop() {
                quota.id = Some(format!("rule {number}"));
                engine.rules().add(quota).expect("valid");
            }
        }
        for id in old {
            engine.rules().remove(id).expect("it is there");
        }
        for values in &events {
            let found: BTreeSet<String> =
                ids(&track(&engine, &event_of(values))).into_iter().collect();
            prop_assert_eq!(found, naive_matches(&after, values));
        }
    }
}
