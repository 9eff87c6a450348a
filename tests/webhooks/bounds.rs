//! Goal: nothing grows without bound, and what was asked for is found or said not to be there.
//!
//! Method: more of everything than there may be.

use std::collections::BTreeSet;

use limitry::webhooks::{
    DeliveryStatus, EndpointError, Generation, NewEndpoint, WebhookOptions, Webhooks,
};

use super::{URL, World};

#[test]
fn there_are_ten_endpoints_at_most() {
    let world = World::new();
    let ids: Vec<String> = (0..10).map(|_| world.endpoint(Generation::Third)).collect();
    let more = || world.hooks.create(NewEndpoint::new(URL, Generation::Second));
    assert_eq!(more().map(drop), Err(EndpointError::TooMany { most: 10 }));
    let listed: BTreeSet<String> = world.hooks.list().into_iter().map(|it| it.id).collect();
    assert_eq!(listed, ids.iter().cloned().collect());
    world.fire("ann");
    world.hooks.delete(&ids[3]).expect("it is there");
    assert_eq!(world.answer(200), 9);
    let none = EndpointError::NoEndpoint { id: ids[3].clone() };
    assert_eq!(world.hooks.get(&ids[3]), Err(none.clone()));
    assert_eq!(world.hooks.delete(&ids[3]), Err(none.clone()));
    assert_eq!(world.hooks.deliveries(&ids[3], None, 10), Err(none));
    more().expect("there is room");
    for bad in ["http://example.com", "https://10.0.0.1/"] {
        let made = world.hooks.create(NewEndpoint::new(bad, Generation::Third));
        assert!(matches!(made, Err(EndpointError::Url { .. })), "{bad}");
    }
    let none = EndpointError::NoDelivery { id: "dlv_1".to_owned() };
    assert_eq!(world.hooks.redeliver(&ids[0], "dlv_1"), Err(none));
}

#[test]
fn the_oldest_deliveries_make_room() {
    let world = World::with(WebhookOptions::new().max_deliveries(10));
    let id = world.endpoint(Generation::Third);
    for number in 0..8 {
        world.fire(&format!("a_{number}"));
    }
    assert_eq!(world.answer(200), 8);
    for number in 0..15 {
        world.fire(&format!("b_{number}"));
    }
    // Those that were done went first, then the oldest that waited.
    let kept = world.deliveries(&id);
    assert_eq!(kept.len(), 10);
    assert!(kept.iter().all(|it| it.status == DeliveryStatus::Pending));
    assert_eq!(world.hooks.figures().dropped, 5);
    assert_eq!(world.answer(200), 10);
}

#[test]
fn deliveries_are_kept_for_thirty_days_and_listed_by_pages() {
    let world = World::new();
    let id = world.endpoint(Generation::Third);
    for number in 0..5 {
        world.fire(&format!("cust_{number}"));
        assert_eq!(world.answer(200), 1);
        world.wait(86_400);
    }
    let all = world.deliveries(&id);
    let (mut paged, mut next) = (Vec::new(), None);
    loop {
        let page = world.hooks.deliveries(&id, next, 2).expect("it is there");
        assert!(page.deliveries.len() <= 2);
        paged.extend(page.deliveries);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
    assert!(all.windows(2).all(|two| two[0].created_at > two[1].created_at));
    // Five days are over: the first goes after 25 more, the second a day later.
    world.wait(25 * 86_400 - 1);
    assert_eq!(world.deliveries(&id).len(), 5);
    world.wait(1);
    assert_eq!(world.deliveries(&id), all[..4]);
    world.wait(86_400);
    assert_eq!(world.deliveries(&id), all[..3]);
}

#[test]
fn who_waits_for_a_change_is_told() {
    let world = World::new();
    let id = world.endpoint(Generation::Third);
    let hooks: Webhooks = world.hooks.clone();
    let mut waiting = tokio_test::task::spawn(async move { hooks.changed(0).await });
    assert!(waiting.poll().is_pending());
    world.hooks.test(&id).expect("it is there");
    assert!(waiting.is_woken());
    let seen = waiting.poll();
    assert!(seen.is_ready());
    // Who has seen less does not wait.
    let mut late = tokio_test::task::spawn(world.hooks.changed(0));
    assert_eq!(late.poll(), seen);
}
