//! The engine of the report, and the recording of the traffic in the traffic's own time.

use std::error::Error;
use std::time::{Duration, Instant};

use limitry::errors::BuildError;
use limitry::time::ManualClock;
use limitry::usage::RollupOptions;
use limitry::{Engine, Meter, Timestamp};

use crate::traffic::{SERVICE, Traffic};
use example_support::progress;

pub const LARGEST_CALL: &str = "mtr_largest_call";
pub const AVERAGE_CALL: &str = "mtr_average_call";
pub const LONGEST_ANSWER: &str = "mtr_longest_answer";
pub const CUSTOMERS: &str = "mtr_customers";

/// The meters of the engine, in the order of the report.
pub const METERS: [&str; 4] = [LARGEST_CALL, AVERAGE_CALL, LONGEST_ANSWER, CUSTOMERS];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The bar moves after so many calls, not to be what takes the time.
const STEP: usize = 4_096;

/// An engine without rules: it counts, and refuses nobody. Only what the report groups by has
/// sums of its own, and those by the minute stay until the last call: which day they are asked
/// for shows in the end.
fn engine(clock: ManualClock, span: Duration) -> Result<Engine, BuildError> {
    let rollups = RollupOptions::new()
        .dimensions(["customer_id", "model", SERVICE])
        .keep_minutes(span.saturating_add(DAY));
    Engine::builder()
        .clock(clock)
        .rollups(rollups)
        .meter(Meter::max("Largest call, tokens", "total_tokens").id(LARGEST_CALL))
        .meter(Meter::avg("Average call, tokens", "total_tokens").id(AVERAGE_CALL))
        .meter(Meter::max("Longest answer, tokens", "output_tokens").id(LONGEST_ANSWER))
        .meter(Meter::unique("Customers", "customer_id").id(CUSTOMERS))
        .build()
}

/// Records all calls; returns the engine that knows them, and the time that it took.
#[expect(clippy::disallowed_methods, reason = "times the recording itself")]
pub fn record(traffic: &Traffic) -> Result<(Engine, Duration), Box<dyn Error>> {
    // The first call sets the clock, so where it starts is all the same.
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let span = traffic.span().map(|(first, last)| (last - first).to_std()).transpose()?;
    let engine = engine(clock.clone(), span.unwrap_or_default())?;
    let bar = progress::replaying(traffic.len());
    let start = Instant::now();
    for (place, (at, event)) in traffic.events().enumerate() {
        clock.set(at.into());
        // Every call counts: there is no refusal to look for.
        let _ = engine.record(&event)?;
        if place % STEP == 0 {
            bar.set_position(u64::try_from(place).unwrap_or(u64::MAX));
        }
    }
    let took = start.elapsed();
    bar.finish_and_clear();
    Ok((engine, took))
}
