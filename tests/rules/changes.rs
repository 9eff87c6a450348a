//! Goal: changing rules while the engine runs keeps what was used. What did not change is
//! untouched by any reload, a raised limit helps at once, a lowered one shows zero and never
//! underflows, and no flapping mints anything.
//!
//! Method: worked cases, and random changes beside the oracle.

use crate::support::oracle::{
    DAY, HOUR, Kind, MILLISECOND, MINUTE, Measure, Nanos, PlainEvent, Rule, SECOND, Span,
};
use crate::support::{Dice, Pair, cases, duration, engine, figures, rule_set, seed};
use limitry::errors::RulesError;
use limitry::events::Recording;
use limitry::rules::{Algorithm, Enforcement, QuotaUpdate, RateLimitUpdate, SyncOptions};
use limitry::time::ManualClock;
use limitry::{
    Amount, Engine, Event, Metric, Period, Quota, RateLimit, RuleSet, Timestamp, Window,
};
use std::time::Duration;

const ALL_KINDS: [Kind; 7] = [
    Kind::Bucket { window: MINUTE, burst: None },
    Kind::Bucket { window: MINUTE, burst: Some(140) },
    Kind::Fixed { window: MINUTE },
    Kind::Sliding { window: MINUTE },
    Kind::Rolling { window: MINUTE },
    Kind::Calendar(Span::Hour),
    Kind::Calendar(Span::AllTime),
];

pub(crate) fn plain_event() -> PlainEvent {
    PlainEvent::new("ann", "call")
}

pub(crate) fn event() -> Event<'static> {
    Event::new("ann", "call")
}

pub(crate) fn allowed(engine: &Engine) -> bool {
    engine.track(&event()).expect("valid").is_allowed()
}

/// How many events pass now, one after the other.
pub(crate) fn drain(engine: &Engine) -> u64 {
    let mut drained = 0;
    while allowed(engine) {
        drained += 1;
        assert!(drained < 100_000, "nothing limits this");
    }
    drained
}

/// What the only rule says is left.
pub(crate) fn remaining(engine: &Engine) -> u64 {
    let standing = engine.standing(&event()).expect("valid");
    let rate = standing.rate_limits().map(|status| status.remaining.to_u64_floor());
    rate.chain(standing.quotas().map(|status| status.remaining.to_u64_floor()))
        .next()
        .expect("one rule")
}

fn set_limit(engine: &Engine, rule: &Rule, limit: u64) {
    if rule.kind.is_rate() {
        let update = RateLimitUpdate::new().limit(limit);
        engine.rules().update(&rule.id, update).expect("valid");
    } else {
        engine.rules().update(&rule.id, QuotaUpdate::new().limit(limit)).expect("valid");
    }
}

/// A bug of a peer: each reload filled every bucket again.
#[test]
fn a_reload_of_the_same_rules_changes_nothing() {
    let rules: Vec<Rule> = ALL_KINDS
        .iter()
        .enumerate()
        .map(|(number, kind)| Rule::new(&format!("r{number}"), 100, *kind).per("customer_id"))
        .collect();
    let (engine, clock) = engine(|builder| builder.rule_set(rule_set(&rules)));
    for _ in 0..60 {
        assert!(allowed(&engine));
        clock.advance(Duration::from_millis(7));
    }
    let before = figures(&engine, &plain_event());
    let listed = engine.rules().set();
    let names: Vec<String> = {
        let rates = listed.rate_limits.iter().map(|rule| rule.name.clone());
        rates.chain(listed.quotas.iter().map(|rule| rule.name.clone())).collect()
    };
    for turn in 0..10 {
        // The engine's own list, and the list as a file would say it, without ids.
        let set =
            if turn % 2 == 0 { engine.rules().set() } else { without_ids(engine.rules().set()) };
        let report = engine.rules().sync(set, SyncOptions::apply()).expect("valid");
        assert_eq!(report.unchanged, names);
        assert!(report.created.is_empty() && report.updated.is_empty());
        assert!(report.removed.is_empty() && !report.preview);
        assert_eq!(figures(&engine, &plain_event()), before, "turn {turn}");
    }
    assert_eq!(engine.rules().set(), listed, "ids and dates stay too");
}

fn without_ids(mut set: RuleSet) -> RuleSet {
    for rule in &mut set.rate_limits {
        (rule.id, rule.created_at, rule.updated_at) = (None, None, None);
    }
    for rule in &mut set.quotas {
        (rule.id, rule.created_at, rule.updated_at) = (None, None, None);
    }
    set
}

/// Changes of one rule leave the others alone.
#[test]
fn a_change_of_one_rule_leaves_the_others_untouched() {
    let rules: Vec<Rule> = ALL_KINDS
        .iter()
        .enumerate()
        .map(|(number, kind)| Rule::new(&format!("r{number}"), 100, *kind).per("customer_id"))
        .collect();
    for changed in &rules {
        let (engine, clock) = engine(|builder| builder.rule_set(rule_set(&rules)));
        for _ in 0..60 {
            assert!(allowed(&engine));
            clock.advance(Duration::from_millis(7));
        }
        let others = |engine: &Engine| {
            let standing = engine.standing(&event()).expect("valid");
            let stood = crate::support::plain_standing(&standing);
            let figures = stood.rates.into_iter().chain(stood.quotas);
            figures.filter(|figure| figure.id != changed.id).collect::<Vec<_>>()
        };
        let before = others(&engine);
        assert_eq!(before.len(), ALL_KINDS.len() - 1);
        set_limit(&engine, changed, 77);
        assert_eq!(others(&engine), before, "{changed:?}");
        engine.rules().remove(&changed.id).expect("it is there");
        assert_eq!(others(&engine), before, "{changed:?} removed");
    }
}

#[test]
fn a_raised_limit_helps_at_once() {
    for kind in ALL_KINDS {
        let rule = Rule::new("r", 100, kind);
        let (engine, _clock) = engine(|builder| builder.rule_set(rule_set([&rule])));
        let first = drain(&engine);
        let capacity = if let Kind::Bucket { burst: Some(burst), .. } = kind { burst } else { 100 };
        assert_eq!(first, capacity, "{kind:?}");
        if let Kind::Bucket { burst: Some(_), .. } = kind {
            let update = RateLimitUpdate::new().burst(Amount::from(170));
            engine.rules().update("r", update).expect("valid");
        } else {
            set_limit(&engine, &rule, 130);
        }
        assert_eq!(remaining(&engine), 30, "{kind:?}");
        assert_eq!(drain(&engine), 30, "{kind:?}");
    }
}

/// Lowered below what is used: zero is left, nothing underflows, and the rest comes as it drains.
#[test]
fn a_lowered_limit_shows_zero_and_recovers() {
    for kind in ALL_KINDS {
        let rule = Rule::new("r", 100, kind);
        let (engine, clock) = engine(|builder| builder.rule_set(rule_set([&rule])));
        for _ in 0..60 {
            assert!(allowed(&engine), "{kind:?}");
        }
        set_limit(&engine, &rule, 10);
        if let Kind::Bucket { burst: Some(_), .. } = kind {
            let update = RateLimitUpdate::new().burst(Amount::from(10));
            engine.rules().update("r", update).expect("valid");
        }
        assert_eq!(remaining(&engine), 0, "{kind:?}");
        let refused = engine.track(&event()).expect("valid");
        assert!(!refused.is_allowed(), "{kind:?}");
        for status in refused.quotas() {
            assert_eq!((status.used, status.limit), (60.into(), Some(10.into())), "{kind:?}");
            assert_eq!(status.remaining.to_string(), "0");
        }
        clock.advance(duration(HOUR));
        let due = if kind == Kind::Calendar(Span::AllTime) { 0 } else { 10 };
        assert_eq!(drain(&engine), due, "{kind:?} after an hour");
    }
}

/// Lowered and raised again, over and over: what was used stays used.
#[test]
fn flapping_mints_nothing() {
    for kind in ALL_KINDS {
        let rule = Rule::new("r", 100, kind);
        let (engine, _clock) = engine(|builder| builder.rule_set(rule_set([&rule])));
        let capacity = drain(&engine);
        for (low, high) in [(10, 100), (1, 100), (99, 100), (100, 100), (50, 100)] {
            for _ in 0..5 {
                set_limit(&engine, &rule, low);
                if let Kind::Bucket { burst: Some(_), .. } = kind {
                    let update = RateLimitUpdate::new().burst(Amount::from(low));
                    engine.rules().update("r", update).expect("valid");
                }
                assert_eq!(drain(&engine), 0, "{kind:?} at {low}");
                set_limit(&engine, &rule, high);
                if let Kind::Bucket { burst: Some(burst), .. } = kind {
                    let update = RateLimitUpdate::new().burst(Amount::from(burst));
                    engine.rules().update("r", update).expect("valid");
                }
                assert_eq!(drain(&engine), 0, "{kind:?} at {high} again");
            }
        }
        set_limit(&engine, &rule, 200);
        if let Kind::Bucket { burst: Some(burst), .. } = kind {
            let update = RateLimitUpdate::new().burst(Amount::from(burst + 100));
            engine.rules().update("r", update).expect("valid");
        }
        assert_eq!(drain(&engine), 100, "{kind:?}: {capacity} were used of 100 more");
    }
}

/// Flapping through other algorithms, windows and periods, or off and on, mints nothing either.
#[test]
fn flapping_between_kinds_mints_nothing() {
    let (engine, _clock) =
        engine(|builder| builder.rate_limit(RateLimit::new("r", 50, Window::Minute).id("r")));
    assert_eq!(drain(&engine), 50);
    let kinds = [Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::TokenBucket];
    let windows = [Window::Second, Window::Hour, Window::Minute];
    for turn in 0..30 {
        let update = match turn % 4 {
            0 => RateLimitUpdate::new().algorithm(kinds[turn / 4 % 3]),
            1 => RateLimitUpdate::new().window(windows[turn / 4 % 3]),
            2 => RateLimitUpdate::new().enabled(false),
            _ => RateLimitUpdate::new().enabled(true),
        };
        engine.rules().update("r", update).expect("valid");
        if turn % 4 != 2 {
            assert_eq!(drain(&engine), 0, "turn {turn}");
        }
    }

    let quota = Quota::new("q", Metric::TotalEvents, 50, Period::Hour).id("q");
    let (engine, _clock) = crate::support::engine(|builder| builder.quota(quota));
    assert_eq!(drain(&engine), 50);
    let rolling = Period::rolling(Duration::from_secs(600));
    for period in [Period::Day, rolling, Period::AllTime, Period::Hour, rolling, Period::Month] {
        engine.rules().update("q", QuotaUpdate::new().period(period)).expect("valid");
        assert_eq!(drain(&engine), 0, "{period}");
    }
}

/// A rule of one algorithm becomes one of another: what is used is used.
#[test]
fn a_changed_algorithm_carries_what_is_used() {
    let rates = [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];
    for from in rates {
        for to in rates {
            let rule = RateLimit::new("r", 100, Window::Minute).id("r").algorithm(from);
            let (engine, _clock) = engine(|builder| builder.rate_limit(rule));
            for _ in 0..37 {
                assert!(allowed(&engine));
            }
            let update = RateLimitUpdate::new().algorithm(to).limit(120);
            engine.rules().update("r", update).expect("valid");
            assert_eq!(remaining(&engine), 83, "{from:?} to {to:?}");
            assert_eq!(drain(&engine), 83, "{from:?} to {to:?}");
        }
    }
}

/// A carried lump is used now: it leaves a sliding window a window from now, and refills at the
/// bucket's rate from now on.
#[test]
fn a_carried_lump_ages_from_the_change_on() {
    let fixed = RateLimit::new("r", 60, Window::Minute).id("r").algorithm(Algorithm::FixedWindow);
    let (engine, clock) = engine(|builder| builder.rate_limit(fixed));
    assert_eq!(drain(&engine), 60);
    clock.advance(Duration::from_secs(30));
    let update = RateLimitUpdate::new().algorithm(Algorithm::SlidingWindow);
    engine.rules().update("r", update).expect("valid");
    clock.advance(Duration::from_secs(59));
    assert_eq!(remaining(&engine), 0, "the lump is a second short of a minute old");
    clock.advance(Duration::from_secs(2));
    assert_eq!(drain(&engine), 60);
    let update = RateLimitUpdate::new().algorithm(Algorithm::TokenBucket);
    engine.rules().update("r", update).expect("valid");
    clock.advance(Duration::from_secs(20));
    assert_eq!(remaining(&engine), 20, "one a second since the change");
}

/// The change counts from the moment it was made, also where nobody looked in between.
#[test]
fn a_new_rate_counts_from_the_change_on() {
    let rule = RateLimit::new("r", 60, Window::Minute).id("r").burst(600);
    let (engine, clock) = engine(|builder| builder.rate_limit(rule));
    assert_eq!(drain(&engine), 600);
    clock.advance(Duration::from_secs(100));
    engine.rules().update("r", RateLimitUpdate::new().limit(120)).expect("valid");
    clock.advance(Duration::from_secs(50));
    engine.rules().update("r", RateLimitUpdate::new().limit(6)).expect("valid");
    clock.advance(Duration::from_secs(40));
    assert_eq!(remaining(&engine), 100 + 100 + 4);
}

/// A counter that nobody touched through many changes is right all the same.
#[test]
fn a_counter_that_slept_through_many_changes_is_exact() {
    let seed = seed("rule_changes::a_counter_that_slept_through_many_changes_is_exact", 23);
    for case in 0..cases(300) {
        let case_seed = seed.wrapping_add(u64::from(case));
        let mut dice = Dice::new(case_seed);
        let bucket = |dice: &mut Dice, window: Nanos| Kind::Bucket {
            window,
            burst: Some(dice.range(1, 200)),
        };
        let mut rules = vec![
            Rule::new("r0", 100, bucket(&mut dice, SECOND)).per("customer_id"),
            Rule::new("r1", 100, Kind::Fixed { window: MINUTE }).per("customer_id"),
            Rule::new("r2", 100, Kind::Calendar(Span::Hour)).per("customer_id"),
        ];
        let mut pair = Pair::new(&rules);
        let sleeper = PlainEvent::new("sleeper", "call");
        let judge = |result: Result<_, String>| {
            result.unwrap_or_else(|why| panic!("LIMITRY_SEED={case_seed}: {why}"));
        };
        for _ in 0..dice.range(1, 50) {
            judge(pair.track(&sleeper).map(drop));
        }
        for _ in 0..dice.range(1, 30) {
            pair.advance(i128::from(dice.range(0, 40)) * MILLISECOND + 1);
            let place = usize::try_from(dice.below(3)).expect("an index");
            rules[place].limit = dice.range(1, 200);
            if place == 0 {
                rules[0].kind = bucket(&mut dice, SECOND);
            }
            pair.change(&rules[place]);
            judge(pair.track(&PlainEvent::new("other", "call")).map(drop));
        }
        judge(pair.standing(&sleeper).map(drop));
        judge(pair.track(&sleeper).map(drop));
    }
}

/// What a changed quota takes over is that of the period of the change, whichever period the first
/// event afterwards falls in: here retention has taken the events that could tell.
#[test]
fn an_event_of_another_period_leaves_what_is_carried() {
    let periods = ["2024-01-31T09:00:00Z", "2024-02-01T09:00:00Z", "2023-12-31T09:00:00Z"];
    for (period, refused) in periods.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let clock = ManualClock::new("2024-01-31T10:00:00Z".parse().expect("an instant"));
        let daily = Quota::new("calls", Metric::TotalEvents, 10, Period::Day);
        let engine = Engine::builder()
            .clock(clock)
            .late_events(Duration::from_secs(50 * 86_400))
            .recording(Recording::Newest(2))
            .quota(daily.filter("team", "t").per("customer_id").id("calls"))
            .quota(Quota::new("gate", Metric::TotalTokens, 1, Period::AllTime))
            .build()
            .expect("valid");
        let call = || event().property("team", "t");
        let used = |event| {
            let decision = engine.track(&event).expect("valid");
            let used = decision.quotas().next().map(|status| status.used.to_u64_ceil());
            (decision.is_allowed(), used.expect("the rule matches"))
        };
        for count in 1..=8 {
            assert_eq!(used(call()), (true, count));
        }
        let change = QuotaUpdate::new().period(Period::Month);
        engine.rules().update("calls", change).expect("valid");
        let dated = call().timestamp(period.parse::<Timestamp>().expect("an instant"));
        used(if refused { dated.total_tokens(2) } else { dated });
        let counts = !refused && period == "2024-01-31T09:00:00Z";
        assert_eq!(used(call()).1, 9 + u64::from(counts), "after {period}, refused: {refused}");
    }
}

/// Another metric or partition counts something else: there is nothing to carry, and without a
/// record of the events nothing to start from.
#[test]
fn another_metric_or_partition_starts_fresh() {
    let quota = Quota::new("q", Metric::TotalEvents, 5, Period::Day).id("q");
    let (engine, _clock) = engine(|builder| builder.recording(Recording::Off).quota(quota));
    assert_eq!(drain(&engine), 5);
    engine.rules().update("q", QuotaUpdate::new().per("customer_id")).expect("valid");
    assert_eq!(drain(&engine), 5);
    engine.rules().update("q", QuotaUpdate::new().metric(Metric::TotalTokens)).expect("valid");
    assert_eq!(remaining(&engine), 5);
    let tokens = event().total_tokens(5);
    assert!(engine.track(&tokens).expect("valid").is_allowed());
    assert!(!engine.track(&tokens).expect("valid").is_allowed());
}

/// A name, a filter, an enforcement, a policy or a pause leaves the counter as it is.
#[test]
fn what_is_not_counted_by_leaves_the_counter_alone() {
    let quota = Quota::new("q", Metric::TotalEvents, 50, Period::Day).id("q");
    let (engine, _clock) = engine(|builder| builder.recording(Recording::Off).quota(quota));
    for _ in 0..20 {
        assert!(allowed(&engine));
    }
    let updates = [
        QuotaUpdate::new().name("another name"),
        QuotaUpdate::new().filter("customer_id", "ann"),
        QuotaUpdate::new().enforcement(Enforcement::Soft),
        QuotaUpdate::new().enforcement(Enforcement::Hard),
        QuotaUpdate::new().policy("a policy".to_owned()),
        QuotaUpdate::new().policy(None),
    ];
    for update in updates {
        engine.rules().update("q", update.clone()).expect("valid");
        assert_eq!(remaining(&engine), 30, "{update:?}");
    }
    engine.rules().update("q", QuotaUpdate::new().enabled(false)).expect("valid");
    let decision = engine.track(&event()).expect("valid");
    assert_eq!(decision.quotas().count(), 0, "neither evaluated nor listed");
    engine.rules().update("q", QuotaUpdate::new().enabled(true)).expect("valid");
    assert_eq!(remaining(&engine), 30, "what passed meanwhile was not counted");
}

#[test]
fn a_removed_rule_no_longer_decides() {
    let (engine, _clock) = engine(|builder| {
        builder
            .recording(Recording::Off)
            .quota(Quota::new("q", Metric::TotalEvents, 1, Period::Day).id("q"))
            .rate_limit(RateLimit::new("r", 1, Window::Hour).id("r"))
    });
    assert_eq!(drain(&engine), 1);
    engine.rules().remove("q").expect("it is there");
    let refused = engine.track(&event()).expect("valid");
    assert!(!refused.is_allowed());
    assert_eq!((refused.rate_limits().count(), refused.quotas().count()), (1, 0));
    engine.rules().remove("r").expect("it is there");
    for _ in 0..10 {
        let decision = engine.track(&event()).expect("valid");
        assert!(decision.is_allowed());
        assert_eq!((decision.rate_limits().count(), decision.quotas().count()), (0, 0));
    }
    assert!(matches!(engine.rules().remove("q"), Err(RulesError::NotFound { .. })));
    assert!(
        engine.rules().get::<Quota>("q").is_none()
            && engine.rules().get::<RateLimit>("r").is_none()
    );
    // A rule of the same id later is another rule.
    engine
        .rules()
        .add(Quota::new("q", Metric::TotalEvents, 1, Period::Day).id("q"))
        .expect("valid");
    assert_eq!(drain(&engine), 1);
}

/// What is used of the first quota, and its limit.
fn used(engine: &Engine) -> (u64, u64) {
    let standing = engine.standing(&event()).expect("a valid event");
    let quota = standing.quotas().next().expect("a quota");
    (quota.used.to_u64_ceil(), quota.limit.map_or(0, Amount::to_u64_floor))
}

#[test]
fn a_policy_falls_back_when_the_specific_rule_goes() {
    let (engine, _clock) = engine(|builder| {
        builder
            .quota(Quota::new("default", Metric::TotalEvents, 5, Period::Day).policy("p").id("d"))
            .quota(
                Quota::new("own", Metric::TotalEvents, 8, Period::Day)
                    .filter("customer_id", "ann")
                    .policy("p")
                    .id("o"),
            )
    });
    assert_eq!(drain(&engine), 8, "the specific one replaces the default");
    engine.rules().update("o", QuotaUpdate::new().enabled(false)).expect("valid");
    assert_eq!(used(&engine), (8, 5), "the default judges now, and knows what was used");
    assert_eq!(drain(&engine), 0);
    engine.rules().update("o", QuotaUpdate::new().enabled(true).limit(9)).expect("valid");
    assert_eq!(used(&engine), (8, 9));
    assert_eq!(drain(&engine), 1);
    engine.rules().remove("o").expect("it is there");
    assert_eq!(used(&engine), (9, 5));
    assert_eq!(drain(&engine), 0);
}

#[test]
fn bad_changes_change_nothing() {
    let (engine, _clock) = engine(|builder| {
        builder
            .rate_limit(RateLimit::new("r", 5, Window::Second).burst(9).id("r"))
            .quota(Quota::new("q", Metric::TotalEvents, 5, Period::Day).id("q"))
    });
    let before = (engine.rules().set(), figures(&engine, &plain_event()));
    let invalid = [
        engine.rules().update("r", RateLimitUpdate::new().limit(0)).map(drop),
        // A burst is for a token bucket alone.
        engine
            .rules()
            .update("r", RateLimitUpdate::new().algorithm(Algorithm::FixedWindow))
            .map(drop),
        engine.rules().update("q", QuotaUpdate::new().name("")).map(drop),
        engine.rules().add(Quota::new("p", Metric::TotalEvents, 5, Period::Day).id("q")).map(drop),
        engine.rules().add(RateLimit::new("s", 5, Window::every(Duration::ZERO))).map(drop),
    ];
    for result in invalid {
        assert!(matches!(result, Err(RulesError::Invalid(_))), "{result:?}");
    }
    let missing = [
        engine.rules().update("q", RateLimitUpdate::new().limit(1)).map(drop),
        engine.rules().update("r", QuotaUpdate::new().limit(1)).map(drop),
        engine.rules().remove("nobody"),
    ];
    for result in missing {
        assert!(matches!(result, Err(RulesError::NotFound { .. })), "{result:?}");
    }
    assert_eq!((engine.rules().set(), figures(&engine, &plain_event())), before);
}

/// Random changes of random rules, in the middle of traffic, equal the oracle's carrying over.
#[test]
fn random_changes_carry_as_the_oracle_says() {
    let seed = seed("rule_changes::random_changes_carry_as_the_oracle_says", 29);
    for case in 0..cases(1_500) {
        let case_seed = seed.wrapping_add(u64::from(case));
        let mut dice = Dice::new(case_seed);
        let windows = [SECOND, MINUTE, HOUR, 7 * SECOND + 1];
        let random_kind = |dice: &mut Dice, rate: bool| {
            let window = dice.pick(&windows);
            match (rate, dice.below(3)) {
                (true, 0) => Kind::Bucket { window, burst: None },
                (true, 1) => Kind::Fixed { window },
                (true, _) => Kind::Sliding { window },
                (false, 0) => Kind::Rolling { window },
                (false, _) => Kind::Calendar(dice.pick(&Span::ALL)),
            }
        };
        let rate = dice.chance(60);
        let mut rule = Rule::new("r0", dice.range(1, 30), random_kind(&mut dice, rate));
        rule.measure = dice.pick(&[Measure::Events, Measure::Value("images".into())]);
        let mut pair = Pair::without_a_record(&[rule.clone()]);
        for step in 0..60 {
            let result = match dice.below(10) {
                0 | 1 => {
                    rule.limit = dice.range(1, 40);
                    pair.change(&rule);
                    Ok(())
                }
                2 => {
                    rule.kind = random_kind(&mut dice, rate);
                    pair.change(&rule);
                    Ok(())
                }
                3 | 4 => {
                    let steps = [1, MILLISECOND, SECOND, 10 * SECOND, 10 * MINUTE, HOUR, DAY];
                    let length = dice.pick(&steps);
                    pair.advance(i128::from(dice.range(1, 3)) * length);
                    Ok(())
                }
                5 => pair.standing(&plain_event()).map(drop),
                6 => pair.record(&plain_event().value("images", 1_250)).map(drop),
                _ => {
                    let images = i128::from(dice.range(0, 4_000));
                    pair.track(&plain_event().value("images", images)).map(drop)
                }
            };
            result.unwrap_or_else(|why| {
                panic!("LIMITRY_SEED={case_seed} LIMITRY_CASES=1, step {step}: {why}\n{rule:#?}")
            });
        }
    }
}
