//! The two paths of a decision: the straight one of everyday decisions, and step by step.
//!
//! Two engines are asked the same, one of which makes all decisions step by step. Their answers are
//! the same, whatever the rules and the calls are; and what is everyday goes straight.
//! Both place their rows alike, so that upkeep drops the same idle ones.

use std::time::Duration;

use limitry::events::Recording;
use limitry::rules::{Algorithm, Enforcement, Overflow, SyncOptions};
use limitry::time::ManualClock;
use limitry::{
    Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, Rule, Timestamp, Window,
};

use crate::support::oracle::{HOUR, SECOND};
use crate::support::{Dice, START, cases, clock, date, duration, engine, seed};

/// How many decisions went straight, and how many step by step, while `calls` ran.
fn paths(engine: &Engine, calls: impl FnOnce()) -> (u64, u64) {
    let (straight, steps) = engine.paths();
    calls();
    let (straight_then, steps_then) = engine.paths();
    (straight_then - straight, steps_then - steps)
}

fn four(builder: EngineBuilder) -> EngineBuilder {
    builder
        .rate_limit(RateLimit::new("Second", 100, Window::Second).per("customer_id"))
        .rate_limit(
            RateLimit::new("Minute", 1_000, Window::Minute)
                .algorithm(Algorithm::FixedWindow)
                .per("customer_id"),
        )
        .quota(Quota::new("Tokens", Metric::TotalTokens, 10_000, Period::Day).per("customer_id"))
        .quota(
            Quota::new("Cents", Metric::TotalCostCents, 500, Period::Month)
                .per("customer_id")
                .per("model"),
        )
}

fn call(customer: &str) -> Event<'_> {
    Event::new(customer, "call").model("gpt-4").total_tokens(100).cost_cents(5)
}

fn track(engine: &Engine, event: &Event<'_>) -> bool {
    engine.track(event).expect("a good event").is_allowed()
}

#[test]
fn everyday_decisions_go_straight() {
    for recording in [Recording::Off, Recording::Newest(1_000)] {
        let (engine, clock) = engine(|it| four(it.recording(recording)));
        engine.go_straight(true);
        let all = paths(&engine, || {
            for round in 0..50 {
                for customer in ["a", "b", "c"] {
                    // The first makes the rows; some are refused in the end.
                    let _ = track(&engine, &call(customer));
                    let _ = engine.check(&call(customer)).expect("a good event");
                    let _ = engine.standing(&call(customer)).expect("a good event");
                    let _ = engine.record(&call(customer)).expect("a good event");
                    let keyed = round.to_string();
                    let _ = track(&engine, &call(customer).idempotency_key(&keyed));
                }
                clock.advance(duration(SECOND));
            }
        });
        assert_eq!(all, (3 * 50 * 5, 0), "{recording:?}");
        // An event without the dimension of one row, and a new period.
        let lacking = || assert!(track(&engine, &Event::new("d", "call")));
        assert_eq!(paths(&engine, lacking), (1, 0));
        clock.advance(duration(24 * HOUR));
        assert_eq!(
            paths(&engine, || assert!(!track(&engine, &call("a")))),
            (1, 0),
            "the month is full"
        );
        assert_eq!(paths(&engine, || assert!(track(&engine, &call("d")))), (1, 0));
    }
}

#[test]
fn rules_in_every_mode_go_straight() {
    let calls = |name: &str, limit| RateLimit::new(name, limit, Window::Hour).per("customer_id");
    let (engine, _) = engine(|it| {
        it.recording(Recording::Off)
            .rate_limit(calls("soft", 2).enforcement(Enforcement::Soft))
            .rate_limit(calls("shadow", 2).enforcement(Enforcement::Shadow))
            .rate_limit(calls("plan", 2).policy("p"))
            .rate_limit(calls("better plan", 5).policy("p").filter("model", "gpt-4"))
            .quota(Quota::new("all", Metric::TotalEvents, 1_000, Period::AllTime))
    });
    engine.go_straight(true);
    let eight = || {
        let let_in: Vec<bool> = (0..8).map(|_| track(&engine, &call("a"))).collect();
        assert_eq!(let_in, [true, true, true, true, true, false, false, false]);
    };
    assert_eq!(paths(&engine, eight), (8, 0));
}

#[test]
fn what_is_not_everyday_goes_step_by_step() {
    let (engine, _) = engine(|it| {
        let rolling = Period::rolling(Duration::from_secs(60));
        four(it.recording(Recording::Off)).quota(
            Quota::new("rolling", Metric::TotalEvents, 9, rolling).filter("event_type", "other"),
        )
    });
    engine.go_straight(true);
    let dated = call("a").timestamp(date(START));
    assert_eq!(paths(&engine, || assert!(track(&engine, &dated))), (0, 1));
    let listed = Event::new("a", "other");
    assert_eq!(paths(&engine, || assert!(track(&engine, &listed))), (0, 1));
    assert_eq!(paths(&engine, || assert!(track(&engine, &call("a")))), (1, 0));
    engine.go_straight(false);
    assert_eq!(paths(&engine, || assert!(track(&engine, &call("a")))), (0, 1));
}

/// Two engines of the same rules: one goes straight where it can, the other never does.
struct Twins {
    straight: (Engine, ManualClock),
    steps: (Engine, ManualClock),
}

impl Twins {
    fn new(build: impl Fn(EngineBuilder) -> EngineBuilder) -> Self {
        let twin = |goes_straight| {
            let clock = clock();
            let builder = build(Engine::builder().clock(clock.clone()).hash_seed(7));
            let engine = builder.build().expect("good rules");
            engine.go_straight(goes_straight);
            (engine, clock)
        };
        Self { straight: twin(true), steps: twin(false) }
    }

    /// Does the same with both, and compares what is said.
    fn both(&self, what: impl Fn(&Engine, &ManualClock) -> String) -> Result<(), String> {
        let Self { straight, steps } = self;
        let said = without_ids(&what(&straight.0, &straight.1));
        let expected = without_ids(&what(&steps.0, &steps.1));
        if said == expected { Ok(()) } else { Err(format!("{said}\nis not\n{expected}")) }
    }
}

/// Ids of events begin with what is the engine's own.
fn without_ids(said: &str) -> String {
    let mut parts = said.split("evt_");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "evt_" + part.trim_start_matches(char::is_alphanumeric))
}

fn some_rule(dice: &mut Dice, number: u64) -> Rule {
    let limit = dice.pick(&[1, 3, 10, 50]);
    let metric = dice.pick(&[Metric::TotalEvents, Metric::TotalTokens, Metric::TotalCostCents]);
    let enforcement =
        dice.pick(&[Enforcement::Hard, Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow]);
    let overflow = dice.pick(&[Overflow::Share, Overflow::Deny, Overflow::Allow]);
    let capped = dice.below(5) == 0;
    let filtered = dice.below(3) == 0;
    let policy = dice.below(3) == 0;
    let per: &[&str] =
        dice.pick(&[&[][..], &["customer_id"], &["customer_id", "model"], &["team"]]);
    let id = format!("rule_{number}");
    macro_rules! with_modes {
        ($rule:expr, $policy:literal) => {{
            let mut rule = $rule.id(id).enforcement(enforcement);
            for key in per {
                rule = rule.per(*key);
            }
            if capped && !per.is_empty() {
                rule = rule.max_keys(2).overflow(overflow);
            }
            if filtered {
                rule = rule.filter("model", "gpt-4");
            }
            if policy {
                rule = rule.policy($policy);
            }
            rule.into()
        }};
    }
    let name = format!("Rule {number}");
    if dice.below(2) == 0 {
        let algorithm =
            dice.pick(&[Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow]);
        let window = [Window::Second, Window::Minute, Window::every(Duration::from_millis(700))];
        let rule = RateLimit::new(name, limit, dice.pick(&window)).algorithm(algorithm);
        with_modes!(rule.metric(metric), "rates")
    } else {
        let rolling = Period::rolling(Duration::from_secs(90));
        let period = [Period::Hour, Period::Day, Period::AllTime, rolling];
        with_modes!(Quota::new(name, metric, limit, dice.pick(&period)), "quotas")
    }
}

fn some_event(dice: &mut Dice, now: Timestamp) -> Event<'static> {
    let customer = dice.pick(&["a", "b", "c", "d"]);
    let mut event = Event::new(customer, "call");
    if dice.below(4) > 0 {
        event = event.model(dice.pick(&["gpt-4", "gpt-3"]));
    }
    if dice.below(2) == 0 {
        event = event.property("team", dice.pick(&["red", "blue"]));
    }
    if dice.below(3) > 0 {
        event = event.total_tokens(dice.pick(&[0, 1, 2, 30]));
    }
    if dice.below(3) > 0 {
        event = event.cost_cents(dice.pick(&[0, 1, -1, 4]));
    }
    if dice.below(8) == 0 {
        let seconds = now.unix_seconds() + dice.pick(&[-90_000, -10, 10, 7_200]);
        event = event.timestamp(Timestamp::new(seconds, 0));
    }
    if dice.below(6) == 0 {
        event = event.idempotency_key(format!("key_{}", dice.below(5)));
    }
    event
}

#[test]
fn both_paths_give_the_same_answers() {
    let seed = seed("both_paths_give_the_same_answers", 11);
    let (mut straight, mut steps) = (0, 0);
    for case in 0..u64::from(cases(60)) {
        let mut dice = Dice::new(seed + case);
        let recording = [Recording::Off, Recording::Newest(64), Recording::Newest(10_000)];
        let recording = dice.pick(&recording);
        let rules: Vec<Rule> = (0..=dice.below(6)).map(|it| some_rule(&mut dice, it)).collect();
        let max_keys = dice.pick(&[3, 1_000, 1_000]);
        let twins = Twins::new(|builder| {
            let builder = builder.recording(recording).max_keys(max_keys);
            rules.iter().cloned().fold(builder, EngineBuilder::rule)
        });
        let mut numbers = rules.len() as u64;
        for step in 0..120 {
            let now = twins.steps.0.now();
            let event = some_event(&mut dice, now);
            let (which, new) = (dice.below(40), some_rule(&mut dice, numbers));
            let length = dice.pick(&[1, 1_000_000, SECOND / 3, 61 * SECOND, 25 * HOUR]);
            let said = twins.both(|engine, clock| match which {
                0..22 => format!("{:?}", engine.track(&event)),
                22..25 => format!("{:?}", engine.check(&event)),
                25..27 => format!("{:?}", engine.standing(&event)),
                27..30 => format!("{:?}", engine.record(&event)),
                30..37 => {
                    clock.advance(duration(length));
                    String::new()
                }
                37 => format!("{:?}", engine.rules().add(new.clone()).is_ok()),
                38 => {
                    // A rule that takes the place of one, with its id.
                    let set = engine.rules().list();
                    let mut rules: Vec<Rule> = set.into_iter().collect();
                    rules.truncate(rules.len() / 2);
                    rules.push(new.clone());
                    format!(
                        "{:?}",
                        engine
                            .rules()
                            .sync(rules.into_iter().collect(), SyncOptions::apply())
                            .is_ok()
                    )
                }
                _ => format!("{:?}", engine.live_keys()),
            });
            numbers += u64::from(which == 37 || which == 38);
            said.unwrap_or_else(|why| {
                panic!(
                    "LIMITRY_SEED={}, step {step} ({which}) of {rules:?}: {event:?}\n{why}",
                    seed + case
                )
            });
        }
        let paths = twins.straight.0.paths();
        (straight, steps) = (straight + paths.0, steps + paths.1);
        assert_eq!(twins.steps.0.paths().0, 0, "it makes all step by step");
    }
    assert!(straight > 0 && steps > 0, "both were met: {straight}, {steps}");
}
