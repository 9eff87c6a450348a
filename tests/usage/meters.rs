//! Goal: meters are defined, checked, changed and removed as rules are, their shape on the wire is
//! the product's, and a rule that counts a meter counts exactly the events that the meter is over.
//!
//! Method: tables of what is right and wrong through every door that takes meters; figures of
//! rules beside those of the same rules written out without a meter.

use crate::support::clock;
use limitry::errors::RulesError;
use limitry::explain::RuleOutcome;
use limitry::rules::{
    Aggregation, EventFilter, MeterField, MeterUpdate, QuotaUpdate, RuleSetError, SyncOptions,
};
use limitry::{Engine, Event, Meter, Metric, Period, Quota, RateLimit, RuleSet, Window};
use serde_json::json;

fn day(metric: Metric) -> Quota {
    Quota::new("quota", metric, 10, Period::Day)
}

fn minute(metric: Metric) -> RateLimit {
    RateLimit::new("limit", 10, Window::Minute).metric(metric)
}

fn fields(error: &RuleSetError) -> Vec<(&str, &str)> {
    error.problems().iter().map(|p| (p.rule.as_str(), p.field.as_str())).collect()
}

fn invalid<T: std::fmt::Debug>(result: Result<T, RulesError>) -> RuleSetError {
    match result.expect_err("not valid") {
        RulesError::Invalid(error) => error,
        other => unreachable!("{other:?}"),
    }
}

fn used(engine: &Engine, event: &Event<'_>) -> Vec<u64> {
    engine.standing(event).expect("valid").quotas().map(|quota| quota.used.to_u64_ceil()).collect()
}

#[test]
fn a_meter_has_the_products_shape() {
    let text = r#"{
        "id": "mtr_total_tokens", "projectId": null, "name": "total_tokens",
        "aggregation": "sum", "field": "values.tokens", "description": null,
        "eventFilter": {"eventType": "llm.completion", "dimensions": {"model": "gpt-4"}},
        "createdAt": "2024-01-01T00:00:00Z", "updatedAt": "2024-01-02T00:00:00Z"
    }"#;
    let meter: Meter = serde_json::from_str(text).expect("the product's shape");
    let same = Meter::sum("total_tokens", "tokens")
        .id("mtr_total_tokens")
        .filter("event_type", "llm.completion")
        .filter("model", "gpt-4");
    assert_eq!((&meter.field, &meter.event_filter), (&same.field, &same.event_filter));
    let shape: serde_json::Value = serde_json::from_str(text).expect("is JSON");
    assert_eq!(serde_json::to_value(&meter).expect("is data"), shape);
}

#[test]
fn a_meter_is_read_from_what_must_be_given_alone() {
    for (text, meter) in [
        (r#"{"name": "n", "aggregation": "count"}"#, Meter::count("n")),
        (r#"{"name": "n", "aggregation": "count", "field": "*"}"#, Meter::count("n")),
        (r#"{"name": "n", "aggregation": "sum", "field": "values.v"}"#, Meter::sum("n", "v")),
        (r#"{"name": "n", "aggregation": "max", "field": "v"}"#, Meter::max("n", "v")),
        (r#"{"name": "n", "aggregation": "latest", "field": "v"}"#, Meter::latest("n", "v")),
        (r#"{"name": "n", "aggregation": "min", "field": "v"}"#, Meter::min("n", "v")),
        (r#"{"name": "n", "aggregation": "avg", "field": "v"}"#, Meter::avg("n", "v")),
        (
            r#"{"name": "n", "aggregation": "p95", "field": "v"}"#,
            Meter::percentile("n", "v", limitry::rules::Percentile::P95),
        ),
        (
            r#"{"name": "n", "aggregation": "unique", "field": "dimensions.model"}"#,
            Meter::unique("n", "model"),
        ),
        (
            r#"{"name": "n", "aggregation": "count", "eventFilter": {}, "description": "d"}"#,
            Meter::count("n").description("d"),
        ),
    ] {
        assert_eq!(serde_json::from_str::<Meter>(text).expect(text), meter);
        let again = serde_json::to_string(&meter).expect("is data");
        assert_eq!(serde_json::from_str::<Meter>(&again).expect(&again), meter);
        let toml = toml::to_string(&meter).expect("is data");
        assert_eq!(toml::from_str::<Meter>(&toml).expect(&toml), meter);
    }
    for text in [
        r#"{"aggregation": "count"}"#,
        r#"{"name": "n"}"#,
        r#"{"name": "n", "aggregation": "median"}"#,
        r#"{"name": "n", "aggregation": "sum", "field": "values."}"#,
        r#"{"name": "n", "aggregation": "count", "eventFilter": {"type": "x"}}"#,
        r#"{"name": "n", "aggregation": "count", "filter": {}}"#,
    ] {
        serde_json::from_str::<Meter>(text).expect_err(text);
    }
}

#[test]
fn a_rule_names_a_meter_by_its_id() {
    let metric: Metric = serde_json::from_str("\"meter.mtr_x\"").expect("a metric");
    assert_eq!(metric, Metric::meter("mtr_x"));
    assert_eq!(serde_json::to_string(&metric).expect("is data"), "\"meter.mtr_x\"");
    for text in ["meter", "meter.", "meter.a-b", "meter.a b", "Meter.x"] {
        let why = text.parse::<Metric>().expect_err(text).to_string();
        assert!(why.contains("`meter.` with an id"), "{why}");
    }
}

#[test]
fn a_rule_set_carries_meters_and_says_nothing_of_none() {
    let set: RuleSet = toml::from_str(
        r#"
        [[meters]]
        id = "mtr_agents"
        name = "agents"
        aggregation = "latest"
        field = "agents"

        [[quotas]]
        name = "at most 10 agents"
        metric = "meter.mtr_agents"
        limitValue = 10
        period = "all_time"
        "#,
    )
    .expect("a rule set");
    set.validate().expect("valid");
    assert_eq!(set.meters, [Meter::latest("agents", "agents").id("mtr_agents")]);
    let again = serde_json::to_string(&set).expect("is data");
    assert_eq!(serde_json::from_str::<RuleSet>(&again).expect("a rule set"), set);
    let without = serde_json::to_value(RuleSet::new()).expect("is data");
    assert_eq!(without, json!({"rateLimits": [], "quotas": []}));
}

#[test]
fn all_problems_of_meters_and_their_rules_are_told_at_once() {
    let mut counted = Meter::count("").id("a-b");
    counted.field = MeterField::Value("v".to_owned());
    let mut filtered = Meter::unique("unique", "mo del").id("same").filter("event_type", "");
    filtered.event_filter.dimensions.insert("event_type".to_owned(), "x".into());
    filtered.event_filter.dimensions.insert("team-id".to_owned(), "x".into());
    let mut summed = Meter::sum("sum", "v").id("same");
    summed.field = MeterField::Dimension("model".to_owned());
    let set = RuleSet::new()
        .meter(counted)
        .meter(filtered)
        .meter(summed)
        .rate_limit(minute(Metric::meter("gone")))
        .quota(day(Metric::meter("a.b")));
    let error = set.validate().expect_err("many problems");
    let expected = [
        ("meter #1", "name"),
        ("meter #1", "field"),
        ("meter #1", "id"),
        ("meter \"unique\"", "field"),
        ("meter \"unique\"", "eventFilter.eventType"),
        ("meter \"unique\"", "eventFilter.dimensions.team-id"),
        ("meter \"unique\"", "eventFilter.dimensions.event_type"),
        ("meter \"sum\"", "field"),
        ("meter \"sum\"", "id"),
        ("rate limit \"limit\"", "metric"),
        ("quota \"quota\"", "metric"),
    ];
    assert_eq!(fields(&error), expected, "{error}");
    let text = error.to_string();
    for said in [
        "\"values.v\" of a count must be `*`",
        "\"dimensions.model\" of a sum must be `values.` with a name",
        "\"same\" is the id of meter \"unique\" too",
        "\"meter.gone\": no meter has this id",
        "\"meter.a.b\" must be 1 to 64 ASCII letters",
    ] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
}

#[test]
fn each_kind_of_rule_takes_the_meters_that_it_can_count() {
    type Make = fn(&str) -> Meter;
    let kinds: [(Make, bool, bool, &str); 8] = [
        (|id| Meter::count("m").id(id), true, true, ""),
        (|id| Meter::sum("m", "v").id(id), true, true, ""),
        (|id| Meter::max("m", "v").id(id), true, false, "does not drain"),
        (|id| Meter::latest("m", "v").id(id), true, false, "does not drain"),
        (|id| Meter::min("m", "v").id(id), false, false, "only lower a `min`"),
        (|id| Meter::avg("m", "v").id(id), false, false, "may lower it again"),
        (|id| Meter::time_avg("m", "v").id(id), false, false, "an average is used up by no event"),
        (|id| Meter::unique("m", "model").id(id), true, false, "do not drain"),
    ];
    let rolling = Period::rolling(std::time::Duration::from_secs(60));
    for (meter, by_calendar, draining, why) in kinds {
        let set = || RuleSet::new().meter(meter("m"));
        let metric = || Metric::meter("m");
        let mut sets = vec![
            (set().rate_limit(minute(metric())), draining),
            (set().quota(Quota::new("q", metric(), 1, rolling)), draining),
        ];
        for period in [Period::Hour, Period::Month, Period::AllTime] {
            sets.push((set().quota(Quota::new("q", metric(), 1, period)), by_calendar));
        }
        for (set, fine) in sets {
            match set.validate() {
                Ok(()) => assert!(fine, "{set:?}"),
                Err(error) => {
                    assert!(!fine && error.to_string().contains(why), "{error}");
                    assert_eq!(fields(&error)[0].1, "metric");
                }
            }
        }
    }
}

#[test]
fn the_largest_limit_is_the_same_whatever_the_meter_counts_in() {
    let set = |meter: Meter, limit| {
        let quota = Quota::new("q", Metric::meter("m"), limit, Period::Day);
        RuleSet::new().meter(meter.id("m")).quota(quota)
    };
    let most = 1_u64 << 62;
    for meter in [Meter::sum("m", "v"), Meter::sum("m", "total_tokens"), Meter::count("m")] {
        set(meter.clone(), most).validate().expect("just right");
        set(meter, most + 1).validate().expect_err("one too many");
    }
}

#[test]
fn meters_are_added_updated_listed_and_removed() {
    let engine = Engine::builder().clock(clock()).meter(Meter::count("first")).build();
    let engine = engine.expect("valid");
    let first = engine.meters().list()[0].id.clone().expect("made");
    assert_eq!(first, "mtr_first");

    let added = engine.meters().add(Meter::sum("tokens", "tokens").id("mtr_t")).expect("valid");
    assert!(added.created_at.is_some() && added.created_at == added.updated_at);
    assert_eq!(engine.meters().list()[1], added);
    assert_eq!(engine.rules().set().meters, engine.meters().list());

    let update = MeterUpdate::new().name("all tokens").filter("model", "m").description(None);
    let updated = engine.meters().update("mtr_t", update).expect("valid");
    assert_eq!(updated.name, "all tokens");
    assert_eq!(updated.event_filter.dimensions["model"], "m".into());
    assert_eq!(engine.meters().list()[1], updated);
    let mut cleared = MeterUpdate::new();
    cleared.event_filter = Some(EventFilter::default());
    engine.meters().update("mtr_t", cleared).expect("valid");

    let before = engine.rules().set();
    let taken = invalid(engine.meters().add(Meter::count("x").id("mtr_t")));
    assert_eq!(fields(&taken), [("meter \"x\"", "id")]);
    let mismatch = MeterUpdate::new().aggregation(Aggregation::Count);
    let mismatch = invalid(engine.meters().update("mtr_t", mismatch));
    assert_eq!(fields(&mismatch), [("meter \"all tokens\"", "field")]);
    for result in [
        engine.meters().update("gone", MeterUpdate::new()).map(drop),
        engine.meters().remove("gone"),
    ] {
        assert_eq!(result.expect_err("gone").to_string(), "no meter has the id \"gone\"");
    }
    assert_eq!(engine.rules().set(), before);

    engine.meters().remove(&first).expect("nothing uses it");
    engine.meters().remove("mtr_t").expect("nothing uses it");
    assert!(engine.meters().list().is_empty());
}

#[test]
fn a_meter_that_rules_count_stays_and_suits_them() {
    let metric = || Metric::meter("m");
    let engine = Engine::builder()
        .meter(Meter::sum("tokens", "tokens").id("m"))
        .rate_limit(minute(metric()).id("rl"))
        .quota(day(metric()).id("q"));
    let engine = engine.build().expect("valid");
    let error = engine.meters().remove("m").expect_err("in use");
    assert_eq!(
        error.to_string(),
        "meter \"m\" is counted by rate limit \"limit\", quota \"quota\""
    );
    let rules = vec!["rate limit \"limit\"".to_owned(), "quota \"quota\"".to_owned()];
    assert_eq!(error, RulesError::MeterInUse { id: "m".to_owned(), rules });

    let gauge = MeterUpdate::new().aggregation(Aggregation::Latest);
    let unsuited = invalid(engine.meters().update("m", gauge.clone()));
    assert_eq!(fields(&unsuited), [("rate limit \"limit\"", "metric")]);
    engine.rules().remove("rl").expect("it is there");
    engine.meters().update("m", gauge).expect("the quota can count it");
    engine.rules().remove("q").expect("it is there");
    engine.meters().remove("m").expect("nothing uses it");
}

#[test]
fn a_meters_filter_joins_that_of_the_rule() {
    let quota = |name: &str, metric| Quota::new(name, metric, 100, Period::Day).id(name);
    let joined = Metric::meter("m");
    let engine = Engine::builder()
        .clock(clock())
        .meter(Meter::sum("m", "tokens").id("m").filter("event_type", "run").filter("model", "a"))
        .quota(quota("by meter", joined.clone()).filter("team", "eng"))
        .quota(
            quota("written out", Metric::value("tokens"))
                .filter("team", "eng")
                .filter("event_type", "run")
                .filter("model", "a"),
        )
        .quota(quota("same pair", joined.clone()).filter("model", "a").filter("team", "eng"))
        .quota(quota("contradiction", joined).filter("model", "b"))
        .build()
        .expect("valid");
    let all = |event_type, model, team| {
        Event::new("c", event_type).model(model).property("team", team).value("tokens", "2.5")
    };
    for event_type in ["run", "stop"] {
        for model in ["a", "b"] {
            for team in ["eng", "ops"] {
                assert!(engine.track(&all(event_type, model, team)).expect("valid").is_allowed());
            }
        }
    }
    assert_eq!(used(&engine, &all("run", "a", "eng")), [3, 3, 3]);
    assert!(used(&engine, &all("run", "b", "eng")).is_empty());
    assert!(used(&engine, &all("run", "a", "ops")).is_empty());

    let explained = engine.explain(&all("run", "b", "eng")).expect("valid");
    let contradiction = explained.rules.iter().find(|rule| rule.id == "contradiction");
    let missed = &contradiction.expect("it misses by one pair").outcome;
    assert!(
        matches!(missed, RuleOutcome::Missed { wanted: Some(wanted), .. } if *wanted == "a".into()),
        "{missed:?}"
    );
}

#[test]
fn a_rate_limit_counts_a_meter_as_it_counts_a_value() {
    let engine = Engine::builder()
        .clock(clock())
        .meter(Meter::sum("tokens", "total_tokens").id("t").filter("provider", "openai"))
        .rate_limit(minute(Metric::meter("t")))
        .build()
        .expect("valid");
    let event = |provider, tokens| Event::new("c", "run").provider(provider).total_tokens(tokens);
    assert!(engine.track(&event("openai", 7)).expect("valid").is_allowed());
    assert!(!engine.track(&event("openai", 4)).expect("valid").is_allowed());
    assert!(engine.track(&event("else", 4)).expect("valid").is_allowed());
    let decision = engine.track(&event("openai", 3)).expect("valid");
    assert_eq!(
        decision.rate_limits().next().map(|status| status.remaining.to_u64_floor()),
        Some(0)
    );
}

#[test]
fn statuses_and_headers_name_the_meter() {
    let engine = Engine::builder()
        .clock(clock())
        .meter(Meter::count("runs").id("mtr_runs"))
        .quota(Quota::new("q", Metric::meter("mtr_runs"), 1, Period::Day))
        .build()
        .expect("valid");
    let event = Event::new("c", "run");
    let _ = engine.track(&event).expect("valid");
    let refused = engine.track(&event).expect("valid");
    assert!(refused.headers().any(|pair| pair == ("X-Quota-Metric", "meter.mtr_runs".to_owned())));
    let body = serde_json::to_value(&refused).expect("is data");
    assert_eq!(body["quotas"][0]["metric"], "meter.mtr_runs");
}

#[test]
fn a_meter_that_says_the_same_leaves_the_counters_alone() {
    let engine = Engine::builder()
        .clock(clock())
        .meter(Meter::sum("tokens", "total_tokens").id("t"))
        .quota(day(Metric::meter("t")))
        .build()
        .expect("valid");
    let event = Event::new("c", "run").total_tokens(4);
    let _ = engine.track(&event).expect("valid");
    let quota = engine.rules().quotas()[0].clone();
    let renamed = MeterUpdate::new().name("all tokens").description("said".to_owned());
    engine.meters().update("t", renamed).expect("valid");
    engine.meters().add(Meter::count("another")).expect("valid");
    assert_eq!(used(&engine, &event), [4]);
    assert_eq!(engine.rules().quotas(), [quota]);
    // A rule that counts the same as before by another name is the same counter.
    let id = engine.rules().quotas()[0].id.clone().expect("made");
    let update = QuotaUpdate::new().metric(Metric::TotalTokens);
    engine.rules().update(&id, update).expect("valid");
    assert_eq!(used(&engine, &event), [4]);
}

fn listed() -> RuleSet {
    RuleSet::new()
        .meter(Meter::sum("tokens", "tokens").id("mtr_tokens"))
        .meter(Meter::count("events"))
        .quota(day(Metric::meter("mtr_tokens")))
}

#[test]
fn a_sync_matches_meters_by_name_and_a_second_run_changes_nothing() {
    let engine = Engine::builder().clock(clock()).build().expect("valid");
    let report = engine.rules().sync(listed(), SyncOptions::apply()).expect("valid");
    assert_eq!(report.created, ["tokens", "events", "quota"]);
    let before = engine.rules().set();
    let again = engine.rules().sync(listed(), SyncOptions::apply()).expect("valid");
    assert_eq!(again.unchanged, ["tokens", "events", "quota"]);
    assert_eq!(engine.rules().set(), before);

    let mut changed = listed();
    changed.meters[0] = Meter::max("tokens", "tokens").id("mtr_tokens");
    changed.meters.remove(1);
    let preview = engine.rules().sync(changed.clone(), SyncOptions::preview()).expect("valid");
    assert_eq!(engine.rules().set(), before);
    let report = engine.rules().sync(changed, SyncOptions::apply()).expect("valid");
    assert_eq!((&preview.updated, &preview.removed), (&report.updated, &report.removed));
    assert_eq!(report.removed, ["events"]);
    let difference = &report.updated[0].fields["aggregation"];
    assert_eq!((&difference.from, &difference.to), (&json!("sum"), &json!("max")));
    assert_eq!(report.unchanged, ["quota"]);
    assert_eq!(engine.meters().list().len(), 1);
}

#[test]
fn a_changed_id_of_a_meter_is_said_and_the_rules_that_stay_follow_it() {
    let engine = Engine::builder().clock(clock()).build().expect("valid");
    engine.rules().sync(listed(), SyncOptions::apply()).expect("valid");
    let mut renumbered = listed();
    renumbered.meters[0].id = Some("another".to_owned());
    renumbered.quotas.clear();
    let report = engine
        .rules()
        .sync(renumbered, SyncOptions::apply().keep_missing())
        .expect("a rule follows");
    assert_eq!(report.unchanged, ["events", "quota"]);
    let change = &report.updated[0].fields["id"];
    assert_eq!((&change.from, &change.to), (&json!("mtr_tokens"), &json!("another")));
    assert_eq!(report.updated[0].fields.len(), 1);
    assert_eq!(engine.rules().quotas()[0].metric, Metric::meter("another"));
    // A meter without an id is the one of its name, and has the id that the name makes.
    let ids: Vec<_> = engine.meters().list().into_iter().filter_map(|meter| meter.id).collect();
    assert_eq!(ids, ["another", "mtr_events"]);
}

#[test]
fn a_sync_cannot_take_a_meter_from_a_rule_that_stays() {
    let engine = Engine::builder().clock(clock()).build().expect("valid");
    engine.rules().sync(listed(), SyncOptions::apply()).expect("valid");
    let before = engine.rules().set();
    let mut without = listed();
    without.meters.clear();
    let error = invalid(engine.rules().sync(without, SyncOptions::apply()));
    assert_eq!(fields(&error), [("quota \"quota\"", "metric")]);
    let twice = listed().meter(Meter::max("events", "v"));
    let error = invalid(engine.rules().sync(twice, SyncOptions::apply()));
    assert_eq!(fields(&error), [("meter \"events\"", "name")]);
    assert_eq!(engine.rules().set(), before);
    let report =
        engine.rules().sync(RuleSet::new(), SyncOptions::apply().keep_missing()).expect("valid");
    assert_eq!(report.unchanged, ["tokens", "events", "quota"]);
}
