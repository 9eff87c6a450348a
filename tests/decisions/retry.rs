//! Goal: the wait that a refusal names is exact. At that instant the same event passes, one
//! nanosecond earlier it does not, over all the rules together; the header's whole seconds are
//! enough; and what can never pass says so.
//!
//! Method: random sets of rules of all kinds are filled at random, under the oracle's eyes, until
//! one refuses; then the clock is put one nanosecond before the named instant, and on it. The
//! seed is printed. Worked cases with known instants stand beside the random ones.

use std::time::Duration;

use crate::support::oracle::{
    DAY, Enforce, HOUR, Kind, MILLISECOND, MINUTE, Measure, Nanos, PlainDecision, PlainEvent, Rule,
    SECOND, Span, Wait,
};
use crate::support::{Dice, Pair, START, cases, date, duration, engine, engine_at, event, seed};
use limitry::rules::{Algorithm, Enforcement, Overflow};
use limitry::time::ManualClock;
use limitry::wire::HeaderDialect;
use limitry::{Decision, Engine, Event, Metric, Period, Quota, RateLimit, RetryAfter, Window};

fn rule(dice: &mut Dice, number: u64) -> Rule {
    let windows =
        [1, 61, SECOND, MINUTE, HOUR, 3 * SECOND + 1, 1_700 * MILLISECOND, 17 * MINUTE, DAY];
    let window = dice.pick(&windows);
    let kind = match dice.below(8) {
        0 | 1 => Kind::Bucket { window, burst: dice.chance(50).then(|| dice.range(1, 20)) },
        2 => Kind::Fixed { window },
        3 => Kind::Sliding { window },
        4 => Kind::Rolling { window },
        5 => Kind::Calendar(Span::AllTime),
        _ => Kind::Calendar(dice.pick(&Span::ALL)),
    };
    let limit = dice.pick(&[1, 2, 3, 7, 10, 59, 1_000]);
    let mut rule = Rule::new(&format!("r{number}"), limit, kind);
    rule.measure = match dice.below(4) {
        0 | 1 => Measure::Events,
        2 => Measure::Tokens,
        _ => Measure::Value("images".into()),
    };
    if dice.chance(40) {
        rule.per.push("customer_id".into());
    }
    if dice.chance(10) {
        rule.enforce = dice.pick(&[Enforce::Soft, Enforce::Shadow]);
    }
    rule
}

fn plain_event(dice: &mut Dice) -> PlainEvent {
    let mut plain = PlainEvent::new(dice.pick(&["ann", "bob"]), "call");
    if dice.chance(80) {
        plain.total = Some(dice.range(0, 7));
    }
    if dice.chance(80) {
        let milli = i128::from(dice.range(0, 5_000));
        let milli = if dice.chance(15) { -milli } else { milli };
        plain.values.push(("images".into(), milli));
    }
    plain
}

fn header_seconds(decision: &Decision) -> Option<u64> {
    let headers: Vec<(&str, String)> = decision.headers().collect();
    let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    found.map(|(_, value)| value.parse().expect("whole seconds"))
}

/// The decision on the event as it is now, with the oracle's consent and without any effect.
fn look(pair: &mut Pair, plain: &PlainEvent) -> PlainDecision {
    let answer = pair.check(plain).unwrap_or_else(|why| panic!("{why}"));
    answer.expect("the event is valid")
}

#[test]
fn at_the_named_instant_it_passes_and_one_nanosecond_earlier_it_does_not() {
    let seed = seed("retry", 17);
    let (mut waits, mut nevers) = (0, 0);
    for case in 0..cases(3_000) {
        let case_seed = seed.wrapping_add(u64::from(case));
        let mut dice = Dice::new(case_seed);
        let mut rules: Vec<Rule> =
            (0..dice.range(1, 5)).map(|number| rule(&mut dice, number)).collect();
        rules.sort_by_key(|rule| !rule.kind.is_rate());
        let mut pair = Pair::new(&rules);
        let case = format!("LIMITRY_SEED={case_seed} LIMITRY_CASES=1\n{rules:#?}");
        for _ in 0..40 {
            let plain = plain_event(&mut dice);
            let answer = pair.track(&plain).unwrap_or_else(|why| panic!("{case}\n{why}"));
            match answer.expect("the event is valid").retry {
                None => {
                    let steps = [0, 0, 1, 17, MILLISECOND, SECOND, 47 * SECOND, 31 * MINUTE];
                    pair.advance(dice.pick(&steps));
                }
                Some(Wait::Never) => {
                    nevers += 1;
                    assert_never(&pair, &plain, &case);
                }
                Some(Wait::After(wait)) => {
                    waits += 1;
                    assert_exact(&mut pair, &plain, wait, &case);
                }
            }
        }
    }
    println!("{waits} waits and {nevers} refusals for ever");
}

fn assert_exact(pair: &mut Pair, plain: &PlainEvent, wait: Nanos, case: &str) {
    let decision = pair.engine.check(&event(plain)).expect("the event is valid");
    let seconds = header_seconds(&decision).expect("a refusal with a wait has the header");
    let due = crate::support::oracle::seconds(wait).max(1);
    assert_eq!(i128::from(seconds), due, "{case}\nthe header of a wait of {wait} ns");
    let from = pair.now();
    if wait > 1 {
        pair.set(from + wait - 1);
        let seen = look(pair, plain);
        assert!(!seen.is_admitted(), "{case}\n{plain:?} passes before {wait} ns: {seen:?}");
        assert_eq!(seen.retry, Some(Wait::After(1)), "{case}\n{plain:?} after {wait} - 1 ns");
    }
    pair.set(from + wait);
    let seen = look(pair, plain);
    assert!(seen.is_admitted(), "{case}\n{plain:?} still refused after {wait} ns: {seen:?}");
    // Within the second that the header adds, what was given back may leave a rolling period.
    let gives_back = |rule: &Rule| {
        matches!((rule.kind, &rule.measure), (Kind::Rolling { .. }, Measure::Value(_)))
    };
    if seconds.is_multiple_of(2) && !pair.oracle.rules().any(gives_back) {
        pair.set(from + i128::from(seconds) * SECOND);
    }
    let answer = pair.track(plain).unwrap_or_else(|why| panic!("{case}\n{why}"));
    let seen = answer.expect("the event is valid");
    assert!(
        seen.is_admitted(),
        "{case}\n{plain:?} refused after the header's {seconds} s: {seen:?}"
    );
}

/// No instant that lies ahead lets it pass: an engine of its own, moved far and wide, agrees.
fn assert_never(pair: &Pair, plain: &PlainEvent, case: &str) {
    let mut oracle = pair.oracle.clone();
    let now = oracle.read_clock();
    for ahead in [1, SECOND, HOUR, DAY, 32 * DAY, 366 * DAY, 40 * 366 * DAY] {
        oracle.set_clock(now + ahead);
        assert!(!oracle.could_pass(plain), "{case}\n{plain:?} passes after {ahead} ns");
    }
}

// Worked cases.

fn after(decision: &Decision) -> Duration {
    match decision.retry_after() {
        Some(RetryAfter::After(wait)) => wait,
        other => panic!("{other:?}: {decision:?}"),
    }
}

fn assert_passes_exactly(engine: &Engine, clock: &ManualClock, event: &Event<'_>, wait: Duration) {
    let refused = engine.track(event).expect("valid");
    assert_eq!(after(&refused), wait);
    clock.advance(wait.saturating_sub(Duration::from_nanos(1)));
    let early = engine.track(event).expect("valid");
    assert_eq!(early.retry_after(), Some(RetryAfter::After(Duration::from_nanos(1))));
    clock.advance(Duration::from_nanos(1));
    assert!(engine.track(event).expect("valid").is_allowed());
}

/// Three a second: a token is a third of a second, which no nanosecond ends. The wait is rounded
/// up, and the part of a nanosecond that comes too early is kept for the next token.
#[test]
fn a_wait_that_no_nanosecond_ends_is_rounded_up_and_the_rest_is_carried() {
    let (engine, clock) =
        engine(|builder| builder.rate_limit(RateLimit::new("r", 3, Window::Second)));
    let event = Event::new("x", "call");
    for _ in 0..3 {
        assert!(engine.track(&event).expect("valid").is_allowed());
    }
    for wait in [333_333_334, 333_333_333, 333_333_333, 333_333_334, 333_333_333, 333_333_333] {
        assert_passes_exactly(&engine, &clock, &event, Duration::from_nanos(wait));
    }
}

/// The rule that waits longest decides, and each of the others alone would not be enough.
#[test]
fn the_longest_of_several_waits_is_named() {
    let (engine, clock) = engine_at(START, |builder| {
        builder
            .rate_limit(RateLimit::new("second", 1, Window::Second))
            .rate_limit(RateLimit::new("minute", 1, Window::Minute))
            .quota(Quota::new("hour", Metric::TotalEvents, 1, Period::Hour))
    });
    let event = Event::new("x", "call");
    assert!(engine.track(&event).expect("valid").is_allowed());
    // It is 10:30 and the hour's quota is the last to open, at 11:00.
    assert_passes_exactly(&engine, &clock, &event, Duration::from_secs(1_800));
}

/// Two rules that are open by turns: the wait is for the first instant that suits both.
#[test]
fn the_wait_suits_all_rules_at_the_same_instant() {
    let mut pair = Pair::new(&[
        Rule::new("rate", 1, Kind::Bucket { window: 14 * HOUR, burst: None }),
        Rule::new("day", 2, Kind::Calendar(Span::Day)).measure(Measure::Tokens),
    ]);
    let plain = PlainEvent::new("ann", "call");
    // Tomorrow is used up ahead of time, by an event that the engine was told of early.
    let tomorrow = plain.clone().tokens(2).stamp(START + 20 * HOUR);
    let answer = pair.track(&tomorrow).expect("as the oracle says");
    assert!(answer.expect("valid").is_admitted());
    // The bucket would be ready at 00:30 tomorrow, but the quota opens the day after.
    let plain = plain.tokens(1);
    let answer = pair.track(&plain).expect("as the oracle says");
    let wait = answer.expect("valid").retry;
    assert_eq!(wait, Some(Wait::After(37 * HOUR + 30 * MINUTE)));
    assert_exact(&mut pair, &plain, 37 * HOUR + 30 * MINUTE, "tomorrow is used up");
}

type MakeEngine = fn() -> Engine;

#[test]
fn what_costs_more_than_the_whole_never_passes() {
    let engines: [(&str, MakeEngine); 5] = [
        ("bucket", || rate(RateLimit::new("r", 10, Window::Second))),
        ("burst", || rate(RateLimit::new("r", 100, Window::Second).burst(10))),
        ("fixed", || {
            rate(RateLimit::new("r", 10, Window::Second).algorithm(Algorithm::FixedWindow))
        }),
        ("sliding", || {
            rate(RateLimit::new("r", 10, Window::Second).algorithm(Algorithm::SlidingWindow))
        }),
        ("quota", || quota(Period::Day)),
    ];
    for (name, make) in engines {
        let engine = make();
        let eleven = engine.track(&Event::new("x", "call").total_tokens(11)).expect("valid");
        assert_eq!(eleven.retry_after(), Some(RetryAfter::Never), "{name}");
        assert_eq!(header_seconds(&eleven), None, "{name}: no header names an instant");
        assert_eq!(eleven.status_code(), 429, "{name}");
        let ten = engine.track(&Event::new("x", "call").total_tokens(10)).expect("valid");
        assert!(ten.is_allowed(), "{name}: the whole of it fits");
        let most = engine.track(&Event::new("x", "call").total_tokens(LARGEST)).expect("valid");
        assert_eq!(most.retry_after(), Some(RetryAfter::Never), "{name}");
    }
}

/// The largest amount of an event.
const LARGEST: u64 = 1_000_000_000_000_000;

fn rate(rule: RateLimit) -> Engine {
    engine(|builder| builder.rate_limit(rule.metric(Metric::TotalTokens))).0
}

fn quota(period: Period) -> Engine {
    engine(|builder| builder.quota(Quota::new("q", Metric::TotalTokens, 10, period))).0
}

/// A capacity above the limit admits in one go what the limit alone would not.
#[test]
fn a_cost_above_the_limit_and_within_the_burst_passes() {
    let (engine, clock) = engine(|builder| {
        builder.rate_limit(
            RateLimit::new("r", 10, Window::Second).burst(25).metric(Metric::TotalTokens),
        )
    });
    let event = Event::new("x", "call").total_tokens(25);
    assert!(engine.track(&event).expect("valid").is_allowed());
    assert_passes_exactly(&engine, &clock, &event, Duration::from_millis(2_500));
}

#[test]
fn a_quota_for_all_time_that_is_spent_never_passes() {
    let (engine, clock) = engine(|builder| {
        builder
            .quota(Quota::new("q", Metric::TotalEvents, 1, Period::AllTime))
            .rate_limit(RateLimit::new("r", 1, Window::Second))
    });
    let event = Event::new("x", "call");
    assert!(engine.track(&event).expect("valid").is_allowed());
    for _ in 0..3 {
        let decision = engine.track(&event).expect("valid");
        assert_eq!(decision.retry_after(), Some(RetryAfter::Never));
        clock.advance(Duration::from_secs(3_650 * 86_400));
    }
}

/// An event with a timestamp of its own stays in its period, however long one waits.
#[test]
fn a_timestamp_pins_an_event_to_its_period() {
    let (engine, clock) =
        engine(|builder| builder.quota(Quota::new("q", Metric::TotalEvents, 1, Period::Day)));
    let dated = Event::new("x", "call").timestamp(date(START));
    assert!(engine.track(&dated).expect("valid").is_allowed());
    let refused = engine.track(&dated).expect("valid");
    assert_eq!(refused.retry_after(), Some(RetryAfter::Never));
    let undated = engine.track(&Event::new("x", "call")).expect("valid");
    assert_eq!(after(&undated), duration(13 * HOUR + 30 * MINUTE));
    clock.advance(duration(13 * HOUR + 30 * MINUTE));
    assert!(!engine.track(&dated).expect("late, but not too late").is_allowed());
    assert!(engine.track(&Event::new("x", "call")).expect("valid").is_allowed());
}

/// When the rate limit opens, the event would be too late for its quota, of which nothing is
/// recorded: there is no instant.
#[test]
fn a_wait_past_the_time_for_late_events_is_never() {
    let mut pair = Pair::without_a_record(&[
        Rule::new("rate", 1, Kind::Bucket { window: 6 * HOUR, burst: None }),
        Rule::new("hour", 10, Kind::Calendar(Span::Hour)),
    ]);
    let plain = PlainEvent::new("ann", "call").stamp(START);
    assert!(pair.track(&plain).expect("as the oracle says").expect("valid").is_admitted());
    let seen = pair.track(&plain).expect("as the oracle says").expect("valid");
    assert_eq!(seen.retry, Some(Wait::Never));
}

/// Soft and shadow rules refuse nobody, so they are nothing to wait for.
#[test]
fn rules_that_refuse_nobody_are_not_waited_for() {
    let (engine, clock) = engine(|builder| {
        builder
            .rate_limit(RateLimit::new("hard", 1, Window::Second))
            .quota(
                Quota::new("soft", Metric::TotalEvents, 1, Period::AllTime)
                    .enforcement(Enforcement::Soft),
            )
            .quota(
                Quota::new("shadow", Metric::TotalEvents, 1, Period::AllTime)
                    .enforcement(Enforcement::Shadow),
            )
    });
    let event = Event::new("x", "call");
    assert!(engine.track(&event).expect("valid").is_allowed());
    assert_passes_exactly(&engine, &clock, &event, Duration::from_secs(1));
}

/// One line for a log names those that refused, and nobody else.
#[test]
fn rules_that_refuse_nobody_are_not_said_to_have_refused() {
    let (engine, _) = engine(|builder| {
        builder
            .rate_limit(RateLimit::new("trial", 1, Window::Hour).enforcement(Enforcement::Shadow))
            .rate_limit(RateLimit::new("calls", 1, Window::Second))
            .rate_limit(RateLimit::new("with room", 2, Window::Second))
            .quota(
                Quota::new("budget", Metric::TotalEvents, 1, Period::Month)
                    .enforcement(Enforcement::Soft),
            )
    });
    let event = Event::new("x", "call");
    assert_eq!(engine.track(&event).expect("valid").to_string(), "admitted");
    let refused = engine.track(&event).expect("valid");
    assert_eq!(refused.rate_limits().filter(|status| status.exceeded).count(), 2);
    assert_eq!(refused.to_string(), "refused by \"calls\"; passes in 1s");
}

/// A key without room passes a rule that lets such keys pass, whatever it brings.
#[test]
fn a_rule_that_lets_keys_without_room_pass_is_not_waited_for() {
    let (engine, clock) = engine(|builder| {
        builder.rate_limit(RateLimit::new("calls", 1, Window::Second)).quota(
            Quota::new("tokens", Metric::TotalTokens, 5, Period::AllTime)
                .per("customer_id")
                .max_keys(1)
                .overflow(Overflow::Allow),
        )
    });
    let call = |customer| Event::new(customer, "call").total_tokens(6);
    assert!(engine.track(&call("first").total_tokens(5)).expect("valid").is_allowed());
    // More than the whole limit, which its own counter would never take.
    assert_passes_exactly(&engine, &clock, &call("second"), Duration::from_secs(1));
    let refused = engine.track(&call("first")).expect("valid");
    assert_eq!(refused.retry_after(), Some(RetryAfter::Never));
}

/// The header counts whole seconds, at least one, and never too few.
#[test]
fn the_header_rounds_up_to_at_least_a_second() {
    for (limit, seconds) in [(1_000, 1), (1, 1), (3, 1)] {
        let (engine, _clock) =
            engine(|builder| builder.rate_limit(RateLimit::new("r", limit, Window::Second)));
        let mut decision = engine.track(&Event::new("x", "call")).expect("valid");
        while decision.is_allowed() {
            decision = engine.track(&Event::new("x", "call")).expect("valid");
        }
        assert_eq!(header_seconds(&decision), Some(seconds), "{limit} a second");
    }
    let (engine, _clock) = engine(|builder| {
        builder.rate_limit(RateLimit::new(
            "r",
            1,
            Window::every(Duration::from_nanos(1_000_000_001)),
        ))
    });
    assert!(engine.track(&Event::new("x", "call")).expect("valid").is_allowed());
    let decision = engine.track(&Event::new("x", "call")).expect("valid");
    assert_eq!(header_seconds(&decision), Some(2));
    let draft = decision.headers_in(HeaderDialect::Draft10);
    let retry: Vec<String> = draft
        .filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(retry, ["2"]);
}

/// What is left is what can be taken: `remaining` says how many more pass right now, no more and
/// no fewer, while time moves on.
#[test]
fn remaining_is_what_a_drain_admits() {
    let seed = seed("retry::remaining_is_what_a_drain_admits", 5);
    let mut dice = Dice::new(seed);
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (engine, clock) = engine(|builder| {
            builder.rate_limit(RateLimit::new("r", 40, Window::Second).algorithm(algorithm))
        });
        for _ in 0..300 {
            clock.advance(Duration::from_nanos(dice.range(0, 700_000_000)));
            let standing = engine.standing(&Event::new("x", "call")).expect("valid");
            let remaining = standing.rate_limits().next().expect("the rule applies").remaining;
            let mut drained = 0;
            while engine.track(&Event::new("x", "call")).expect("valid").is_allowed() {
                drained += 1;
            }
            assert_eq!(drained, remaining, "{algorithm:?}");
        }
    }
}
