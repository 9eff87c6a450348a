//! Goal: a simulation says what can be worked out by hand.
//!
//! Method: a few customers with a known number of calls, and limits that are raised and lowered.

use std::cell::RefCell;
use std::time::Duration;

use limitry::errors::SimulateError;
use limitry::events::{EventQuery, Recording};
use limitry::rules::{Enforcement, OnMissing};
use limitry::simulation::{Attempt, Demand, SimulationReport, Traffic};
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Rule, RuleSet, Timestamp, Window};

use crate::support::oracle::{DAY, HOUR, MINUTE, SECOND};
use crate::support::{START, clock, date, duration, engine, track};

fn calls(limit: u64) -> Quota {
    Quota::new("Calls", Metric::TotalEvents, limit, Period::Day).per("customer_id")
}

fn of(rule: impl Into<Rule>) -> RuleSet {
    RuleSet::new().rule(rule)
}

/// An engine that recorded so many calls of each customer, a second apart.
fn recorded(customers: &[(&str, u64)]) -> Engine {
    let (engine, clock) = engine(|it| it);
    for (customer, calls) in customers {
        for _ in 0..*calls {
            assert!(track(&engine, &Event::new(*customer, "call").total_tokens(10)).is_allowed());
            clock.advance(duration(SECOND));
        }
    }
    engine
}

fn simulate(engine: &Engine, rules: RuleSet) -> SimulationReport {
    engine.simulate(rules, EventQuery::new()).expect("good rules")
}

#[test]
fn a_lower_limit_refuses_what_is_over_it() {
    let engine = recorded(&[("ann", 10), ("bob", 7), ("cid", 3)]);
    let report = simulate(&engine, of(calls(6)));
    assert_eq!((report.calls.calls, report.calls.refused, report.calls.newly_refused), (20, 5, 5));
    assert_eq!((report.customers, report.refused_customers), (3, 2));
    assert_eq!((report.demand, report.since), (Demand::LetIn, None));
    assert_eq!((report.first, report.last), (Some(date(START)), Some(date(START + 19 * SECOND))));
    let rule = &report.rules[0];
    assert_eq!((rule.calls, rule.exceeded, rule.keys, rule.exceeded_keys), (20, 5, 3, 2));
    assert_eq!(rule.exceeded_amount, Some(5.into()));
    let worst = rule.worst.iter().map(|one| (one.key.to_string(), one.calls, one.exceeded));
    let expected = [("customer_id=ann", 10, 4), ("customer_id=bob", 7, 1)];
    assert!(worst.eq(expected.map(|(key, calls, over)| (key.to_owned(), calls, over))));
    assert_eq!((rule.others.keys, rule.others.calls, rule.others.exceeded), (1, 3, 0));
    // No more keys than are asked for; the others are summed up.
    let traffic = Traffic::recorded().keys(1);
    let report = engine.simulate(of(calls(6)), traffic).expect("good rules");
    let rule = &report.rules[0];
    assert_eq!((rule.worst.len(), rule.others.keys, rule.others.exceeded), (1, 2, 1));
    assert_eq!(rule.others.exceeded_amount, Some(1.into()));
    // The same limit and a higher one refuse nobody.
    assert_eq!(simulate(&engine, of(calls(10))).calls.refused, 0);
}

#[test]
fn a_higher_limit_lets_in_what_was_refused() {
    let engine = Engine::builder().build().expect("it is valid");
    let call = |number: i128| {
        let event = Event::new("ann", "call");
        // As a limit of 10 a day has answered them.
        Attempt::new(date(START + number * SECOND), event).was_let_in(number < 10)
    };
    let calls_made: Vec<_> = (0..15).map(call).collect();
    let run = |limit| engine.simulate(of(calls(limit)), Traffic::given(&calls_made));
    let report = run(12).expect("good rules");
    let totals = report.calls;
    assert_eq!((totals.calls, totals.refused, totals.was_refused), (15, 3, 5));
    assert_eq!((totals.newly_refused, totals.newly_let_in, totals.unknown), (0, 2, 0));
    assert_eq!((report.rules[0].was_refused, report.rules[0].newly_exceeded), (5, 0));
    assert_eq!(report.rules[0].worst[0].was_refused, 5);
    let report = run(8).expect("good rules");
    assert_eq!((report.calls.newly_refused, report.calls.newly_let_in), (2, 0));
    assert_eq!((report.rules[0].newly_exceeded, report.rules[0].exceeded), (2, 7));
    assert_eq!(report.demand, Demand::Given);
}

#[test]
fn what_one_rule_refuses_is_not_counted_by_another() {
    let engine = recorded(&[("ann", 10)]);
    let tokens = Quota::new("Tokens", Metric::TotalTokens, 60, Period::Day);
    let soft = Quota::new("Soft", Metric::TotalEvents, 4, Period::Day);
    let shadow = Quota::new("Shadow", Metric::TotalTokens, 45, Period::Day);
    let rules = of(tokens)
        .quota(soft.enforcement(Enforcement::Soft))
        .quota(shadow.enforcement(Enforcement::Shadow));
    let report = simulate(&engine, rules);
    let exceeded: Vec<_> = report.rules.iter().map(|rule| rule.exceeded).collect();
    // 6 calls are let in. The soft quota sees the 5th and 6th go over, and of the 4 that are
    // refused each would go over again; the one in shadow lets 4 in.
    assert_eq!((report.calls.refused, exceeded), (4, vec![4, 6, 6]));
    let amounts = report.rules.iter().map(|rule| rule.exceeded_amount);
    assert!(amounts.eq([40_u64, 6, 60].map(|amount| Some(amount.into()))));
}

#[test]
fn a_rate_goes_by_the_times_of_the_calls() {
    let engine = recorded(&[("ann", 10)]);
    let rate = |window| of(RateLimit::new("Rate", 1, window).per("customer_id"));
    assert_eq!(simulate(&engine, rate(Window::Second)).calls.refused, 0);
    let two = Window::every(Duration::from_secs(2));
    assert_eq!(simulate(&engine, rate(two)).calls.refused, 5);
}

#[test]
fn a_rule_that_ends_judges_until_then() {
    let engine = recorded(&[("ann", 10)]);
    let raise = calls(100).policy("calls").filter("customer_id", "ann");
    let rules = |raise| of(calls(3).policy("calls")).rule(raise);
    assert_eq!(simulate(&engine, rules(raise.clone())).calls.refused, 0);
    let until = raise.ends_at(date(START + 6 * SECOND));
    assert_eq!(simulate(&engine, rules(until)).calls.refused, 4);
}

#[test]
fn a_dated_event_counts_in_its_period_however_late_it_was() {
    let (engine, _) = engine(|it| it);
    for hours in [0, 0, 50, 50, 50] {
        let event = Event::new("ann", "call").timestamp(date(START - hours * HOUR));
        assert!(track(&engine, &event).is_allowed());
    }
    let report = simulate(&engine, of(calls(2)));
    assert_eq!((report.calls.refused, report.unjudged), (1, 0));
}

#[test]
fn a_query_says_which_events() {
    let engine = recorded(&[("ann", 10), ("bob", 7)]);
    let query = EventQuery::new().customer("bob");
    let report = engine.simulate(of(calls(6)), query).expect("a good query");
    assert_eq!((report.calls.calls, report.calls.refused, report.customers), (7, 1, 1));
}

#[test]
fn slots_are_left_out_and_reservations_are_what_was_committed() {
    let (engine, clock) = engine(|it| it);
    let hold = limitry::Hold::lasting(Duration::from_secs(60));
    let call = || Event::new("ann", "call").total_tokens(100);
    for _ in 0..3 {
        let held = engine.reserve(&call(), hold).expect("valid");
        let limitry::Reserved::Held(guard) = held else { panic!("{held:?}") };
        clock.advance(duration(MINUTE / 2));
        assert!(guard.commit(&call().total_tokens(40)).expect("it is held").is_allowed());
    }
    let rules = of(Quota::concurrent("At once", 1)).quota(Quota::new(
        "Tokens",
        Metric::TotalTokens,
        100,
        Period::Day,
    ));
    let report = simulate(&engine, rules);
    assert_eq!((report.calls.calls, report.calls.refused), (3, 1));
    let left_out: Vec<_> = report.rules.iter().map(|rule| (rule.left_out, rule.exceeded)).collect();
    assert_eq!(left_out, [(true, 0), (false, 1)]);
}

#[test]
fn what_cannot_be_judged_is_counted_and_the_rest_is_judged() {
    let engine = recorded(&[("ann", 2)]);
    let strict = calls(1).per("team").on_missing(OnMissing::Refuse);
    let report = simulate(&engine, of(strict));
    assert_eq!((report.calls.calls, report.unjudged), (0, 2));
    let because = report.unjudged_because.expect("they could not");
    assert!(because.contains("team"), "{because}");
    let given = [
        Attempt::new(date(START), Event::new("", "call")),
        Attempt::new(date(START), Event::new("ann", "call")),
        // A day and an hour late, of an engine that keeps counters for an hour.
        Attempt::new(date(START), Event::new("ann", "call").timestamp(date(START - DAY - HOUR))),
    ];
    let report = engine.simulate(of(calls(1)), Traffic::given(&given)).expect("good rules");
    assert_eq!((report.calls.calls, report.calls.refused, report.unjudged), (1, 0, 2));
    let because = report.unjudged_because.expect("two could not");
    assert!(because.starts_with("customer_id"), "{because}");
}

#[test]
fn calls_before_the_engine_was_built_and_out_of_order_are_replayed() {
    let engine = Engine::builder().clock(clock()).build().expect("it is valid");
    let second = |second: i128| date(START - 365 * DAY + second * SECOND);
    let rate = || of(RateLimit::new("Rate", 1, Window::every(Duration::from_secs(5))));
    let made = |seconds: &[i128]| {
        let call = |at: &i128| Attempt::new(second(*at), Event::new("ann", "call"));
        seconds.iter().map(call).collect::<Vec<_>>()
    };
    let run = |seconds| engine.simulate(rate(), Traffic::given(made(seconds))).expect("good rules");
    assert_eq!(run(&[0, 5, 10]).calls.refused, 0);
    // Time does not run back: at 3 it is 8 still.
    assert_eq!(run(&[0, 8, 3, 13]).calls.refused, 1);
}

#[test]
fn all_problems_of_the_rules_are_said_at_once_and_bad_questions_are_errors() {
    let engine = recorded(&[("ann", 1)]);
    let bad = of(calls(1).per("a b")).rate_limit(RateLimit::new("", 5, Window::Second));
    let Err(SimulateError::Invalid(why)) = engine.simulate(bad.clone(), EventQuery::new()) else {
        panic!("the rules are bad")
    };
    let fields: Vec<_> = why.problems().iter().map(|problem| &*problem.field).collect();
    assert_eq!(fields, ["name", "per"]);
    assert!(matches!(engine.simulation(bad), Err(SimulateError::Invalid(again)) if again == why));
    let refused = |query| engine.simulate(of(calls(1)), query).expect_err("a bad query");
    let why = refused(EventQuery::new().cursor("evt_1"));
    assert_eq!(why.to_string(), r#"cursor: "evt_1" must not be set"#);
    let empty = EventQuery::new().between(date(START), date(START));
    assert!(matches!(refused(empty), SimulateError::Query(_)));
    let off = Engine::builder().recording(Recording::Off).build().expect("it is valid");
    let why = limitry::Error::from(
        off.simulate(of(calls(1)), EventQuery::new()).expect_err("nothing is recorded"),
    );
    assert!(!why.is_bad_input() && !why.is_store(), "{why}");
    assert_eq!(
        off.simulate(of(calls(1)), Traffic::given(Vec::<Attempt<'_>>::new()))
            .expect("none")
            .calls
            .calls,
        0
    );
}

#[test]
fn progress_is_told_and_may_ask_for_more() {
    let engine = recorded(&[("ann", 3)]);
    let told = RefCell::new(Vec::new());
    let traffic = Traffic::recorded().progress(|it| {
        told.borrow_mut().push((it.step, it.done, it.total));
        assert_eq!(simulate(&engine, of(calls(1))).calls.refused, 2);
    });
    let _ = engine.simulate(of(calls(1)), traffic).expect("good rules");
    assert_eq!(*told.borrow(), [("replaying calls", 0, 3), ("replaying calls", 3, 3)]);
}

#[test]
fn a_simulation_changes_nothing_of_the_engine() {
    let engine = recorded(&[("ann", 3)]);
    let before = (engine.live_keys(), engine.rules().list(), engine.events().len());
    let report = simulate(&engine, of(calls(1)));
    assert_eq!(report.calls.refused, 2);
    assert_eq!((engine.live_keys(), engine.rules().list(), engine.events().len()), before);
}

#[test]
fn a_report_prints_as_a_table() {
    let engine = recorded(&[("ann", 10), ("bob", 7), ("cid", 3)]);
    let mut soft = calls(9).enforcement(Enforcement::Soft);
    soft.name = "Soft".into();
    let rules = of(soft).quota(calls(6));
    let text = simulate(&engine, rules).to_string();
    let expected = "\
20 calls, 2024-01-15T10:30:00Z to 2024-01-15T10:30:19Z: 5 would have been refused (25.0 %)
0 were refused; 5 would have been that were let in, 0 let in that were refused
2 of 3 customers would have been refused a call
note: refused calls are not known: what is let in is all the demand there is

rule    kind  limit  calls  refused  over   share  keys  refused or over
Soft   quota      9     20              0   0.0 %     3                0
Calls  quota      6     20        5        25.0 %     3                2

keys of Calls    calls  refused   share  were refused
customer_id=ann     10        4  40.0 %             0
customer_id=bob      7        1  14.3 %             0
1 others             3        0   0.0 %
";
    assert_eq!(text, expected, "{text}");
}

#[test]
fn a_report_is_plain_data() {
    let engine = recorded(&[("ann", 2)]);
    let report = simulate(&engine, of(calls(1)));
    let value = serde_json::to_value(&report).expect("it is data");
    assert_eq!((&value["demand"], &value["calls"]["newlyRefused"]), (&"let_in".into(), &1.into()));
    let rule = &value["rules"][0];
    assert_eq!((&rule["startsFrom"], &rule["kind"]), (&"nothing".into(), &"quota".into()));
    assert_eq!(rule["worst"][0]["key"], serde_json::json!({"customer_id": "ann"}));
    let read: SimulationReport = serde_json::from_value(value).expect("it was printed");
    assert_eq!(read, report);
}

#[test]
fn no_time_and_no_amount_makes_a_simulation_panic() {
    let engine = Engine::builder().build().expect("it is valid");
    let most = limitry::Amount::from(1_000_000_000_000_000_u64);
    let mut attempts = Vec::new();
    for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, date(START), Timestamp::MAX] {
        for dated in [None, Some(Timestamp::MIN), Some(date(START)), Some(Timestamp::MAX)] {
            for amount in [most, limitry::Amount::ZERO] {
                let mut event = Event::new("ann", "call").total_tokens(u64::MAX >> 2);
                event = event.cost_cents(amount).value("images", amount);
                if let Some(dated) = dated {
                    event = event.timestamp(dated);
                }
                attempts.push(Attempt::new(at, event));
            }
        }
    }
    let rolling = Period::rolling(Duration::from_secs(86_400));
    let rules = of(calls(1))
        .quota(Quota::new("Images", Metric::value("images"), 5, rolling))
        .quota(Quota::new("Cents", Metric::TotalCostCents, 5, Period::AllTime))
        .rate_limit(RateLimit::new("Rate", 1, Window::Hour).metric(Metric::TotalTokens));
    let report = engine.simulate(rules, Traffic::given(&attempts)).expect("good rules");
    assert_eq!(report.calls.calls + report.unjudged, attempts.len() as u64);
    assert!(!report.to_string().is_empty());
}

#[test]
fn refused_calls_that_are_kept_are_demand() {
    let recording = Recording::default().refusals(100);
    let (engine, clock) = engine(|it| it.recording(recording).quota(calls(3)));
    for number in 0..20 {
        let customer = ["ann", "ann", "ann", "bob"][number % 4];
        let _ = track(&engine, &Event::new(customer, "call").model("o3"));
        // Some at one instant.
        if number % 3 == 0 {
            clock.advance(duration(SECOND));
        }
    }
    let same = simulate(&engine, of(calls(3)));
    assert_eq!((same.calls.calls, same.calls.refused, same.calls.was_refused), (20, 14, 14));
    assert_eq!((same.calls.newly_refused, same.calls.newly_let_in), (0, 0));
    assert_eq!(
        (same.demand, same.refused_since),
        (Demand::WithRefused, Some(date(START + 2 * SECOND)))
    );
    assert!(same.to_string().contains("refused calls are known from"), "{same}");
    let higher = simulate(&engine, of(calls(10)));
    assert_eq!((higher.calls.refused, higher.calls.newly_let_in), (5, 9));
    // A query says which, of these too.
    let bob = engine.simulate(of(calls(0)), EventQuery::new().customer("bob"));
    assert_eq!(bob.expect("good rules").calls.calls, 5);
    let late = EventQuery::new().since(date(START + 4 * SECOND));
    let late = engine.simulate(of(calls(0)), late).expect("good rules");
    assert_eq!((late.calls.calls, late.calls.was_refused), (10, 9));
    // None was refused: none is kept.
    let (engine, _) = self::engine(|it| it.recording(recording).quota(calls(3)));
    let report = simulate(&engine, of(calls(3)));
    assert_eq!((report.demand, report.refused_since), (Demand::WithRefused, None));
}
