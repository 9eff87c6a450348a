//! Goal: a plan's figures hold for each of its customers, those of a customer before those of its
//! plan and these before everybody's, whichever rules came first; and plans are data.
//!
//! Method: the rules in every order, and calls until each figure refuses; there and back through
//! TOML and JSON; what is missing in a plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use limitry::presets::{Plan, plans};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Hold, Reserved, RuleSet, Timestamp};

fn engine(parts: &[RuleSet]) -> Engine {
    let mut rules = RuleSet::new();
    parts.iter().for_each(|part| rules.extend(part.clone()));
    let clock = Arc::new(ManualClock::new(Timestamp::new(1_800_000_000, 0)));
    Engine::builder().rule_set(rules).clock(clock).build().expect("plans are valid")
}

fn call<'a>(customer: &'a str, plan: Option<&'a str>) -> Event<'a> {
    let event = Event::new(customer, "model_call");
    plan.into_iter().fold(event, |event, plan| event.property("plan", plan))
}

/// The limits by which an event is judged, by the end of their names.
fn limits(engine: &Engine, event: &Event<'_>) -> BTreeMap<String, String> {
    let decision = engine.standing(event).expect("it is valid");
    let rates = decision.rate_limits().map(|it| (it.name.into_owned(), it.limit));
    let quotas = decision.quotas().map(|it| (it.name.into_owned(), it.limit));
    let all = rates.chain(quotas).map(|(name, limit)| {
        let (plan, figure) = name.split_once(": ").expect("a plan and a figure");
        (figure.to_owned(), format!("{plan} {limit:?}"))
    });
    all.collect()
}

#[test]
fn a_customers_own_figure_goes_before_its_plans_and_that_before_everybodys() {
    let everybody = Plan::free().everybody();
    let members = Plan::pro().members();
    let own = Plan::new("own").tokens_a_day(7).at_once(0).customer("cust_7");
    let parts = [everybody, members, own];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let engine = engine(&order.map(|place: usize| parts[place].clone()));
        let who = |event: &Event<'_>| {
            let all = limits(&engine, event).into_iter();
            all.map(|(figure, of)| (figure, of.split(' ').next().unwrap_or("").to_owned()))
                .collect::<Vec<_>>()
        };
        let all = |of: [&str; 5]| {
            let figures = [
                "at once",
                "cents a month",
                "requests a minute",
                "tokens a day",
                "tokens a minute",
            ];
            figures
                .into_iter()
                .zip(of)
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(who(&call("ann", None)), all(["free"; 5]), "{order:?}");
        assert_eq!(who(&call("ann", Some("other"))), all(["free"; 5]), "{order:?}");
        assert_eq!(who(&call("ann", Some("pro"))), all(["pro"; 5]), "{order:?}");
        let mixed = all(["own", "pro", "pro", "own", "pro"]);
        assert_eq!(who(&call("cust_7", Some("pro"))), mixed, "{order:?}");
        let mixed = all(["own", "free", "free", "own", "free"]);
        assert_eq!(who(&call("cust_7", None)), mixed, "{order:?}");
    }
}

#[test]
fn each_figure_refuses_and_the_budget_alerts() {
    let plan = Plan::new("small").requests_a_minute(3).tokens_a_minute(100).tokens_a_day(1_000);
    let plan = plan.cents_a_month(200).at_once(2);
    let small = || engine(&[plan.everybody()]);
    let refused = |engine: &Engine, event: &Event<'_>| {
        let decision = engine.track(event).expect("it is valid");
        !decision.is_allowed()
    };
    let event = || call("ann", None);
    let requests = small();
    assert_eq!(
        (0..4).map(|_| refused(&requests, &event())).collect::<Vec<_>>(),
        [false, false, false, true]
    );
    // Another customer has its own.
    assert!(!refused(&requests, &call("bob", None)));
    let tokens = small();
    assert!(!refused(&tokens, &event().input_tokens(100)));
    assert!(refused(&tokens, &event().input_tokens(1)));
    let budget = small();
    for (cents, alerts) in [(99, 0), (1, 1), (60, 1), (40, 1)] {
        // Recorded, so that the requests a minute do not matter.
        let _ = budget.record(&event().cost_cents(cents)).expect("it is valid");
        let fired = std::iter::from_fn(|| budget.alerts().poll()).count();
        assert_eq!(fired, alerts, "{cents}");
    }
    assert!(refused(&budget, &event().cost_cents(1)));
    let at_once = small();
    let hold = Hold::lasting(Duration::from_secs(60));
    let held: Vec<_> =
        (0..2).map(|_| at_once.reserve(&event(), hold).expect("it is valid")).collect();
    assert!(matches!(at_once.reserve(&event(), hold), Ok(Reserved::Refused(_))));
    drop(held);
    assert!(matches!(at_once.reserve(&event(), hold), Ok(Reserved::Held(_))));
}

#[test]
fn plans_are_printed_edited_and_read_again() {
    let mut rules = plans();
    assert_eq!((rules.rate_limits.len(), rules.quotas.len()), (6, 9));
    let text = toml::to_string(&rules).expect("rules are data");
    assert_eq!(toml::from_str::<RuleSet>(&text).expect("as it was printed"), rules);
    // JSON prints what has no limit, too: TOML has no null.
    rules.extend(Plan::new("big").tokens_a_day(1).members());
    let json = serde_json::to_string(&rules).expect("rules are data");
    assert_eq!(serde_json::from_str::<RuleSet>(&json).expect("as it was printed"), rules);
    let edited = text.replace("limitValue = 10000000\n", "limitValue = 12000000\n");
    let edited: RuleSet = toml::from_str(&edited).expect("one figure is another");
    let edited = limits(&engine(&[edited]), &call("ann", Some("pro")));
    assert!(edited["tokens a day"].contains("12000000"), "{edited:?}");
    // Whose plan leaves figures out has no limit there, and not everybody's.
    let big = limits(&engine(&[rules]), &call("ann", Some("big")));
    assert_eq!(big.get("requests a minute").map(String::as_str), Some("big None"));
    assert!(Plan::new("none").everybody().into_iter().next().is_none());
    let bad = Plan::new("").requests_a_minute(1).everybody();
    bad.validate().expect("the name has its figure behind it");
    assert!(Plan::new("").members().validate().is_err());
    assert!(Plan::new("x").at_once(1).customer("").validate().is_err());
}
