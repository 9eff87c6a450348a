//! Goal: an event that lacks a dimension which a rule filters or splits by passes the rule by only
//! where the rule says so, and whoever looks finds out: the rule may refuse the event or count it
//! by a value of its choice, `explain` says what the event has instead, and an engine tells of
//! dimensions that no event has had.
//!
//! Method: worked cases. The model (`model.rs`) draws what rules make of a missing dimension, and
//! the figure of events that no rule counted is in `telemetry/metrics.rs`.

use crate::support::{engine, track};
use limitry::errors::{EventError, TrackError};
use limitry::rules::{Enforcement, OnMissing, RateLimitUpdate, SyncOptions};
use limitry::{
    Decision, Engine, Event, Metric, Outcome, Period, Quota, RateLimit, RuleSet, Window,
};

fn call() -> Event<'static> {
    Event::new("ann", "call")
}

fn numbered() -> Event<'static> {
    call().property("team_id", serde_json::json!(42))
}

fn two_a_team(on_missing: OnMissing) -> RateLimit {
    RateLimit::new("Team calls", 2, Window::Hour).id("team").per("team_id").on_missing(on_missing)
}

fn stated(value: &str) -> OnMissing {
    OnMissing::Value(value.to_owned())
}

fn admitted(engine: &Engine, event: &Event<'_>, calls: usize) -> usize {
    (0..calls).filter(|_| track(engine, event).outcome() == Outcome::Admitted).count()
}

fn missing(answer: Result<Decision, TrackError>) -> (String, Option<&'static str>, String) {
    match answer {
        Err(TrackError::Event(EventError::MissingDimension { dimension, found, rule })) => {
            (dimension.into(), found, rule.into())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_skips_what_lacks_its_dimension_by_default() {
    assert_eq!(OnMissing::default(), OnMissing::Skip);
    let (engine, _clock) = engine(|builder| builder.rate_limit(two_a_team(OnMissing::Skip)));
    assert_eq!(admitted(&engine, &numbered(), 10), 10);
}

#[test]
fn a_rule_can_refuse_what_lacks_its_dimension() {
    let (engine, _clock) = engine(|builder| builder.rate_limit(two_a_team(OnMissing::Refuse)));
    let number = Some("a number");
    let due = |found| ("team_id".to_owned(), found, "Team calls".to_owned());
    assert_eq!(missing(engine.track(&numbered())), due(number));
    assert_eq!(missing(engine.check(&numbered())), due(number));
    assert_eq!(missing(engine.track(&call())), due(None));
    let text = engine.track(&numbered()).expect_err("it is refused").to_string();
    assert!(text.contains("team_id: the event has a number"), "{text}");
    assert!(engine.standing(&call()).is_err());
    assert_eq!(engine.events().len(), 0, "nothing was recorded");
    // What has it is counted; what is recorded in any case is recorded.
    assert_eq!(admitted(&engine, &call().property("team_id", "red"), 5), 2);
    assert!(engine.record(&numbered()).expect("a record refuses nothing").is_allowed());
    // A rule on trial changes no answer, and one that is turned off none either.
    for change in [
        RateLimitUpdate::new().enforcement(Enforcement::Soft),
        RateLimitUpdate::new().enforcement(Enforcement::Shadow),
        RateLimitUpdate::new().enforcement(Enforcement::Hard).enabled(false),
    ] {
        engine.rules().update("team", change).expect("valid");
        assert!(track(&engine, &numbered()).is_allowed());
    }
}

#[test]
fn a_rule_refuses_only_what_it_would_match_otherwise() {
    let rule = two_a_team(OnMissing::Refuse).filter("model", "gpt-4");
    let (engine, _clock) = engine(|builder| builder.rate_limit(rule));
    assert!(track(&engine, &call().model("other")).is_allowed());
    assert_eq!(missing(engine.track(&call().model("gpt-4"))).0, "team_id");
    assert_eq!(missing(engine.track(&call().property("team_id", "red"))).0, "model");
    // Of the rules of a policy only the one that judges refuses.
    let other = RateLimit::new("more", 9, Window::Hour).policy("p").filter("customer_id", "ann");
    let other = other.filter("event_type", "call").filter("provider", "x");
    engine.rules().add(other).expect("valid");
    engine.rules().update("team", RateLimitUpdate::new().policy("p".to_owned())).expect("valid");
    assert!(track(&engine, &call().model("gpt-4").provider("x")).is_allowed());
}

#[test]
fn what_lacks_the_dimension_can_share_a_stated_value() {
    let (engine, _clock) = engine(|builder| {
        // Three rules of one partition, and two of them by values of their own.
        builder
            .rate_limit(two_a_team(stated("none")))
            .quota(
                Quota::new("others", Metric::TotalEvents, 3, Period::Day)
                    .per("team_id")
                    .on_missing(stated("other")),
            )
            .quota(Quota::new("known", Metric::TotalEvents, 100, Period::Day).per("team_id"))
    });
    assert_eq!(admitted(&engine, &numbered(), 1), 1);
    assert_eq!(admitted(&engine, &call(), 5), 1, "two in all, whatever is there instead");
    let none = call().property("team_id", "none");
    assert_eq!(admitted(&engine, &none, 1), 0, "and those that say the value with them");
    let red = call().property("team_id", "red");
    assert_eq!(admitted(&engine, &red, 5), 2);
    let used = |event: &Event<'_>| -> Vec<(String, String)> {
        let standing = engine.standing(event).expect("a valid event");
        standing.quotas().map(|quota| (quota.name.into_owned(), quota.used.to_string())).collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    assert_eq!(used(&call()), pairs(&[("others", "2")]));
    assert_eq!(
        used(&call().property("team_id", "other")),
        pairs(&[("others", "2"), ("known", "0")])
    );
    assert_eq!(used(&red), pairs(&[("others", "2"), ("known", "2")]));
}

#[test]
fn a_filter_can_want_the_stated_value() {
    let rule = RateLimit::new("no team", 2, Window::Hour).filter("team_id", "none");
    let (engine, _clock) = engine(|builder| builder.rate_limit(rule.on_missing(stated("none"))));
    assert_eq!(admitted(&engine, &call(), 5), 2);
    assert_eq!(admitted(&engine, &call().property("team_id", "red"), 5), 5);
    let rule = RateLimit::new("red", 1, Window::Hour).filter("team_id", "red");
    engine.rules().add(rule.on_missing(stated("none"))).expect("valid");
    let decision = engine.check(&call()).expect("a valid event");
    assert_eq!(decision.rate_limits().count(), 1, "what is missing is not red");
}

#[test]
fn a_closed_period_of_a_stated_value_is_not_told_by_the_recorded_events() {
    let quota = Quota::new("teams", Metric::TotalEvents, 3, Period::Day).per("team_id").id("q");
    let (engine, _clock) = engine(|builder| builder);
    assert_eq!(admitted(&engine, &call(), 2), 2);
    assert_eq!(admitted(&engine, &call().property("team_id", "red"), 2), 2);
    engine.rules().add(quota.on_missing(stated("none"))).expect("valid");
    let used = |event: &Event<'_>| {
        let standing = engine.standing(event).expect("a valid event");
        standing.quotas().map(|quota| quota.used.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(used(&call().property("team_id", "red")), ["2"]);
    assert_eq!(used(&call()), ["0"], "it starts afresh, as the documentation says");
}

#[test]
fn an_explanation_says_what_is_there_instead() {
    let (engine, _clock) = engine(|builder| builder.rate_limit(two_a_team(OnMissing::Skip)));
    for (value, text) in [
        (serde_json::json!(42), "team_id is a number"),
        (serde_json::json!(true), "team_id is a bool"),
        (serde_json::json!(null), "team_id is null"),
        (serde_json::json!([1]), "team_id is a list"),
        (serde_json::json!({}), "team_id is an object"),
    ] {
        let explained = engine.explain(&call().property("team_id", value)).expect("a valid event");
        assert!(explained.to_string().contains(text), "{explained}");
    }
    let explained = engine.explain(&call()).expect("a valid event").to_string();
    assert!(explained.contains("the event has no team_id"), "{explained}");
}

#[test]
fn dimensions_that_no_event_has_had_are_told() {
    let rules = RuleSet::new()
        .rate_limit(two_a_team(OnMissing::Skip))
        .rate_limit(RateLimit::new("model", 9, Window::Hour).filter("model", "gpt-4").id("m"))
        .quota(Quota::new("tem", Metric::TotalEvents, 9, Period::Day).per("tem_id").id("t"))
        .quota(Quota::new("all", Metric::TotalEvents, 9, Period::Day).per("customer_id").id("a"));
    let (engine, _clock) = engine(|builder| builder.rule_set(rules.clone()));
    let unseen = || -> Vec<(String, Vec<String>)> {
        let unseen = engine.unseen_dimensions().into_iter();
        unseen.map(|unseen| (unseen.dimension, unseen.rules)).collect()
    };
    let due = |pairs: &[(&str, &str)]| -> Vec<(String, Vec<String>)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), vec![(*b).to_owned()])).collect()
    };
    let all = [("model", "model"), ("team_id", "Team calls"), ("tem_id", "tem")];
    assert_eq!(unseen(), due(&all));
    // A number is no dimension.
    assert!(track(&engine, &numbered()).is_allowed());
    assert_eq!(unseen(), due(&all));
    assert!(track(&engine, &call().property("team_id", "red").model("other")).is_allowed());
    assert_eq!(unseen(), due(&[("tem_id", "tem")]));
    // What was seen stays seen when rules change.
    engine.rules().sync(rules, SyncOptions::apply()).expect("valid");
    let more = RateLimit::new("more", 9, Window::Hour).per("model").per("region");
    engine.rules().add(more).expect("valid");
    assert_eq!(unseen(), due(&[("region", "more"), ("tem_id", "tem")]));
}

#[test]
fn what_a_rule_makes_of_a_missing_dimension_is_data() {
    for (text, on_missing) in [
        (r#""skip""#, OnMissing::Skip),
        (r#""refuse""#, OnMissing::Refuse),
        (r#"{"value": "none"}"#, stated("none")),
    ] {
        let json = format!(
            r#"{{"name": "r", "limitValue": 1, "window": "hour", "per": "x", "onMissing": {text}}}"#
        );
        let rule: RateLimit = serde_json::from_str(&json).expect("a rule");
        assert_eq!(rule.on_missing, on_missing);
        let again = serde_json::to_string(&rule).expect("plain data");
        assert_eq!(serde_json::from_str::<RateLimit>(&again).expect("what was written"), rule);
        let update: RateLimitUpdate =
            serde_json::from_str(&format!(r#"{{"onMissing": {text}}}"#)).expect("an update");
        assert_eq!(update.apply(&rule).on_missing, on_missing);
    }
    let bad = RuleSet::new().rate_limit(two_a_team(stated("")));
    let problems = bad.validate().expect_err("an empty value").to_string();
    assert!(problems.contains("onMissing"), "{problems}");
}

#[cfg(feature = "durable")]
#[test]
fn what_counts_by_a_stated_value_goes_on_after_a_restart() {
    use crate::support::clock;
    use crate::support::files::StoreFile;

    let file = StoreFile::new("missing");
    let open = || {
        let store = file.store();
        let clock = clock();
        let other = Quota::new("other", Metric::TotalEvents, 9, Period::Day).per("team_id");
        let builder = Engine::builder().clock(clock).rate_limit(two_a_team(stated("none")));
        let builder = builder.quota(other.on_missing(stated("other")));
        builder.durable(store).build().expect("an engine")
    };
    let engine = open();
    assert_eq!(admitted(&engine, &numbered(), 1), 1);
    engine.store().verify(|_| {}).expect("the states of the log follow from each other");
    drop(engine);
    let engine = open();
    assert_eq!(admitted(&engine, &call(), 5), 1);
    let standing = engine.standing(&call()).expect("a valid event");
    assert_eq!(standing.quotas().map(|quota| quota.used.to_string()).collect::<Vec<_>>(), ["2"]);
}
