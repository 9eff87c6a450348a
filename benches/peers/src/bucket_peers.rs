//! Limiters of one bucket a customer beside governor: quota, and ratelimit in a map.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use quota::{QuotaPolicy, QuotaPool, RefillRate};
use ratelimit::{Builder, Clock, Ratelimiter, StdClock};

const HOUR: Duration = Duration::from_secs(3_600);

/// quota's pool, keyed by `String`.
pub struct Quotas(QuotaPool<String>);

impl Quotas {
    pub fn an_hour(limit: u32) -> Self {
        let policy = QuotaPolicy::new()
            .set_capacity(f64::from(limit))
            .set_refill_rate(RefillRate::per_hour(limit));
        Self(QuotaPool::new(policy, u64::from(limit)))
    }

    /// With the tokens that are left, as its documentation shows it.
    #[inline]
    pub fn allows(&self, customer: &str) -> bool {
        black_box(self.0.consume(customer, 1)).is_ok()
    }

    /// Its fastest form.
    #[inline]
    pub fn allows_barely(&self, customer: &str) -> bool {
        self.0.check(customer, 1)
    }
}

/// What users of ratelimit write for a limit a customer: a map of its buckets. A known customer's
/// string is not copied.
pub struct Ratelimits<C: Clock = StdClock> {
    limit: u64,
    buckets: DashMap<String, Ratelimiter<C>>,
    clock: Box<dyn Fn() -> C>,
}

impl Ratelimits {
    pub fn an_hour(limit: u32) -> Self {
        Self::with_clock(limit, StdClock::new)
    }
}

impl<C: Clock> Ratelimits<C> {
    /// Each bucket gets a clock of its own.
    pub fn with_clock(limit: u32, clock: impl Fn() -> C + 'static) -> Self {
        Self { limit: limit.into(), buckets: DashMap::new(), clock: Box::new(clock) }
    }

    #[inline]
    pub fn allows(&self, customer: &String) -> bool {
        if let Some(bucket) = self.buckets.get(customer) {
            return bucket.try_wait().is_ok();
        }
        let bucket = self.buckets.entry(customer.clone()).or_insert_with(|| {
            let bucket = Builder::with_clock(self.limit, (self.clock)()).period(HOUR);
            bucket.initial_available(self.limit).build().expect("a limit above zero")
        });
        bucket.try_wait().is_ok()
    }
}

/// A clock that is moved by hand.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<AtomicU64>);

impl Shown {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).expect("years"), Ordering::Relaxed);
    }
}

impl Clock for Shown {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
