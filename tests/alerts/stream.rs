//! Goal: with the feature `tokio` alerts are a stream, which ends with the engine.
//!
//! Method: a task of tokio's runtime takes what calls in another one fire.

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;
use limitry::rules::Threshold;
use limitry::{Event, Metric, Period, Quota};

use crate::support::{engine, track};

#[test]
fn a_task_takes_alerts_as_a_stream_until_the_engine_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    runtime.block_on(async {
        let (engine, _) = engine(|builder| {
            let quota = Quota::new("Calls", Metric::TotalEvents, 10, Period::Day);
            builder.quota(quota.per("customer_id").alert_at(Threshold::percent(10)))
        });
        let mut stream = engine.alerts().stream();
        let receiver = tokio::spawn(async move {
            let mut customers = Vec::new();
            while let Some(alert) = poll_fn(|task| Pin::new(&mut stream).poll_next(task)).await {
                customers.push(alert.customer_id.clone().expect("each has one"));
            }
            customers
        });
        for customer in ["ann", "bob", "cid"] {
            assert!(track(&engine, &Event::new(customer, "call")).is_allowed());
            tokio::task::yield_now().await;
        }
        drop(engine);
        assert_eq!(receiver.await.expect("no panic"), ["ann", "bob", "cid"]);
    });
}
