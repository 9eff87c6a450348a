//! An engine is a handle: cheap to clone, and as good in a thread or a task as where it was made.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use limitry::events::{EventIter, EventQuery};
use limitry::handles::{Events, Meters, Rules, Store, Usage};
use limitry::store::Committed;
use limitry::{Engine, Event, Outcome, RateLimit, Window};

const fn is_for_tasks<T: Send + Sync + 'static>() {}
const fn is_cheap_to_share<T: Clone + Send + Sync + 'static>() {}

const _: () = {
    is_cheap_to_share::<Engine>();
    is_cheap_to_share::<Events>();
    is_cheap_to_share::<Usage>();
    is_cheap_to_share::<Meters>();
    is_cheap_to_share::<Rules>();
    is_cheap_to_share::<Store>();
    is_for_tasks::<Committed>();
    is_for_tasks::<EventIter>();
};

#[test]
fn all_clones_are_one_engine() {
    let calls = RateLimit::new("calls", 3, Window::Hour);
    let engine = Engine::builder().rate_limit(calls).build().expect("valid");
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let engine = engine.clone();
            std::thread::spawn(move || {
                let event = Event::new(format!("cust_{number}"), "call");
                engine.track(&event).expect("a good event").outcome()
            })
        })
        .collect();
    let outcomes = threads.into_iter().map(|thread| thread.join().expect("no panic"));
    assert_eq!(outcomes.filter(|outcome| *outcome == Outcome::Admitted).count(), 3);
    assert_eq!(engine.events().len(), 3);
}

#[test]
fn what_was_asked_for_may_outlive_the_engine() {
    let engine = Engine::builder().build().expect("valid");
    let decision = engine.track(&Event::new("cust_1", "call")).expect("a good event");
    let (events, usage) = (engine.events(), engine.usage());
    let all = engine.events().iter(EventQuery::new()).expect("a good question");
    let committed = engine.store().committed(&decision);
    drop(engine);
    assert_eq!((events.len(), all.count()), (1, 1));
    let totals =
        usage.summary(&limitry::usage::UsageQuery::all_time()).expect("a good question").totals;
    assert_eq!(totals.total_events, 1);
    let mut committed = pin!(committed);
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(committed.as_mut().poll(&mut context), Poll::Ready(Ok(())));
}
