//! A decision as HTTP header pairs.

use std::fmt::{self, Write};

use smallvec::SmallVec;

use crate::amount::Amount;
use crate::clock::Timestamp;
use crate::decision::{Decision, QuotaStatus, RetryAfter};
use crate::rules::{Metric, Period};

/// The names under which a decision is told in HTTP headers.
///
/// In each of them a replay has the headers of the first answer, and `Idempotent-Replayed: true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderDialect {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` (a Unix second) of the rate limit with the
    /// least remaining, of equals the one that resets last; on a refusal `Retry-After`, and
    /// `X-Quota-Reset`, `-Period` and `-Metric` of the quota that has to be waited for longest.
    #[default]
    XRateLimit,
    /// `RateLimit-Policy` and `RateLimit`, one item a rule, as
    /// draft-ietf-httpapi-ratelimit-headers-10 writes them; on a refusal also `Retry-After`.
    Draft10,
}

/// Header pairs, an iterator of names and values. All values are printable ASCII.
#[derive(Clone, Debug)]
pub struct Headers {
    pairs: smallvec::IntoIter<[(&'static str, String); 8]>,
}

impl Iterator for Headers {
    type Item = (&'static str, String);

    fn next(&mut self) -> Option<Self::Item> {
        self.pairs.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pairs.size_hint()
    }
}

impl ExactSizeIterator for Headers {}

type Pairs = SmallVec<[(&'static str, String); 8]>;

impl Headers {
    pub(crate) fn of(decision: &Decision, dialect: HeaderDialect) -> Self {
        let mut pairs = match dialect {
            HeaderDialect::XRateLimit => x_rate_limit(decision),
            HeaderDialect::Draft10 => draft_10(decision),
        };
        let wait = decision.retry_after().and_then(RetryAfter::whole_seconds);
        if let Some(seconds) = wait {
            pairs.push(("Retry-After", seconds.to_string()));
        }
        if let (HeaderDialect::XRateLimit, Some(quota)) = (dialect, decision.binding_quota()) {
            if let Some(reset) = quota.reset {
                pairs.push(("X-Quota-Reset", reset.unix_seconds().to_string()));
            }
            pairs.push(("X-Quota-Period", quota.period.to_string()));
            pairs.push(("X-Quota-Metric", quota.metric.to_string()));
        }
        if decision.is_replay() {
            pairs.push(("Idempotent-Replayed", "true".to_owned()));
        }
        Self { pairs: pairs.into_iter() }
    }
}

fn x_rate_limit(decision: &Decision) -> Pairs {
    let mut pairs = Pairs::new();
    let told = decision.enforced_rate_limits();
    let told = told.filter_map(|status| Some((status.limit?, status)));
    let told = told.min_by_key(|(_, status)| (status.remaining, std::cmp::Reverse(status.reset)));
    if let Some((limit, status)) = told {
        pairs.push(("X-RateLimit-Limit", limit.to_string()));
        pairs.push(("X-RateLimit-Remaining", status.remaining.to_string()));
        pairs.push(("X-RateLimit-Reset", status.reset.unix_seconds().to_string()));
    }
    pairs
}

fn draft_10(decision: &Decision) -> Pairs {
    let now = decision.decided_at();
    let mut policies = Vec::new();
    let mut limits = Vec::new();
    let metrics = decision.enforced_rate_limit_metrics();
    for (status, metric) in decision.enforced_rate_limits().zip(metrics) {
        let length = status.window.length();
        let whole = (length.subsec_nanos() == 0).then_some(length.as_secs());
        let name = Name { name: status.name, id: status.id };
        let Some(quota) = status.limit else { continue };
        policies.push(policy(&name, quota, metric, whole));
        limits.push(limit(&name, status.remaining, Some(status.reset), now));
    }
    for status in decision.enforced_quotas() {
        let name = Name { name: status.name, id: status.id };
        let Some(quota) = status.limit else { continue };
        policies.push(policy(&name, quota, status.metric, period_seconds(&status)));
        limits.push(limit(&name, status.remaining, status.reset, now));
    }
    let mut pairs = Pairs::new();
    if !policies.is_empty() {
        pairs.push(("RateLimit-Policy", policies.join(", ")));
        pairs.push(("RateLimit", limits.join(", ")));
    }
    pairs
}

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

fn policy(name: &Name<'_>, quota: Amount, metric: &Metric, window: Option<u64>) -> String {
    let mut item = format!("{name};q={}", quota.to_u64_ceil().min(MAX_INTEGER));
    // The draft's default unit is the request.
    if *metric != Metric::TotalEvents {
        extend(&mut item, format_args!(";qu=\"{metric}\""));
    }
    if let Some(window) = window.filter(|window| *window > 0) {
        extend(&mut item, format_args!(";w={}", window.min(MAX_INTEGER)));
    }
    item
}

fn limit(name: &Name<'_>, remaining: Amount, reset: Option<Timestamp>, now: i64) -> String {
    let mut item = format!("{name};r={}", remaining.to_u64_ceil().min(MAX_INTEGER));
    if let Some(reset) = reset {
        let wait = u64::try_from(reset.unix_seconds().saturating_sub(now)).unwrap_or(0);
        extend(&mut item, format_args!(";t={}", wait.min(MAX_INTEGER)));
    }
    item
}

fn extend(item: &mut String, parameter: fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = item.write_fmt(parameter);
}

/// The length of a period in seconds, where it has a fixed one.
fn period_seconds(status: &QuotaStatus<'_>) -> Option<u64> {
    match status.period {
        Period::Hour => Some(3_600),
        Period::Day => Some(86_400),
        Period::Week => Some(604_800),
        Period::Rolling(length) if length.subsec_nanos() == 0 => Some(length.as_secs()),
        _ => None,
    }
}

/// A rule's name as a string of a structured field; its id where the name is not plain ASCII,
/// which such a string cannot say.
struct Name<'s> {
    name: &'s str,
    id: &'s str,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let shown = [self.name, self.id].into_iter().find(|text| plain(text)).unwrap_or("rule");
        f.write_str("\"")?;
        for character in shown.chars() {
            if matches!(character, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
        }
        f.write_str("\"")
    }
}
