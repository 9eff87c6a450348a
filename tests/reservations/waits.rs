//! Goal: who waits for room is woken when a reservation gives some back, and by its expiry at the
//! latest.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::lives::{daily, reserve, secs, tokens};
use crate::support::engine;
use limitry::Quota;

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_hold_that_ends_wakes_who_waits_for_it() {
    for ending in ["commit", "release", "expiry"] {
        let (engine, clock) = engine(|builder| {
            builder.quota(daily(10)).quota(Quota::concurrent("At once", 1).per("customer_id"))
        });
        let hold = reserve(&engine, &tokens(10), 60);
        let event = tokens(5);
        let mut waiting = pin!(engine.wait(&event));
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(Arc::clone(&flag));
        let mut context = Context::from_waker(&waker);
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "{ending}");
        clock.advance(secs(59));
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "{ending}");
        flag.0.store(false, Ordering::SeqCst);
        match ending {
            "commit" => drop(hold.commit(&tokens(3)).expect("good")),
            "release" => drop(hold.release().expect("open")),
            _ => {
                clock.advance(secs(1));
                std::mem::forget(hold);
            }
        }
        assert!(flag.0.load(Ordering::SeqCst), "{ending}");
        let Poll::Ready(answer) = waiting.as_mut().poll(&mut context) else {
            panic!("there is room: {ending}")
        };
        assert!(answer.expect("good").is_allowed(), "{ending}");
    }
}
