//! What does a waiter that is let in cost, beside the decision that it waits for?
//!
//! `track`: one decision by the same engine of four rules, as a measure. `admission`: 10 000
//! waiters on 100 keys, from when they have come to when the last is let in, for each of them: it
//! becomes the first of its line and finds how long to wait, sleeps, and is let in. `arrival`: what
//! it takes to come where others wait. An admission is to be at most three times a `track` by
//! instructions; by time it is more, because each waiter is memory that was not touched for long.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bench_support::{GENEROUS, built, model_call, smoke, track};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use limitry::handles::Wait;
use limitry::time::ManualClock;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Timestamp, Window};

const KEYS: usize = 100;

/// The numbers of the tasks that were woken, in that order.
type Woken = Arc<Mutex<VecDeque<usize>>>;

struct Task(usize, Woken);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.0);
    }
}

/// Waiters, and the numbers of those that are woken.
struct Waiters<'e, 'a> {
    waits: Vec<(Option<Pin<Box<Wait<'e, 'a>>>>, Waker)>,
    woken: Woken,
}

impl<'e, 'a> Waiters<'e, 'a> {
    /// All waiters have come, and nobody has been let in.
    fn arrive(engine: &Engine, events: &'e [Event<'a>]) -> Self {
        let woken = Woken::default();
        let task = |number| Waker::from(Arc::new(Task(number, Arc::clone(&woken))));
        let waits = events.iter().enumerate();
        let waits = waits.map(|(number, event)| (Some(Box::pin(engine.wait(event))), task(number)));
        let mut waiters = Self { waits: waits.collect(), woken };
        for number in 0..events.len() {
            waiters.poll(number);
        }
        waiters
    }

    fn poll(&mut self, number: usize) -> bool {
        let Some((wait, waker)) = self.waits.get_mut(number) else { return false };
        let Some(future) = wait else { return false };
        let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(waker)) else {
            return false;
        };
        *wait = None;
        answer.is_ok_and(|decision| decision.is_allowed())
    }

    /// Polls whoever is woken, until nobody is.
    #[inline(never)]
    fn run(&mut self) -> usize {
        let mut admitted = 0;
        loop {
            let next = self.woken.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(number) = next else { return admitted };
            admitted += usize::from(self.poll(number));
        }
    }
}

/// A call of its own, so that its instructions can be counted.
#[inline(never)]
fn tracked(engine: &Engine, event: &Event<'_>) {
    let _ = track(engine, event);
}

fn engine(a_second: u64) -> (Engine, ManualClock) {
    let clock = ManualClock::new(Timestamp::new(1_705_314_600, 0));
    let quota = |name, metric, period| Quota::new(name, metric, GENEROUS, period);
    let calls = |name, limit, window| RateLimit::new(name, limit, window).per("customer_id");
    let builder = Engine::builder()
        .rate_limit(calls("Calls a second", a_second, Window::Second))
        .rate_limit(calls("Calls a minute", GENEROUS, Window::Minute))
        .quota(quota("Tokens a day", Metric::TotalTokens, Period::Day).per("customer_id"))
        .quota(quota("Cents a month", Metric::TotalCostCents, Period::Month).per("customer_id"));
    (built(builder.clock(clock.clone())), clock)
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the machine's clock")]
fn wait(criterion: &mut Criterion) {
    let each = if smoke() { 2 } else { 100 };
    let names: Vec<String> = (0..KEYS).map(|number| format!("cust_{number:08}")).collect();
    let events: Vec<_> =
        (0..KEYS * each).filter_map(|number| Some(model_call(names.get(number % KEYS)?))).collect();
    let mut group = criterion.benchmark_group("wait");
    group.sample_size(10).throughput(Throughput::Elements(1));
    group.bench_function("track", |bencher| {
        let (engine, _clock) = engine(GENEROUS);
        let mut turn = events.iter().cycle();
        bencher.iter(|| turn.next().map(|event| tracked(&engine, event)));
    });
    group.bench_function("arrival", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds.div_ceil(events.len() as u64) {
                let (engine, _clock) = engine(1);
                for event in events.iter().take(KEYS) {
                    let _ = track(&engine, event);
                }
                let started = Instant::now();
                let waiters = Waiters::arrive(&engine, &events);
                spent += started.elapsed();
                drop(waiters);
            }
            per_waiter(spent, rounds, events.len())
        });
    });
    group.bench_function("admission", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds.div_ceil(events.len() as u64) {
                let (engine, clock) = engine(1);
                for event in events.iter().take(KEYS) {
                    let _ = track(&engine, event);
                }
                let mut waiters = Waiters::arrive(&engine, &events);
                let started = Instant::now();
                let mut admitted = 0;
                while admitted < events.len() {
                    clock.advance(Duration::from_secs(1));
                    admitted += waiters.run();
                }
                spent += started.elapsed();
            }
            per_waiter(spent, rounds, events.len())
        });
    });
    group.finish();
}

/// The time of so many waiters of the many that were measured.
fn per_waiter(spent: Duration, rounds: u64, waiters: usize) -> Duration {
    let measured = rounds.div_ceil(waiters as u64).saturating_mul(waiters as u64).max(1);
    let nanos = spent.as_nanos() * u128::from(rounds) / u128::from(measured);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

criterion_group!(benches, wait);
criterion_main!(benches);
