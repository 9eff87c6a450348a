//! An engine that is killed in the middle of its work, and goes on where it was.
//!
//! `cargo run --release --features durable --example durable`
//!
//! The program starts itself a second time as a worker, which makes model calls for three customers
//! and says of each answer that it was given. After a while the worker is killed with SIGKILL, with
//! no chance to clean up, and another one is started on the same file. At the end usage and limits
//! are compared with what the workers said.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use indicatif::{ProgressBar, ProgressStyle};
use limitry::store::{Durability, Durable};
use limitry::usage::UsageQuery;
use limitry::{Engine, Event, Metric, Outcome, Period, Quota, RateLimit, Timestamp, Window};

const CUSTOMERS: [&str; 3] = ["acme", "globex", "initech"];
/// Tokens of a call.
const TOKENS: u64 = 1_000;
/// Tokens that a customer has a month.
const BUDGET: u64 = 1_500_000;
/// Answers after which a worker is killed.
const ANSWERS: usize = 2_000;
/// How many workers there are, one after the other.
const WORKERS: usize = 3;

/// A customer, and the idempotency key of its call.
type Call = (String, String);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    if let (Some(word), Some(path), Some(run)) =
        (arguments.next(), arguments.next(), arguments.next())
        && word == "worker"
    {
        return work(Path::new(&path), &run);
    }
    let folder = env::temp_dir().join(format!("limitry-durable-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let shown = show(&folder.join("limitry.redb"));
    std::fs::remove_dir_all(&folder)?;
    shown
}

/// Opens the engine, and shows on a bar how far that has come.
fn open(path: &Path, bar: ProgressBar) -> Result<Engine, limitry::Error> {
    let style = ProgressStyle::with_template("  {msg:24} {bar:30} {pos} of {len}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let store = Durable::open(path)?.durability(Durability::Synced).on_progress(move |progress| {
        bar.set_message(progress.step);
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    let calls = RateLimit::new("calls", 100_000, Window::Minute).per("customer_id");
    let budget = Quota::new("tokens a month", Metric::TotalTokens, BUDGET, Period::Month);
    Ok(Engine::builder()
        .rate_limit(calls)
        .quota(budget.per("customer_id"))
        .durable(store)
        .build()?)
}

/// Makes calls until somebody kills it, and says which were answered.
fn work(path: &Path, run: &str) -> Result<(), Box<dyn Error>> {
    let engine = open(path, ProgressBar::hidden())?;
    let mut out = std::io::stdout().lock();
    for number in 0.. {
        let customer = CUSTOMERS[number % CUSTOMERS.len()];
        let key = format!("{run}-{number}");
        let event = Event::new(customer, "model_call").model("gpt-4").total_tokens(TOKENS);
        let decision = engine.track(&event.idempotency_key(key.as_str()))?;
        // It is on disk: what is said here is true whatever happens next.
        match decision.outcome() {
            // The model is called here.
            Outcome::Admitted => writeln!(out, "admitted {customer} {key}")?,
            // Somebody has called it before: a worker of another run with these keys.
            Outcome::Replayed => writeln!(out, "replayed {customer} {key}")?,
            Outcome::Refused => writeln!(out, "refused {customer} {key}")?,
        }
        out.flush()?;
    }
    Ok(())
}

fn show(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut admitted: Vec<Call> = Vec::new();
    for run in 0..WORKERS {
        let (said, refused) = run_and_kill(path, run)?;
        println!(
            "worker {run} was killed after {} calls, {refused} of them refused",
            said.len() + refused
        );
        admitted.extend(said);
        let engine = open(path, ProgressBar::new(0))?;
        report(&engine, &admitted)?;
        // The last request that was answered is sent again: the same answer, counted once.
        if let Some((customer, key)) = admitted.last() {
            let event =
                Event::new(customer.as_str(), "model_call").model("gpt-4").total_tokens(TOKENS);
            let again = engine.track(&event.idempotency_key(key.as_str()))?;
            println!("  {key} again: {again}\n");
            if again.outcome() != Outcome::Replayed {
                return Err(format!("{key} was answered before, and is {again}").into());
            }
        }
        engine.store().close()?;
    }
    Ok(())
}

/// Starts a worker, kills it after some answers, and returns which calls it said were admitted
/// and how many refused.
fn run_and_kill(path: &Path, run: usize) -> Result<(Vec<Call>, usize), Box<dyn Error>> {
    let mut worker = Command::new(env::current_exe()?)
        .args(["worker", &path.display().to_string(), &run.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(worker.stdout.take().ok_or("a worker without words")?);
    let (mut admitted, mut refused) = (Vec::new(), 0);
    for (number, line) in said.lines().enumerate() {
        if number == ANSWERS {
            worker.kill()?;
        }
        // What it said before it died is read to the end.
        let line = line?;
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("admitted"), Some(customer), Some(key)) => {
                admitted.push((customer.to_owned(), key.to_owned()));
            }
            (Some("refused"), ..) => refused += 1,
            // No key is used twice; a last line may be cut off.
            _ => {}
        }
    }
    worker.wait()?;
    Ok((admitted, refused))
}

/// Prints usage and limits, and checks them against what the workers said.
fn report(engine: &Engine, admitted: &[Call]) -> Result<(), Box<dyn Error>> {
    let [start, end] =
        ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"].map(str::parse::<Timestamp>);
    let ages = UsageQuery::new(start?, end?);
    for customer in CUSTOMERS {
        let said = admitted.iter().filter(|(known, _)| known == customer).count() as u64;
        let usage = engine.usage().summary(&ages.clone().customer(customer))?;
        let standing = engine.standing(&Event::new(customer, "model_call"))?;
        let quota = standing.quotas().next().ok_or("the quota is gone")?;
        println!(
            "  {customer:8} {said} answered, {} recorded; {} tokens used, {} left",
            usage.totals.total_events, quota.used, quota.remaining
        );
        // One more may have been recorded, whose answer the kill cut off.
        let recorded = usage.totals.total_events;
        if recorded < said || recorded > said + WORKERS as u64 {
            return Err(format!("{customer}: {recorded} recorded of {said} answered").into());
        }
        if quota.used != recorded * TOKENS {
            return Err(format!("{customer}: {} used of {recorded} events", quota.used).into());
        }
    }
    Ok(())
}
