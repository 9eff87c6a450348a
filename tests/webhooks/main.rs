//! Webhooks: what is sent, when, and what becomes of it.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[cfg(feature = "durable")]
#[path = "../support/medium.rs"]
mod medium;

mod bounds;
#[cfg(feature = "webhook-client")]
mod client;
#[cfg(feature = "durable")]
mod crash;
#[cfg(feature = "webhook-client")]
mod receiver;
mod retries;
mod secrets;
mod shapes;

use std::time::Duration;

use limitry::rules::Threshold;
#[cfg(feature = "durable")]
use limitry::store::Storage;
use limitry::time::ManualClock;
use limitry::webhooks::{
    Attempt, Delivery, Generation, NewEndpoint, Outgoing, Reply, WebhookOptions, Webhooks,
};
use limitry::{Engine, EngineBuilder, Event, Metric, Period, Quota, Timestamp};

/// 2023-11-14T22:13:20Z.
const START: Timestamp = Timestamp::new(1_700_000_000, 0);
const URL: &str = "https://example.com/hooks";

/// An engine that fires at 80 % and at all of what each customer may use, and its webhooks.
struct World {
    clock: ManualClock,
    engine: Engine,
    hooks: Webhooks,
}

fn rules(clock: &ManualClock) -> EngineBuilder {
    let quota = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Month).per("customer_id");
    let quota = quota.alert_at(Threshold::percent(80)).alert_at(Threshold::percent(100));
    Engine::builder().clock(clock.clone()).quota(quota)
}

impl World {
    fn new() -> Self {
        Self::with(WebhookOptions::new())
    }

    fn with(options: WebhookOptions) -> Self {
        let clock = ManualClock::new(START);
        let engine = rules(&clock).build().expect("good rules");
        let hooks = Webhooks::open(&engine, options).expect("no store fails");
        Self { clock, engine, hooks }
    }

    /// Makes an endpoint; returns its id.
    fn endpoint(&self, generation: Generation) -> String {
        let new = NewEndpoint::new(URL, generation);
        self.hooks.create(new).expect("a good endpoint").endpoint.id
    }

    /// Lets a customer reach 80 % and all that follows from it.
    fn fire(&self, customer: &str) {
        fire(&self.engine, customer);
        self.hooks.take_alerts().expect("no store fails");
    }

    /// The requests that are due.
    fn due(&self) -> Vec<Attempt> {
        self.hooks.due()
    }

    /// Answers all that is due with a status; returns how many there were.
    fn answer(&self, status: u16) -> usize {
        let mut answered = 0;
        loop {
            let due = self.due();
            if due.is_empty() {
                return answered;
            }
            answered += due.len();
            for attempt in due {
                attempt.done(&Ok(Reply::new(status))).expect("no store fails");
            }
        }
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn deliveries(&self, endpoint: &str) -> Vec<Delivery> {
        self.hooks.deliveries(endpoint, None, 100).expect("it is there").deliveries
    }
}

fn fire(engine: &Engine, customer: &str) {
    let event = Event::new(customer, "call").total_tokens(820);
    assert!(engine.track(&event).expect("a good event").is_allowed());
}

/// A header that must be there.
fn header(request: &Outgoing, name: &str) -> String {
    request.header(name).unwrap_or_else(|| panic!("no {name}")).to_owned()
}

fn body(request: &Outgoing) -> serde_json::Value {
    serde_json::from_str(&request.body).expect("JSON")
}
