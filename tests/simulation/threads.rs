//! Goal: simulations beside calls change nothing for these, and are each of one moment.
//!
//! Method: threads track while others simulate; what was let in is exact, and each report is of
//! the events that there were.

use std::sync::Barrier;
use std::thread;

use limitry::events::EventQuery;
use limitry::{Event, Metric, Period, Quota, RuleSet};

use crate::support::{engine, track};

#[test]
fn simulations_beside_calls_change_nothing() {
    const LIMIT: u64 = 3_000;
    let quota = |limit| Quota::new("Calls", Metric::TotalEvents, limit, Period::Day);
    let (engine, _) = engine(|it| it.quota(quota(LIMIT)));
    let barrier = Barrier::new(6);
    let let_in = thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|number| {
                let (engine, barrier) = (engine.clone(), &barrier);
                scope.spawn(move || {
                    let customer = format!("cust_{number}");
                    barrier.wait();
                    let call =
                        |_: &u32| track(&engine, &Event::new(&customer, "call")).is_allowed();
                    (0..1_000).filter(call).count()
                })
            })
            .collect();
        for _ in 0..2 {
            let (engine, barrier) = (engine.clone(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                let mut last = 0;
                for _ in 0..20 {
                    let rules =
                        RuleSet::new().quota(quota(500)).quota(quota(10).per("customer_id"));
                    let report = engine.simulate(rules, EventQuery::new()).expect("good rules");
                    let totals = report.calls;
                    assert!(totals.calls >= last && totals.calls <= LIMIT);
                    assert_eq!(totals.refused, totals.newly_refused);
                    assert!(totals.calls - totals.refused <= 40, "{report}");
                    last = totals.calls;
                }
            });
        }
        callers.into_iter().map(|caller| caller.join().expect("it ends well")).sum::<usize>()
    });
    assert_eq!(let_in as u64, LIMIT, "as many as without simulations");
    let same = engine.rules().list().into_iter().collect();
    let report = engine.simulate(same, EventQuery::new()).expect("good rules");
    assert_eq!((report.calls.calls, report.calls.refused), (LIMIT, 0));
}
