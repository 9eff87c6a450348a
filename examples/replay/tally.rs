//! What the replay counts: nothing here asks the engine anything but the decision itself, and
//! the same traffic gives the same tally every time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hdrhistogram::{CreationError, Histogram};
use limitry::{Decision, Outcome, RetryAfter};

use crate::rules;
use example_support::cast::{MODELS, Request};

/// Calls and their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

impl Sum {
    pub fn tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }

    pub fn add(&mut self, request: &Request) {
        self.calls += 1;
        self.input_tokens += u64::from(request.input_tokens);
        self.output_tokens += u64::from(request.output_tokens);
    }
}

/// What went through and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub admitted: Sum,
    pub refused: Sum,
}

impl Sums {
    pub fn total(&self) -> Sum {
        Sum {
            calls: self.admitted.calls + self.refused.calls,
            input_tokens: self.admitted.input_tokens + self.refused.input_tokens,
            output_tokens: self.admitted.output_tokens + self.refused.output_tokens,
        }
    }

    fn add(&mut self, request: &Request, is_admitted: bool) {
        if is_admitted { self.admitted.add(request) } else { self.refused.add(request) }
    }
}

/// One rule's part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleTally {
    pub name: &'static str,
    /// Calls that the rule applied to.
    pub matched: Sum,
    /// Of those, the calls that it refused itself; of a shadow rule, those it would have.
    pub refused: Sum,
    /// Of those matched, the calls that every rule let through; of a shadow rule, without those
    /// that it would have refused. This is what the rule's counter has taken.
    pub admitted: Sum,
}

/// Everything that the report tells about the traffic.
#[derive(Debug)]
pub struct Tally {
    pub total: Sums,
    pub rules: Vec<RuleTally>,
    pub models: Vec<Sums>,
    pub customers: Vec<Sums>,
    pub waits: Waits,
    pub timeline: Timeline,
}

impl Tally {
    /// An empty tally for requests of so many customers within a span of time.
    pub fn new(customers: usize, span: Span) -> Result<Self, CreationError> {
        let empty = |name| RuleTally {
            name,
            matched: Sum::default(),
            refused: Sum::default(),
            admitted: Sum::default(),
        };
        Ok(Self {
            total: Sums::default(),
            rules: rules::NAMES.into_iter().map(empty).collect(),
            models: vec![Sums::default(); MODELS.len()],
            customers: vec![Sums::default(); customers],
            waits: Waits::new()?,
            timeline: Timeline::new(span),
        })
    }

    /// Counts one decision.
    pub fn add(&mut self, request: &Request, decision: &Decision) {
        let is_admitted = match decision.outcome() {
            Outcome::Admitted => true,
            Outcome::Refused => false,
            // It was counted when it was admitted. The trace has no retries; other traffic may.
            Outcome::Replayed => return,
        };
        self.total.add(request, is_admitted);
        self.models[request.model].add(request, is_admitted);
        self.customers[request.customer].add(request, is_admitted);
        self.timeline.column(request.at).add(request, is_admitted);
        for status in decision.rate_limits() {
            self.add_rule(&status.name, status.exceeded, request, is_admitted);
        }
        for status in decision.quotas() {
            self.add_rule(&status.name, status.exceeded, request, is_admitted);
        }
        if let Some(wait) = decision.retry_after() {
            self.waits.add(wait);
        }
    }

    fn add_rule(&mut self, name: &str, exceeded: bool, request: &Request, is_admitted: bool) {
        let Some(rule) = self.rules.iter_mut().find(|rule| rule.name == name) else { return };
        rule.matched.add(request);
        if exceeded {
            rule.refused.add(request);
        } else if is_admitted {
            rule.admitted.add(request);
        }
    }
}

/// How long the refused were told to wait.
#[derive(Debug)]
pub struct Waits {
    /// In milliseconds, rounded up.
    millis: Histogram<u64>,
    pub max: Duration,
    pub never: u64,
}

impl Waits {
    /// A hundred years: a longer wait, if there is one, counts as so long.
    const MILLIS_MAX: u64 = 100 * 366 * 86_400 * 1_000;

    fn new() -> Result<Self, CreationError> {
        let millis = Histogram::new_with_max(Self::MILLIS_MAX, 3)?;
        Ok(Self { millis, max: Duration::ZERO, never: 0 })
    }

    fn add(&mut self, retry_after: RetryAfter) {
        match retry_after {
            RetryAfter::After(wait) => {
                let millis = wait.as_nanos().div_ceil(1_000_000);
                self.millis.saturating_record(u64::try_from(millis).unwrap_or(u64::MAX));
                self.max = self.max.max(wait);
            }
            RetryAfter::Never => self.never += 1,
        }
    }

    /// How many were told a time.
    pub fn told(&self) -> u64 {
        self.millis.len()
    }

    /// The wait that no more than this share of those who were told one exceeds.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_millis(self.millis.value_at_quantile(quantile))
    }
}

/// From the first call to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
}

impl Span {
    /// The span of requests in the order of their time; `None` where there are none.
    pub fn of(requests: &[Request]) -> Option<Self> {
        Some(Self { first: requests.first()?.at, last: requests.last()?.at })
    }
}

/// The span cut into columns of equal length.
#[derive(Debug)]
pub struct Timeline {
    pub span: Span,
    pub columns: Vec<Sums>,
    column_secs: i64,
}

impl Timeline {
    const COLUMNS_MAX: i64 = 72;
    /// Lengths that people think in: 1 s to 30 s, 1 min to 30 min, 1 h to 12 h, 1 d.
    const LENGTHS_SECS: [i64; 16] =
        [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];

    /// Takes the shortest length with few enough columns, and whole days where none will do.
    fn new(span: Span) -> Self {
        let columns_of = |secs: i64| {
            let (first, last) = (span.first.timestamp(), span.last.timestamp());
            last.div_euclid(secs) - first.div_euclid(secs) + 1
        };
        let fits = |secs: &i64| columns_of(*secs) <= Self::COLUMNS_MAX;
        let many_days = || columns_of(86_400) / Self::COLUMNS_MAX * 86_400 + 86_400;
        let column_secs = Self::LENGTHS_SECS.into_iter().find(fits).unwrap_or_else(many_days);
        let columns = (0..columns_of(column_secs)).map(|_| Sums::default()).collect();
        Self { span, columns, column_secs }
    }

    /// The time that a column stands for.
    pub fn column_length(&self) -> Duration {
        Duration::from_secs(self.column_secs.unsigned_abs())
    }

    fn column(&mut self, at: DateTime<Utc>) -> &mut Sums {
        let column = |at: DateTime<Utc>| at.timestamp().div_euclid(self.column_secs);
        let place = usize::try_from(column(at) - column(self.span.first)).unwrap_or(0);
        let last = self.columns.len() - 1;
        &mut self.columns[place.min(last)]
    }
}
