use std::collections::HashMap;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::base::codec::Reader;
use crate::base::format::Version;
use crate::counters::{Committed, StoredCharges, encode_charges};
use crate::rules::{Algorithm, Enforcement, Overflow, QuotaUpdate, RateLimitUpdate};
use crate::time::ManualClock;
use crate::wire::HeaderDialect;
use crate::{Engine, Event, Meter, Metric, Period, Quota, RateLimit, Timestamp, Window};

/// Everything that can be asked of an answer, as text.
fn renderings(decision: &Decision) -> Vec<String> {
    let header = |dialect| decision.headers_in(dialect).map(|pair| format!("{pair:?}"));
    let mut all: Vec<String> = header(HeaderDialect::XRateLimit).collect();
    all.extend(header(HeaderDialect::Draft10));
    all.push(serde_json::to_string(decision).expect("plain data"));
    all.push(format!("{decision:?} {decision} {:?}", decision.event_id()));
    all.push(format!("{:?} {}", decision.retry_after(), decision.status_code()));
    all.push(decision.outcome().to_string());
    all.extend(decision.rate_limits().map(|status| format!("{status:?}")));
    all.extend(decision.quotas().map(|status| format!("{status:?}")));
    all.extend(decision.header_figures(|_| true).map(|told| format!("{told:?}")));
    all
}

fn enforcement(dice: &mut ChaCha8Rng) -> Enforcement {
    let all = [Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow];
    all[dice.random_range(0..3)]
}

fn rate_limit(dice: &mut ChaCha8Rng, number: usize) -> RateLimit {
    let window = [Window::Second, Window::Minute, Window::every(Duration::from_secs(7_200))];
    let metric = [Metric::TotalEvents, Metric::TotalTokens, Metric::value("units")];
    let all = [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];
    let (limit, window) = (dice.random_range(1..3_000), window[dice.random_range(0..3)]);
    let mut rule = RateLimit::new(format!("limit {number}"), limit, window)
        .id(format!("rl_{number}"))
        .metric(metric[dice.random_range(0..3)].clone())
        .algorithm(all[dice.random_range(0..3)])
        .enforcement(enforcement(dice));
    if dice.random_bool(0.6) {
        rule = rule.per("customer_id");
    }
    if dice.random_bool(0.2) {
        let all = [Overflow::Share, Overflow::Deny, Overflow::Allow];
        rule = rule.max_keys(2).overflow(all[dice.random_range(0..3)]);
    }
    if dice.random_bool(0.2) {
        rule = rule.filter("model", "a");
    }
    rule
}

fn quota(dice: &mut ChaCha8Rng, number: usize) -> Quota {
    let periods = [
        Period::Hour,
        Period::Month,
        Period::AllTime,
        Period::rolling(Duration::from_secs(86_400)),
        Period::Week,
    ];
    let mut period = periods[dice.random_range(0..5)];
    let metric = match dice.random_range(0..6) {
        0 => Metric::TotalEvents,
        1 => Metric::TotalTokens,
        2 => Metric::value("units"),
        3 => Metric::meter("peak"),
        4 => Metric::meter("level"),
        _ => Metric::TotalCostCents,
    };
    if matches!(metric, Metric::Meter(_)) && period == periods[3] {
        period = Period::Day;
    }
    let mut rule =
        Quota::new(format!("quota {number}"), metric, dice.random_range(1..9_000), period)
            .id(format!("q_{number}"))
            .enforcement(enforcement(dice));
    if dice.random_bool(0.6) {
        rule = rule.per("customer_id");
    }
    rule
}

fn event(dice: &mut ChaCha8Rng, now: i64) -> Event<'static> {
    let mut event = Event::new(format!("c{}", dice.random_range(0..4)), "call")
        .model(["a", "b"][dice.random_range(0..2)])
        .total_tokens(dice.random_range(0..200))
        .cost_cents(dice.random_range(-10..50))
        .value("units", dice.random_range(-5..20))
        .value("agents", dice.random_range(-5..40));
    if dice.random_bool(0.3) {
        let second = now + dice.random_range(-200_000..80_000);
        let at = Timestamp::new(second, dice.random_range(0..1_000_000_000));
        event = event.timestamp(at);
    }
    event
}

fn engine(dice: &mut ChaCha8Rng) -> (Engine, ManualClock, i64) {
    let start = 1_700_000_000 + dice.random_range(0..100_000_000);
    let clock = ManualClock::new(Timestamp::new(start, 5));
    let mut builder = Engine::builder()
        .clock(clock.clone())
        .meter(Meter::max("peak", "agents").id("peak"))
        .meter(Meter::latest("level", "agents").id("level"));
    for number in 0..dice.random_range(0..8) {
        builder = builder.rate_limit(rate_limit(dice, number));
    }
    for number in 0..dice.random_range(0..8) {
        builder = builder.quota(quota(dice, number));
    }
    (builder.build().expect("valid rules"), clock, start)
}

/// A rule is changed, or removed, or a new one comes.
fn change(dice: &mut ChaCha8Rng, engine: &Engine, turn: usize) {
    let number = dice.random_range(0..8);
    let limit = dice.random_range(1..500);
    let _ = engine.rules().update(&format!("rl_{number}"), RateLimitUpdate::new().limit(limit));
    let period = [Period::Day, Period::AllTime][dice.random_range(0..2)];
    let _ = engine.rules().update(&format!("q_{number}"), QuotaUpdate::new().period(period));
    if dice.random_bool(0.3) {
        let _ = engine.rules().remove(&format!("rl_{number}"));
    }
    if dice.random_bool(0.3) {
        engine.rules().add(rate_limit(dice, 100 + turn)).expect("a new rule");
    }
}

/// Saves the answer as a record does, in the order in which the rules were found.
fn save(dice: &mut ChaCha8Rng, decision: &Decision) -> Vec<u8> {
    let mut charges: Vec<Charge> = decision.judged().map(|(_, charge)| *charge).collect();
    charges.shuffle(dice);
    let revision = |place| {
        let mut said = decision.judged();
        said.find(|(_, charge)| charge.rule == place).expect("its own charge").0.revision()
    };
    let mut bytes = Vec::new();
    let (at, charges) = (decision.at(), &charges);
    let committed =
        Committed { at: &at, charges, starts: &[], held: None, crossings: &[], event: None };
    encode_charges(&committed, revision, &mut bytes);
    bytes
}

struct Answer {
    replay: Decision,
    at: At,
    bytes: Vec<u8>,
}

/// Random rules and events, with changes of the rules in between: what comes back renders as what
/// was kept in memory, whatever the rules have become.
#[test]
fn an_answer_that_comes_back_renders_as_the_one_that_was_kept() {
    let mut statuses = 0;
    for seed in 0..150 {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let (engine, clock, mut now) = engine(&mut dice);
        let mut rules: HashMap<u32, Arc<CompiledRule>> = HashMap::new();
        let mut kept = Vec::new();
        for turn in 0..60 {
            if dice.random_bool(0.3) {
                let seconds = dice.random_range(0..5_000);
                clock.advance(Duration::new(seconds, dice.random_range(0..1_000_000_000)));
                now += i64::try_from(seconds).expect("few");
            }
            if dice.random_bool(0.1) {
                change(&mut dice, &engine, turn);
            }
            let event = event(&mut dice, now);
            let answer =
                if dice.random_bool(0.5) { engine.track(&event) } else { engine.record(&event) };
            let Ok(decision) = answer else { continue };
            if !decision.is_allowed() {
                continue;
            }
            rules.extend(decision.judged().map(|(rule, _)| (rule.revision(), Arc::clone(rule))));
            let bytes = save(&mut dice, &decision);
            kept.push(Answer { replay: decision.to_replay(), at: decision.at(), bytes });
        }
        let find = |revision: u32| rules.get(&revision).map(Arc::clone);
        for Answer { replay, at, bytes } in kept {
            let timeline = replay.findings().timeline;
            let mut charges = StoredCharges::new();
            charges.decode(Reader::new(Version::NEWEST, &bytes), &at).expect("what was saved");
            let id = replay.event_id();
            let restored =
                Decision::restored(id, (at, timeline), &charges, &[], find).expect("rules known");
            assert_eq!(renderings(&restored), renderings(&replay), "seed {seed}");
            // And again from a copy, as the next retry gets it.
            assert_eq!(renderings(&restored.to_replay()), renderings(&replay), "seed {seed}");
            statuses += charges.len();
            if !charges.is_empty() {
                let unknown = Decision::restored(id, (at, timeline), &charges, &[], |_| None);
                assert!(unknown.is_none(), "seed {seed}");
            }
        }
    }
    assert!(statuses > 10_000, "only {statuses} statuses were compared");
}
