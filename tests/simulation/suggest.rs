//! Goal: the limit that is suggested refuses no more than asked, and one less refuses more.
//!
//! Method: random rules and calls; what is suggested is simulated, and so is one less.

use limitry::errors::SimulateError;
use limitry::rules::Algorithm;
use limitry::simulation::{Attempt, Share, SimulationReport, Suggestion, Traffic};
use limitry::{
    Amount, Engine, Event, Meter, Metric, Period, Quota, RateLimit, Rule, RuleSet, Window,
};

use crate::support::oracle::SECOND;
use crate::support::{Dice, START, cases, date, engine, seed, track};

fn calls(dice: &mut Dice) -> Vec<Attempt<'static>> {
    let mut at = START;
    let call = |_| {
        at += i128::from(dice.below(40)) * SECOND;
        let customer = format!("cust_{}", dice.below(12).min(dice.below(12)));
        let event = Event::new(customer, "call")
            .model(dice.pick(&["a", "b"]))
            .total_tokens(dice.below(50))
            .cost_cents(Amount::from_millionths(i128::from(dice.below(9_000_000)) - 1_000_000));
        Attempt::new(date(at), event)
    };
    (0..60).map(call).collect()
}

fn rule(dice: &mut Dice) -> Rule {
    let metric = dice.pick(&[Metric::TotalEvents, Metric::TotalTokens, Metric::TotalCostCents]);
    if dice.chance(50) {
        let window = dice.pick(&[Window::Second, Window::Minute, Window::Hour]);
        let algorithm =
            dice.pick(&[Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow]);
        let rule = RateLimit::new("Rate", 5, window).metric(metric).algorithm(algorithm);
        return if dice.chance(70) { rule.per("customer_id") } else { rule }.into();
    }
    let period = dice.pick(&[Period::Hour, Period::Day, Period::AllTime]);
    let rule = Quota::new("Quota", metric, 5, period);
    if dice.chance(70) { rule.per("customer_id").per("model") } else { rule }.into()
}

/// The same rule with a limit.
fn limited(rule: &Rule, limit: Amount) -> RuleSet {
    let rule = match rule.clone() {
        Rule::RateLimit(mut rule) => {
            rule.limit_value = Some(limit);
            Rule::from(rule)
        }
        Rule::Quota(mut rule) => {
            rule.limit_value = Some(limit);
            Rule::from(rule)
        }
        other => panic!("{other:?}"),
    };
    RuleSet::new().rule(rule)
}

#[test]
fn the_limit_refuses_no_more_than_asked_and_one_less_refuses_more() {
    let mut dice = Dice::new(seed("suggest", 5));
    let engine = Engine::builder().build().expect("it is valid");
    for _ in 0..cases(60) {
        let (rule, calls) = (rule(&mut dice), calls(&mut dice));
        let percent = dice.below(60);
        let of_calls = dice.chance(50);
        let share = if of_calls { Share::of_calls(percent) } else { Share::of_customers(percent) };
        let refuses_more = |report: &SimulationReport| {
            let (refused, all) = if of_calls {
                (report.calls.refused, report.calls.calls)
            } else {
                (report.refused_customers, report.customers)
            };
            refused * 100 > all * percent
        };
        let given = || Traffic::given(&calls);
        let found = engine.suggest_over(rule.clone(), share, given()).expect("it is valid");
        let limit = found.limit.unwrap_or_else(|| panic!("{rule:?} has a limit: {found}"));
        let simulated = engine.simulate(limited(&rule, limit), given()).expect("it is valid");
        let plain = |report: &SimulationReport| (report.calls, report.refused_customers);
        assert_eq!(plain(&simulated), plain(&found.report));
        assert!(!refuses_more(&simulated), "{limit} of {rule:?}: {simulated}");
        if limit > Amount::ZERO {
            let less = limit.checked_sub(1.into()).expect("it is above 0");
            let less = engine.simulate(limited(&rule, less), given()).expect("it is valid");
            assert!(refuses_more(&less), "one less than {limit} of {rule:?}: {less}");
        }
    }
}

/// An engine of a hundred customers, of whom the nth has made one call of n tokens.
fn hundred(builder: impl FnOnce(limitry::EngineBuilder) -> limitry::EngineBuilder) -> Engine {
    let (engine, _) = engine(builder);
    for number in 1..=100_u64 {
        let customer = format!("cust_{number}");
        assert!(track(&engine, &Event::new(&customer, "call").total_tokens(number)).is_allowed());
    }
    engine
}

fn tokens() -> Quota {
    Quota::new("Tokens", Metric::TotalTokens, 1, Period::Day).per("customer_id")
}

#[test]
fn the_worked_numbers_of_a_hundred_customers() {
    let engine = hundred(|it| it);
    let suggest = |share| engine.suggest(tokens(), share).expect("it is valid");
    let limit = |share| suggest(share).limit.and_then(|limit| u64::try_from(limit).ok());
    assert_eq!(limit(Share::of_customers(0)), Some(100));
    assert_eq!(limit(Share::of_customers(1)), Some(99));
    assert_eq!(limit(Share::of_customers("10.5")), Some(90));
    assert_eq!(limit(Share::of_calls(100)), Some(0));
    assert_eq!(
        suggest(Share::of_customers(5)).to_string(),
        "a limit of 95 refuses 5 of 100 calls (5.0 %) and 5 of 100 customers (5.0 %)"
    );
    // Of a rule that counts one meter, all modes aside.
    let engine = hundred(|it| it.meter(Meter::sum("Tokens", "total_tokens").id("mtr_tokens")));
    let mut metered = tokens();
    metered.metric = Metric::Meter("mtr_tokens".into());
    let found = engine.suggest(metered.enabled(false).policy("plan"), Share::of_calls(3));
    assert_eq!(found.expect("it is valid").limit, Some(97.into()));
}

#[test]
fn where_no_limit_will_do_there_is_none() {
    let engine = hundred(|it| it);
    // A bucket never holds more than its burst.
    let rule = RateLimit::new("Burst", 5, Window::Second)
        .metric(Metric::TotalTokens)
        .per("customer_id")
        .burst(90);
    let Suggestion { limit, report, .. } =
        engine.suggest(rule.clone(), Share::of_calls(9)).expect("it is valid");
    assert_eq!((limit, report.calls.refused), (None, 10));
    assert_eq!(engine.suggest(rule, Share::of_calls(10)).expect("valid").limit, Some(1.into()));
}

#[test]
fn a_bad_share_or_rule_is_an_error() {
    let engine = hundred(|it| it);
    let refused = |rule: Rule, share| engine.suggest(rule, share).expect_err("it is bad");
    for share in ["-1", "100.000001", "many"] {
        let why = refused(tokens().into(), Share::of_calls(share));
        assert!(matches!(why, SimulateError::Share { .. }), "{why}");
        assert!(why.to_string().starts_with("share: "), "{why}");
    }
    let why = refused(tokens().per("a b").into(), Share::of_calls(1));
    assert!(matches!(why, SimulateError::Invalid(_)), "{why}");
    let why = refused(Quota::concurrent("At once", 5).into(), Share::of_calls(1)).to_string();
    assert!(why.starts_with("quota \"At once\": period: concurrent"), "{why}");
}
