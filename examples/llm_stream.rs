//! A streamed model call whose length nobody knows: it reserves, grows as tokens arrive, commits
//! what was used, and is cut off at the limit; and one whose client hangs up is charged for its
//! part.
//!
//! `cargo run --example llm_stream`

use std::error::Error;
use std::time::Duration;

use limitry::time::ManualClock;
use limitry::{Decision, Engine, Event, Hold, Metric, Period, Quota, Reserved};

/// How many tokens are reserved at a time.
const PIECE: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::new("2024-01-15T10:30:00Z".parse()?);
    let engine = Engine::builder()
        .clock(clock.clone())
        .quota(
            Quota::new("Daily tokens", Metric::TotalTokens, 2_000, Period::Day).per("customer_id"),
        )
        .quota(Quota::concurrent("Calls at once", 2).per("customer_id"))
        .build()?;

    // The model says 700 tokens; then one that would say 5 000 is cut off.
    for length in [700, 5_000] {
        let mut model = Model { left: length };
        println!("{length} tokens: {}", stream(&engine, &clock, &mut model, u64::MAX)?);
        show(&engine)?;
    }
    // A day later a client hangs up after 150 tokens: those are charged.
    clock.advance(Duration::from_secs(24 * 60 * 60));
    let mut model = Model { left: 900 };
    println!("hung up: {}", stream(&engine, &clock, &mut model, 150)?);
    show(&engine)?;
    Ok(())
}

fn call() -> Event<'static> {
    Event::new("cust_123", "model_call").model("gpt-4").input_tokens(100)
}

/// What the model says, ten tokens at a time.
struct Model {
    left: u64,
}

impl Iterator for Model {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let said = self.left.min(10);
        self.left -= said;
        (said > 0).then_some(said)
    }
}

/// Streams a call until it ends, the client hangs up or the limit is reached.
fn stream(
    engine: &Engine,
    clock: &ManualClock,
    model: &mut Model,
    hangs_up_after: u64,
) -> Result<String, Box<dyn Error>> {
    let hold = Hold::lasting(Duration::from_secs(30));
    let mut reservation = match engine.reserve(&call().output_tokens(PIECE), hold)? {
        Reserved::Held(reservation) => reservation,
        Reserved::Refused(decision) => return Ok(decision.to_string()),
        Reserved::Replayed(status) => return Ok(format!("known already: {status:?}")),
    };
    let (mut said, mut reserved, mut ended) = (0, PIECE, "complete");
    for tokens in model {
        if said + tokens > reserved {
            let more = Event::new("cust_123", "model_call").output_tokens(PIECE);
            if !reservation.grow(&more)?.is_allowed() {
                ended = "cut off at the limit";
                break;
            }
            reserved += PIECE;
            reservation.extend(Duration::from_secs(30))?;
        }
        clock.advance(Duration::from_millis(200));
        said += tokens;
        if said >= hangs_up_after {
            ended = "the client hung up";
            break;
        }
    }
    // What was said is charged, however it ended; the rest of the last piece comes back.
    let decision: Decision = reservation.commit(&call().output_tokens(said))?;
    Ok(format!("{ended} after {said} tokens, {decision}"))
}

fn show(engine: &Engine) -> Result<(), Box<dyn Error>> {
    for quota in engine.standing(&call())?.quotas() {
        println!(
            "  {}: {} used, {} held, {} left",
            quota.name, quota.used, quota.held, quota.remaining
        );
    }
    Ok(())
}
