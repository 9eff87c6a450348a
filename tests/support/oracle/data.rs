//! What rules, events and answers are, as plain data.

use super::alerts::PlainThreshold;

/// Nanoseconds since the Unix epoch, or a length of time.
pub type Nanos = i128;

/// Thousandths of a unit: every amount in these tests is a whole number of them.
pub type Milli = i128;

pub const MILLISECOND: Nanos = 1_000_000;

pub const SECOND: Nanos = 1_000 * MILLISECOND;

pub const MINUTE: Nanos = 60 * SECOND;

pub const HOUR: Nanos = 60 * MINUTE;

pub const DAY: Nanos = 24 * HOUR;

/// A calendar period, in UTC unless it says otherwise, weeks from Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Hour,
    Day,
    Week,
    Month,
    Year,
    AllTime,
    SixHours,
    /// By the wall clock of New York.
    NewYorkDay,
    ThreeDays,
    /// From Thursday, by the wall clock of Kolkata.
    KolkataWeek,
    /// From the 31st, or the last day of the month.
    MonthFrom31,
    Quarter,
}

impl Span {
    pub const ALL: [Self; 12] = [
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Year,
        Self::AllTime,
        Self::SixHours,
        Self::NewYorkDay,
        Self::ThreeDays,
        Self::KolkataWeek,
        Self::MonthFrom31,
        Self::Quarter,
    ];
}

/// How a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bucket {
        window: Nanos,
        burst: Option<u64>,
    },
    Fixed {
        window: Nanos,
    },
    Sliding {
        window: Nanos,
    },
    Rolling {
        window: Nanos,
    },
    Calendar(Span),
    /// Periods of whole seconds that begin with the first use of a key.
    FirstUse {
        length: Nanos,
    },
    /// As many open reservations at once.
    Slots,
    /// Takes from the balance of a name whose owner is the key; an owner who has none begins with
    /// an amount, if one is stated.
    Balance {
        name: &'static str,
        opening: Option<u64>,
    },
}

impl Kind {
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Bucket { .. } | Self::Fixed { .. } | Self::Sliding { .. })
    }

    /// The kind without what may change while the counter stays as it is.
    pub(super) fn family(self) -> Self {
        match self {
            Self::Bucket { window, .. } => Self::Bucket { window, burst: None },
            Self::Balance { name, .. } => Self::Balance { name, opening: None },
            other => other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforce {
    Hard,
    Soft,
    Shadow,
}

impl Measure {
    /// Whether it adds up values, and not events.
    pub(super) fn is_of_values(&self) -> bool {
        *self != Self::Events
    }
}

/// What a rule counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    Events,
    Tokens,
    Cost,
    Value(String),
}

impl Measure {
    /// Whether it has no fractions.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Events | Self::Tokens => true,
            Self::Cost => false,
            Self::Value(name) => matches!(name.as_str(), "input_tokens" | "output_tokens"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    pub name: String,
    pub limit: u64,
    pub kind: Kind,
    pub measure: Measure,
    pub filter: Vec<(String, Asked)>,
    pub per: Vec<String>,
    pub enforce: Enforce,
    pub policy: Option<String>,
    pub priority: i32,
    /// The first instant at which it judges, and the first at which it does no more.
    pub starts: Option<Nanos>,
    pub ends: Option<Nanos>,
    pub enabled: bool,
    /// It matches nothing and stands in no list until it is restored.
    pub archived: bool,
    /// How far below empty a record may take a bucket; without a bound where none is given.
    pub max_debt: Option<u64>,
    pub missing: Missing,
    /// At which figures an alert fires.
    pub alerts: Vec<PlainThreshold>,
}

/// What a filter asks of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Is(String),
    OneOf(Vec<String>),
    Begins(String),
    NoneOf(Vec<String>),
    Present,
    Absent,
}

impl From<&str> for Asked {
    fn from(value: &str) -> Self {
        Self::Is(value.into())
    }
}

impl Asked {
    /// Whether a value is what is asked for, or that there is none.
    pub(super) fn is_met(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Absent, value) => value.is_none(),
            (_, None) => false,
            (Self::Is(wanted), Some(value)) => wanted == value,
            (Self::OneOf(wanted), Some(value)) => wanted.iter().any(|it| it == value),
            (Self::Begins(wanted), Some(value)) => {
                value.len() >= wanted.len()
                    && value.as_bytes()[..wanted.len()] == *wanted.as_bytes()
            }
            (Self::NoneOf(wanted), Some(value)) => wanted.iter().all(|it| it != value),
            (Self::Present, Some(_)) => true,
        }
    }
}

/// What a rule makes of a dimension that an event lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    Skip,
    Refuse,
    Stated(String),
}

impl Rule {
    pub fn new(id: &str, limit: u64, kind: Kind) -> Self {
        Self {
            id: id.into(),
            name: format!("rule {id}"),
            limit,
            kind,
            measure: Measure::Events,
            filter: Vec::new(),
            per: Vec::new(),
            enforce: Enforce::Hard,
            policy: None,
            priority: 0,
            starts: None,
            ends: None,
            enabled: true,
            archived: false,
            max_debt: None,
            missing: Missing::Skip,
            alerts: Vec::new(),
        }
    }

    pub fn measure(mut self, measure: Measure) -> Self {
        self.measure = measure;
        self
    }

    pub fn filter(mut self, key: &str, asked: impl Into<Asked>) -> Self {
        self.filter.push((key.into(), asked.into()));
        self
    }

    pub fn per(mut self, key: &str) -> Self {
        self.per.push(key.into());
        self
    }

    pub fn enforce(mut self, enforce: Enforce) -> Self {
        self.enforce = enforce;
        self
    }

    pub fn policy(mut self, name: &str) -> Self {
        self.policy = Some(name.into());
        self
    }

    pub fn starts(mut self, at: Nanos) -> Self {
        self.starts = Some(at);
        self
    }

    pub fn ends(mut self, at: Nanos) -> Self {
        self.ends = Some(at);
        self
    }

    pub(super) fn is_on(&self) -> bool {
        self.enabled && !self.archived
    }

    /// The instant that says whether it judges: that of a quota is the event's.
    fn instant(&self, plain: &PlainEvent, now: Nanos) -> Nanos {
        if self.kind.is_rate() { now } else { plain.stamp.unwrap_or(now) }
    }

    /// Whether it judges an event at an instant.
    pub(super) fn is_in_time(&self, plain: &PlainEvent, now: Nanos) -> bool {
        let instant = self.instant(plain, now);
        self.starts.is_none_or(|start| start <= instant)
            && self.ends.is_none_or(|end| instant < end)
    }

    /// When that changes next for an event that waits.
    pub(super) fn next_change(&self, plain: &PlainEvent, now: Nanos) -> Option<Nanos> {
        let waits = self.kind.is_rate() || plain.stamp.is_none();
        let edges = self.starts.into_iter().chain(self.ends);
        edges.filter(|edge| waits && *edge > now).min()
    }

    /// Whether the filter wants one value of each of some dimensions.
    pub(super) fn fixes(&self, keys: &[String]) -> bool {
        let is_one = |asked: &Asked| match asked {
            Asked::Is(_) => true,
            Asked::OneOf(values) => values.len() == 1,
            _ => false,
        };
        let is_fixed = |key: &String| self.filter.iter().any(|(it, of)| it == key && is_one(of));
        keys.iter().all(is_fixed)
    }

    pub fn max_debt(mut self, most: u64) -> Self {
        self.max_debt = Some(most);
        self
    }

    pub(super) fn limit_milli(&self) -> Milli {
        i128::from(self.limit) * 1_000
    }

    pub(super) fn debt_milli(&self) -> Option<Milli> {
        self.max_debt.map(|most| i128::from(most) * 1_000)
    }

    pub(super) fn capacity_milli(&self) -> Milli {
        match self.kind {
            Kind::Bucket { burst: Some(burst), .. } => i128::from(burst) * 1_000,
            _ => self.limit_milli(),
        }
    }
}

/// A property of an event: only a string is a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prop {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// An event, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainEvent {
    pub customer: String,
    pub event_type: String,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub props: Vec<(String, Prop)>,
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub total: Option<u64>,
    pub cost: Option<Milli>,
    pub values: Vec<(String, Milli)>,
    pub key: Option<String>,
    pub stamp: Option<Nanos>,
}

impl PlainEvent {
    pub fn new(customer: &str, event_type: &str) -> Self {
        Self { customer: customer.into(), event_type: event_type.into(), ..Self::default() }
    }

    pub fn model(mut self, model: &str) -> Self {
        self.model = Some(model.into());
        self
    }

    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.props.push((key.into(), Prop::Text(value.into())));
        self
    }

    pub fn tokens(mut self, total: u64) -> Self {
        self.total = Some(total);
        self
    }

    pub fn value(mut self, name: &str, milli: Milli) -> Self {
        self.values.push((name.into(), milli));
        self
    }

    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    pub fn stamp(mut self, stamp: Nanos) -> Self {
        self.stamp = Some(stamp);
        self
    }

    /// How many whole units it brings of a measure without fractions.
    pub fn units(&self, measure: &Measure) -> u64 {
        u64::try_from(self.amount(measure) / 1_000).expect("not below zero")
    }

    /// Whether an amount is below zero, which nothing that is held may be.
    pub(super) fn is_below_zero(&self) -> bool {
        self.cost.is_some_and(|cost| cost < 0) || self.values.iter().any(|(_, milli)| *milli < 0)
    }

    /// Whether an amount is more than an event may have.
    pub(super) fn is_beyond(&self) -> bool {
        const MOST: u64 = 1_000_000_000_000_000;
        let tokens = [self.input, self.output, self.sum()];
        let milli = self.cost.into_iter().chain(self.values.iter().map(|(_, milli)| *milli));
        tokens.into_iter().flatten().any(|tokens| tokens > MOST)
            || milli.into_iter().any(|milli| milli.abs() > i128::from(MOST) * 1_000)
    }

    /// The event with so much of a value: of all tokens the output is lowered, and the input stays.
    pub(super) fn granted(&self, measure: &Measure, units: u64) -> Self {
        let mut granted = self.clone();
        match measure {
            Measure::Tokens => {
                let input = self.input.unwrap_or(0);
                granted.output = self.output.map(|it| it.min(units.saturating_sub(input)));
                if self.total.is_some() || self.output.is_none() || input > units {
                    granted.total = Some(units);
                }
            }
            Measure::Value(name) if name == "input_tokens" => granted.input = Some(units),
            _ => granted.output = Some(units),
        }
        granted
    }

    /// The event with the values of another added to its own.
    pub(super) fn with_more(&self, more: &Self) -> Self {
        let added = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        let mut sum = self.clone();
        if self.total.is_some() || more.total.is_some() {
            sum.total = added(self.sum(), more.sum());
        }
        sum.input = added(self.input, more.input);
        sum.output = added(self.output, more.output);
        if let Some(cost) = more.cost {
            sum.cost = Some(cost + self.cost.unwrap_or(0));
        }
        for (name, milli) in &more.values {
            match sum.values.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known += milli,
                None => sum.values.push((name.clone(), *milli)),
            }
        }
        sum
    }

    /// The dimensions of this with the values of another, at this time.
    pub(super) fn with_values_of(&self, more: &Self, stamp: Nanos) -> Self {
        let Self { input, output, total, cost, values, .. } = more.clone();
        let stamp = Some(stamp);
        Self { input, output, total, cost, values, stamp, key: None, ..self.clone() }
    }

    /// Whether this asks for the same as an earlier act with its key. A client that tries again may
    /// say anew when it is, and may say the sum of its tokens or leave it to be made.
    pub(super) fn is_retry_of(&self, first: &Self) -> bool {
        let said = |plain: &Self| Self { total: plain.sum(), stamp: None, ..plain.clone() };
        said(self) == said(first)
    }

    /// The tokens in all, where any are said.
    pub fn sum(&self) -> Option<u64> {
        match (self.total, self.input, self.output) {
            (None, None, None) => None,
            (None, input, output) => Some(input.unwrap_or(0) + output.unwrap_or(0)),
            (total, _, _) => total,
        }
    }

    pub(super) fn dimension(&self, name: &str) -> Option<&str> {
        match name {
            "customer_id" => Some(&self.customer),
            "event_type" => Some(&self.event_type),
            "model" => self.model.as_deref(),
            "provider" => self.provider.as_deref(),
            _ => self.props.iter().find_map(|(key, value)| match value {
                Prop::Text(text) if key == name => Some(text.as_str()),
                _ => None,
            }),
        }
    }

    pub(super) fn amount(&self, measure: &Measure) -> Milli {
        let whole = |number: Option<u64>| i128::from(number.unwrap_or(0)) * 1_000;
        match measure {
            Measure::Events => 1_000,
            Measure::Tokens => whole(self.sum()),
            Measure::Cost => self.cost.unwrap_or(0),
            Measure::Value(name) => match name.as_str() {
                "input_tokens" => whole(self.input),
                "output_tokens" => whole(self.output),
                name => self.values.iter().find(|(key, _)| key == name).map_or(0, |(_, v)| *v),
            },
        }
    }
}

/// When a refused event would pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    After(Nanos),
    Never,
}

/// What the engine said of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    pub id: String,
    pub name: String,
    pub limit: Milli,
    /// Quotas only.
    pub used: Option<Milli>,
    pub held: Milli,
    /// How much of what is used was adjusted; quotas only.
    pub adjusted: Milli,
    pub remaining: Milli,
    pub reset: Option<i64>,
    pub exceeded: bool,
}

/// What a call is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead: this call counted.
    Admitted,
    /// An earlier call with this key counted, and was told to go ahead.
    Replayed,
    Refused,
}

/// What the engine answered: a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainDecision {
    pub verdict: Verdict,
    pub event_id: Option<String>,
    pub status_code: u16,
    pub rates: Vec<Figure>,
    pub quotas: Vec<Figure>,
    pub retry: Option<Wait>,
}

impl PlainDecision {
    pub fn is_admitted(&self) -> bool {
        self.verdict == Verdict::Admitted
    }
}

/// What the engine answered: where the dimensions stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainStanding {
    pub allowed: bool,
    pub rates: Vec<Figure>,
    pub quotas: Vec<Figure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Conflict,
    BadEvent,
    /// The reservation is over, and not in a way that the call can go on from.
    Ended,
    /// No reservation has the name.
    Unknown,
    Other,
}

pub type Answer = Result<PlainDecision, Fault>;

/// What the engine answered to a reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainReserved {
    Held {
        name: String,
        seen: PlainDecision,
        until: Nanos,
    },
    Refused(PlainDecision),
    /// The key was here before, for a reservation.
    Known(PlainStatus),
    /// The key was here before, for an event.
    Decided(PlainDecision),
}

/// How a reservation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainStatus {
    pub name: String,
    pub state: State,
    pub stamp: Nanos,
    pub until: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Held,
    Committed,
    Released,
    Expired,
}

/// What the engine answered to a commit: whether it was charged more than was held, beside.
pub type Committed = Result<(PlainDecision, bool), Fault>;
