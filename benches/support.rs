//! What the benches share: rules, customers and calls.

use std::fmt::Write as _;

use limitry::{Decision, Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, Window};

/// A limit that no bench reaches.
pub const GENEROUS: u64 = 1_000_000_000_000;

/// Whether this run only shows that the bench works (`cargo bench -p limitry-benches -- --test`,
/// `cargo test -p limitry-benches --benches`), so that set-up stays small.
pub fn smoke() -> bool {
    let mut bench = false;
    for argument in std::env::args() {
        match argument.as_str() {
            "--test" => return true,
            "--bench" => bench = true,
            _ => {}
        }
    }
    !bench
}

/// Two rate limits and two quotas a customer.
pub fn four(builder: EngineBuilder) -> EngineBuilder {
    let quota = |name, metric, period| Quota::new(name, metric, GENEROUS, period);
    builder
        .rate_limit(RateLimit::new("Calls a second", GENEROUS, Window::Second).per("customer_id"))
        .rate_limit(RateLimit::new("Calls a minute", GENEROUS, Window::Minute).per("customer_id"))
        .quota(quota("Tokens a day", Metric::TotalTokens, Period::Day).per("customer_id"))
        .quota(quota("Cents a month", Metric::TotalCostCents, Period::Month).per("customer_id"))
}

/// Builds an engine whose rules the bench itself wrote.
pub fn built(builder: EngineBuilder) -> Engine {
    match builder.build() {
        Ok(engine) => engine,
        Err(error) => unreachable!("the rules of a bench are valid: {error:?}"),
    }
}

/// A model call with all that the four rules count, its strings borrowed.
#[inline]
pub fn model_call(customer: &str) -> Event<'_> {
    Event::new(customer, "model_call")
        .model("gpt-4")
        .provider("openai")
        .input_tokens(150)
        .output_tokens(50)
        .cost_cents(25)
}

/// One decision of a valid event.
#[inline]
pub fn track(engine: &Engine, event: &Event<'_>) -> Decision {
    match engine.track(event) {
        Ok(decision) => decision,
        Err(error) => unreachable!("the events of a bench are valid: {error:?}"),
    }
}

/// An endless walk over `count` customers in an order that caches cannot foresee. Names are
/// written into one buffer, so that ten million customers need no list.
#[derive(Debug)]
pub struct Customers {
    count: u64,
    state: u64,
    name: String,
}

impl Customers {
    /// A walk over `count` customers, in the order that `seed` gives.
    pub fn new(count: u64, seed: u64) -> Self {
        Self { count, state: seed, name: String::with_capacity(24) }
    }

    /// The next customer's name.
    #[inline]
    pub fn draw(&mut self) -> &str {
        self.draw_of(0)
    }

    /// The next customer's name among the customers of one group.
    #[inline]
    pub fn draw_of(&mut self, group: u64) -> &str {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (self.state >> 33).checked_rem(self.count).unwrap_or(0);
        self.named(group.wrapping_mul(self.count).wrapping_add(number))
    }

    /// The name of customer `number`.
    pub fn named(&mut self, number: u64) -> &str {
        self.name.clear();
        let _ = write!(self.name, "cust_{number:08}");
        &self.name
    }

    /// One call by each customer, so that every counter exists.
    pub fn introduce(&mut self, engine: &Engine) {
        for number in 0..self.count {
            let _ = track(engine, &model_call(self.named(number)));
        }
    }
}
