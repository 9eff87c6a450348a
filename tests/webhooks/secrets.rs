//! Goal: a secret is another one when it was rotated, both sign for as long as was said, and no
//! secret is shown twice.
//!
//! Method: each request is verified by each secret.

use std::time::Duration;

use limitry::alerts::StandardWebhook;
use limitry::webhooks::{Attempt, EndpointError, Generation, NewEndpoint, Secret};

use super::{URL, World, header};

/// Whether who has this secret takes a request.
fn takes(world: &World, secret: &Secret, attempt: &Attempt) -> bool {
    let by = StandardWebhook::new(secret.expose()).expect("a secret");
    let request = attempt.request();
    let [id, stamp, signed] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(request, name));
    by.verify(&id, &stamp, &signed, request.body.as_bytes(), world.engine.now()).is_ok()
}

#[test]
fn both_secrets_sign_while_one_is_rotated() {
    let world = World::new();
    let created = world.hooks.create(NewEndpoint::new(URL, Generation::Third)).expect("good");
    let id = created.endpoint.id;
    let (first, hour) = (created.secret, Duration::from_secs(3_600));
    let second = world.hooks.rotate(&id, hour).expect("it is there");
    assert_ne!(first, second);
    for (wait, old) in [(0, true), (3_599, true), (1, false)] {
        world.wait(wait);
        world.hooks.test(&id).expect("it is there");
        let due = world.due();
        assert_eq!(takes(&world, &first, &due[0]), old);
        assert!(takes(&world, &second, &due[0]));
        drop(due);
        world.answer(200);
    }
    let third = world.hooks.rotate(&id, Duration::ZERO).expect("it is there");
    world.hooks.test(&id).expect("it is there");
    let due = world.due();
    assert!(!takes(&world, &second, &due[0]) && takes(&world, &third, &due[0]));
    let long = world.hooks.rotate(&id, Duration::from_secs(604_801));
    assert_eq!(long, Err(EndpointError::Overlap { seconds: 604_801 }));
    // What did not work has changed nothing.
    drop(due);
    assert!(takes(&world, &third, &world.due()[0]));
    let shown = format!("{:?} {:?} {:?}", world.hooks, world.hooks.list(), world.due());
    for secret in [&first, &second, &third] {
        assert!(!shown.contains(secret.expose()) && !shown.contains("v1,"));
    }
}
