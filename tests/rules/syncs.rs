//! Goal: a sync brings the rules of a list into a running engine: what is the same stays as it is,
//! with its id and its use; what would change can be seen before; and a list with anything wrong in
//! it changes nothing.
//!
//! Method: worked cases over lists that differ in one thing each.

use super::changes::{allowed, event, plain_event};
use crate::support::{engine, figures};
use limitry::errors::RulesError;
use limitry::rules::{Algorithm, RateLimitUpdate, SyncOptions};
use limitry::{Engine, Metric, Period, Quota, RateLimit, RuleSet, Window};

fn names(changes: &[String]) -> Vec<&str> {
    changes.iter().map(String::as_str).collect()
}

fn three() -> RuleSet {
    RuleSet::new()
        .rate_limit(RateLimit::new("kept", 10, Window::Minute).per("customer_id"))
        .quota(Quota::new("changed", Metric::TotalEvents, 20, Period::Day))
        .quota(Quota::new("dropped", Metric::TotalEvents, 30, Period::Day))
}

fn next() -> RuleSet {
    RuleSet::new()
        .rate_limit(RateLimit::new("kept", 10, Window::Minute).per("customer_id"))
        .rate_limit(RateLimit::new("new", 7, Window::Hour))
        .quota(Quota::new("changed", Metric::TotalEvents, 25, Period::Day))
}

#[test]
fn a_preview_says_what_would_change_and_writes_nothing() {
    let (engine, _clock) = engine(|builder| builder.rule_set(three()));
    for _ in 0..6 {
        assert!(allowed(&engine));
    }
    let before = (engine.rules().set(), figures(&engine, &plain_event()));
    let preview = engine.rules().sync(next(), SyncOptions::preview()).expect("valid");
    assert!(preview.preview);
    assert_eq!((engine.rules().set(), figures(&engine, &plain_event())), before);
    let report = engine.rules().sync(next(), SyncOptions::apply()).expect("valid");
    assert!(!report.preview);
    for report in [&preview, &report] {
        assert_eq!(names(&report.created), ["new"]);
        assert_eq!(names(&report.removed), ["dropped"]);
        assert_eq!(names(&report.unchanged), ["kept"]);
        let updated: Vec<&str> = report.updated.iter().map(|change| &*change.name).collect();
        assert_eq!(updated, ["changed"]);
        let fields = &report.updated[0].fields;
        assert_eq!(fields.len(), 1, "{fields:?}");
        assert_eq!(
            (&fields["limitValue"].from, &fields["limitValue"].to),
            (&20.into(), &25.into())
        );
    }
    // A second time there is nothing to do.
    let again = engine.rules().sync(next(), SyncOptions::apply()).expect("valid");
    assert_eq!(again.unchanged.len(), 3);
    assert!(again.created.is_empty() && again.updated.is_empty() && again.removed.is_empty());
}

#[test]
fn a_sync_keeps_ids_and_use_and_ends_what_it_drops() {
    let (engine, _clock) = engine(|builder| builder.rule_set(three()));
    for _ in 0..6 {
        assert!(allowed(&engine));
    }
    let ids = |engine: &Engine| {
        let set = engine.rules().set();
        let rates = set.rate_limits.into_iter().map(|rule| (rule.name, rule.id));
        rates.chain(set.quotas.into_iter().map(|rule| (rule.name, rule.id))).collect::<Vec<_>>()
    };
    let before = ids(&engine);
    engine.rules().sync(next(), SyncOptions::apply()).expect("valid");
    let after = ids(&engine);
    assert!(after.iter().all(|(_, id)| id.is_some()), "{after:?}");
    for name in ["kept", "changed"] {
        let of = |ids: &[(String, Option<String>)]| {
            ids.iter().find(|(known, _)| known == name).map(|(_, id)| id.clone())
        };
        assert_eq!(of(&before), of(&after), "{name}");
    }
    let standing = engine.standing(&event()).expect("valid");
    let left: Vec<(String, u64)> = standing
        .rate_limits()
        .map(|status| (status.name.into_owned(), status.remaining.to_u64_floor()))
        .collect();
    assert_eq!(left, [("kept".to_owned(), 4), ("new".to_owned(), 7)]);
    let left: Vec<(String, u64)> = standing
        .quotas()
        .map(|status| (status.name.into_owned(), status.remaining.to_u64_floor()))
        .collect();
    assert_eq!(left, [("changed".to_owned(), 19)]);
}

/// A rule without an id has the one that its name makes; equal names are numbered.
#[test]
fn ids_are_the_same_over_starts_and_stay_when_a_rule_is_renamed() {
    let rules = || {
        RuleSet::new()
            .rate_limit(RateLimit::new("API rate limit", 10, Window::Minute))
            .rate_limit(RateLimit::new("API rate limit", 20, Window::Hour))
            .quota(Quota::new("API rate limit", Metric::TotalEvents, 30, Period::Day))
    };
    let ids = |engine: &Engine| {
        let rates = engine.rules().rate_limits().into_iter().map(|rule| rule.id);
        rates
            .chain(engine.rules().quotas().into_iter().map(|rule| rule.id))
            .flatten()
            .collect::<Vec<_>>()
    };
    let expected = ["rl_api_rate_limit", "rl_api_rate_limit_2", "qta_api_rate_limit"];
    for _ in 0..2 {
        let (engine, _clock) = engine(|builder| builder.rule_set(rules()));
        assert_eq!(ids(&engine), expected);
        let update = RateLimitUpdate::new().name("renamed");
        engine.rules().update("rl_api_rate_limit", update).expect("valid");
        assert_eq!(ids(&engine), expected);
        let added = engine
            .rules()
            .add(RateLimit::new("API rate limit", 10, Window::Minute))
            .expect("valid");
        assert_eq!(added.id.as_deref(), Some("rl_api_rate_limit_3"));
    }
}

/// By id where the list gives one: a renamed rule is an update and keeps what was used.
#[test]
fn a_sync_goes_by_ids_and_says_what_was_renamed_and_renumbered() {
    let (engine, _clock) = engine(|builder| builder.rule_set(three()));
    for _ in 0..6 {
        assert!(allowed(&engine));
    }
    let rename = || {
        let mut set = three();
        set.rate_limits[0] = set.rate_limits[0].clone().id("rl_kept");
        set.rate_limits[0].name = "renamed".to_owned();
        set.quotas[0] = set.quotas[0].clone().id("qta_own");
        set
    };
    for options in [SyncOptions::preview(), SyncOptions::apply()] {
        let report = engine.rules().sync(rename(), options).expect("valid");
        assert_eq!(names(&report.unchanged), ["dropped"]);
        assert!(report.created.is_empty() && report.removed.is_empty(), "{report:?}");
        let said: Vec<_> = report
            .updated
            .iter()
            .map(|change| {
                let (field, values) = change.fields.first_key_value().expect("one differs");
                (&*change.name, &**field, values.from.as_str(), values.to.as_str())
            })
            .collect();
        let expected = [
            ("renamed", "name", Some("kept"), Some("renamed")),
            ("changed", "id", Some("qta_changed"), Some("qta_own")),
        ];
        assert_eq!(said, expected);
    }
    let again = engine.rules().sync(rename(), SyncOptions::apply()).expect("valid");
    assert_eq!(again.unchanged.len(), 3, "{again:?}");
    let standing = engine.standing(&event()).expect("valid");
    let left: Vec<_> =
        standing.rate_limits().map(|status| (status.id.into_owned(), status.remaining)).collect();
    assert_eq!(left.len(), 1);
    assert!(left[0].0 == "rl_kept" && left[0].1 == 4, "{left:?}");
    let left: Vec<_> = standing.quotas().map(|status| status.id.into_owned()).collect();
    assert_eq!(left, ["qta_own", "qta_dropped"]);
    assert!(standing.quotas().all(|status| status.used.to_u64_ceil() == 6));
}

#[test]
fn a_sync_says_where_it_cannot_tell_which_rule_is_meant() {
    let same = || RateLimit::new("same", 10, Window::Minute);
    let (engine, _clock) =
        engine(|builder| builder.rate_limit(same().id("a")).rate_limit(same().id("b")));
    let sync = |rules: &[RateLimit]| {
        let set = rules.iter().cloned().fold(RuleSet::new(), RuleSet::rate_limit);
        engine.rules().sync(set, SyncOptions::preview()).map_err(|why| why.to_string())
    };
    for (rules, expected) in [
        (vec![same()], "name: stands 2 times in the engine: give the id of the one meant"),
        (vec![same(), same()], "name: stands 2 times in the list without an id"),
        (
            vec![same().id("a"), same().id("a")],
            "id: \"a\" is the id of another one of the list, too",
        ),
    ] {
        assert_eq!(sync(&rules), Err(format!("rate limit \"same\": {expected}")));
    }
    // With ids equal names are no matter, and one is left for the rule without an id.
    assert_eq!(sync(&[same().id("b"), same().id("a")]).expect("valid").unchanged.len(), 2);
    assert_eq!(sync(&[same().id("b"), same()]).expect("valid").unchanged.len(), 2);
}

#[test]
fn a_sync_can_leave_what_the_list_does_not_name() {
    let (engine, _clock) = engine(|builder| builder.rule_set(three()));
    let options = SyncOptions::apply().keep_missing();
    let report = engine.rules().sync(next(), options).expect("valid");
    assert!(report.removed.is_empty());
    assert_eq!(engine.rules().quotas().len(), 2);
    assert_eq!(engine.rules().rate_limits().len(), 2);
}

/// Rules that are not valid change nothing, and all that is wrong is told at once.
#[test]
fn a_sync_of_bad_rules_changes_nothing() {
    let (engine, _clock) = engine(|builder| builder.rule_set(three()));
    let before = engine.rules().set();
    let bad = next()
        .quota(Quota::new("below", Metric::TotalEvents, -1, Period::Day))
        .quota(Quota::new("", Metric::TotalEvents, 5, Period::Day))
        .rate_limit(
            RateLimit::new("burst", 5, Window::Second).algorithm(Algorithm::FixedWindow).burst(9),
        );
    for options in [SyncOptions::apply(), SyncOptions::preview()] {
        let error = engine.rules().sync(bad.clone(), options).expect_err("three rules are bad");
        let RulesError::Invalid(problems) = &error else { panic!("{error}") };
        let fields: Vec<&str> =
            problems.problems().iter().map(|problem| problem.field.as_str()).collect();
        for field in ["limitValue", "name", "burst"] {
            assert!(fields.contains(&field), "{field}: {error}");
        }
        assert_eq!(engine.rules().set(), before);
    }
    let twice = next().quota(Quota::new("changed", Metric::TotalEvents, 26, Period::Day));
    let error = engine.rules().sync(twice, SyncOptions::apply()).expect_err("a name stands twice");
    assert!(error.to_string().contains("changed"), "{error}");
    assert_eq!(engine.rules().set(), before);
}
