//! Goal: an engine with prices gives every event without a cost the one that they say, by every
//! verb: quotas, usage, the log and the store have it, a retry is one whatever prices say by then,
//! and an event without a price changes nothing.
//!
//! Method: the same calls by `track`, `record`, batches, reservations, waits and `check`, against
//! figures by hand; a price list that changes between a call and its retry, in memory and over a
//! restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use limitry::errors::{EventError, PriceError, TrackError};
use limitry::events::EventQuery;
use limitry::llm::{EventUsage, PriceBook, Usage};
use limitry::store::MemoryStore;
use limitry::time::ManualClock;
use limitry::usage::UsageQuery;
use limitry::{
    Amount, Engine, Event, Hold, Metric, Outcome, Period, Pricer, Quota, Reserved, Timestamp,
};

fn book() -> PriceBook {
    PriceBook::from_toml("[[price]]\nmodel = \"m\"\ninput = 100\noutput = 1000").unwrap()
}

fn budget() -> Quota {
    Quota::new("Budget", Metric::TotalCostCents, 100, Period::Day).per("customer_id")
}

fn call(input: u64, output: u64) -> Event<'static> {
    Event::new("c", "model_call").model("m").input_tokens(input).output_tokens(output)
}

/// What is used of the budget, by the quota, by usage and by the log.
fn used(engine: &Engine) -> Amount {
    let standing = engine.standing(&call(0, 0)).unwrap();
    let quota = standing.quotas().next().expect("it matches").used;
    let summary = engine.usage().summary(&UsageQuery::all_time()).unwrap();
    assert_eq!(summary.totals.total_cost_cents, quota);
    let logged = engine.events().iter(EventQuery::new()).unwrap();
    let logged = logged.map(|it| it.event.amount("cost_cents").unwrap_or_default());
    assert_eq!(logged.fold(Amount::ZERO, Amount::saturating_add), quota);
    quota
}

#[test]
fn every_verb_prices_what_has_no_cost() {
    let engine = Engine::builder().quota(budget()).prices(book()).build().unwrap();
    // A cent is 100 tokens in, or 10 out.
    assert!(engine.track(&call(100, 10)).unwrap().is_allowed());
    assert_eq!(used(&engine), 2);
    let _ = engine.record(&call(300, 0)).unwrap();
    let _ = engine.record_batch(&[call(100, 0), call(0, 10), call(1, 0).cost_cents(7)]).unwrap();
    assert_eq!(used(&engine), 14);
    for answer in engine.track_batch(&[call(100, 0), call(100_000, 0)]) {
        let _ = answer.unwrap();
    }
    assert_eq!(used(&engine), 15);
    assert!(!engine.check(&call(8_600, 0)).unwrap().is_allowed());
    assert!(engine.check(&call(8_500, 0)).unwrap().is_allowed());
    assert!(!engine.wait_blocking_until(&call(8_600, 0), engine.now()).unwrap().is_allowed());
    assert!(engine.wait_blocking(&call(500, 0)).unwrap().is_allowed());
    assert_eq!(used(&engine), 20);
    let reserved = engine.reserve(&call(100, 400), Hold::default()).unwrap();
    let Reserved::Held(mut reservation) = reserved else { panic!("there is room") };
    let held = |engine: &Engine| {
        let standing = engine.standing(&call(0, 0)).unwrap();
        standing.quotas().next().expect("it matches").held
    };
    assert_eq!(held(&engine), 41);
    // What it grows by is of the model of the reserve.
    assert!(
        reservation.grow(&Event::new("c", "model_call").output_tokens(50)).unwrap().is_allowed()
    );
    assert_eq!(held(&engine), 46);
    let _ = reservation.commit(&call(100, 21)).unwrap();
    assert_eq!((used(&engine), held(&engine)), ("23.1".parse().unwrap(), 0.into()));
    let known = engine.events().newest(2);
    assert!(known.iter().all(|it| it.event.is_priced()));
    // What a provider says that it cost stays.
    let mut usage = Usage::estimated(100, 10);
    usage.reported_cost_cents = Some("0.9".parse().unwrap());
    let _ = engine.record(&Event::new("c", "model_call").model("m").usage(&usage)).unwrap();
    assert_eq!(used(&engine), 24);
    assert!(!engine.events().newest(1)[0].event.is_priced());
}

#[test]
fn an_event_without_a_price_is_an_error_and_counts_nowhere() {
    let engine = Engine::builder().quota(budget()).prices(book()).build().unwrap();
    let unknown = || call(1, 1).model("x");
    let why = engine.track(&unknown()).unwrap_err();
    assert!(matches!(why, TrackError::Event(EventError::Unpriced(_))), "{why}");
    assert_eq!(why.to_string(), "model: \"x\" has no price in the price book");
    assert!(engine.record(&unknown()).is_err());
    assert!(engine.check(&unknown()).is_err());
    assert!(engine.reserve(&unknown(), Hold::default()).is_err());
    let batch = engine.record_batch(&[call(1, 1), unknown()]).unwrap_err();
    assert_eq!(batch.problems()[0].index, 1);
    assert_eq!((used(&engine), engine.events().len()), (0.into(), 0));
    let reserved = engine.reserve(&call(100, 0), Hold::default()).unwrap();
    let Reserved::Held(reservation) = reserved else { panic!("there is room") };
    let id = reservation.id();
    assert!(reservation.commit(&unknown()).is_err());
    assert!(engine.commit(id, &call(100, 0)).unwrap().is_allowed());
    // What no price is asked for is let in.
    assert!(engine.track(&Event::new("c", "tool_run")).unwrap().is_allowed());
    assert!(engine.track(&unknown().cost_cents(1)).unwrap().is_allowed());
    // Without prices nothing is priced.
    let plain = Engine::builder().quota(budget()).build().unwrap();
    assert!(plain.track(&unknown()).unwrap().is_allowed());
    assert_eq!(used(&plain), 0);
}

/// Cents an event, whatever it is.
#[derive(Debug)]
struct Flat(Arc<AtomicI64>);

impl Pricer for Flat {
    fn price(&self, _: &Event<'_>, _: Timestamp) -> Result<Option<Amount>, PriceError> {
        Ok(Some(Amount::from(self.0.load(Ordering::Relaxed))))
    }
}

#[test]
fn a_retry_is_one_whatever_prices_say_by_then() {
    let price = Arc::new(AtomicI64::new(3));
    let clock = ManualClock::new(Timestamp::new(1_800_000_000, 0));
    let build = |store: Option<&MemoryStore>| {
        let builder = Engine::builder().clock(clock.clone()).prices(Flat(Arc::clone(&price)));
        match store {
            None => builder.quota(budget()),
            Some(store) => builder.quota(budget()).durable(store.open().unwrap()),
        }
        .build()
        .unwrap()
    };
    let keyed = |key| call(1, 1).idempotency_key(key);
    let check = |engine: &Engine, due: Amount| {
        let answer = engine.track(&keyed("a")).unwrap();
        assert_eq!(answer.outcome(), Outcome::Replayed);
        // With the cost that it had it is the same, too, and with another one it is not.
        let same = engine.track(&keyed("a").cost_cents(3)).unwrap();
        assert_eq!(same.outcome(), Outcome::Replayed);
        assert!(engine.track(&keyed("a").cost_cents(4)).is_err());
        assert_eq!(engine.record_batch(&[keyed("a")]).unwrap().duplicates, 1);
        // One with a cost of its own is no retry of one without.
        assert!(engine.track(&keyed("b")).is_err());
        assert_eq!(used(engine), due);
    };
    for with_store in [false, true] {
        price.store(3, Ordering::Relaxed);
        let store = with_store.then(MemoryStore::new);
        let mut engine = build(store.as_ref());
        assert!(engine.track(&keyed("a")).unwrap().is_allowed());
        assert!(engine.track(&keyed("b").cost_cents(20)).unwrap().is_allowed());
        let reserved = engine.reserve(&call(1, 1), Hold::default()).unwrap();
        let Reserved::Held(reservation) = reserved else { panic!("there is room") };
        let id = reservation.id();
        let _ = reservation.commit(&call(2, 2)).unwrap();
        price.store(5, Ordering::Relaxed);
        clock.advance(Duration::from_secs(60));
        let repeated = engine.commit(id, &call(2, 2)).unwrap();
        assert_eq!(repeated.outcome(), Outcome::Replayed);
        check(&engine, 26.into());
        if let Some(store) = &store {
            engine.store().close().unwrap();
            engine = build(Some(store));
            check(&engine, 26.into());
            assert_eq!(
                engine.events().newest(9).iter().filter(|it| it.event.is_priced()).count(),
                2
            );
        }
        let _ = engine.track(&keyed("c")).unwrap();
        assert_eq!(used(&engine), 31);
    }
}
