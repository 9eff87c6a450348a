//! Two sides in interleaved rounds: A B A B ..., so that a slow minute of the machine hits both.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What one round of one side did.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub calls: usize,
    pub admitted: usize,
    pub spent: Duration,
}

/// The figures of one side over all its rounds.
#[derive(Clone, Debug, Default)]
pub struct Series {
    nanoseconds_a_call: Vec<f64>,
    pub calls: usize,
    pub admitted: usize,
}

impl FromIterator<Round> for Series {
    fn from_iter<I: IntoIterator<Item = Round>>(rounds: I) -> Self {
        let mut series = Self::default();
        for Round { calls, admitted, spent } in rounds {
            series.nanoseconds_a_call.push(spent.as_nanos() as f64 / calls as f64);
            series.calls += calls;
            series.admitted += admitted;
        }
        series
    }
}

impl Series {
    /// The value that `percent` of the rounds stay below; 50 is the median.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.nanoseconds_a_call.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get(last * percent / 100).copied().unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        self.percentile(50)
    }
}

/// Two warm-up rounds of each side, then `rounds` of both in turn.
pub fn interleaved<T>(
    rounds: usize,
    mut one: impl FnMut() -> T,
    mut other: impl FnMut() -> T,
) -> (Vec<T>, Vec<T>) {
    for _ in 0..2 {
        one();
        other();
    }
    (0..rounds).map(|_| (one(), other())).unzip()
}

/// One round: `decide` for each customer in order, timed by this thread's own CPU time, so that
/// what other programs do on this machine counts for neither side.
#[inline]
pub fn round(customers: &[String], mut decide: impl FnMut(&String) -> bool) -> Round {
    let start = cpu_time();
    let mut admitted = 0;
    for customer in customers {
        admitted += usize::from(decide(customer));
    }
    Round { calls: customers.len(), admitted, spent: cpu_time().saturating_sub(start) }
}

/// One round of several threads: all calls by the wall clock, and by the sum of the threads' own
/// CPU times.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    pub wall: Round,
    pub cpu: Round,
}

/// One round on as many threads as there are parts, all started together; each walks its own part
/// `passes` times.
pub fn round_of_threads(
    parts: &[&[String]],
    passes: usize,
    decide: impl Fn(&String) -> bool + Copy + Sync,
) -> Threads {
    let barrier = Barrier::new(parts.len());
    let work = |part: &[String]| {
        barrier.wait();
        let start = Instant::now();
        let rounds = (0..passes).map(|_| round(part, decide));
        let rounds: Vec<Round> = rounds.collect();
        (start, Instant::now(), rounds)
    };
    let work = &work;
    let done: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = parts.iter().map(|part| scope.spawn(move || work(part))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a side panicked")).collect()
    });
    let start = done.iter().map(|thread| thread.0).min().expect("a thread");
    let end = done.iter().map(|thread| thread.1).max().expect("a thread");
    let rounds: Vec<Round> = done.into_iter().flat_map(|thread| thread.2).collect();
    let cpu = Round {
        calls: rounds.iter().map(|round| round.calls).sum(),
        admitted: rounds.iter().map(|round| round.admitted).sum(),
        spent: rounds.iter().map(|round| round.spent).sum(),
    };
    Threads { wall: Round { spent: end - start, ..cpu }, cpu }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}
