//! Goal: whatever a call says, estimating it, learning from it, reserving by an estimate, and
//! pricing anew what is recorded neither panic nor say what is absurd.
//!
//! Method: events with numbers from the ends of their type and from the middle, good and bad, and
//! prices that change at every question and may be errors, through an estimator of little room and
//! an engine that restates what it recorded. Every answer is printed.

use std::sync::atomic::{AtomicUsize, Ordering};

use limitry::errors::PriceError;
use limitry::events::{EventQuery, Recording};
use limitry::llm::{Estimator, Reprice, ReserveEstimated, ReservedEstimate};
use limitry::rules::Percentile;
use limitry::{Amount, Engine, Event, Hold, Metric, Period, Pricer, Quota, Timestamp};
use proptest::prelude::*;

/// Prices that change at every question; `None` is an error.
#[derive(Debug)]
struct Whims {
    millionths: Vec<Option<i128>>,
    next: AtomicUsize,
}

impl Pricer for Whims {
    fn price(&self, _: &Event<'_>, _: Timestamp) -> Result<Option<Amount>, PriceError> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        match self.millionths.get(next % (self.millionths.len() + 1)) {
            None => Ok(None),
            Some(None) => Err(PriceError::new("model", "any", "has no price today")),
            Some(Some(millionths)) => Ok(Some(Amount::from_millionths(*millionths))),
        }
    }
}

fn tokens() -> impl Strategy<Value = Option<u64>> {
    let ends = prop::sample::select(vec![0, 1, 4_096, 1 << 53, i64::MAX as u64, u64::MAX]);
    prop::option::weighted(0.9, prop_oneof![ends, 0_u64..5_000, any::<u64>()])
}

prop_compose! {
    fn event()(
        customer in prop_oneof![8 => "[a-e]", 1 => ".{0,3}", 1 => "x{300}"],
        model in prop::option::of(prop_oneof![8 => "[m-p]", 1 => ".{0,3}", 1 => "y{300}"]),
        [input, output, total] in prop::array::uniform3(tokens()),
        cost in prop::option::weighted(0.2, any::<i64>()),
        key in prop::option::weighted(0.2, "[a-c]"),
    ) -> Event<'static> {
        let mut event = Event::new(customer, "call");
        event = model.into_iter().fold(event, Event::model);
        event = input.into_iter().fold(event, Event::input_tokens);
        event = output.into_iter().fold(event, Event::output_tokens);
        event = total.into_iter().fold(event, Event::total_tokens);
        let cost = cost.map(|cost| Amount::from_millionths(cost.into()));
        event = cost.into_iter().fold(event, Event::cost_cents);
        key.into_iter().fold(event, Event::idempotency_key)
    }
}

/// Reserves by the estimate, and commits, grows or drops what is held.
fn reserve(engine: &Engine, estimator: &Estimator, event: &Event<'_>, actual: &Event<'_>) {
    let estimate = estimator.estimate(event);
    let given = event.amount("output_tokens").map(Amount::to_u64_floor);
    let is_below = given.is_none_or(|given| estimate.output_tokens <= Some(given));
    assert!(is_below, "{estimate:?} of {event:?}");
    match engine.reserve_estimated(event, estimator, Hold::default()) {
        Ok(ReservedEstimate::Held(mut held)) => {
            assert_eq!(held.estimate(), estimate);
            let grown = held.grow(actual);
            assert!(!format!("{held:?} {grown:?}").is_empty());
            match held.commit(actual) {
                Ok(decision) => assert!(!format!("{decision:?}").is_empty()),
                Err(why) => assert!(!why.to_string().is_empty()),
            }
        }
        Ok(other) => assert!(!format!("{other:?}").is_empty()),
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_call_is_too_odd_to_estimate_and_to_price_anew(
        events in prop::collection::vec(event(), 1..30),
        room in (0_usize..3, 0_usize..3),
        share in 0_u32..=100,
        cents in prop::collection::vec(
            prop::option::weighted(0.9, any::<i128>().prop_map(|units| units >> 70)), 0..6,
        ),
        given in any::<bool>(),
    ) {
        let whims = || Whims { millionths: cents.clone(), next: AtomicUsize::new(0) };
        let quota = Quota::new("q", Metric::TotalTokens, 1_u64 << 40, Period::Day);
        let builder = Engine::builder().recording(Recording::Newest(20)).prices(whims());
        let engine = builder.quota(quota).build().expect("a good quota");
        let share: Percentile = share.to_string().parse().expect("a share");
        let estimator = Estimator::with_room(room.0, room.1).percentile(share);
        for (event, actual) in events.iter().zip(events.iter().cycle().skip(1)) {
            reserve(&engine, &estimator, event, actual);
            estimator.learn(event);
            let recorded = engine.record(event);
            recorded.err().iter().for_each(|why| assert!(!why.to_string().is_empty()));
        }
        let (size, most) = (estimator.size(), room.0.max(1).next_multiple_of(64));
        assert!(size.customers <= most && size.models <= room.1, "{size:?}");
        let learned = estimator.learn_recorded(&engine, &EventQuery::new()).expect("an answer");
        assert!(learned <= 20);
        events.iter().for_each(|event| estimator.forget(event.customer_id()));
        assert_eq!(estimator.size().customers, 0);
        let prices = whims();
        let repricing = engine.reprice(&prices, EventQuery::new());
        let repricing = if given { repricing.given_costs() } else { repricing };
        for reason in [None, Some("odd"), Some("\n")] {
            let report = match reason {
                None => repricing.report(|_| {}),
                Some(reason) => repricing.restate(reason, |_| {}),
            };
            match report {
                Ok(report) => assert!(!format!("{report:?}").is_empty()),
                Err(why) => assert!(!why.to_string().is_empty()),
            }
        }
    }
}
