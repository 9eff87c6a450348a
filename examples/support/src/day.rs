//! A day of traffic, made up from a seed: people who come and go with the hours, and batch jobs
//! that call as fast as they can.

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand_pcg::Pcg64;

use crate::cast::{Cast, Request, WeightError};

/// How busy each full hour is, against the others; minutes in between lie on a line.
const HOURLY: [u32; 24] =
    [14, 11, 9, 8, 8, 10, 16, 30, 58, 82, 94, 97, 84, 88, 98, 100, 96, 84, 66, 52, 44, 36, 27, 19];
const MINUTES: u32 = 24 * 60;
const SECOND_NANOS: i64 = 1_000_000_000;

/// One job in this many calls, and how many calls and how fast a job makes them.
const CALLS_PER_JOB: u32 = 8_000;
const JOB_CALLS: std::ops::Range<u32> = 100..900;
const JOB_GAP_NANOS: std::ops::Range<i64> = SECOND_NANOS / 8..SECOND_NANOS;

/// Tokens at eleven evenly spaced quantiles: most prompts short, some very long, as in a
/// log-normal curve.
const INPUT_QUANTILES: [u32; 11] = [4, 70, 130, 200, 290, 390, 520, 700, 980, 1_600, 7_500];
const OUTPUT_QUANTILES: [u32; 11] = [1, 25, 45, 65, 90, 120, 155, 200, 265, 390, 1_400];

/// Tuesday, 14 May 2024, 00:00 UTC.
fn midnight() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(19_857)
}

/// Makes a day of about `calls` requests in the order of their time. Customers and models are
/// drawn from `cast`, all else from `seed`.
pub fn requests(cast: &mut Cast, seed: u64, calls: u32) -> Result<Vec<Request>, WeightError> {
    // A stream of its own, so that times and sizes do not hang on who calls.
    let mut rng = Pcg64::new(seed.into(), 1);
    let minutes = WeightedIndex::new((0..MINUTES).map(busyness))?;
    let mut requests = Vec::new();
    for _ in 0..calls / CALLS_PER_JOB {
        add_job(&mut requests, cast, &minutes, &mut rng);
    }
    while requests.len() < usize::try_from(calls).unwrap_or(usize::MAX) {
        let at = draw_instant(&minutes, &mut rng);
        let (customer, model) = (cast.draw_customer(), cast.draw_model());
        requests.push(draw_request(at, customer, model, &mut rng));
    }
    requests.sort_by_key(|request| request.at);
    Ok(requests)
}

/// Adds a batch job: one customer, one model, calls on the heels of each other.
fn add_job(
    requests: &mut Vec<Request>,
    cast: &mut Cast,
    minutes: &WeightedIndex<u32>,
    rng: &mut Pcg64,
) {
    let (customer, model) = (cast.draw_customer(), cast.draw_model());
    let gap_nanos = rng.random_range(JOB_GAP_NANOS);
    let end = midnight() + TimeDelta::days(1);
    let mut at = draw_instant(minutes, rng);
    for _ in 0..rng.random_range(JOB_CALLS) {
        if at >= end {
            break;
        }
        requests.push(draw_request(at, customer, model, rng));
        at += TimeDelta::nanoseconds(rng.random_range(gap_nanos / 2..=gap_nanos * 3 / 2));
    }
}

fn draw_request(at: DateTime<Utc>, customer: usize, model: usize, rng: &mut Pcg64) -> Request {
    let input_tokens = draw_between(&INPUT_QUANTILES, rng);
    let output_tokens = draw_between(&OUTPUT_QUANTILES, rng);
    Request { at, input_tokens, output_tokens, customer, model }
}

fn draw_instant(minutes: &WeightedIndex<u32>, rng: &mut Pcg64) -> DateTime<Utc> {
    let minute = i64::try_from(minutes.sample(rng)).unwrap_or(0);
    let within = rng.random_range(0..60 * SECOND_NANOS);
    midnight() + TimeDelta::minutes(minute) + TimeDelta::nanoseconds(within)
}

/// A number whose quantiles are those given: one of the steps between them, then a place in it.
fn draw_between(quantiles: &[u32], rng: &mut Pcg64) -> u32 {
    let step = rng.random_range(1..quantiles.len());
    rng.random_range(quantiles[step - 1]..=quantiles[step])
}

/// The weight of a minute of the day, on the line from its hour to the next.
fn busyness(minute: u32) -> u32 {
    let at = |hour: u32| HOURLY.iter().copied().cycle().nth(hour as usize).unwrap_or(0);
    let (hour, past) = (minute / 60, minute % 60);
    at(hour) * (60 - past) + at(hour + 1) * past
}
