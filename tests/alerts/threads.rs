//! Goal: of threads that reach a threshold together one fires it, and none fires it twice.
//!
//! Method: eight threads share what a key may use, in many rounds: 10 000 with `LIMITRY_LONG`. Each
//! round is of another key and another hour, with holds, refunds and changes of the rules beside.

use std::sync::Barrier;
use std::time::Duration;

use limitry::rules::{QuotaUpdate, Threshold};
use limitry::{Event, Hold, Metric, Period, Quota, Reserved};

use crate::fired;
use crate::support::engine;

const THREADS: u32 = 8;

fn rounds() -> u32 {
    if std::env::var_os("LIMITRY_LONG").is_some() { 10_000 } else { 200 }
}

#[test]
fn threads_that_reach_a_threshold_together_fire_it_once() {
    let (engine, clock) = engine(|builder| {
        let quota = Quota::new("Use", Metric::value("units"), 100, Period::Hour).id("use");
        let quota = quota.per("customer_id");
        builder
            .quota([25, 50, 100].into_iter().map(Threshold::percent).fold(quota, Quota::alert_at))
    });
    let barrier = Barrier::new(usize::try_from(THREADS).expect("few") + 1);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, barrier) = (&engine, &barrier);
            scope.spawn(move || {
                for round in 0..rounds() {
                    barrier.wait();
                    let customer = format!("c{}", round % 3);
                    let units = |units: i64| Event::new(&*customer, "call").value("units", units);
                    for call in 0..4 {
                        match (thread + call + round) % 4 {
                            // A hold is no use before its commit, and a refund re-arms nothing.
                            0 => match engine
                                .reserve(&units(20), Hold::lasting(Duration::from_secs(9)))
                            {
                                Ok(Reserved::Held(held)) => {
                                    assert!(held.commit(&units(10)).is_ok());
                                }
                                Ok(_) => {}
                                Err(why) => panic!("{why}"),
                            },
                            1 => assert!(engine.record(&units(-3)).is_ok()),
                            _ => assert!(engine.track(&units(10)).is_ok()),
                        }
                    }
                    barrier.wait();
                }
            });
        }
        for round in 0..rounds() {
            barrier.wait();
            if round % 5 == 0 {
                let limit = if round % 2 == 0 { 100 } else { 90 };
                let update = QuotaUpdate::new().limit(limit);
                engine.rules().update("use", update).expect("a valid change");
            }
            barrier.wait();
            // All that is used, once more: what was reached and has not fired would do so now.
            let customer = format!("c{}", round % 3);
            let all = Event::new(&*customer, "call").value("units", 200);
            assert!(engine.record(&all).is_ok());
            let expected = [25, 50, 100].map(|percent| format!("use {customer} {percent}%"));
            assert_eq!(fired(&engine), expected, "round {round}");
            clock.advance(Duration::from_secs(3_600));
        }
    });
}
