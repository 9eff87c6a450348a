//! A decision as HTTP header pairs.

use std::cmp::Ordering;
use std::fmt::{self, Write};
use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::base::amount::Amount;
use crate::base::words::words;
use crate::decision::{Decision, HeaderFigures, RetryAfter};
use crate::rules::{Metric, Period, Rule};

/// The names under which a decision is shown in HTTP headers.
///
/// Headers tell of hard rules with a limit: what is soft or on trial refuses nobody, and nothing is
/// left of what has no limit. On a refusal they tell only of what refused, so that none of them
/// says that there is room; `Retry-After` is the wait for all rules together, rounded up, at least
/// 1, and missing where no wait will do. A replay has the headers of the first answer, and
/// `Idempotent-Replayed: true`.
///
/// Limits and what remains of them are in the unit that the rule counts, and not in calls. Of a
/// token bucket the limit is what comes back in a window, and what remains is in the bucket now:
/// with a burst that may be more than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HeaderDialect {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` (a Unix second): of an event that was let in
    /// those of the rate limit with the least share remaining, of equals the one that resets last.
    /// Of one that was refused those of the rule that it has to wait for longest: of a rate limit
    /// these three, of a quota `X-Quota-Reset` (a Unix second), `-Period` and `-Metric`; the reset
    /// is then not before the wait is over, and missing where no wait will do. Amounts have their
    /// fraction: `0.4`.
    #[default]
    XRateLimit,
    /// `RateLimit-Policy` and `RateLimit`, one item a rule, as
    /// draft-ietf-httpapi-ratelimit-headers-10 writes them: of an event that was let in all rules,
    /// of one that was refused those that refused it, each with the seconds until it would not.
    /// The draft has whole numbers only: amounts are rounded down, but what is less than one is 1.
    Draft10,
}

words! { HeaderDialect, "dialect": XRateLimit = "x_rate_limit", Draft10 = "draft10" }

/// Header pairs, an iterator of names and values. All values are printable ASCII.
#[derive(Clone, Debug)]
pub struct Headers {
    pairs: smallvec::IntoIter<[(&'static str, Text); MOST]>,
}

/// How many headers there are at most: three of a rule, the wait, and that it is a replay.
const MOST: usize = 5;

/// The longest number of 64 bits.
const DIGITS: usize = 20;

/// The value of a header. A number lies in place.
#[derive(Clone, Debug)]
enum Text {
    Number { digits: [u8; DIGITS], left: u8 },
    Word(&'static str),
    Other(String),
}

impl Text {
    fn number(number: impl Serialize) -> Self {
        let mut digits = [0; DIGITS];
        let mut rest = digits.as_mut_slice();
        // There is room for any number of 64 bits.
        let _ = serde_json::to_writer(&mut rest, &number);
        let left = u8::try_from(rest.len()).unwrap_or(0);
        Self::Number { digits, left }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Number { digits, left } => {
                let digits = digits.get(..DIGITS.saturating_sub(usize::from(*left)));
                digits.and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default()
            }
            Self::Word(word) => word,
            Self::Other(text) => text,
        }
    }

    fn into_string(self) -> String {
        match self {
            Self::Other(text) => text,
            other => other.as_str().to_owned(),
        }
    }
}

impl Headers {
    /// Hands those that are left to a closure, without a `String` for each.
    pub fn visit(self, mut each: impl FnMut(&'static str, &str)) {
        for (name, text) in self.pairs {
            each(name, text.as_str());
        }
    }
}

impl Iterator for Headers {
    type Item = (&'static str, String);

    fn next(&mut self) -> Option<Self::Item> {
        self.pairs.next().map(|(name, text)| (name, text.into_string()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pairs.size_hint()
    }
}

impl ExactSizeIterator for Headers {}

impl Decision {
    /// Returns the product's headers: `X-RateLimit-*`, on a refusal `Retry-After` and `X-Quota-*`,
    /// and on a replay `Idempotent-Replayed: true`. The same as [`headers_in`](Self::headers_in)
    /// with [`HeaderDialect::XRateLimit`].
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.headers_in(HeaderDialect::XRateLimit)
    }

    /// Returns the headers of a dialect.
    #[must_use]
    pub fn headers_in(&self, dialect: HeaderDialect) -> Headers {
        Headers::of(self, dialect)
    }
}

type Pairs = SmallVec<[(&'static str, Text); MOST]>;

impl Headers {
    pub(crate) fn of(decision: &Decision, dialect: HeaderDialect) -> Self {
        let mut pairs = match dialect {
            HeaderDialect::XRateLimit => x_rate_limit(decision),
            HeaderDialect::Draft10 => draft_10(decision),
        };
        let wait = decision.retry_after().and_then(RetryAfter::whole_seconds);
        if let Some(seconds) = wait {
            pairs.push(("Retry-After", Text::number(seconds)));
        }
        if decision.is_replay() {
            pairs.push(("Idempotent-Replayed", Text::Word("true")));
        }
        Self { pairs: pairs.into_iter() }
    }
}

fn x_rate_limit(decision: &Decision) -> Pairs {
    let figures = if decision.retry_after().is_some() {
        let figures = decision.header_figures(|_| true);
        // Of equals the first.
        figures.filter(|figures| figures.refused_until.is_some()).reduce(|longest, figures| {
            if figures.refused_until > longest.refused_until { figures } else { longest }
        })
    } else {
        let limits = decision.header_figures(Rule::is_rate_limit);
        limits.min_by(|a, b| a.share().cmp(&b.share()).then_with(|| b.reset.cmp(&a.reset)))
    };
    let mut pairs = Pairs::new();
    let Some(figures) = figures else { return pairs };
    let reset = figures.reset.map(Text::number);
    match figures.rule {
        Rule::RateLimit(_) => {
            pairs.push(("X-RateLimit-Limit", text_of(figures.limit)));
            pairs.push(("X-RateLimit-Remaining", text_of(figures.remaining)));
            pairs.extend(reset.map(|reset| ("X-RateLimit-Reset", reset)));
        }
        Rule::Quota(quota) => {
            pairs.extend(reset.map(|reset| ("X-Quota-Reset", reset)));
            pairs.push(("X-Quota-Period", Text::Other(quota.period.to_string())));
            pairs.push(("X-Quota-Metric", Text::Other(quota.metric.to_string())));
        }
    }
    pairs
}

/// An amount as text. A whole number is written at once, without the formatter.
fn text_of(amount: Amount) -> Text {
    amount.whole_units().map_or_else(|| Text::Other(amount.to_string()), Text::number)
}

impl HeaderFigures<'_> {
    fn share(&self) -> Share {
        let most = match self.rule {
            Rule::RateLimit(rule) => rule.burst.unwrap_or(self.limit),
            Rule::Quota(_) => self.limit,
        };
        let parts = |amount: Amount| amount.millionths().max(0).unsigned_abs();
        Share(parts(self.remaining), parts(most))
    }
}

/// What remains of how much. Nothing of nothing is nothing.
struct Share(u128, u128);

impl Share {
    /// Compares exactly: by the products where there are such, and else first the whole parts, then
    /// the inverses of what is left of both.
    fn cmp(&self, other: &Self) -> Ordering {
        let (Self(a, b), Self(c, d)) = (self, other);
        if *b > 0
            && *d > 0
            && let (Some(mine), Some(others)) = (a.checked_mul(*d), c.checked_mul(*b))
        {
            return mine.cmp(&others);
        }
        let parts =
            |part: u128, whole: u128| Some((part.checked_div(whole)?, part.checked_rem(whole)?));
        let (mine, others) = (parts(*a, *b).unwrap_or_default(), parts(*c, *d).unwrap_or_default());
        mine.0.cmp(&others.0).then_with(|| match (mine.1, others.1) {
            (0, 0) => Ordering::Equal,
            (0, _) => Ordering::Less,
            (_, 0) => Ordering::Greater,
            (mine, others) => Self(*d, others).cmp(&Self(*b, mine)),
        })
    }
}

fn draft_10(decision: &Decision) -> Pairs {
    let now = decision.second();
    let is_refusal = decision.retry_after().is_some();
    let figures =
        decision.header_figures(|_| true).filter(|it| !is_refusal || it.refused_until.is_some());
    let (policies, limits): (Vec<_>, Vec<_>) =
        figures.map(|figures| (policy(&figures), limit(&figures, is_refusal, now))).unzip();
    let mut pairs = Pairs::new();
    if !policies.is_empty() {
        pairs.push(("RateLimit-Policy", Text::Other(policies.join(", "))));
        pairs.push(("RateLimit", Text::Other(limits.join(", "))));
    }
    pairs
}

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// An amount in whole numbers, as far as a structured field says them: rounded down, but to 1
/// where there is something.
fn whole(amount: Amount) -> u64 {
    let least = u64::from(amount > Amount::ZERO);
    amount.to_u64_floor().clamp(least, MAX_INTEGER)
}

fn policy(figures: &HeaderFigures<'_>) -> String {
    let name = Name { name: figures.rule.name(), id: figures.id };
    let mut item = format!("{name};q={}", whole(figures.limit));
    let metric = figures.rule.metric();
    // The draft's default unit is the request.
    if *metric != Metric::TotalEvents {
        extend(&mut item, format_args!(";qu=\"{metric}\""));
    }
    if let Some(window) = window_seconds(figures.rule).filter(|window| *window > 0) {
        extend(&mut item, format_args!(";w={}", window.min(MAX_INTEGER)));
    }
    item
}

fn limit(figures: &HeaderFigures<'_>, is_refusal: bool, now: i64) -> String {
    let name = Name { name: figures.rule.name(), id: figures.id };
    let mut item = format!("{name};r={}", whole(figures.remaining));
    let until_reset = |reset: i64| u64::try_from(reset.saturating_sub(now)).unwrap_or(0);
    let wait = if is_refusal { figures.wait } else { figures.reset.map(until_reset) };
    if let Some(wait) = wait {
        extend(&mut item, format_args!(";t={}", wait.min(MAX_INTEGER)));
    }
    item
}

fn extend(item: &mut String, parameter: fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = item.write_fmt(parameter);
}

/// The length of a rule's window or period in whole seconds, where it has a fixed one.
fn window_seconds(rule: &Rule) -> Option<u64> {
    let whole = |length: Duration| (length.subsec_nanos() == 0).then_some(length.as_secs());
    match rule {
        Rule::RateLimit(rule) => whole(rule.window.length()),
        Rule::Quota(quota) => {
            let every = u64::from(quota.every.unwrap_or(1));
            // Where clocks change a day is shorter or longer.
            let is_even = quota.time_zone.is_none_or(|zone| zone == Tz::UTC.into());
            match quota.period {
                Period::Hour => Some(every.saturating_mul(3_600)),
                Period::Day if is_even => Some(every.saturating_mul(86_400)),
                Period::Week if is_even => Some(every.saturating_mul(604_800)),
                Period::Rolling(length) => whole(length),
                _ => None,
            }
        }
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
