//! Goal: a set of rules is checked as a whole, before anything comes of it: all problems at once,
//! each with its rule, its field and the reason, on the right side of every limit. And a rule's
//! stated worst case is never exceeded, and is reached.
//!
//! Method: tables of both sides of each limit, through every door that takes rules; for the worst
//! case an adversary that takes all it can at the moments that hurt most.

use crate::support::{clock, config, date};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use limitry::errors::{BuildError, RulesError};
use limitry::rules::{
    Algorithm, Enforcement, OnMissing, QuotaUpdate, RateLimitUpdate, RuleProblem, RuleSetError,
    SyncOptions,
};
use limitry::time::ManualClock;
use limitry::time::Tz;
use limitry::{
    Amount, Engine, Event, Metric, Period, Quota, RateLimit, RuleSet, Timestamp, Window,
};
use proptest::prelude::*;

const LARGEST: u64 = 1 << 62;
const CENTURY: Duration = Duration::from_secs(3_155_760_000);
const NANOSECOND: Duration = Duration::from_nanos(1);

fn limit() -> RateLimit {
    RateLimit::new("limit", 10, Window::Minute)
}

fn quota() -> Quota {
    Quota::new("quota", Metric::TotalEvents, 10, Period::Day)
}

/// The problems of a set, each as its rule and its field.
fn problems(rules: &RuleSet) -> Vec<(String, String)> {
    let Err(error) = rules.validate() else { return Vec::new() };
    error.problems().iter().map(|p| (p.rule.clone(), p.field.clone())).collect()
}

fn fields(rules: &RuleSet) -> Vec<String> {
    problems(rules).into_iter().map(|(_, field)| field).collect()
}

#[test]
fn all_problems_are_told_at_once_each_with_its_rule_field_and_reason() {
    let text = "x".repeat(257);
    let rules = RuleSet::new()
        .rate_limit(RateLimit::new("", -1, Window::every(Duration::ZERO)))
        .rate_limit(limit().filter("team-id", "").per("a b").per("a b").max_keys(0))
        .rate_limit(limit().algorithm(Algorithm::FixedWindow).burst(5).id("same"))
        .quota(Quota::new(&text, Metric::value("gpu seconds"), LARGEST + 1, Period::Day).id("same"))
        .quota(Quota::new("rolling", Metric::TotalEvents, 1, Period::rolling(Duration::MAX)));
    let error = rules.validate().expect_err("many problems");
    let long = format!("quota {text:?}");
    let expected = [
        ("rate limit #1", "name", "\"\" must be 1 to 256 bytes long"),
        ("rate limit #1", "limitValue", "-1 must be at least 0 and at most 4611686018427387904"),
        ("rate limit #1", "window", "0ns must be at least 1ns and at most 100 years"),
        (
            "rate limit \"limit\"",
            "dimensionFilters.team-id",
            "\"team-id\" must be 1 to 64 ASCII letters, digits or `_`",
        ),
        ("rate limit \"limit\"", "dimensionFilters.team-id", "\"\" must be 1 to 256 bytes long"),
        ("rate limit \"limit\"", "per", "\"a b\" must be 1 to 64 ASCII letters, digits or `_`"),
        ("rate limit \"limit\"", "per", "\"a b\" must be 1 to 64 ASCII letters, digits or `_`"),
        ("rate limit \"limit\"", "per", "\"a b\" is named twice"),
        ("rate limit \"limit\"", "maxKeys", "0 must be at least 1"),
        ("rate limit \"limit\"", "burst", "5 is set, but only a token bucket has a burst"),
        (&long, "name", "must be 1 to 256 bytes long"),
        (&long, "metric", "\"values.gpu seconds\" must be 1 to 64 ASCII letters, digits or `_`"),
        (
            &long,
            "limitValue",
            "4611686018427387905 must be at least 0 and at most 4611686018427387904",
        ),
        (&long, "id", "\"same\" is the id of rate limit \"limit\" too"),
        ("quota \"rolling\"", "period", "must be at least 1ns and at most 100 years"),
    ];
    for (found, (rule, field, reason)) in error.problems().iter().zip(expected) {
        assert_eq!((found.rule.as_str(), found.field.as_str()), (rule, field), "{found}");
        assert!(found.reason.ends_with(reason), "{found}");
        assert!(error.to_string().contains(&found.to_string()), "{error}");
    }
    assert_eq!(error.problems().len(), expected.len());
    assert!(error.to_string().starts_with("15 problems; "), "{error}");
}

#[test]
fn one_problem_is_told_in_one_line() {
    let error = RuleSet::new().quota(quota().max_keys(0)).validate().expect_err("a problem");
    assert_eq!(error.to_string(), "quota \"quota\": maxKeys: 0 must be at least 1");
}

/// A rule without a name is called by its place in its own list, as a file has it.
#[test]
fn a_rule_without_a_name_is_told_by_its_place_in_its_list() {
    let rules = RuleSet::new()
        .rate_limit(limit())
        .quota(quota())
        .rate_limit(RateLimit::new("", 1, Window::Hour))
        .quota(Quota::new("", Metric::TotalEvents, 1, Period::Day));
    let told: Vec<_> = problems(&rules).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(told, ["rate limit #2", "quota #2"]);
}

#[test]
fn every_door_that_takes_rules_says_the_same_and_changes_nothing() {
    let bad = limit().burst(0).max_keys(0);
    let expected = RuleSet::new().rate_limit(bad.clone()).validate().expect_err("two problems");
    assert_eq!(expected.problems().len(), 2);
    let built = Engine::builder().rate_limit(bad.clone()).build().expect_err("two problems");
    assert_eq!(built, BuildError::Invalid(expected.clone()));

    let engine =
        Engine::builder().clock(clock()).rate_limit(limit().id("rl")).quota(quota().id("q"));
    let engine = engine.build().expect("valid");
    let before = engine.rules().set();
    let invalid = |error: RulesError| -> RuleSetError {
        let RulesError::Invalid(error) = error else { unreachable!("{error:?}") };
        error
    };
    let added = engine.rules().add(bad.clone()).expect_err("two problems");
    assert_eq!(invalid(added), expected);
    let update = RateLimitUpdate::new().burst(Amount::ZERO).max_keys(0);
    let updated = engine.rules().update("rl", update).expect_err("two problems");
    assert_eq!(invalid(updated), expected);
    for options in [SyncOptions::apply(), SyncOptions::preview()] {
        let synced = engine.rules().sync(RuleSet::new().rate_limit(bad.clone()), options);
        assert_eq!(invalid(synced.expect_err("two problems")), expected);
    }
    let same_id = engine.rules().add(quota().id("rl")).expect_err("taken");
    assert_eq!(fields_of(invalid(same_id).problems()), ["id"]);
    let other_kind = engine.rules().add(quota().policy("p")).expect("valid").id.expect("made");
    let mixed = engine.rules().update("rl", RateLimitUpdate::new().policy("p".to_owned()));
    assert_eq!(fields_of(invalid(mixed.expect_err("mixed")).problems()), ["policy"]);
    engine.rules().remove(&other_kind).expect("it is there");
    let unknown = engine.rules().update("rl", QuotaUpdate::new().limit(1)).expect_err("no quota");
    assert_eq!(unknown.to_string(), "no quota has the id \"rl\"");
    assert_eq!(engine.rules().set(), before);
}

fn fields_of(problems: &[RuleProblem]) -> Vec<String> {
    problems.iter().map(|problem| problem.field.clone()).collect()
}

#[test]
fn the_engines_own_settings_are_checked_with_the_rules() {
    let engine = Engine::builder()
        .rate_limit(limit().max_keys(0))
        .max_keys(0)
        .idempotency_max_keys(0)
        .idempotency_retention(Duration::from_nanos(86_400_000_000_000 - 1));
    let error = engine.build().expect_err("four problems");
    assert_eq!(
        fields_of(error.problems()),
        ["idempotencyRetention", "maxKeys", "idempotencyMaxKeys", "maxKeys"]
    );
    let engine = Engine::builder()
        .max_keys(1)
        .idempotency_max_keys(1)
        .idempotency_retention(Duration::from_secs(86_400))
        .late_events(Duration::ZERO);
    engine.build().expect("each is just right");
}

/// One side of a limit: the rules, and the field that is wrong, if one is.
type Side = (RuleSet, Option<&'static str>);

fn of_limit(change: impl FnOnce(RateLimit) -> RateLimit) -> RuleSet {
    RuleSet::new().rate_limit(change(limit()))
}

fn of_quota(change: impl FnOnce(Quota) -> Quota) -> RuleSet {
    RuleSet::new().quota(change(quota()))
}

/// Texts: 1 to 256 bytes without control characters; keys: 1 to 64 letters, digits and `_`.
fn sides_of_texts() -> Vec<Side> {
    let wide = "\u{1f600}".repeat(64);
    let wider = format!("{wide}x");
    let texts = [
        ("x".to_owned(), true),
        ("x".repeat(256), true),
        (wide, true),
        (" ".to_owned(), true),
        ("\u{e9} ~".to_owned(), true),
        (String::new(), false),
        ("x".repeat(257), false),
        (wider, false),
        ("a\u{0}".to_owned(), false),
        ("a\u{1f}".to_owned(), false),
        ("a\u{7f}".to_owned(), false),
        ("a\u{9f}".to_owned(), false),
    ];
    let mut sides = Vec::new();
    for (text, good) in &texts {
        let wrong = |field| (!good).then_some(field);
        sides.push((of_limit(|rule| rule.id(text)), wrong("id")));
        sides.push((of_quota(|rule| rule.id(text)), wrong("id")));
        sides.push((of_limit(|rule| rule.policy(text)), wrong("policy")));
        sides.push((of_quota(|rule| rule.policy(text)), wrong("policy")));
        sides.push((of_limit(|rule| rule.filter("k", text)), wrong("dimensionFilters.k")));
        sides.push((of_quota(|rule| rule.filter("k", text)), wrong("dimensionFilters.k")));
        sides.push((of_limit(|rule| rule.metadata("k", text)), wrong("metadata.k")));
        let named = RateLimit::new(text, 1, Window::Hour);
        sides.push((RuleSet::new().rate_limit(named), wrong("name")));
        let named = Quota::new(text, Metric::TotalEvents, 1, Period::Day);
        sides.push((RuleSet::new().quota(named), wrong("name")));
    }
    let keys = [
        ("k".to_owned(), true),
        ("AZaz09_".to_owned(), true),
        ("k".repeat(64), true),
        (String::new(), false),
        ("k".repeat(65), false),
        ("a-b".to_owned(), false),
        ("a.b".to_owned(), false),
        ("\u{e9}".to_owned(), false),
    ];
    for (key, good) in &keys {
        let wrong = |field| (!good).then_some(field);
        sides.push((of_limit(|rule| rule.per(key)), wrong("per")));
        sides.push((of_quota(|rule| rule.per(key)), wrong("per")));
        sides.push((of_limit(|rule| rule.metric(Metric::value(key))), wrong("metric")));
        let field = (!good).then(|| &*format!("dimensionFilters.{key}").leak());
        sides.push((of_quota(|rule| rule.filter(key, "v")), field));
        let field = (!good).then(|| &*format!("metadata.{key}").leak());
        sides.push((of_quota(|rule| rule.metadata(key, "v")), field));
    }
    for (texts, field) in [(16, None), (17, Some("metadata"))] {
        let many =
            |rule| (0..texts).fold(rule, |rule: Quota, n| rule.metadata(format!("k{n}"), "v"));
        sides.push((of_quota(many), field));
    }
    sides
}

fn sides_of_numbers() -> Vec<Side> {
    let images = || Metric::value("images");
    let with_limit = |limit| RateLimit::new("limit", limit, Window::Second);
    let with_quota = |metric, limit| Quota::new("quota", metric, limit, Period::Day);
    let of = |rule: RateLimit| RuleSet::new().rate_limit(rule);
    let of_q = |rule: Quota| RuleSet::new().quota(rule);
    let mut sides = Vec::new();
    // A limit of 0 blocks; a burst of 0 is none.
    for (value, good) in
        [(0, false), (1, true), (LARGEST, true), (LARGEST + 1, false), (u64::MAX, false)]
    {
        let wrong = |field| (!good && (value > 0 || field == "burst")).then_some(field);
        sides.push((of(with_limit(value)), wrong("limitValue")));
        sides.push((of_q(with_quota(Metric::TotalTokens, value)), wrong("limitValue")));
        sides.push((of(limit().burst(value)), wrong("burst")));
        // Named values, which are counted in millionths, have the same limits.
        sides.push((of(with_limit(value).metric(images())), wrong("limitValue")));
        sides.push((of_q(with_quota(images(), value)), wrong("limitValue")));
        sides.push((of(limit().metric(images()).burst(value)), wrong("burst")));
    }
    for (length, good) in [
        (Duration::ZERO, false),
        (NANOSECOND, true),
        (CENTURY, true),
        (CENTURY + NANOSECOND, false),
        (Duration::MAX, false),
    ] {
        let wrong = |field| (!good).then_some(field);
        let limit = RateLimit::new("limit", 1, Window::every(length));
        for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow]
        {
            sides.push((of(limit.clone().algorithm(algorithm)), wrong("window")));
        }
        let rolling = Quota::new("quota", Metric::TotalEvents, 1, Period::rolling(length));
        sides.push((of_q(rolling), wrong("period")));
    }
    let (hour, concurrent) = (Period::Hour, Period::Concurrent);
    for (period, most) in [
        (Period::Hour, 876_600_u32),
        (Period::Day, 36_525),
        (Period::Week, 5_217),
        (Period::Month, 1_200),
        (Period::Year, 100),
        (Period::AllTime, 0),
        (Period::rolling(CENTURY), 0),
        (concurrent, 0),
    ] {
        let quota = || Quota::new("quota", Metric::TotalEvents, 1, period);
        for every in [0, 1, most, most.saturating_add(1), u32::MAX] {
            let good = (1..=most).contains(&every);
            sides.push((of_q(quota().every(every)), (!good).then_some("every")));
        }
        let good = most > 0 && period != hour;
        sides.push((of_q(quota().time_zone(Tz::Europe__Paris)), (!good).then_some("timeZone")));
        let anchor = NaiveDate::from_ymd_opt(2024, 2, 29).expect("a date");
        sides.push((of_q(quota().anchor(anchor)), (!good).then_some("anchor")));
    }
    for (keys, good) in [(0, false), (1, true), (u64::MAX, true)] {
        sides.push((of(limit().max_keys(keys)), (!good).then_some("maxKeys")));
        sides.push((of_q(quota().max_keys(keys)), (!good).then_some("maxKeys")));
    }
    sides_of_values(&mut sides);
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        sides.push((of(limit().algorithm(algorithm).burst(10)), Some("burst")));
        sides.push((of(limit().algorithm(algorithm)), None));
    }
    sides
}

/// Quotas on different values.
fn sides_of_values(sides: &mut Vec<Side>) {
    let unique = |limit, period| Quota::new("quota", Metric::unique("model"), limit, period);
    let mut add = |rule: Quota, field| sides.push((RuleSet::new().quota(rule), field));
    let day = |limit| unique(limit, Period::Day);
    for (most, good) in [(0, false), (1, true), (10_000_000, true), (10_000_001, false)] {
        add(day(u64::from(most.min(1))).max_values(most), (!good).then_some("maxValues"));
    }
    add(day(100_000), None);
    add(day(100_001), Some("limitValue"));
    add(day(100_001).max_values(100_001), None);
    add(day(8).max_values(7), Some("limitValue"));
    add(day(7).max_values(7), None);
    add(quota().max_values(7), Some("maxValues"));
    add(unique(1, Period::rolling(Duration::from_secs(60))), Some("metric"));
    add(unique(1, Period::AllTime), None);
    add(day(1).per("model"), None);
    add(day(1).on_missing(OnMissing::Value("none".into())), Some("onMissing"));
    add(day(1).on_missing(OnMissing::Refuse), None);
    add(Quota::new("quota", Metric::unique("a-b"), 1, Period::Day), Some("metric"));
    let limit = limit().metric(Metric::unique("model"));
    sides.push((RuleSet::new().rate_limit(limit), Some("metric")));
}

fn sides_of_sets() -> Vec<Side> {
    let two = |first: RateLimit, second: Quota| RuleSet::new().rate_limit(first).quota(second);
    vec![
        (two(limit().id("a"), quota().id("b")), None),
        (two(limit().id("a"), quota().id("a")), Some("id")),
        (RuleSet::new().quota(quota().id("a")).quota(quota().id("a")), Some("id")),
        // Names may stand twice; only a sync goes by them.
        (RuleSet::new().quota(quota()).quota(quota()), None),
        (two(limit().policy("p"), quota().policy("q")), None),
        (two(limit().policy("p"), quota().policy("p")), Some("policy")),
        (RuleSet::new().quota(quota().policy("p")).quota(quota().policy("p")), None),
        (of_limit(|rule| rule.starts_at(date(9)).ends_at(date(10))), None),
        (of_quota(|rule| rule.starts_at(date(9)).ends_at(date(9))), Some("endsAt")),
        (of_limit(|rule| rule.starts_at(date(9)).ends_at(date(8))), Some("endsAt")),
        (of_quota(|rule| rule.starts_at(Timestamp::MAX)), Some("startsAt")),
        (of_limit(|rule| rule.ends_at(Timestamp::MIN)), Some("endsAt")),
        (of_quota(|rule| rule.starts_at(DateTime::<Utc>::MIN_UTC)), None),
        (of_limit(|rule| rule.ends_at(DateTime::<Utc>::MAX_UTC)), None),
        (of_limit(|rule| rule.policy("p").priority(i32::MIN)), None),
        (of_quota(|rule| rule.policy("p").priority(i32::MAX)), None),
        (of_limit(|rule| rule.priority(1)), Some("priority")),
        (of_quota(|rule| rule.priority(-1)), Some("priority")),
        (of_limit(|rule| rule.per("a").per("b")), None),
        (of_limit(|rule| rule.per("a").per("a")), Some("per")),
        (of_limit(|rule| rule.per("a").filter("a", "v")), None),
        (RuleSet::new(), None),
    ]
}

#[test]
fn both_sides_of_every_limit() {
    let sides = [sides_of_texts(), sides_of_numbers(), sides_of_sets()].concat();
    assert!(sides.len() > 100);
    for (rules, wrong) in sides {
        assert_eq!(fields(&rules), Vec::from_iter(wrong), "{rules:?}");
        let built = Engine::builder().clock(clock()).rule_set(rules.clone()).build();
        match wrong {
            Some(field) => {
                assert_eq!(fields_of(built.expect_err(field).problems()), [field], "{rules:?}")
            }
            // What is valid also works.
            None => decide_a_little(&built.expect("valid")),
        }
    }
}

fn decide_a_little(engine: &Engine) {
    let event = Event::new("c", "call").property("k", "v").property("a", "v").property("b", "v");
    let event = event.total_tokens(1).value("images", "0.000001");
    for _ in 0..3 {
        let decision = engine.track(&event).expect("a valid event");
        let mut quotas = decision.quotas();
        let quotas =
            quotas.all(|status| Some(status.used.saturating_add(status.remaining)) >= status.limit);
        assert!(quotas, "{decision:?}");
        let limits = decision.rate_limits().all(|status| status.remaining <= LARGEST);
        assert!(limits, "{decision:?}");
        assert_eq!(decision.is_allowed(), decision.retry_after().is_none());
    }
}

#[test]
fn a_sync_without_ids_goes_by_names_that_stand_once() {
    let engine = Engine::builder().clock(clock()).rate_limit(limit()).build().expect("valid");
    let twice = RuleSet::new().quota(quota()).quota(quota()).rate_limit(limit());
    let error = engine.rules().sync(twice, SyncOptions::apply()).expect_err("a name stands twice");
    assert_eq!(
        error.to_string(),
        "quota \"quota\": name: stands 2 times in the list without an id"
    );
    // A rate limit and a quota may have one name.
    let rules = RuleSet::new().rate_limit(limit());
    let quota = Quota::new("limit", Metric::TotalEvents, 1, Period::Day);
    let report = engine.rules().sync(rules.quota(quota), SyncOptions::apply()).expect("valid");
    assert_eq!((report.unchanged, report.created), (vec!["limit".into()], vec!["limit".into()]));
}

#[test]
fn soft_and_shadow_rules_have_no_worst_case() {
    for enforcement in [Enforcement::Soft, Enforcement::Shadow] {
        assert_eq!(limit().enforcement(enforcement).worst_case(), None);
        assert_eq!(quota().enforcement(enforcement).worst_case(), None);
    }
    let large = RateLimit::new("large", u64::MAX, Window::Second).burst(u64::MAX);
    assert_eq!(large.worst_case(), Some(Amount::from(u64::MAX).saturating_add(u64::MAX.into())));
}

/// A rule under attack: what was let in, and when, in nanoseconds since the start.
struct Attack {
    engine: Engine,
    clock: ManualClock,
    now: u64,
    admitted: Vec<(u64, u64)>,
}

impl Attack {
    fn on(rules: RuleSet) -> Self {
        let clock = clock();
        let engine = Engine::builder().clock(clock.clone()).rule_set(rules);
        let engine = engine.build().expect("valid");
        Self { engine, clock, now: 0, admitted: Vec::new() }
    }

    fn wait(&mut self, nanos: u64) {
        self.clock.advance(Duration::from_nanos(nanos));
        self.now += nanos;
    }

    fn take(&mut self, cost: u64) -> bool {
        let event = Event::new("c", "call").total_tokens(cost);
        let allowed = self.engine.track(&event).expect("a valid event").is_allowed();
        if allowed {
            self.admitted.push((self.now, cost));
        }
        allowed
    }

    /// Takes all that is to be had, in ever smaller pieces.
    fn drain(&mut self, most: u64) {
        let mut cost = most;
        while cost > 0 {
            if !self.take(cost) {
                cost /= 2;
            }
        }
    }

    /// The most that was let in in any span: of `length` and one nanosecond more where both ends
    /// count, of `length` where only one does.
    fn most_in_any_span(&self, length: u64, both_ends: bool) -> u128 {
        let most = |(start, _): &(u64, u64)| {
            let within = |at: u64| at >= *start && (at - start < length + u64::from(both_ends));
            let inside = self.admitted.iter().filter(|(at, _)| within(*at));
            inside.map(|(_, cost)| u128::from(*cost)).sum()
        };
        self.admitted.iter().map(most).max().unwrap_or(0)
    }
}

fn algorithms() -> impl Strategy<Value = (Algorithm, Option<u64>)> {
    prop_oneof![
        prop::option::of(1_u64..40).prop_map(|burst| (Algorithm::TokenBucket, burst)),
        Just((Algorithm::FixedWindow, None)),
        Just((Algorithm::SlidingWindow, None)),
    ]
}

/// Waits that matter for a window of this length, and some that do not.
fn waits(length: u64) -> impl Strategy<Value = u64> {
    let slot = length.div_ceil(60);
    let edges = [0, 1, slot - 1, slot, slot + 1, length / 2, length - 1, length, length + 1];
    prop_oneof![prop::sample::select(edges.to_vec()), 0..=length / 8, 0..=2 * length,]
}

#[allow(clippy::type_complexity, reason = "a strategy says what it draws")]
fn attack() -> impl Strategy<Value = ((Algorithm, Option<u64>), u64, u64, Vec<(u64, Option<u64>)>)>
{
    let lengths =
        prop_oneof![1_u64..200, Just(3_600), Just(1_000_000_000), Just(86_400_000_000_007)];
    lengths.prop_flat_map(|length| {
        let step = (waits(length), prop::option::of(1_u64..20));
        (algorithms(), 1_u64..40, Just(length), prop::collection::vec(step, 1..60))
    })
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn a_rate_limit_never_exceeds_its_worst_case(
        ((algorithm, burst), limit, length, steps) in attack(),
    ) {
        let mut rule = RateLimit::new("rule", limit, Window::every(Duration::from_nanos(length)));
        (rule.algorithm, rule.metric) = (algorithm, Metric::TotalTokens);
        rule.burst = burst.map(Amount::from);
        let worst = u128::from(rule.worst_case().expect("it is hard").to_u64_floor());
        let mut attack = Attack::on(RuleSet::new().rate_limit(rule));
        for (wait, cost) in steps {
            attack.wait(wait);
            match cost {
                Some(cost) => {
                    attack.take(cost);
                }
                None => attack.drain(limit.max(burst.unwrap_or(0))),
            }
        }
        // A sliding window's span is half open: what came at its one end has left at the other.
        let both_ends = algorithm != Algorithm::SlidingWindow;
        let most = attack.most_in_any_span(length, both_ends);
        prop_assert!(most <= worst, "{most} in a span, {worst} at worst: {:?}", attack.admitted);
    }

    #[test]
    fn a_rolling_quota_never_exceeds_its_worst_case(
        (_, limit, length, steps) in attack(),
    ) {
        let period = Period::rolling(Duration::from_nanos(length));
        let rule = Quota::new("rule", Metric::TotalTokens, limit, period);
        let worst = u128::from(rule.worst_case().expect("it is hard").to_u64_floor());
        prop_assert_eq!(worst, u128::from(limit));
        let mut attack = Attack::on(RuleSet::new().quota(rule));
        for (wait, cost) in steps {
            attack.wait(wait);
            match cost {
                Some(cost) => {
                    attack.take(cost);
                }
                None => attack.drain(limit),
            }
        }
        prop_assert!(attack.most_in_any_span(length, false) <= worst, "{:?}", attack.admitted);
    }
}

#[test]
fn the_worst_case_of_a_token_bucket_is_reached() {
    let rule = RateLimit::new("rule", 6, Window::Minute).burst(20).metric(Metric::TotalTokens);
    assert_eq!(rule.worst_case(), Some(26.into()));
    let mut attack = Attack::on(RuleSet::new().rate_limit(rule));
    attack.drain(20);
    for _ in 0..6 {
        attack.wait(10_000_000_000);
        attack.drain(20);
    }
    assert_eq!(attack.most_in_any_span(60_000_000_000, true), 26);
}

#[test]
fn the_worst_case_of_a_fixed_window_is_reached_across_its_edge() {
    let rule = limit().algorithm(Algorithm::FixedWindow).metric(Metric::TotalTokens);
    assert_eq!(rule.worst_case(), Some(20.into()));
    let mut attack = Attack::on(RuleSet::new().rate_limit(rule));
    attack.wait(59_999_999_999);
    attack.drain(10);
    attack.wait(1);
    attack.drain(10);
    assert_eq!(attack.most_in_any_span(60_000_000_000, true), 20);
}

#[test]
fn the_worst_case_of_a_sliding_window_is_its_limit() {
    let rule = limit().algorithm(Algorithm::SlidingWindow).metric(Metric::TotalTokens);
    assert_eq!(rule.worst_case(), Some(10.into()));
    let mut attack = Attack::on(RuleSet::new().rate_limit(rule));
    for _ in 0..300 {
        attack.drain(10);
        attack.wait(500_000_000);
    }
    assert_eq!(attack.most_in_any_span(60_000_000_000, false), 10);
    let all: u64 = attack.admitted.iter().map(|(_, cost)| cost).sum();
    assert!(all >= 20, "{all} in 150 seconds: it refuses a slot early at most");
}

#[test]
fn the_worst_case_of_a_calendar_quota_is_reached_across_midnight() {
    let rule = Quota::new("rule", Metric::TotalTokens, 10, Period::Day);
    assert_eq!(rule.worst_case(), Some(20.into()));
    let mut attack = Attack::on(RuleSet::new().quota(rule));
    // 10:30 to a nanosecond before midnight.
    attack.wait(48_600_000_000_000 - 1);
    attack.drain(10);
    attack.wait(1);
    attack.drain(10);
    attack.wait(86_400_000_000_000 - 2);
    attack.drain(10);
    assert_eq!(attack.most_in_any_span(86_400_000_000_000, false), 20);
    let ever = Quota::new("rule", Metric::TotalTokens, 10, Period::AllTime);
    assert_eq!(ever.worst_case(), Some(10.into()));
}
