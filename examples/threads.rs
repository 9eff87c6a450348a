//! One engine for all threads: each owns a handle, and together they pass no limit by one call.
//!
//! `cargo run --example threads`
//!
//! A clone of an engine is another handle of the same one, and costs a count: move it into a
//! thread, a task or a web handler's state.

use std::error::Error;
use std::sync::{Arc, Barrier};
use std::thread;

use limitry::time::ManualClock;
use limitry::{Engine, Event, RateLimit, Window};

fn main() -> Result<(), Box<dyn Error>> {
    // A clock that stands still: nothing is refilled while the threads run.
    let engine = Engine::builder()
        .clock(ManualClock::new("2024-01-15T10:30:00Z".parse()?))
        .rate_limit(RateLimit::new("Calls", 1_000, Window::Hour).per("customer_id"))
        .build()?;

    let start = Arc::new(Barrier::new(8));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (engine, start) = (engine.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                work(&engine)
            })
        })
        .collect();
    let mut admitted = 0;
    for (number, worker) in workers.into_iter().enumerate() {
        let its_own = worker.join().map_err(|_| "a worker panicked")??;
        println!("worker {number}: {its_own} calls admitted");
        admitted += its_own;
    }

    println!("together: {admitted} of 8000, the limit is 1000");
    assert_eq!(admitted, 1_000);
    Ok(())
}

/// A thousand calls of one customer: how many were admitted.
fn work(engine: &Engine) -> Result<usize, limitry::Error> {
    let call = Event::new("acme", "model_call");
    let mut admitted = 0;
    for _ in 0..1_000 {
        admitted += usize::from(engine.track(&call)?.is_allowed());
    }
    Ok(admitted)
}
