//! Plans: every customer has the limit of its plan, and one customer has a limit of its own.
//!
//! `cargo run --example plans`
//!
//! Rules that name one policy compete: of those that match an event the most specific judges, and
//! the others count along, so that whichever judges next knows what was used.

use std::error::Error;

use limitry::{Engine, Event, RateLimit, Window};

fn main() -> Result<(), Box<dyn Error>> {
    let calls = |name, limit| {
        RateLimit::new(name, limit, Window::Minute).per("customer_id").policy("calls")
    };
    let engine = Engine::builder()
        .rate_limit(calls("free", 10))
        .rate_limit(calls("pro", 600).filter("plan", "pro"))
        .rate_limit(calls("acme's own", 9_000).filter("plan", "pro").filter("customer_id", "acme"))
        .build()?;

    for (customer, plan) in [("initech", "free"), ("globex", "pro"), ("acme", "pro")] {
        let call = Event::new(customer, "model_call").property("plan", plan);
        let (mut admitted, mut judge) = (0, String::new());
        for _ in 0..1_000 {
            let decision = engine.track(&call)?;
            admitted += u32::from(decision.is_allowed());
            judge = decision.rate_limits().map(|limit| limit.name).collect();
        }
        println!("{customer:<8} on {plan:<4}  {admitted:>4} of 1000 calls admitted by \"{judge}\"");
    }
    Ok(())
}
