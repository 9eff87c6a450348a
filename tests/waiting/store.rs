//! Goal: with a store a task waits for the commit where calls do, and blocks no thread; closing the
//! store ends all waits.
//!
//! Method: a store whose syncs are held back.

use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};

use limitry::errors::WaitError;
use limitry::store::{Durability, Durable};
use limitry::{Engine, Event, RateLimit, Window};

use crate::executor::Executor;
use crate::support::held::Held;

/// Says over a channel that it was woken.
struct Tell(mpsc::Sender<()>);

impl Wake for Tell {
    fn wake(self: std::sync::Arc<Self>) {
        let _ = self.0.send(());
    }
}

fn open(held: &Held) -> Engine {
    let store = Durable::open_on(held.clone()).expect("a store that opens");
    Engine::builder()
        .rate_limit(RateLimit::new("calls", 1, Window::Hour))
        .durable(store.durability(Durability::Synced))
        .build()
        .expect("a good rule")
}

#[test]
fn a_task_waits_for_the_commit_and_blocks_no_thread() {
    let held = Held::default();
    let engine = open(&held);
    let event = Event::new("a", "call");
    let mut wait = pin!(engine.wait(&event));
    let (tell, told) = mpsc::channel();
    let waker = Waker::from(std::sync::Arc::new(Tell(tell)));
    let mut task = Context::from_waker(&waker);
    held.hold(true);
    assert!(matches!(wait.as_mut().poll(&mut task), Poll::Pending));
    assert!(engine.waiting().is_empty(), "it is let in, and holds up nobody");
    assert!(!engine.check(&event).expect("a good event").is_allowed());
    held.hold(false);
    loop {
        told.recv().expect("it is woken");
        if let Poll::Ready(answer) = wait.as_mut().poll(&mut task) {
            assert!(answer.expect("it is committed").is_allowed());
            break;
        }
    }
    assert!(!engine.wait_blocking_until(&event, engine.now()).expect("good").is_allowed());
}

#[test]
fn closing_the_store_ends_all_waits() {
    let engine = open(&Held::default());
    let event = Event::new("a", "call");
    assert!(engine.wait_blocking(&event).expect("it is committed").is_allowed());
    let mut tasks = Executor::default();
    tasks.wait(&engine, event.clone());
    assert_eq!(tasks.run().len(), 0);
    engine.store().close().expect("a good store");
    assert!(matches!(tasks.run()[..], [(_, Err(WaitError::Closed))]));
    assert!(matches!(engine.wait_blocking(&event), Err(WaitError::Closed)));
}
