//! A limit: how it is read, which rule of the engine it is, and which limit a rule is.
//!
//! It is a quota on the value `units`, or for minutes of the calendar a rate limit with a fixed
//! window, split by the dimension of its subject's kind. What it counts makes the name of a policy:
//! so that a subject's own limit judges in place of the one for the whole kind.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::NaiveDate;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::fields::{Fields, units};
use super::subject::{ACTING_KIND, Subject, UNITS, dimension_of, id_of, kind_of, read_kind};
use super::window::{FAIL_MODES, FailMode, LimitWindow, STARTS, Start, WINDOWS};
use crate::rules::{Algorithm, Enforcement, QuotaUpdate, RateLimitUpdate};
use crate::time::Tz;
use crate::{Amount, Condition, Metric, Period, Quota, RateLimit, Rule, Timestamp, Window};

/// Any action.
pub(super) const ANY: &str = "*";
pub(super) const MAX_AMOUNT: i64 = 1_000_000_000_000_000;
const MAX_NAME: usize = 256;

/// Keys of what is kept with the rule beside what the engine needs.
const UNIT: &str = "unit";
const FAIL_MODE: &str = "fail_mode";
const WINDOW: &str = "window";
const START: &str = "start";
const BILLING_DATE: &str = "billing_date";

/// What a limit counts: fixed once it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) kind: String,
    /// One subject; `None` for every one of the kind.
    pub(super) id: Option<String>,
    pub(super) action: String,
    pub(super) unit: String,
    pub(super) window: LimitWindow,
    pub(super) every: u32,
    pub(super) start: Start,
    pub(super) rolling: bool,
}

/// A limit as a caller describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) counts: Counts,
    pub(super) amount: u64,
    pub(super) enabled: bool,
    pub(super) fail_mode: FailMode,
}

/// A limit of the engine.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) id: String,
    pub(super) says: Described,
    /// Of limits with the same one only one judges.
    pub(super) policy: Option<String>,
    pub(super) archived_at: Option<Timestamp>,
    pub(super) created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    version: u64,
}

impl Described {
    /// Reads a limit whose fields are all there: what is left out is its default.
    pub(super) fn read(fields: &mut Fields) -> Option<Self> {
        let subject = read_subject(fields);
        let amount = fields.count("amount", 0..=MAX_AMOUNT);
        let window: Option<LimitWindow> = fields.word("window", WINDOWS);
        let name = fields.text("name");
        let action = fields.text("action").unwrap_or_else(|| ANY.to_owned());
        let unit = fields.text("unit").unwrap_or_else(|| UNITS.to_owned());
        let most = window.map_or(i64::from(u32::MAX), LimitWindow::most);
        let every = fields.count("every", 1..=most).unwrap_or(1);
        let start = fields.word("start", STARTS).unwrap_or_default();
        let rolling = fields.word("rolling", "true or false").unwrap_or(false);
        let enabled = fields.word("enabled", "true or false").unwrap_or(true);
        let fail_mode = fields.word("failMode", FAIL_MODES).unwrap_or_default();
        let (amount, window) = (fields.need("amount", amount), fields.need("window", window));
        let ((kind, id), amount, window) = (subject?, amount?, window?);
        let every = u32::try_from(every).ok()?;
        let counts = Counts { kind, id, action, unit, window, every, start, rolling };
        counts.check(fields);
        let name = name.unwrap_or_else(|| counts.sentence(amount));
        Some(Self { name, counts, amount, enabled, fail_mode })
    }

    /// The rule that it is.
    pub(super) fn rule(&self, id: &str) -> Rule {
        let Self { name, counts, amount, enabled, .. } = self;
        let dimension = dimension_of(&counts.kind).unwrap_or_default();
        let mut filters: BTreeMap<String, Condition> = BTreeMap::new();
        if dimension == "customer_id" {
            filters.insert("customer_id".to_owned(), Condition::Present);
            filters.insert(ACTING_KIND.to_owned(), Condition::Absent);
        }
        if let Some(id) = &counts.id {
            filters.insert(dimension.clone().into_owned(), id.as_str().into());
        }
        if counts.action != ANY {
            filters.insert("event_type".to_owned(), counts.action.as_str().into());
        }
        let metadata = self.metadata(BTreeMap::new());
        let finish = |rule: Rule| match rule {
            Rule::Quota(rule) => {
                let mut rule = rule.id(id).per(dimension).policy(counts.policy()).enabled(*enabled);
                (rule.dimension_filters, rule.metadata) = (filters, metadata);
                Rule::Quota(rule)
            }
            Rule::RateLimit(rule) => {
                let mut rule = rule.id(id).per(dimension).policy(counts.policy()).enabled(*enabled);
                (rule.dimension_filters, rule.metadata) = (filters, metadata);
                Rule::RateLimit(rule)
            }
        };
        finish(counts.bare_rule(name, *amount))
    }

    /// What is kept with the rule, beside what is already.
    pub(super) fn metadata(&self, mut kept: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let counts = &self.counts;
        let closed = self.fail_mode == FailMode::Closed;
        for (key, text) in [
            (UNIT, (counts.unit != UNITS).then_some(&*counts.unit)),
            (FAIL_MODE, closed.then_some("closed")),
            (WINDOW, counts.rolling.then_some(counts.window.as_str())),
            (START, (counts.start == Start::BillingDate).then_some(BILLING_DATE)),
        ] {
            match text {
                Some(text) => kept.insert(key.to_owned(), text.to_owned()),
                None => kept.remove(key),
            };
        }
        kept
    }

    /// What makes a quota that counts the same this limit.
    pub(super) fn quota_update(&self, known: &Quota) -> QuotaUpdate {
        let update = QuotaUpdate::new().name(&*self.name).limit(self.amount).enabled(self.enabled);
        update.metadata(self.metadata(known.metadata.clone()))
    }

    /// The same of a rate limit.
    pub(super) fn rate_limit_update(&self, known: &RateLimit) -> RateLimitUpdate {
        let update = RateLimitUpdate::new().name(&*self.name).limit(self.amount);
        update.enabled(self.enabled).metadata(self.metadata(known.metadata.clone()))
    }

    /// A rule that counts the same, as this says it.
    pub(super) fn applied_to(&self, rule: &Rule) -> Rule {
        match rule {
            Rule::Quota(rule) => self.quota_update(rule).apply(rule).into(),
            Rule::RateLimit(rule) => self.rate_limit_update(rule).apply(rule).into(),
        }
    }
}

impl Counts {
    /// Says what does not go together.
    fn check(&self, fields: &mut Fields) {
        let Self { window, start, .. } = self;
        if self.rolling
            && !matches!(window, LimitWindow::Minute | LimitWindow::Hour | LimitWindow::Day)
        {
            fields.wrong("rolling", "true is for the windows `minute`, `hour` and `day`");
        }
        match start {
            Start::FirstUse
                if self.rolling
                    || !matches!(
                        window,
                        LimitWindow::Hour | LimitWindow::Day | LimitWindow::Week
                    ) =>
            {
                let rule = "\"first_use\" is served for the windows `hour`, `day` and `week` alone";
                fields.wrong("start", rule);
            }
            Start::BillingDate if self.rolling || !window.resets() => {
                fields.wrong("start", "\"billing_date\" is for windows that reset at a date");
            }
            Start::BillingDate if matches!(window, LimitWindow::Minute | LimitWindow::Hour) => {
                let rule = "\"billing_date\" is not served for minutes and hours: periods begin at \
                            midnight in UTC";
                fields.wrong("start", rule);
            }
            Start::Calendar | Start::BillingDate | Start::FirstUse => {}
        }
    }

    /// The sentence that it reads as.
    fn sentence(&self, amount: u64) -> String {
        let Self { kind, unit, action, every, .. } = self;
        let window = self.window.as_str();
        let time = match (self.window, every) {
            (LimitWindow::Total, _) => " in total".to_owned(),
            (LimitWindow::Concurrent, _) => " at once".to_owned(),
            (_, 1) => format!(" per {window}"),
            (_, every) => format!(" per {every} {window}s"),
        };
        let rolling = if self.rolling { ", rolling," } else { "" };
        let start = match self.start {
            Start::Calendar => "",
            Start::BillingDate => " from the billing date",
            Start::FirstUse => " from the first use",
        };
        let who = match &self.id {
            Some(id) => format!(" for {kind} {id}"),
            None => format!(" for every {kind}"),
        };
        let action = if action == ANY { String::new() } else { format!(" on {action}") };
        let mut name = format!("{amount} {unit}{time}{rolling}{start}{who}{action}");
        while name.len() > MAX_NAME {
            name.pop();
        }
        name
    }

    /// What stands for all limits that count the same: it decides which of them judges.
    fn policy(&self) -> String {
        let Self { kind, action, unit, window, every, start, rolling, .. } = self;
        let mut hash = Sha256::new();
        for text in [kind, action, unit] {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        hash.update(format!("{window:?} {every} {start:?} {rolling}"));
        let digits = hash.finalize();
        digits.iter().fold("limit_".to_owned(), |name, byte| format!("{name}{byte:02x}"))
    }

    /// The rule without who it is for.
    fn bare_rule(&self, name: &str, amount: u64) -> Rule {
        let units = Metric::value(UNITS);
        let length = self.window.length().unwrap_or_default().saturating_mul(self.every);
        let quota = |period| Quota::new(name, units.clone(), amount, period);
        let quota = match self.window {
            _ if self.rolling => quota(Period::rolling(length)),
            LimitWindow::Minute => {
                let window = Window::every(length);
                let limit = RateLimit::new(name, amount, window).metric(units);
                return limit.algorithm(Algorithm::FixedWindow).into();
            }
            LimitWindow::Concurrent => Quota::concurrent(name, amount),
            LimitWindow::Total => quota(Period::AllTime),
            LimitWindow::Hour => quota(Period::Hour),
            LimitWindow::Day => quota(Period::Day),
            LimitWindow::Week => quota(Period::Week),
            LimitWindow::Month => quota(Period::Month),
            LimitWindow::Year => quota(Period::Year),
        };
        let mut quota =
            if self.every > 1 && !self.rolling { quota.every(self.every) } else { quota };
        if self.start == Start::FirstUse {
            quota = quota.first_use();
        } else if let Some(origin) = self.window.origin().filter(|_| !self.rolling) {
            quota = quota.time_zone(Tz::UTC);
            quota.anchor = (self.start == Start::Calendar).then_some(origin);
        }
        quota.into()
    }

    /// Whether a subject is one that it is for.
    pub(super) fn is_for(&self, subject: &Subject) -> bool {
        self.kind == subject.kind && self.id.as_ref().is_none_or(|id| *id == subject.id)
    }
}

/// Reads `{kind, id?}`.
pub(super) fn read_subject(fields: &mut Fields) -> Option<(String, Option<String>)> {
    let part = fields.object("subject");
    let mut part = fields.need("subject", part)?;
    let kind = read_kind(&mut part);
    let kind = part.need("kind", kind);
    let id = id_of(&mut part);
    part.check_rest();
    fields.join(part);
    Some((kind?, id))
}

impl Limit {
    /// The limit that a rule is; `None` of one that is no limit of this generation.
    pub(super) fn of(rule: &Rule) -> Option<Self> {
        let fields = RuleFields::of(rule)?;
        let dimension = fields.per?;
        let kind = kind_of(dimension)?;
        let (mut id, mut action) = (None, ANY.to_owned());
        let is_customer = dimension == "customer_id";
        for (key, condition) in fields.filters {
            match condition {
                Condition::Is(value) if key == dimension => id = Some(value.clone()),
                Condition::Is(value) if key == "event_type" => action.clone_from(value),
                Condition::Present if is_customer && key == dimension => {}
                Condition::Absent if is_customer && key == ACTING_KIND => {}
                _ => return None,
            }
        }
        let text = |key: &str| fields.metadata.get(key).map(String::as_str);
        let (window, every, rolling) = span_of(rule, text(WINDOW))?;
        let start = match rule {
            Rule::Quota(rule) if rule.first_use == Some(true) => Start::FirstUse,
            Rule::Quota(rule) if rule.anchor.is_none() => {
                let is_said = text(START) == Some(BILLING_DATE);
                if is_said || has_date(window, every, rolling) {
                    Start::BillingDate
                } else {
                    Start::Calendar
                }
            }
            _ => Start::Calendar,
        };
        let unit = text(UNIT).unwrap_or(UNITS).to_owned();
        let closed = text(FAIL_MODE) == Some("closed");
        let fail_mode = if closed { FailMode::Closed } else { FailMode::Open };
        let counts = Counts { kind, id, action, unit, window, every, start, rolling };
        let says = Described {
            name: fields.name.to_owned(),
            counts,
            amount: u64::try_from(units(fields.limit)).ok()?,
            enabled: fields.enabled,
            fail_mode,
        };
        Some(Self {
            id: fields.id.to_owned(),
            says,
            policy: fields.policy.map(str::to_owned),
            archived_at: fields.archived_at,
            created_at: fields.created_at,
            updated_at: fields.updated_at,
            version: fields.version,
        })
    }

    pub(super) fn is_active(&self) -> bool {
        self.archived_at.is_none()
    }

    pub(super) fn shown(&self, last_checked_at: Option<Timestamp>) -> Shown<'_> {
        let Described { name, counts, amount, enabled, fail_mode } = &self.says;
        Shown {
            id: &self.id,
            name,
            subject: ShownSubject { kind: &counts.kind, id: counts.id.as_deref() },
            action: &counts.action,
            amount: *amount,
            unit: &counts.unit,
            window: counts.window,
            every: counts.every,
            start: counts.start,
            rolling: counts.rolling,
            enabled: *enabled,
            archived_at: self.archived_at,
            fail_mode: *fail_mode,
            version: self.version,
            last_checked_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// Whether it makes a difference on which date its periods begin.
fn has_date(window: LimitWindow, every: u32, rolling: bool) -> bool {
    window.origin().is_some() && !rolling && (window != LimitWindow::Day || every > 1)
}

/// What the windows of a rule are called.
fn span_of(rule: &Rule, word: Option<&str>) -> Option<(LimitWindow, u32, bool)> {
    let (period, every, zone) = match rule {
        Rule::RateLimit(rule) => {
            let is_window = rule.algorithm == Algorithm::FixedWindow;
            let every = times(rule.window.length(), LimitWindow::Minute).filter(|_| is_window)?;
            return Some((LimitWindow::Minute, every, false));
        }
        Rule::Quota(rule) => (rule.period, rule.every.unwrap_or(1), rule.time_zone),
    };
    let window = match period {
        Period::Hour => LimitWindow::Hour,
        Period::Day => LimitWindow::Day,
        Period::Week => LimitWindow::Week,
        Period::Month => LimitWindow::Month,
        Period::Year => LimitWindow::Year,
        Period::AllTime => LimitWindow::Total,
        Period::Concurrent => LimitWindow::Concurrent,
        Period::Rolling(length) => {
            let words = [LimitWindow::Day, LimitWindow::Hour, LimitWindow::Minute];
            let mut fitting =
                words.iter().filter_map(|window| Some((*window, times(length, *window)?)));
            let said = fitting.clone().find(|(window, _)| Some(window.as_str()) == word);
            let (window, every) = said.or_else(|| fitting.next())?;
            return Some((window, every, true));
        }
    };
    let is_utc = zone.is_none_or(|zone| zone == Tz::UTC.into());
    is_utc.then_some((window, every, false))
}

/// How many windows a length has, where it has a whole number of them.
fn times(length: Duration, window: LimitWindow) -> Option<u32> {
    let one = window.length()?.as_nanos();
    let whole = length.as_nanos().checked_rem(one) == Some(0);
    u32::try_from(length.as_nanos().checked_div(one)?).ok().filter(|every| whole && *every > 0)
}

/// What rules of both kinds have, of those that may be limits.
struct RuleFields<'r> {
    id: &'r str,
    name: &'r str,
    filters: &'r BTreeMap<String, Condition>,
    per: Option<&'r str>,
    metadata: &'r BTreeMap<String, String>,
    policy: Option<&'r str>,
    limit: Amount,
    enabled: bool,
    archived_at: Option<Timestamp>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    version: u64,
}

impl<'r> RuleFields<'r> {
    fn of(rule: &'r Rule) -> Option<Self> {
        macro_rules! of {
            ($rule:expr, $is_plain:expr) => {{
                let rule = $rule;
                let is_hard = rule.enforcement == Enforcement::Hard;
                let always = rule.starts_at.is_none() && rule.ends_at.is_none();
                let counts_units = rule.metric == Metric::value(UNITS);
                let [per] = rule.per.as_slice() else { return None };
                ($is_plain(rule, counts_units) && is_hard && always).then_some(Self {
                    id: rule.id.as_deref()?,
                    name: &rule.name,
                    filters: &rule.dimension_filters,
                    per: Some(per.as_str()),
                    metadata: &rule.metadata,
                    policy: rule.policy.as_deref(),
                    limit: rule.limit_value?,
                    enabled: rule.enabled,
                    archived_at: rule.archived_at,
                    created_at: rule.created_at,
                    updated_at: rule.updated_at,
                    version: rule.version,
                })
            }};
        }
        match rule {
            Rule::Quota(rule) => of!(rule, |rule: &Quota, counts_units| {
                (counts_units || rule.period == Period::Concurrent) && rule.balance.is_none()
            }),
            Rule::RateLimit(rule) => of!(rule, |_: &RateLimit, counts_units| counts_units),
        }
    }
}

/// A limit to make, as a body has it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct NewLimit {
    subject: Limited,
    /// Units a window and a subject.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_u64)]
    amount: u64,
    window: LimitWindow,
    /// A sentence where it is not given. No two active limits have the same.
    #[schema(min_length = 1, max_length = 256)]
    name: Option<String>,
    /// `*`, which is any, where it is not given.
    #[schema(min_length = 1, max_length = 256)]
    action: Option<String>,
    /// What is counted, in a word.
    #[schema(min_length = 1, max_length = 256)]
    unit: Option<String>,
    /// How many windows are one period: as many as 100 years have at most.
    #[schema(minimum = 1, maximum = 52_596_000)]
    every: Option<u32>,
    start: Option<Start>,
    /// For minutes, hours and days: the last one, and not the calendar's.
    rolling: Option<bool>,
    enabled: Option<bool>,
    fail_mode: Option<FailMode>,
}

/// A kind of subjects, or one of them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a shape alone")]
struct Limited {
    #[schema(min_length = 1, max_length = 256)]
    kind: String,
    /// None: each of the kind.
    #[schema(min_length = 1, max_length = 256)]
    id: Option<String>,
}

/// A limit as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = Limit)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'l> {
    id: &'l str,
    name: &'l str,
    subject: ShownSubject<'l>,
    action: &'l str,
    amount: u64,
    unit: &'l str,
    window: LimitWindow,
    every: u32,
    start: Start,
    rolling: bool,
    enabled: bool,
    #[schema(required)]
    archived_at: Option<Timestamp>,
    fail_mode: FailMode,
    version: u64,
    /// The hour of it.
    #[schema(required)]
    last_checked_at: Option<Timestamp>,
    #[schema(required)]
    created_at: Option<Timestamp>,
    #[schema(required)]
    updated_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LimitSubject)]
struct ShownSubject<'l> {
    kind: &'l str,
    /// None: each of the kind.
    #[schema(required)]
    id: Option<&'l str>,
}

/// The date of an instant in UTC.
pub(super) fn date_of(at: Timestamp) -> Option<NaiveDate> {
    chrono::DateTime::<chrono::Utc>::try_from(at).ok().map(|at| at.date_naive())
}
