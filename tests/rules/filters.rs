//! Goal: a rule matches exactly the events that its filter describes, whatever the filter asks of a
//! dimension (a value, one of several, a prefix, not, present, absent), with what its meter asks
//! beside it; what is wrong with a filter is told; and what is recorded answers for it.
//!
//! Method: random rule sets and events, compared with a look at each rule alone; worked cases.

use std::collections::BTreeSet;

use crate::support::{Dice, cases, clock, engine, seed, track};
use limitry::events::Recording;
use limitry::rules::{OnMissing, QuotaUpdate, SyncOptions};
use limitry::usage::MeterQuery;
use limitry::{
    Condition, Engine, Event, Meter, Metric, Period, Quota, RateLimit, Rule, RuleSet, Window,
};

/// What is asked of dimensions, as plain data.
type Filter = Vec<(&'static str, Condition)>;

const KEYS: [&str; 6] = ["customer_id", "event_type", "model", "provider", "team", "trace"];
/// Some are prefixes of others, and some have characters of several bytes.
const VALUES: [&str; 9] =
    ["a", "ab", "abc", "b", "\u{e9}", "\u{e9}\u{e9}b", "\u{1f600}a", "c", "cd"];

fn condition(dice: &mut Dice, key: &str) -> Condition {
    let mut values = || (0..=dice.below(2)).map(|_| dice.pick(&VALUES)).collect::<Vec<_>>();
    let some = values();
    match dice.below(9) {
        0 | 1 => Condition::from(some[0]),
        2 => Condition::one_of(some),
        3 | 4 => {
            let letters = some[0].chars().count() as u64;
            let length = 1 + dice.below(letters) as usize;
            Condition::prefix(some[0].chars().take(length).collect::<String>())
        }
        5 => Condition::none_of(some),
        6 => Condition::not(some[0]),
        7 => Condition::Present,
        _ if ["customer_id", "event_type"].contains(&key) => Condition::Present,
        _ => Condition::Absent,
    }
}

fn filter(dice: &mut Dice, most: u64) -> Filter {
    let keys: BTreeSet<_> = (0..dice.below(most + 1)).map(|_| dice.pick(&KEYS)).collect();
    keys.into_iter().map(|key| (key, condition(dice, key))).collect()
}

fn event(dice: &mut Dice) -> Event<'static> {
    let mut event = Event::new(dice.pick(&VALUES), dice.pick(&VALUES));
    if dice.chance(60) {
        event = event.model(dice.pick(&VALUES));
    }
    if dice.chance(60) {
        event = event.provider(dice.pick(&VALUES));
    }
    for key in ["team", "trace", "other"] {
        match dice.below(4) {
            0 => {}
            1 => event = event.property(key, 7),
            _ => event = event.property(key, dice.pick(&VALUES)),
        }
    }
    event
}

/// Whether an event is as asked, by what the words mean.
fn holds(event: &Event<'_>, filter: &Filter) -> bool {
    filter.iter().all(|(key, condition)| match (condition, event.dimension(key)) {
        (Condition::Absent, value) => value.is_none(),
        (_, None) => false,
        (Condition::Present, Some(_)) => true,
        (Condition::Is(wanted), Some(value)) => wanted == value,
        (Condition::OneOf(wanted), Some(value)) => wanted.iter().any(|it| it == value),
        (Condition::NoneOf(wanted), Some(value)) => wanted.iter().all(|it| it != value),
        (Condition::Prefix(prefix), Some(value)) => {
            let mut letters = value.chars();
            prefix.chars().all(|letter| letters.next() == Some(letter))
        }
        (other, _) => panic!("nobody drew {other:?}"),
    })
}

/// Finds nothing by itself: of such rules a set may have 64.
fn is_loose(filter: &[&Filter]) -> bool {
    let mut all = filter.iter().copied().flatten().peekable();
    all.peek().is_some()
        && all.all(|(_, it)| matches!(it, Condition::NoneOf(_) | Condition::Absent))
}

#[test]
fn an_event_finds_exactly_the_rules_whose_filter_holds() {
    let seed = seed("filters", 0x0f11_7e25);
    for case in 0..u64::from(cases(400)) {
        let mut dice = Dice::new(seed.wrapping_add(case));
        let mut set = RuleSet::new();
        let meters: Vec<Filter> = (0..3).map(|_| filter(&mut dice, 2)).collect();
        for (number, asked) in meters.iter().enumerate() {
            let meter = Meter::count(format!("meter {number}")).id(format!("m{number}"));
            set = set.meter(asked.iter().cloned().fold(meter, |it, (key, of)| it.filter(key, of)));
        }
        let (mut rules, mut loose) = (Vec::new(), 0);
        for number in 0..1 + dice.below(40) {
            let own = filter(&mut dice, 3);
            let counted = dice.below(8) as usize;
            let of_meter = meters.get(counted).cloned().unwrap_or_default();
            loose += usize::from(is_loose(&[&own, &of_meter]));
            if loose > 64 {
                continue;
            }
            let per: Vec<&str> = if dice.chance(30) { vec![dice.pick(&KEYS)] } else { vec![] };
            if own.iter().any(|(key, of)| *of == Condition::Absent && per.contains(key)) {
                continue;
            }
            let enabled = dice.chance(90);
            let id = format!("r{number}");
            let mut rule = RateLimit::unlimited(id.as_str(), Window::Hour).id(&id).enabled(enabled);
            if counted < meters.len() {
                rule = rule.metric(Metric::meter(format!("m{counted}")));
            }
            rule = own.iter().cloned().fold(rule, |it, (key, of)| it.filter(key, of));
            rule = per.iter().fold(rule, |it, key| it.per(*key));
            set = set.rate_limit(rule);
            let asked: Filter = own.into_iter().chain(of_meter).collect();
            rules.push((id, enabled, asked, per));
        }
        let builder = Engine::builder().clock(clock()).recording(Recording::Off);
        let engine = builder.rule_set(set).build().expect("the set is valid");
        for _ in 0..40 {
            let event = event(&mut dice);
            let matches = |(id, enabled, asked, per): &(String, bool, Filter, Vec<&str>)| {
                let has_all = per.iter().all(|key| event.dimension(key).is_some());
                (*enabled && has_all && holds(&event, asked)).then(|| id.clone())
            };
            let due: Vec<String> = rules.iter().filter_map(matches).collect();
            let decision = track(&engine, &event);
            let found: Vec<_> = decision.rate_limits().map(|it| it.id.to_string()).collect();
            assert_eq!(found, due, "LIMITRY_SEED={} {event:?}\n{rules:#?}", seed + case);
        }
    }
}

#[test]
fn a_missing_dimension_meets_absent_alone_unless_a_value_is_stated() {
    let asked = [
        Condition::from("x"),
        ["x", "y"].into(),
        Condition::prefix("x"),
        Condition::not("z"),
        Condition::Present,
        Condition::Absent,
    ];
    for on_missing in [OnMissing::Skip, OnMissing::Value("x".into()), OnMissing::Value("z".into())]
    {
        for condition in &asked {
            let rule = RateLimit::new("r", 9, Window::Hour).filter("team", condition.clone());
            let rule = rule.on_missing(on_missing.clone());
            let (engine, _) = engine(|builder| builder.rate_limit(rule));
            let listed = |event: &Event<'_>| track(&engine, event).rate_limits().count() == 1;
            let stated = match &on_missing {
                OnMissing::Value(value) => Some(value.as_str()),
                _ => None,
            };
            let due =
                *condition == Condition::Absent || stated.is_some() && condition.is_met_by(stated);
            assert_eq!(listed(&Event::new("ann", "call")), due, "{condition} {on_missing}");
            let number = Event::new("ann", "call").property("team", 7);
            assert_eq!(listed(&number), due, "{condition} {on_missing}");
            let red = Event::new("ann", "call").property("team", "red");
            assert_eq!(listed(&red), condition.is_met_by(Some("red")), "{condition}");
        }
    }
}

#[test]
fn what_lacks_a_dimension_is_refused_where_the_filter_wants_one() {
    for (condition, refused) in [
        (Condition::Present, true),
        (Condition::prefix("r"), true),
        (Condition::not("red"), true),
        (Condition::Absent, false),
    ] {
        let rule = RateLimit::new("r", 9, Window::Hour).filter("team", condition);
        let (engine, _) = engine(|it| it.rate_limit(rule.on_missing(OnMissing::Refuse)));
        assert_eq!(engine.track(&Event::new("ann", "call")).is_err(), refused);
    }
}

/// A bucket a model of a family, and one for all that is no such model.
#[test]
fn keys_and_rules_of_a_prefix_count_for_themselves() {
    let (engine, _) = engine(|builder| {
        builder
            .rate_limit(
                RateLimit::new("each", 1, Window::Hour)
                    .filter("model", Condition::prefix("gpt-4o"))
                    .per("model"),
            )
            .rate_limit(
                RateLimit::new("rest", 1, Window::Hour)
                    .filter("model", Condition::none_of(["gpt-4o", "gpt-4o-mini"])),
            )
    });
    let call = |model| Event::new("ann", "call").model(model);
    let allowed = ["gpt-4o", "gpt-4o-mini", "gpt-4o", "gpt-4", "gpt-4o-mini", "o3"]
        .map(|model| track(&engine, &call(model)).is_allowed());
    assert_eq!(allowed, [true, true, false, true, false, false]);
}

fn fields(set: &RuleSet) -> Vec<(String, String)> {
    let Err(error) = set.validate() else { return Vec::new() };
    error.problems().iter().map(|it| (it.field.clone(), it.reason.clone())).collect()
}

#[test]
fn both_sides_of_what_a_filter_may_ask() {
    let names = |count: usize| (0..count).map(|it| format!("v{it}")).collect::<Vec<_>>();
    let control = "must not hold control characters";
    for (key, condition, wrong) in [
        ("k", Condition::one_of(names(64)), None),
        ("k", Condition::one_of(names(65)), Some("a list of 65 must be one of 1 to 64 values")),
        ("k", Condition::one_of(names(0)), Some("a list of 0 must be one of 1 to 64 values")),
        ("k", Condition::none_of(names(64)), None),
        ("k", Condition::none_of(names(65)), Some("a list of 65 must be one of 1 to 64 values")),
        ("k", Condition::none_of(names(0)), Some("a list of 0 must be one of 1 to 64 values")),
        ("k", ["a", ""].into(), Some("\"\" must be 1 to 256 bytes long")),
        ("k", Condition::not("a\n"), Some(control)),
        ("k", Condition::prefix(""), Some("\"\" must be 1 to 256 bytes long")),
        ("k", Condition::prefix("x".repeat(256)), None),
        ("k", Condition::prefix("x".repeat(257)), Some("must be 1 to 256 bytes long")),
        ("k", Condition::Absent, None),
        ("model", Condition::Absent, None),
        ("customer_id", Condition::Absent, Some("customer_id is never absent")),
        ("event_type", Condition::Absent, Some("event_type is never absent")),
        ("customer_id", Condition::Present, None),
    ] {
        let rule = RateLimit::new("r", 1, Window::Hour).filter(key, condition.clone());
        let quota = Quota::new("q", Metric::TotalEvents, 1, Period::Day);
        let quota = quota.filter(key, condition.clone());
        let meter = Meter::count("m").filter(key, condition.clone());
        let field = match key {
            "event_type" => "eventFilter.eventType".to_owned(),
            key => format!("eventFilter.dimensions.{key}"),
        };
        for (set, field) in [
            (RuleSet::new().rate_limit(rule), format!("dimensionFilters.{key}")),
            (RuleSet::new().quota(quota), format!("dimensionFilters.{key}")),
            (RuleSet::new().meter(meter), field),
        ] {
            let found = fields(&set);
            match wrong {
                None => assert_eq!(found, [], "{condition}"),
                Some(reason) => {
                    assert_eq!(found.len(), 1, "{condition} {found:?}");
                    assert!(found[0].0 == field && found[0].1.contains(reason), "{found:?}");
                }
            }
        }
    }
}

#[test]
fn lists_have_few_combinations_and_nothing_splits_by_what_it_lacks() {
    let names = |count: usize| (0..count).map(|it| format!("v{it}")).collect::<Vec<_>>();
    let meter = Meter::count("m").id("m").filter("c", names(2));
    let with = |a: usize, b: usize| {
        let rule = RateLimit::new("r", 1, Window::Hour).filter("a", names(a)).filter("b", names(b));
        RuleSet::new().meter(meter.clone()).rate_limit(rule.metric(Metric::meter("m")))
    };
    assert_eq!(fields(&with(16, 8)), []);
    let found = fields(&with(43, 3));
    assert_eq!(found[0].0, "dimensionFilters");
    assert!(found[0].1.contains("258 combinations"), "{found:?}");

    let split = RateLimit::new("r", 1, Window::Hour).filter("a", Condition::Absent).per("a");
    let found = fields(&RuleSet::new().rate_limit(split.clone()));
    assert_eq!(found[0].0, "dimensionFilters.a");
    let stated = split.on_missing(OnMissing::Value("none".into()));
    assert_eq!(fields(&RuleSet::new().rate_limit(stated)), []);
}

#[test]
fn sixty_four_rules_may_ask_only_what_a_dimension_is_not() {
    let of = |count: usize, more: fn(RateLimit) -> RateLimit| -> RuleSet {
        let rule = |it: usize| {
            let rule = RateLimit::new(format!("r{it}"), 1, Window::Hour);
            let not = Condition::not(format!("v{it}"));
            Rule::from(more(rule.filter("model", not).filter("team", Condition::Absent)))
        };
        (0..count).map(rule).collect()
    };
    assert_eq!(fields(&of(64, |it| it)), []);
    let found = fields(&of(66, |it| it));
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|it| it.0 == "dimensionFilters" && it.1.contains("at most 64")));
    assert_eq!(fields(&of(66, |it| it.enabled(false))), []);
    assert_eq!(fields(&of(66, |it| it.filter("trace", Condition::Present))), []);
    assert_eq!(fields(&of(66, |it| it.filter("trace", Condition::prefix("a")))), []);
    assert_eq!(fields(&of(66, |it| it.filter("customer_id", "ann"))), []);
    assert_eq!(fields(&of(66, |it| it.filter("customer_id", ["ann", "bob"]))), []);
}

#[test]
fn an_explanation_says_what_the_filter_wants() {
    let rule = |name: &str, condition: Condition| {
        RateLimit::new(name, 1, Window::Hour).filter("team", condition)
    };
    let (engine, _) = engine(|builder| {
        builder
            .rate_limit(rule("values", ["blue", "green"].into()))
            .rate_limit(rule("prefix", Condition::prefix("bl")))
            .rate_limit(rule("not", Condition::not("red")))
            .rate_limit(rule("present", Condition::Present))
            .rate_limit(rule("absent", Condition::Absent))
    });
    let told = |event: Event<'_>| engine.explain(&event).expect("a valid event").to_string();
    let red = told(Event::new("ann", "call").property("team", "red"));
    for line in [
        "team is \"red\", wanted one of \"blue\", \"green\"",
        "team is \"red\", wanted \"bl\"*",
        "team is \"red\", wanted none of \"red\"",
        "team is \"red\", wanted no value",
        "\"present\" (rl_present): fits",
    ] {
        assert!(red.contains(line), "{line}: {red}");
    }
    let none = told(Event::new("ann", "call"));
    for line in ["the event has no team, wanted any value", "\"absent\" (rl_absent): fits"] {
        assert!(none.contains(line), "{line}: {none}");
    }
    let explained = engine.explain(&Event::new("ann", "call")).expect("a valid event");
    let data = serde_json::to_value(&explained.rules[1]).expect("plain data");
    assert_eq!(data["wanted"], serde_json::json!({"prefix": "bl"}));
}

/// What a new quota, a changed one and a meter say is what was recorded.
#[test]
fn what_is_recorded_answers_for_every_filter() {
    let asked = [
        Condition::from("gpt-4o"),
        ["gpt-4o", "o3"].into(),
        Condition::prefix("gpt-4o"),
        Condition::not("gpt-4o"),
        Condition::Present,
        Condition::Absent,
    ];
    // Roll-ups know models and not traces, which the events tell.
    for key in ["model", "trace"] {
        let (engine, _) = engine(|builder| builder);
        let models = [Some("gpt-4o"), Some("gpt-4o-mini"), Some("o3"), None, Some("gpt-4")];
        for (number, model) in models.iter().enumerate() {
            for customer in ["ann", "bob"] {
                let event = Event::new(customer, "call").value("units", 1_u64 << number);
                let event = match (key, model) {
                    ("model", Some(model)) => event.model(*model),
                    ("trace", Some(model)) => event.property("trace", *model),
                    _ => event,
                };
                assert!(track(&engine, &event).is_allowed());
            }
        }
        for (number, condition) in asked.iter().enumerate() {
            let due: u64 =
                (0..5).filter(|it| condition.is_met_by(models[*it])).map(|it| 1 << it).sum();
            let meter = Meter::sum(format!("m{number}"), "units").filter(key, condition.clone());
            let id = engine.meters().add(meter).expect("a valid meter").id.expect("an id");
            let value = engine.meters().query(&id, &MeterQuery::new()).expect("it is known");
            assert_eq!(value.value, 2 * due, "{key} {condition}");
            let quota =
                Quota::new(format!("q{number}"), Metric::value("units"), 1_000, Period::Day);
            let quota = quota.filter(key, condition.clone()).per("customer_id");
            engine.rules().add(quota.clone()).expect("a valid rule");
            let changed =
                Quota::new(format!("c{number}"), Metric::value("units"), 1_000, Period::Day);
            let changed = engine.rules().add(changed.per("customer_id")).expect("a valid rule");
            let update = QuotaUpdate::new().filter(key, condition.clone());
            engine
                .rules()
                .update(changed.id.as_deref().expect("an id"), update)
                .expect("a valid change");
            let explained = engine
                .explain(&match (key, models.iter().find(|it| condition.is_met_by(**it))) {
                    ("model", Some(Some(model))) => Event::new("ann", "call").model(*model),
                    ("trace", Some(Some(trace))) => Event::new("ann", "call").property(key, *trace),
                    _ => Event::new("ann", "call"),
                })
                .expect("a valid event");
            for quota in
                explained.decision.quotas().filter(|it| it.name.ends_with(&number.to_string()))
            {
                assert_eq!(quota.used, due, "{key} {condition} {}", quota.name);
            }
            assert!(explained.decision.quotas().any(|it| it.name == format!("c{number}")));
        }
    }
}

#[test]
fn a_sync_sees_a_changed_condition() {
    let with = |condition: Condition| {
        RuleSet::new().rate_limit(RateLimit::new("r", 1, Window::Hour).filter("model", condition))
    };
    let (engine, _) = engine(|builder| builder.rule_set(with("gpt-4o".into())));
    let report = engine.rules().sync(with(Condition::prefix("gpt")), SyncOptions::apply());
    let report = report.expect("a valid set");
    let change = &report.updated[0].fields["dimensionFilters"];
    assert_eq!(change.from, serde_json::json!({"model": "gpt-4o"}));
    assert_eq!(change.to, serde_json::json!({"model": {"prefix": "gpt"}}));
    let again = engine.rules().sync(with(Condition::prefix("gpt")), SyncOptions::apply());
    assert_eq!(again.expect("a valid set").unchanged, ["r"]);
}
