//! Goal: what is not taken is tried again at the instants that are documented, and not for ever.
//!
//! Method: a clock that the test holds, and receivers that are lines of it.

use std::time::Duration;

use limitry::webhooks::{
    DeliveryStatus, EndpointError, Generation, Reply, SendError, WebhookOptions,
};

use super::{World, header};

/// The waits as they are documented, in seconds.
const WAITS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

#[test]
fn a_delivery_is_tried_ten_times_at_growing_waits() {
    let world = World::new();
    let id = world.endpoint(Generation::Third);
    world.fire("ann");
    let webhook_id = header(world.due()[0].request(), "webhook-id");
    for wait in WAITS {
        let due = world.due();
        assert_eq!(due.len(), 1);
        let request = due[0].request();
        // Each attempt has its own time, and the id stays.
        let now = world.engine.now().unix_seconds().to_string();
        assert_eq!(header(request, "webhook-timestamp"), now);
        assert_eq!(header(request, "webhook-id"), webhook_id);
        for attempt in due {
            attempt.done(&Ok(Reply::new(500))).expect("no store");
        }
        let next = world.deliveries(&id)[0].next_attempt_at.expect("another attempt");
        let after = next.saturating_since(world.engine.now());
        let usual = Duration::from_secs(wait);
        assert!((usual..usual + usual / 5).contains(&after), "{after:?}");
        assert_eq!(world.hooks.next_due(), Some(next));
        // Not a nanosecond earlier.
        world.clock.set(next.saturating_sub(Duration::from_nanos(1)));
        assert!(world.due().is_empty());
        world.clock.set(next);
    }
    assert_eq!(world.answer(500), 1);
    let failed = &world.deliveries(&id)[0];
    assert_eq!((failed.status, failed.attempts), (DeliveryStatus::Failed, 10));
    assert_eq!((failed.last_status, failed.next_attempt_at), (Some(500), None));
    assert_eq!(failed.last_error.as_deref(), Some("answered 500"));
    world.wait(1_000_000);
    assert!(world.due().is_empty() && world.hooks.next_due().is_none());
    let figures = world.hooks.figures();
    assert_eq!((figures.failed_attempts, figures.failed, figures.delivered), (10, 1, 0));
}

#[test]
fn what_is_no_answer_is_a_failure_that_says_why() {
    let world = World::new();
    let id = world.endpoint(Generation::Third);
    let cases = [
        (Err(SendError::TimedOut), None, "no answer in time"),
        (Ok(Reply::new(302)), Some(302), "answered 302: redirects are not followed"),
        (Ok(Reply::new(199)), Some(199), "answered 199"),
        (Ok(Reply::new(404)), Some(404), "answered 404"),
    ];
    for (number, (result, status, said)) in cases.into_iter().enumerate() {
        world.fire(&format!("cust_{number}"));
        world.due().remove(0).done(&result).expect("no store");
        let delivery = &world.deliveries(&id)[0];
        assert_eq!(delivery.status, DeliveryStatus::Pending);
        assert_eq!((delivery.last_status, delivery.last_error.as_deref()), (status, Some(said)));
        let endpoint = world.hooks.get(&id).expect("it is there");
        assert_eq!(endpoint.consecutive_failures as usize, number + 1);
        assert_eq!(endpoint.last_status, status);
        assert_eq!(endpoint.last_attempt_at, Some(world.engine.now()));
    }
    world.wait(10);
    assert_eq!(world.answer(204), 4);
    assert_eq!(world.hooks.get(&id).expect("it is there").consecutive_failures, 0);
    assert!(world.deliveries(&id).iter().all(|it| it.status == DeliveryStatus::Delivered));
}

#[test]
fn a_receiver_that_asks_for_time_is_given_it() {
    let world = World::new();
    let id = world.endpoint(Generation::Third);
    world.fire("ann");
    let busy = Reply::new(429).retry_after(Duration::from_secs(100));
    world.due().remove(0).done(&Ok(busy)).expect("no store");
    let next = world.deliveries(&id)[0].next_attempt_at.expect("another attempt");
    assert_eq!(next.saturating_since(world.engine.now()), Duration::from_secs(100));
}

#[test]
fn twenty_failures_in_a_row_disable_an_endpoint() {
    let world = World::new();
    let (id, other) = (world.endpoint(Generation::Third), world.endpoint(Generation::Second));
    for number in 0..30 {
        world.fire(&format!("cust_{number}"));
    }
    let mut failed = 0;
    while world.hooks.get(&id).expect("it is there").enabled {
        assert!(failed < 20);
        for attempt in world.due() {
            let is_ours = attempt.request().body.contains("\"type\"");
            failed += usize::from(is_ours);
            let answer = if is_ours { Reply::new(503) } else { Reply::new(200) };
            attempt.done(&Ok(answer)).expect("no store");
        }
    }
    // What was under way then may have failed, too, and nothing more is sent.
    assert!((20..=22).contains(&failed), "{failed}");
    let endpoint = world.hooks.get(&id).expect("it is there");
    assert_eq!(endpoint.consecutive_failures as usize, failed);
    let statuses = |id: &str, status| {
        world.deliveries(id).into_iter().filter(|it| it.status == status).count()
    };
    assert_eq!(statuses(&id, DeliveryStatus::Failed), 30);
    world.answer(200);
    assert_eq!(statuses(&other, DeliveryStatus::Delivered), 30);
    // While it is disabled nothing is made for it, and nothing sent but a test.
    world.fire("late");
    assert_eq!((world.deliveries(&id).len(), world.deliveries(&other).len()), (30, 31));
    let old = world.deliveries(&id).remove(0);
    assert_eq!(world.hooks.redeliver(&id, &old.id), Err(EndpointError::Disabled));
    let ping = world.hooks.test(&id).expect("it is there");
    assert_eq!(world.answer(200), 2);
    assert_eq!(world.deliveries(&id)[0].id, ping.id);
    assert_eq!(world.deliveries(&id)[0].status, DeliveryStatus::Delivered);
    // Enabled, it counts anew, and what had failed is sent when it is asked for.
    let enabled = world.hooks.enable(&id).expect("it is there");
    assert_eq!((enabled.enabled, enabled.consecutive_failures), (true, 0));
    assert!(world.due().is_empty());
    let again = world.hooks.redeliver(&id, &old.id).expect("it is there");
    assert_eq!(again.event_id, old.event_id);
    assert_ne!(again.id, old.id);
    assert_eq!(world.answer(200), 1);
    let newest = &world.deliveries(&id)[0];
    assert_eq!((&newest.id, newest.status), (&again.id, DeliveryStatus::Delivered));
}

#[test]
fn a_receiver_that_is_gone_is_disabled_at_once_and_a_test_counts_for_nothing() {
    let world = World::new();
    let id = world.endpoint(Generation::Third);
    for _ in 0..25 {
        world.hooks.test(&id).expect("it is there");
        assert_eq!(world.answer(500), 1);
        world.wait(1_000_000);
        assert!(world.due().is_empty(), "a test is tried once");
    }
    let endpoint = world.hooks.get(&id).expect("it is there");
    assert_eq!((endpoint.enabled, endpoint.consecutive_failures), (true, 0));
    world.fire("ann");
    assert_eq!(world.answer(410), 1);
    assert!(!world.hooks.get(&id).expect("it is there").enabled);
}

#[test]
fn one_that_never_answers_costs_the_others_nothing() {
    let world = World::with(WebhookOptions::new().requests_at_once(2));
    let (dead, live) = (world.endpoint(Generation::First), world.endpoint(Generation::Third));
    let mut hanging = Vec::new();
    for number in 0..50 {
        world.fire(&format!("cust_{number}"));
        for attempt in world.due() {
            if attempt.request().body.contains("quota.threshold_exceeded") {
                hanging.push(attempt);
            } else {
                attempt.done(&Ok(Reply::new(200))).expect("no store");
            }
        }
        assert!(hanging.len() <= 2);
    }
    let delivered = world.deliveries(&live);
    assert!(delivered.len() == 50);
    assert!(delivered.iter().all(|it| it.status == DeliveryStatus::Delivered));
    let figures = world.hooks.figures();
    assert_eq!((figures.waiting, figures.under_way), (50, 2));
    // Dropped without an answer they are due again, and count as no attempt.
    drop(hanging);
    assert_eq!(world.due().len(), 2);
    assert!(world.deliveries(&dead).iter().all(|it| it.attempts == 0));
}
