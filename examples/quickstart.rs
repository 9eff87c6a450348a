//! The engine in one sitting: rules, an event, a decision, a refusal and what it tells.
//!
//! `cargo run --example quickstart`

use std::error::Error;

use limitry::time::ManualClock;
use limitry::{
    Amount, Decision, Engine, Event, Metric, Outcome, Period, Quota, RateLimit, RetryAfter, Window,
};

fn main() -> Result<(), Box<dyn Error>> {
    // Left out, the clock is the system's. This one is moved by hand, so that the figures are
    // the same every time.
    let clock = ManualClock::new("2024-01-15T10:30:00Z".parse()?);
    let burst = RateLimit::new("gpt-4 burst", 20, Window::Second);
    let engine = Engine::builder()
        .clock(clock.clone())
        .rate_limit(RateLimit::new("API rate limit", 1_000, Window::Hour).per("customer_id"))
        .rate_limit(burst.filter("model", "gpt-4").per("customer_id").burst(40))
        .rate_limit(
            RateLimit::new("Tokens per minute", 90_000, Window::Minute).metric(Metric::TotalTokens),
        )
        .quota(
            Quota::new("Daily tokens", Metric::TotalTokens, 100_000, Period::Day)
                .per("customer_id"),
        )
        .quota(
            Quota::new("Team budget", Metric::TotalCostCents, 50_000, Period::Month)
                .filter("team_id", "team_eng"),
        )
        .build()?;

    let event = Event::new("cust_123", "model_call")
        .model("gpt-4")
        .provider("openai")
        .input_tokens(150)
        .output_tokens(50)
        .cost_cents(25)
        .property("team_id", "team_eng")
        .idempotency_key("req_abc123");
    show("A call of 200 tokens", &engine.track(&event)?);
    show("The same request once more", &engine.track(&event)?);

    let large = Event::new("cust_123", "model_call").model("gpt-4").input_tokens(89_900);
    let refused = engine.track(&large)?;
    show("A call of 89 900 tokens", &refused);
    println!("  as JSON  {}\n", serde_json::to_string(&refused)?);

    if let Some(RetryAfter::After(wait)) = refused.retry_after() {
        clock.advance(wait);
        show(&format!("That call again, {wait:?} later"), &engine.track(&large)?);
    }

    let hopeless = Event::new("cust_123", "model_call").input_tokens(120_000);
    show("A call of 120 000 tokens", &engine.check(&hopeless)?);

    let standing = engine.standing(&Event::new("cust_123", "model_call"))?;
    println!("Where cust_123 stands");
    for limit in standing.rate_limits() {
        let (left, most) = (limit.remaining, of(limit.limit));
        println!("  {}: {left} left, {most} per {}", limit.name, limit.window);
    }
    for quota in standing.quotas() {
        println!("  {}: {} used, {}", quota.name, quota.used, of(quota.limit));
    }
    Ok(())
}

/// What a rule admits, if there is a limit.
fn of(limit: Option<Amount>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"))
}

/// Prints all that a decision says.
fn show(title: &str, decision: &Decision) {
    println!("{title}: {}, {}", decision.outcome(), decision.status_code());
    // What an application does: act once, answer a retry without acting again, or say how long to
    // wait.
    match (decision.outcome(), decision.event_id()) {
        (Outcome::Admitted, Some(id)) => println!("  call the model; recorded as {id}"),
        (Outcome::Admitted, None) => println!("  call the model"),
        (Outcome::Replayed, Some(id)) => println!("  it was called before, for {id}"),
        (Outcome::Replayed, None) => println!("  it was called before"),
        (Outcome::Refused, _) => println!("  do not call it"),
    }
    let limits = decision.rate_limits().map(|s| (s.name, s.remaining, s.limit, s.exceeded));
    let quotas = decision.quotas().map(|s| (s.name, s.remaining, s.limit, s.exceeded));
    for (name, remaining, limit, exceeded) in limits.chain(quotas) {
        let mark = if exceeded { "  <- refuses" } else { "" };
        println!("  {name:<18} {remaining:>6} left, {}{mark}", of(limit));
    }
    match decision.retry_after() {
        None => {}
        Some(RetryAfter::After(wait)) => println!("  passes in {wait:?}"),
        Some(RetryAfter::Never) => println!("  never passes"),
    }
    for (name, value) in decision.headers() {
        println!("  {name}: {value}");
    }
    println!();
}
