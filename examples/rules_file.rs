//! Rules are data: a file says what they are, and a running engine is made to match it.
//!
//! `cargo run --example rules_file`
//!
//! Any serde format will do: JSON here.

use std::error::Error;

use limitry::rules::SyncOptions;
use limitry::{Engine, Event, RuleSet};

const MONDAY: &str = r#"{
    "rateLimits": [
        {"name": "Calls", "limitValue": 60, "window": "minute", "per": "customer_id"},
        {"name": "Trial", "limitValue": 5, "window": "minute", "enforcement": "shadow"}
    ]
}"#;

const TUESDAY: &str = r#"{
    "rateLimits": [
        {"name": "Calls", "limitValue": 90, "window": "minute", "per": "customer_id"}
    ],
    "quotas": [
        {"name": "Tokens", "metric": "total_tokens", "limitValue": 100000, "period": "day"}
    ]
}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let monday: RuleSet = serde_json::from_str(MONDAY)?;
    let engine = Engine::builder().rule_set(monday).build()?;
    let call = Event::new("acme", "model_call").total_tokens(1_200);
    for _ in 0..20 {
        assert!(engine.track(&call)?.is_allowed());
    }

    let tuesday: RuleSet = serde_json::from_str(TUESDAY)?;
    let planned = engine.rules().sync(tuesday.clone(), SyncOptions::preview())?;
    println!("would create {:?}, remove {:?}", planned.created, planned.removed);
    for rule in planned.updated {
        for (field, change) in rule.fields {
            println!("would change {field} of {}: {} to {}", rule.name, change.from, change.to);
        }
    }

    // What was used stays used: the change takes no counter away from a rule that goes on.
    engine.rules().sync(tuesday, SyncOptions::apply())?;
    println!("after the change: {}", engine.track(&call)?);
    for limit in engine.standing(&call)?.rate_limits() {
        println!("{}: {} left", limit.name, limit.remaining);
    }
    Ok(())
}
