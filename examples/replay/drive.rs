//! Sends the requests through the engine, in the traffic's own time, and times each decision.

use std::error::Error;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use limitry::Engine;
use limitry::time::ManualClock;

use crate::tally::{Span, Tally};
use example_support::cast::{Cast, Request};
use example_support::progress;

/// How fast the decisions were.
#[derive(Debug)]
pub struct Pace {
    /// What each decision took, in nanoseconds, with the reading of the clock around it.
    pub latency_nanos: Histogram<u64>,
    /// What all decisions took together.
    pub deciding: Duration,
    /// What the reading of the clock adds to each.
    pub clock_overhead: Duration,
}

impl Pace {
    /// An hour: no decision takes longer.
    const NANOS_MAX: u64 = 3_600_000_000_000;

    /// Decisions a second on this one thread, without the time that the clock takes.
    pub fn decisions_per_second(&self) -> u64 {
        let decisions = u128::from(self.latency_nanos.len());
        let clock_nanos = self.clock_overhead.as_nanos() * decisions;
        let nanos = self.deciding.as_nanos().saturating_sub(clock_nanos).max(1);
        u64::try_from(decisions * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }
}

/// Replays requests that are in the order of their time; `None` where there are none.
#[expect(clippy::disallowed_methods, reason = "times the decisions themselves")]
pub fn replay(
    engine: &Engine,
    clock: &ManualClock,
    cast: &Cast,
    requests: &[Request],
) -> Result<Option<(Tally, Pace)>, Box<dyn Error>> {
    let Some(span) = Span::of(requests) else { return Ok(None) };
    let mut tally = Tally::new(cast.customers.len(), span)?;
    let mut latency_nanos = Histogram::new_with_max(Pace::NANOS_MAX, 3)?;
    let mut deciding = Duration::ZERO;
    let clock_overhead = measure_clock();
    let bar = progress::replaying(requests.len());
    for chunk in requests.chunks(4_096) {
        for request in chunk {
            clock.set(request.at.into());
            let event = cast.event(request);
            let start = Instant::now();
            let decision = engine.track(&event)?;
            let took = start.elapsed();
            deciding += took;
            latency_nanos.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            tally.add(request, &decision);
        }
        bar.inc(chunk.len().try_into().unwrap_or(u64::MAX));
    }
    bar.finish_and_clear();
    Ok(Some((tally, Pace { latency_nanos, deciding, clock_overhead })))
}

/// The median of what the clock tells of a span in which nothing happens.
#[expect(clippy::disallowed_methods, reason = "measures the clock that times the decisions")]
fn measure_clock() -> Duration {
    let mut spans: Vec<Duration> = (0..1_001).map(|_| Instant::now().elapsed()).collect();
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied().unwrap_or_default()
}
