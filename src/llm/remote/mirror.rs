//! What a provider has said of a deployment's limits, and what was sent there since.
//!
//! How much was sent is a sum that only grows, and so is how much has ended. A *reading* is one
//! response's word on one limit. It counts its own call, and those that had ended when its call
//! started; whether it counts any other nobody can tell from here, so all others are taken from it.
//! That is one subtraction, of the sum that was sent by then from what a reading lets be sent in
//! all: `remaining`, what had ended, and the call itself.
//!
//! A reading is certainly older than another whose call started after the first was there: only
//! then it is dropped. Of those that overlap each holds.

use std::time::Duration;

use super::super::Usage;
use crate::Timestamp;

/// The most limits of a deployment that hold at once.
const MAX_LIMITS: usize = 32;
/// The most readings of a limit that are kept: of more the oldest two become one that is at least
/// as strict as both.
const MAX_READINGS: usize = 32;
/// The shortest window that providers publish limits for.
const MINUTE: Duration = Duration::from_secs(60);

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
    /// What cannot be told of a call beforehand: it takes 1.
    Other,
}

impl Unit {
    /// By the name of a limit, or of a quota's unit.
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if !name.contains("token") {
            let is_request = ["req", "call", "event"].iter().any(|word| name.contains(word));
            return if is_request { Self::Requests } else { Self::Other };
        }
        if name.contains("input") {
            Self::InputTokens
        } else if name.contains("output") {
            Self::OutputTokens
        } else {
            Self::Tokens
        }
    }
}

/// How much of each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PerUnit<T> {
    requests: T,
    tokens: T,
    input: T,
    output: T,
    other: T,
}

impl<T: Copy> PerUnit<T> {
    pub(super) fn of(&self, unit: Unit) -> T {
        match unit {
            Unit::Requests => self.requests,
            Unit::Tokens => self.tokens,
            Unit::InputTokens => self.input,
            Unit::OutputTokens => self.output,
            Unit::Other => self.other,
        }
    }
}

impl PerUnit<u64> {
    pub(super) fn of_usage(usage: &Usage) -> Self {
        // What is not known is at least something.
        let something = |count: Option<u64>| count.unwrap_or(1);
        Self {
            requests: something(usage.requests),
            tokens: something(usage.total_tokens()),
            input: something(usage.input_tokens()),
            output: something(usage.output_tokens()),
            other: 1,
        }
    }
}

impl PerUnit<u128> {
    fn add(&mut self, more: &PerUnit<u64>) {
        for (sum, more) in [
            (&mut self.requests, more.requests),
            (&mut self.tokens, more.tokens),
            (&mut self.input, more.input),
            (&mut self.output, more.output),
            (&mut self.other, more.other),
        ] {
            *sum = sum.saturating_add(u128::from(more));
        }
    }
}

/// What a response says of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) name: Box<str>,
    pub(super) unit: Unit,
    pub(super) limit: Option<u64>,
    pub(super) remaining: u64,
    /// How long after the response the limit is whole again.
    pub(super) reset: Option<Duration>,
    pub(super) window: Option<Duration>,
}

/// One response's word on a limit, in sums of what may be sent in all.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Among the answers of the deployment.
    number: u64,
    received: Timestamp,
    /// Until then `low` holds, or what it has grown to.
    until: Timestamp,
    /// Until then `high` does, and after it nobody knows.
    forgotten: Timestamp,
    low: u128,
    high: u128,
    limit: Option<u64>,
    /// Whether it grows from `low` to `high` meanwhile.
    fills: bool,
}

impl Reading {
    /// What may be sent in all, by now. It never falls.
    fn most(&self, now: Timestamp) -> u128 {
        if now >= self.until {
            return self.high;
        }
        let gap = self.high.saturating_sub(self.low);
        let (span, gone) = (nanos(self.received, self.until), nanos(self.received, now));
        let filled = gap.saturating_mul(gone).checked_div(span).filter(|_| self.fills);
        self.low.saturating_add(filled.unwrap_or(0))
    }

    /// From when on so much may be sent in all.
    fn fits_at(&self, sent: u128, now: Timestamp) -> Timestamp {
        if now >= self.forgotten || sent <= self.most(now) {
            return now;
        }
        if sent > self.high {
            return self.forgotten;
        }
        let gap = self.high.saturating_sub(self.low);
        let lacks = sent.saturating_sub(self.low);
        let span = nanos(self.received, self.until);
        let needs = lacks.saturating_mul(span).div_ceil(gap.max(1));
        match u64::try_from(needs) {
            Ok(needs) if self.fills => self.received.saturating_add_nanos(needs).min(self.until),
            _ => self.until,
        }
    }

    /// One that is at least as strict as both at any time: it starts lower and later, and ends
    /// lower and later.
    fn with(self, other: Self) -> Self {
        Self {
            number: self.number.max(other.number),
            received: self.received.max(other.received),
            until: self.until.max(other.until),
            forgotten: self.forgotten.max(other.forgotten),
            low: self.low.min(other.low),
            high: self.high.min(other.high),
            limit: self.limit.into_iter().chain(other.limit).min(),
            fills: self.fills && other.fills,
        }
    }
}

fn nanos(from: Timestamp, to: Timestamp) -> u128 {
    to.saturating_since(from).as_nanos()
}

/// A limit, and what was read of it, the oldest first.
#[derive(Debug)]
struct Limit {
    name: Box<str>,
    unit: Unit,
    readings: Vec<Reading>,
}

/// A deployment, as far as it is known here.
#[derive(Debug, Default)]
pub(super) struct Deployment {
    sent: PerUnit<u128>,
    ended: PerUnit<u128>,
    in_flight: u64,
    /// How many answers there were.
    answers: u64,
    blocked_until: Option<Timestamp>,
    limits: Vec<Limit>,
}

/// What was known when a call started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    cost: PerUnit<u64>,
    ended: PerUnit<u128>,
    answers: u64,
}

impl Start {
    /// What a reading of the call counts: what had ended before it started, and itself.
    fn counted(&self, unit: Unit) -> u128 {
        self.ended.of(unit).saturating_add(self.cost.of(unit).into())
    }
}

/// The share of a limit that is left: so much of so much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    left: u64,
    of: u64,
    in_flight: u64,
}

impl Room {
    /// Whether it is more than another's; of equals where less is in flight.
    pub(super) fn is_more_than(&self, other: &Self) -> bool {
        let share = |it: &Self, others: &Self| u128::from(it.left).saturating_mul(others.of.into());
        let (own, others) = (share(self, other), share(other, self));
        own > others || own == others && self.in_flight < other.in_flight
    }
}

/// What holds a call back, and until when.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) until: Timestamp,
    /// The limit; none where the provider said to wait.
    pub(super) limit: Option<HeldBy>,
}

/// A limit without room.
#[derive(Debug)]
pub(super) struct HeldBy {
    pub(super) name: Box<str>,
    pub(super) asked: u64,
    pub(super) left: u64,
    pub(super) limit: Option<u64>,
}

/// How a limit stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) name: Box<str>,
    pub(super) left: u64,
    pub(super) limit: Option<u64>,
    pub(super) whole_at: Timestamp,
}

impl Deployment {
    /// Whether a call fits: how much room there is then, or what it waits for longest.
    pub(super) fn judge(&self, cost: &PerUnit<u64>, now: Timestamp) -> Result<Room, Held> {
        let mut room = Room { left: 1, of: 1, in_flight: self.in_flight };
        let mut held: Option<Held> = None;
        let mut holds = |until: Timestamp, limit: &dyn Fn() -> Option<HeldBy>| {
            if until > now && held.as_ref().is_none_or(|held| until > held.until) {
                held = Some(Held { until, limit: limit() });
            }
        };
        if let Some(until) = self.blocked_until {
            holds(until, &|| None);
        }
        for limit in &self.limits {
            let (asked, sent) = (cost.of(limit.unit), self.sent.of(limit.unit));
            if asked == 0 {
                continue;
            }
            let all = sent.saturating_add(asked.into());
            for reading in limit.readings.iter().filter(|reading| now < reading.forgotten) {
                let most = reading.most(now);
                holds(reading.fits_at(all, now), &|| {
                    let left = to_u64(most.saturating_sub(sent));
                    let (name, limit) = (limit.name.clone(), reading.limit);
                    Some(HeldBy { name, asked, left, limit })
                });
                let left = to_u64(most.saturating_sub(all));
                let of = reading.limit.unwrap_or(left).max(1);
                let here = Room { left: left.min(of), of, ..room };
                if room.is_more_than(&here) {
                    room = here;
                }
            }
        }
        held.map_or(Ok(room), Err)
    }

    pub(super) fn start(&mut self, cost: PerUnit<u64>) -> Start {
        self.sent.add(&cost);
        self.in_flight = self.in_flight.saturating_add(1);
        Start { cost, ended: self.ended, answers: self.answers }
    }

    pub(super) fn end(&mut self, start: &Start) {
        self.ended.add(&start.cost);
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A new answer.
    pub(super) fn answer(&mut self) {
        self.answers = self.answers.saturating_add(1);
    }

    pub(super) fn block(&mut self, until: Timestamp) {
        self.blocked_until = self.blocked_until.max(Some(until));
    }

    /// Notes what the newest answer says of a limit. Says whether there was a place for it.
    pub(super) fn read(
        &mut self,
        start: &Start,
        reported: Reported,
        now: Timestamp,
        fills: bool,
    ) -> bool {
        let Reported { name, unit, limit, remaining, reset, window } = reported;
        let counted = start.counted(unit);
        let low = counted.saturating_add(remaining.into());
        let high = limit.map_or(low, |limit| counted.saturating_add(limit.into()).max(low));
        let length = reset.or(window).unwrap_or(MINUTE);
        let until = now.saturating_add(length);
        // After the reset the limit holds once more for as long, and not for less than its window.
        let more = limit.map_or(Duration::ZERO, |_| length.max(window.unwrap_or(MINUTE)));
        let reading = Reading {
            number: self.answers,
            received: now,
            until,
            forgotten: until.saturating_add(more),
            low,
            high,
            limit,
            fills,
        };
        let Some(own) = self.limit(name, unit, now) else { return false };
        own.readings.retain(|older| older.number > start.answers && now < older.forgotten);
        own.readings.push(reading);
        if own.readings.len() > MAX_READINGS {
            let oldest = own.readings.remove(0);
            if let Some(next) = own.readings.first_mut() {
                *next = next.with(oldest);
            }
        }
        true
    }

    fn limit(&mut self, name: Box<str>, unit: Unit, now: Timestamp) -> Option<&mut Limit> {
        let known = self.limits.iter().position(|limit| limit.name == name && limit.unit == unit);
        if let Some(place) = known {
            return self.limits.get_mut(place);
        }
        if self.limits.len() >= MAX_LIMITS {
            self.limits.retain(|it| it.readings.iter().any(|reading| now < reading.forgotten));
        }
        if self.limits.len() >= MAX_LIMITS {
            return None;
        }
        self.limits.push(Limit { name, unit, readings: Vec::new() });
        self.limits.last_mut()
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        let mut readings = self.limits.iter().flat_map(|limit| &limit.readings);
        self.in_flight == 0
            && self.blocked_until.is_none_or(|until| until <= now)
            && readings.all(|reading| reading.forgotten <= now)
    }

    /// Forgets what the provider said; what is in flight stays known.
    pub(super) fn forget(&mut self) {
        self.blocked_until = None;
        self.limits.clear();
    }

    /// How each limit stands, and until when the provider said to wait.
    pub(super) fn standing(&self, now: Timestamp) -> (Option<Timestamp>, Vec<Standing>) {
        let blocked = self.blocked_until.filter(|until| *until > now);
        let limits = self.limits.iter().filter_map(|limit| {
            let sent = self.sent.of(limit.unit);
            let holds = limit.readings.iter().filter(|reading| now < reading.forgotten);
            let least = holds.min_by_key(|reading| reading.most(now))?;
            Some(Standing {
                name: limit.name.clone(),
                left: to_u64(least.most(now).saturating_sub(sent)),
                limit: least.limit,
                whole_at: least.until,
            })
        });
        (blocked, limits.collect())
    }
}

fn to_u64(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
