//! What do model calls cost, by model, day and team? An hour of real traffic, three days running,
//! through a gateway that estimates each call before it is made, prices it after, keeps teams to
//! their budgets, and corrects what the provider does not bill.
//!
//! ```text
//! cargo run --release --features llm --example llm_gateway_costs
//! cargo run --release --features llm --example llm_gateway_costs -- --html page.html
//! ```

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a program: sums of what memory holds, places its own draw gave, nothing exported"
)]

mod report;

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use example_support::cast::{Cast, MODELS, Request};
use example_support::intake;
use limitry::events::EventQuery;
use limitry::llm::{Estimator, PriceBook, ReserveEstimated, ReservedEstimate};
use limitry::time::ManualClock;
use limitry::usage::RollupOptions;
use limitry::{Engine, Event, Hold, Metric, Period, Quota};

/// Near the list prices of the time of the traces, in dollars a million tokens; that one falls on
/// the third day is made up.
const PRICES: &str = r#"
    price = [
        { model = "gpt-4", input = 30, output = 60 },
        { model = "gpt-4-turbo", input = 10, cached_input = 5, output = 30 },
        { model = "gpt-4-turbo", input = 5, output = 15, from = 2023-11-18 },
        { model = "gpt-3.5-turbo*", input = 1, output = 2 },
        { model = "claude-2", input = 8, output = 24 },
        { model = "llama-2-*", input = 1, output = 1 },
    ]
"#;
const TRACES: [&str; 2] = ["AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv"];
const DAYS: i32 = 3;
/// What every call asks for as `max_tokens`: the longest answer of the traces has 1 899.
const MAX_TOKENS: u64 = 2_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llm_gateway_costs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let calls = intake::read_files(&TRACES.map(|name| data.join(name)))?.calls;
    let (Some(first), Some(last)) = (calls.first(), calls.last()) else {
        return Err("the traces hold no call".into());
    };
    let (start, end) = (first.at, last.at + TimeDelta::days((DAYS - 1).into()));
    let clock = ManualClock::new(start.into());
    let engine = Engine::builder()
        .clock(clock.clone())
        .prices(PriceBook::from_toml(PRICES)?)
        .quota(Quota::new("Team budget", Metric::TotalCostCents, 15_000, Period::Month).per("team"))
        .rollups(RollupOptions::new().dimensions(["model", "team"]))
        .build()?;
    let mut gateway = Gateway { engine, estimator: Estimator::new(), cast: Cast::new(42)? };
    for day in 0..DAYS {
        let mut tally = Tally::default();
        for call in &calls {
            let request = gateway.cast.assign(*call);
            let request = Request { at: request.at + TimeDelta::days(day.into()), ..request };
            clock.set(request.at.into());
            gateway.call(&request, &mut tally)?;
        }
        println!("day {}: {tally}", day + 1);
    }
    println!("corrected: {} calls\n", gateway.correct(start + TimeDelta::days(1))?);
    let end = end + TimeDelta::seconds(1);
    let report = report::Report::new(&gateway.engine, start.into(), end.into())?;
    print!("{report}");
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|argument| argument == "--html") {
        std::fs::write(arguments.next().ok_or("--html wants the page's path")?, report.html())?;
    }
    Ok(())
}

struct Gateway {
    engine: Engine,
    estimator: Estimator,
    cast: Cast,
}

impl Gateway {
    /// A call of a model: what it may cost is held before, and what it did cost is recorded after.
    fn call(&self, request: &Request, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        let customer = &self.cast.customers[request.customer];
        let call = Event::new(customer.id.as_str(), "model_call")
            .model(MODELS[request.model].name)
            .property("team", customer.team.as_str())
            .input_tokens(request.input_tokens.into());
        let asked = call.clone().output_tokens(MAX_TOKENS);
        let hold = Hold::default();
        match self.engine.reserve_estimated(&asked, &self.estimator, hold)? {
            ReservedEstimate::Held(reservation) => {
                let held = reservation.estimate().output_tokens.unwrap_or(0);
                // ... the call of the model ...
                let actual = call.output_tokens(request.output_tokens.into());
                let decision = reservation.commit(&actual)?;
                tally.add(held, request.output_tokens.into(), decision.is_overrun());
            }
            ReservedEstimate::Refused(_) => tally.refused += 1,
            ReservedEstimate::Replayed(_) => return Err("no call has a key".into()),
        }
        Ok(())
    }

    /// What the provider's bill says otherwise: calls of a minute that failed are not billed, and
    /// those of the next one had 1 000 tokens of their prompts in a cache.
    fn correct(&self, day: DateTime<Utc>) -> Result<usize, Box<dyn Error>> {
        let minute = |number| {
            let start = day + TimeDelta::minutes(number);
            let query = EventQuery::new().model("gpt-4-turbo");
            self.engine.events().iter(query.between(start, start + TimeDelta::minutes(1)))
        };
        let mut corrected = 0;
        for failed in minute(20)? {
            self.engine.void(failed.id, "outage, not billed")?;
            corrected += 1;
        }
        for recorded in minute(21)? {
            let cached =
                recorded.event.amount("input_tokens").unwrap_or_default().min(1_000.into());
            let event = recorded.event.cost_by_prices(None).value("cached_input_tokens", cached);
            self.engine.amend(recorded.id, &event, "cached, says the bill")?;
            corrected += 1;
        }
        Ok(corrected)
    }
}

/// How good the estimates of a day were.
#[derive(Default)]
struct Tally {
    calls: u64,
    refused: u64,
    held: u64,
    /// Of what was held.
    used: u64,
    passed: u64,
}

impl Tally {
    fn add(&mut self, held: u64, output: u64, is_overrun: bool) {
        self.calls += 1;
        self.held += held;
        self.used += output.min(held);
        self.passed += u64::from(is_overrun);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let calls = self.calls.max(1);
        let (idle, most) = ((self.held - self.used) / calls, MAX_TOKENS - self.used / calls);
        let passed = example_support::text::percent(self.passed, calls);
        write!(
            f,
            "{} calls, {} refused; held idle a call: {idle} output tokens, {most} with max_tokens; \
             {passed} passed their estimate",
            self.calls, self.refused,
        )
    }
}
