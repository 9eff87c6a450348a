//! Goal: an estimate is what a stated share of the newest calls did not pass, never above the most
//! that may come out; it learns by every way in, after a restart as well; what is kept is bounded,
//! and no customer spoils what others get.
//!
//! Method: against a naive window whose calls are sorted, over seeded draws; over an hour of real
//! traffic; floods of calls, of customers and of models; threads under one limit.

use limitry::events::EventQuery;
use limitry::llm::{
    EstimateSource, EstimatedReservation, Estimator, PriceBook, ReserveEstimated, ReservedEstimate,
};
use limitry::reservations::KeyStatus;
use limitry::rules::Percentile;
use limitry::store::MemoryStore;
use limitry::{Amount, Engine, Event, Hold, Metric, Outcome, Period, Quota};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PERCENTILES: [&str; 7] = ["p0", "p50", "p90", "p95", "p99", "p99.9", "p100"];

fn percentile(text: &str) -> Percentile {
    text.parse().unwrap()
}

fn call<'a>(customer: &'a str, model: &'a str, output: u64) -> Event<'a> {
    Event::new(customer, "model_call").model(model).output_tokens(output)
}

/// What is estimated where the call may be of any length.
fn open(estimator: &Estimator, customer: &str, model: &str) -> (Option<u64>, EstimateSource) {
    let event = Event::new(customer, "model_call").model(model);
    let estimate = estimator.estimate(&event);
    (estimate.output_tokens, estimate.source)
}

/// The newest calls, all of them: as many as a generation has, and those since.
struct Naive {
    recent: Vec<u64>,
    since: usize,
    generation: usize,
}

impl Naive {
    fn new(generation: usize) -> Self {
        Self { recent: Vec::new(), since: 0, generation }
    }

    fn add(&mut self, tokens: u64) {
        self.recent.push(tokens);
        self.since += 1;
        if self.since == self.generation {
            self.recent.drain(..self.recent.len() - self.generation);
            self.since = 0;
        }
    }

    /// The call that so many millionths of all calls and the next one are not above.
    fn at(&self, millionths: usize) -> Option<u64> {
        let mut sorted = self.recent.clone();
        sorted.sort_unstable();
        let rank = ((sorted.len() + 1) * millionths).div_ceil(1_000_000).max(1);
        (sorted.len() >= 20).then(|| sorted.get(rank - 1).copied()).flatten()
    }
}

fn is_near(estimate: Option<u64>, exact: Option<u64>) -> bool {
    match (estimate, exact) {
        (Some(estimate), Some(exact)) => {
            exact <= estimate && u128::from(estimate) * 100 <= u128::from(exact) * 103
        }
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn a_customers_estimate_is_that_of_its_newest_calls() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let millionths = [0, 500_000, 900_000, 950_000, 990_000, 999_000, 1_000_000];
    for shape in 0..4 {
        let estimator = Estimator::new();
        let handles = PERCENTILES.map(|it| estimator.clone().percentile(percentile(it)));
        let mut naive = Naive::new(100);
        for number in 0..450_u64 {
            let tokens = match shape {
                0 => 1_003,
                1 => rng.random_range(0..10),
                2 => 1 << rng.random_range(0..40_u32),
                // Longer and longer, and then short: old calls fade.
                _ if number < 250 => number * 40,
                _ => rng.random_range(0..300),
            };
            estimator.learn(&call("a", "m", tokens));
            naive.add(tokens);
            for (handle, millionths) in handles.iter().zip(millionths) {
                let (estimate, source) = open(handle, "a", "m");
                let exact = naive.at(millionths);
                assert!(is_near(estimate, exact), "{shape} {number}: {estimate:?} {exact:?}");
                let due =
                    if exact.is_some() { EstimateSource::Customer } else { EstimateSource::Given };
                assert_eq!(source, due);
            }
        }
    }
}

#[test]
fn a_models_estimate_is_that_of_its_customers_calls() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let estimator = Estimator::new();
    let (mut model, mut all) = (Naive::new(1_000), Naive::new(1_000));
    for number in 0..5_000_u64 {
        // Each calls eight times at the most, which all are taken.
        let customer = format!("c{}", number / 8);
        let (name, tokens) = match number % 2 {
            0 => ("m", rng.random_range(1..2_000)),
            _ => ("other", rng.random_range(5_000..9_000)),
        };
        estimator.learn(&call(&customer, name, tokens));
        all.add(tokens);
        if name == "m" {
            model.add(tokens);
        }
        // Sorting all of them takes its time.
        if number % 9 > 1 {
            continue;
        }
        let due = model.at(950_000);
        let source = if due.is_some() { EstimateSource::Model } else { EstimateSource::AllModels };
        let (estimate, found) = open(&estimator, "new", "m");
        if due.is_some() || number > 40 {
            assert!(is_near(estimate, due.or(all.at(950_000))), "{number}: {estimate:?}");
            assert_eq!(found, source);
        }
        if number > 40 {
            let (estimate, found) = open(&estimator, "new", "unknown");
            assert!(is_near(estimate, all.at(950_000)), "{number}: {estimate:?}");
            assert_eq!(found, EstimateSource::AllModels);
        }
    }
}

/// Goal: over an hour of real traffic as many calls pass their estimates as is stated, and less is
/// held than with the maximum.
#[test]
fn over_real_traffic_as_many_pass_as_is_stated() {
    const CODE: &str = include_str!("../data/AzureLLMInferenceTrace_code.csv");
    const CHAT: &str = include_str!("../data/AzureLLMInferenceTrace_conv.csv");
    let lines = |text: &'static str, model: &'static str| {
        text.lines().skip(1).map(move |line| {
            let mut fields = line.split(',');
            let at = fields.next().expect("a time");
            (at, model, fields.nth(1).expect("tokens").trim_end().parse::<u64>().expect("tokens"))
        })
    };
    let mut calls: Vec<_> = lines(CODE, "code").chain(lines(CHAT, "chat")).collect();
    calls.sort_unstable();
    for (stated, lowest, highest) in [("p90", 90, 110), ("p95", 40, 55), ("p99", 6, 12)] {
        let estimator = Estimator::new().percentile(percentile(stated));
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut passed, mut held, mut estimated) = (0_usize, 0_u64, 0_usize);
        for (_, model, tokens) in &calls {
            // A few large customers, and many small ones.
            let customer = format!("c{}", 400 / rng.random_range(1..=400_u32));
            let asked = call(&customer, model, 2_000);
            let estimate = estimator.estimate(&asked);
            let reserved = estimate.output_tokens.expect("it is given");
            assert!(reserved <= 2_000);
            passed += usize::from(reserved < *tokens);
            held += reserved;
            estimated += usize::from(estimate.source != EstimateSource::Given);
            estimator.learn(&call(&customer, model, *tokens));
        }
        let per_mille = passed * 1_000 / calls.len();
        assert!(
            (lowest..=highest).contains(&per_mille),
            "{stated}: {passed}, {per_mille} per mille"
        );
        assert!(calls.len() - estimated < 250, "{estimated}");
        assert!(held < 2_000 * calls.len() as u64 / 2, "{held}");
    }
}

#[test]
fn an_estimate_is_never_above_the_maximum_and_nothing_panics() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let estimator = Estimator::with_room(64, 3);
    let tokens = |rng: &mut ChaCha8Rng| rng.random::<u64>() >> rng.random_range(0..64_u32);
    for _ in 0..4_000 {
        let (customer, model) = (rng.random_range(0..4_u32), rng.random_range(0..6_u32));
        let (customer, model) = (format!("c{customer}"), format!("m{model}"));
        estimator.learn(&call(&customer, &model, tokens(&mut rng)));
        let most = tokens(&mut rng);
        let at = format!("{}.{:04}", rng.random_range(0..100), rng.random_range(0..10_000));
        for at in [at.as_str(), "p100", "p0"] {
            let estimator = estimator.clone().percentile(percentile(at));
            let estimate = estimator.estimate(&call(&customer, &model, most));
            assert!(estimate.output_tokens.is_some_and(|estimate| estimate <= most));
            // One without a maximum is one that an event can bring.
            let (open, _) = open(&estimator, &customer, &model);
            assert!(open.is_none_or(|open| open <= 1_000_000_000_000_000));
        }
    }
    estimator.learn(&Event::new("", "").input_tokens(1));
    estimator.learn(&Event::new("", "").output_tokens(u64::MAX));
    let size = estimator.size();
    assert!(size.customers <= 64 && size.models <= 3, "{size:?}");
}

#[test]
fn what_is_kept_is_bounded_and_a_flood_takes_no_place_in_use() {
    let estimator = Estimator::with_room(1, 20);
    let teach = |customer: &str, model: &str, tokens| {
        for _ in 0..30 {
            estimator.learn(&call(customer, model, tokens));
        }
    };
    teach("old", "m", 100);
    // A flood of models by one customer, and then of customers.
    for number in 0..3_000 {
        estimator.learn(&call("flood", &format!("model_{number}"), 5_000));
        if number == 1_000 {
            teach("old", "m", 100);
        }
    }
    let size = estimator.size();
    assert!((size.customers, size.models) == (17, 17), "{size:?}");
    teach("old", "m", 100);
    for number in 0..3_000 {
        estimator.learn(&call(&format!("flood_{number}"), "m", 5_000));
    }
    assert_eq!(open(&estimator, "old", "m").1, EstimateSource::Customer);
    assert!(open(&estimator, "old", "m").0.is_some_and(|tokens| (100..=103).contains(&tokens)));
    let size = estimator.size();
    assert!((size.customers, size.models) == (64, 17), "{size:?}");
    // Places that nobody uses are given to whoever comes.
    teach("flood_0", "m", 5_000);
    for _ in 0..5_000 {
        estimator.learn(&call("flood_0", "m", 5_000));
    }
    teach("late", "m", 7);
    assert!(open(&estimator, "late", "m").0.is_some_and(|tokens| (7..=8).contains(&tokens)));
    assert_eq!(estimator.size().customers, 64);
    estimator.forget("late");
    estimator.forget("late");
    assert_eq!(estimator.size().customers, 63);
    // Without a place for any model all are one.
    let none = Estimator::with_room(0, 0);
    for number in 0..400 {
        none.learn(&call(&format!("c{}", number / 8), &format!("m{}", number % 8), 50));
    }
    assert_eq!(none.size().models, 0);
    assert_eq!(open(&none, "new", "m1"), (Some(50), EstimateSource::AllModels));
}

#[test]
fn who_floods_spoils_nobodys_estimate() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let estimator = Estimator::new();
    for number in 0..2_000_u32 {
        let (customer, tokens) = (format!("c{}", number % 300), rng.random_range(0..1_000));
        estimator.learn(&call(&customer, "m", tokens));
        for _ in 0..10 {
            // Very long answers, and at other times none.
            let tokens = if number < 1_200 { 900_000 } else { 0 };
            estimator.learn(&call("flood", "m", tokens));
        }
        if number > 500 {
            let (estimate, source) = open(&estimator, "new", "m");
            assert_eq!(source, EstimateSource::Model);
            assert!(estimate.is_some_and(|it| (900..=1_025).contains(&it)), "{estimate:?}");
        }
    }
    let (own, source) = open(&estimator, "flood", "m");
    assert_eq!((own, source), (Some(0), EstimateSource::Customer));
}

fn held(reserved: ReservedEstimate) -> EstimatedReservation {
    match reserved {
        ReservedEstimate::Held(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

fn daily(limit: u64) -> Quota {
    Quota::new("Tokens", Metric::TotalTokens, limit, Period::Day)
}

#[test]
fn what_is_committed_is_learned_and_after_a_restart_what_was_recorded() {
    let store = MemoryStore::new();
    let build = || {
        let builder = Engine::builder().durable(store.open().unwrap());
        builder.quota(daily(1_000_000_000)).build().unwrap()
    };
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (engine, estimator) = (build(), Estimator::new());
    let mut ids = Vec::new();
    for number in 0..240_u64 {
        let customer = ["a", "b", "c"][usize::try_from(number % 3).unwrap()];
        let asked = call(customer, "m", 4_096).input_tokens(100);
        let reserved = engine.reserve_estimated(&asked, &estimator, Hold::default()).unwrap();
        let reservation = held(reserved);
        let status = engine.reservation(reservation.reservation().id()).unwrap();
        let estimate = reservation.estimate();
        let due = estimate.output_tokens.map(Into::into);
        assert_eq!(status.estimate.amount("output_tokens"), due);
        assert_eq!(estimate.source == EstimateSource::Customer, number >= 60);
        let tokens = rng.random_range(0..800);
        let decision = reservation.commit(&call(customer, "m", tokens).input_tokens(100)).unwrap();
        assert_eq!(decision.is_overrun(), due < Some(tokens.into()));
        ids.extend(decision.event_id());
    }
    // What is given back or dropped teaches nothing.
    let before = open(&estimator, "a", "m");
    let asked = || call("a", "m", 4_096);
    let reserve = || held(engine.reserve_estimated(&asked(), &estimator, Hold::default()).unwrap());
    reserve().release().unwrap();
    drop(reserve());
    assert_eq!(open(&estimator, "a", "m"), before);
    engine.store().close().unwrap();
    drop(engine);
    let (engine, again) = (build(), Estimator::new());
    assert_eq!(again.learn_recorded(&engine, &EventQuery::new()).unwrap(), 240);
    for customer in ["a", "b", "c", "new"] {
        for at in PERCENTILES.map(percentile) {
            let before = open(&estimator.clone().percentile(at), customer, "m");
            assert_eq!(open(&again.clone().percentile(at), customer, "m"), before);
        }
    }
    // What was corrected is learned as it is now.
    for id in &ids[..200] {
        engine.void(*id, "not billed").unwrap();
    }
    engine.amend(ids[239], &call("c", "m", 790).input_tokens(100), "miscounted").unwrap();
    let corrected = Estimator::new().percentile(percentile("p97"));
    let query = EventQuery::new().event_type("model_call");
    assert_eq!(corrected.learn_recorded(&engine, &query).unwrap(), 40);
    // 14 of this customer's are too few for its own window, and all 24 for a model's.
    assert_eq!(open(&corrected, "c", "m").1, EstimateSource::Given);
}

#[test]
fn a_retry_is_one_whatever_the_estimate_is_by_then() {
    let engine = Engine::builder().quota(daily(10_000)).build().unwrap();
    let estimator = Estimator::new();
    let asked = call("a", "m", 4_096).idempotency_key("k");
    let reserve = || engine.reserve_estimated(&asked, &estimator, Hold::default()).unwrap();
    let first = held(reserve());
    assert_eq!(first.estimate().source, EstimateSource::Given);
    for _ in 0..50 {
        estimator.learn(&call("a", "m", 100));
    }
    let again = reserve();
    let ReservedEstimate::Replayed(KeyStatus::Reserved(status)) = again else {
        panic!("{again:?}")
    };
    assert_eq!(status.id, first.reservation().id());
    // And the other way round: what was estimated is asked for again when nothing is known.
    let other = asked.clone().idempotency_key("l");
    let estimated = held(engine.reserve_estimated(&other, &estimator, Hold::default()).unwrap());
    assert_eq!(estimated.estimate().source, EstimateSource::Customer);
    let again = engine.reserve_estimated(&other, &Estimator::new(), Hold::default()).unwrap();
    assert!(matches!(again, ReservedEstimate::Replayed(_)), "{again:?}");
    // It teaches the model that it was reserved for, whatever it was called in the end.
    let id = estimated.reservation().id();
    let actual = call("a", "m-2026-01-01", 110);
    let decision = estimated.commit(&actual).unwrap();
    assert_eq!((decision.outcome(), decision.is_overrun()), (Outcome::Admitted, true));
    assert_eq!(estimator.size().models, 1);
    assert!(engine.commit(id, &actual).is_ok());
}

#[test]
fn estimates_are_priced_as_what_they_are() {
    let book = || {
        let rows = "[[price]]\nmodel = \"m\"\ninput = 100\noutput = 1000";
        PriceBook::from_toml(rows).unwrap()
    };
    let budget = Quota::new("Budget", Metric::TotalCostCents, 1_000, Period::Day);
    let store = MemoryStore::new();
    let build = || {
        let builder = Engine::builder().durable(store.open().unwrap()).prices(book());
        builder.quota(budget.clone()).build().unwrap()
    };
    let engine = build();
    let estimator = Estimator::new();
    for _ in 0..30 {
        estimator.learn(&call("a", "m", 100));
    }
    let held_now = |engine: &Engine| {
        let standing = engine.standing(&call("a", "m", 0)).unwrap();
        standing.quotas().next().expect("it matches").held
    };
    let asked = call("a", "m", 4_000).input_tokens(100).idempotency_key("k");
    let reservation = held(engine.reserve_estimated(&asked, &estimator, Hold::default()).unwrap());
    let estimate = reservation.estimate().output_tokens.expect("it is known");
    // A cent is 100 tokens in, or 10 out.
    let due = Amount::from_millionths(1_000_000 + i128::from(estimate) * 100_000);
    assert_eq!(held_now(&engine), due);
    let id = reservation.into_reservation().into_id();
    engine.store().close().unwrap();
    drop(engine);
    let engine = build();
    assert_eq!(held_now(&engine), due);
    let status = engine.reservation(id).unwrap();
    assert_eq!(status.estimate.amount("cost_cents"), Some(due));
    let again = engine.reserve_estimated(&asked, &Estimator::new(), Hold::default()).unwrap();
    assert!(matches!(again, ReservedEstimate::Replayed(_)), "{again:?}");
}

#[test]
fn threads_never_hold_more_than_the_limit() {
    let engine = Engine::builder().quota(daily(5_000)).build().unwrap();
    let estimator = Estimator::new();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (engine, estimator) = (&engine, &estimator);
            scope.spawn(move || {
                let customer = format!("c{thread}");
                for number in 0..300_u64 {
                    let asked = call(&customer, "m", 100);
                    let reserved = engine.reserve_estimated(&asked, estimator, Hold::default());
                    let ReservedEstimate::Held(reservation) = reserved.unwrap() else { continue };
                    let quota = reservation.reservation().decision().quotas().next();
                    let quota = quota.expect("it matches");
                    assert!(quota.used.saturating_add(quota.held) <= 5_000);
                    let estimate = reservation.estimate().output_tokens.unwrap();
                    let actual = (number * 7 % 30).min(estimate);
                    let _ = reservation.commit(&call(&customer, "m", actual)).unwrap();
                }
            });
        }
    });
    let standing = engine.standing(&call("c0", "m", 0)).unwrap();
    let quota = standing.quotas().next().expect("it matches");
    assert!(quota.used > 4_800 && quota.used <= 5_000, "{}", quota.used);
    assert_eq!(quota.held, 0);
}
