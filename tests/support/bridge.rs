//! The bridge between the oracle's plain data and the crate, and the two side by side.

use super::alerts::threshold;
use super::oracle::{
    Answer, Asked, Committed, DAY, Enforce, Fault, Figure, HOUR, Kind, MINUTE, Measure, Missing,
    Nanos, Oracle, PlainDecision, PlainEvent, PlainReserved, PlainStanding, PlainStatus, Prop,
    Rule, SECOND, Span, State, Verdict, Wait,
};
use super::{START, date, duration, engine, goes_straight, nanos};
use chrono::NaiveDate;
use limitry::alerts::Alert;
use limitry::decision::{QuotaStatus, RateLimitStatus, Standing};
use limitry::errors::{ReservationError, RulesError, TrackError};
use limitry::events::Recording;
use limitry::reservations::{KeyStatus, ReservationId, ReservationState, ReservationStatus};
use limitry::rules::{Algorithm, Enforcement, OnMissing, QuotaUpdate, RateLimitUpdate};
use limitry::store::MemoryStore;
use limitry::time::{ManualClock, TimeZone, Tz};
use limitry::{
    Amount, Condition, Decision, Engine, Event, Hold, Metric, Outcome, Period, Quota, RateLimit,
    Reservation, Reserved, RetryAfter, RuleSet, Timestamp, Window,
};

// From the oracle's words to the crate's.

pub fn window(length: Nanos) -> Window {
    match length {
        SECOND => Window::Second,
        MINUTE => Window::Minute,
        HOUR => Window::Hour,
        other => Window::every(duration(other)),
    }
}

pub fn quota_period(kind: Kind) -> Period {
    match kind {
        Kind::Calendar(Span::Hour | Span::SixHours) => Period::Hour,
        Kind::Calendar(Span::Day | Span::NewYorkDay | Span::ThreeDays) => Period::Day,
        Kind::Calendar(Span::Week | Span::KolkataWeek) => Period::Week,
        Kind::Calendar(Span::Month | Span::MonthFrom31 | Span::Quarter) => Period::Month,
        Kind::Calendar(Span::Year) => Period::Year,
        Kind::Calendar(Span::AllTime) => Period::AllTime,
        Kind::Rolling { window } => Period::rolling(duration(window)),
        Kind::FirstUse { length } if length % (7 * DAY) == 0 => Period::Week,
        Kind::FirstUse { length } if length % DAY == 0 => Period::Day,
        Kind::FirstUse { .. } => Period::Hour,
        Kind::Slots => Period::Concurrent,
        Kind::Balance { .. } => Period::AllTime,
        rate => panic!("{rate:?} is no quota"),
    }
}

/// The zone, the anchor and how many of it a period has.
fn cut(kind: Kind) -> (Option<TimeZone>, Option<NaiveDate>, Option<u32>) {
    let date = |month, day| NaiveDate::from_ymd_opt(2024, month, day);
    match kind {
        Kind::Calendar(Span::SixHours) => (None, None, Some(6)),
        Kind::Calendar(Span::NewYorkDay) => (Some(Tz::America__New_York.into()), None, None),
        Kind::Calendar(Span::ThreeDays) => (None, None, Some(3)),
        Kind::Calendar(Span::KolkataWeek) => (Some(Tz::Asia__Kolkata.into()), date(1, 4), None),
        Kind::Calendar(Span::MonthFrom31) => (None, date(5, 31), None),
        Kind::Calendar(Span::Quarter) => (None, None, Some(3)),
        Kind::FirstUse { length } => {
            let unit = [7 * DAY, DAY, HOUR].into_iter().find(|unit| length % unit == 0);
            let every = length / unit.expect("whole hours");
            (None, None, Some(u32::try_from(every).expect("a few")))
        }
        _ => (None, None, None),
    }
}

fn runs_from_first_use(kind: Kind) -> Option<bool> {
    matches!(kind, Kind::FirstUse { .. }).then_some(true)
}

pub fn metric(measure: &Measure) -> Metric {
    match measure {
        Measure::Events => Metric::TotalEvents,
        Measure::Tokens => Metric::TotalTokens,
        Measure::Cost => Metric::TotalCostCents,
        Measure::Value(name) => Metric::value(name.as_str()),
    }
}

pub fn enforcement(enforce: Enforce) -> Enforcement {
    match enforce {
        Enforce::Hard => Enforcement::Hard,
        Enforce::Soft => Enforcement::Soft,
        Enforce::Shadow => Enforcement::Shadow,
    }
}

fn algorithm(kind: Kind) -> (Algorithm, Nanos, Option<u64>) {
    match kind {
        Kind::Bucket { window, burst } => (Algorithm::TokenBucket, window, burst),
        Kind::Fixed { window } => (Algorithm::FixedWindow, window, None),
        Kind::Sliding { window } => (Algorithm::SlidingWindow, window, None),
        quota => panic!("{quota:?} is no rate limit"),
    }
}

pub fn rate_limit(rule: &Rule) -> RateLimit {
    let (algorithm, length, burst) = algorithm(rule.kind);
    let mut limit = RateLimit::new(rule.name.as_str(), rule.limit, window(length))
        .id(rule.id.as_str())
        .metric(metric(&rule.measure))
        .algorithm(algorithm)
        .enforcement(enforcement(rule.enforce))
        .enabled(rule.enabled);
    for (key, asked) in &rule.filter {
        limit = limit.filter(key.as_str(), condition(asked));
    }
    for key in &rule.per {
        limit = limit.per(key.as_str());
    }
    if let Some(burst) = burst {
        limit = limit.burst(burst);
    }
    if let Some(most) = rule.max_debt {
        limit = limit.max_debt(Amount::from(most));
    }
    if let Some(policy) = &rule.policy {
        limit = limit.policy(policy.as_str()).priority(rule.priority);
    }
    (limit.starts_at, limit.ends_at) = (rule.starts.map(date), rule.ends.map(date));
    limit.on_missing(on_missing(&rule.missing))
}

fn condition(asked: &Asked) -> Condition {
    match asked {
        Asked::Is(value) => value.into(),
        Asked::OneOf(values) => values.clone().into(),
        Asked::Begins(prefix) => Condition::prefix(prefix),
        Asked::NoneOf(values) => Condition::none_of(values),
        Asked::Present => Condition::Present,
        Asked::Absent => Condition::Absent,
    }
}

fn on_missing(missing: &Missing) -> OnMissing {
    match missing {
        Missing::Skip => OnMissing::Skip,
        Missing::Refuse => OnMissing::Refuse,
        Missing::Stated(value) => OnMissing::Value(value.clone()),
    }
}

pub fn quota(rule: &Rule) -> Quota {
    let metric = metric(&rule.measure);
    let quota = match rule.kind {
        Kind::Balance { name, opening } => {
            let mut quota = Quota::balance(name, metric);
            quota.name = rule.name.clone();
            quota.opening = opening.map(Amount::from);
            quota
        }
        kind => Quota::new(rule.name.as_str(), metric, rule.limit, quota_period(kind)),
    };
    let mut quota =
        quota.id(rule.id.as_str()).enforcement(enforcement(rule.enforce)).enabled(rule.enabled);
    for (key, asked) in &rule.filter {
        quota = quota.filter(key.as_str(), condition(asked));
    }
    for key in &rule.per {
        quota = quota.per(key.as_str());
    }
    if let Some(policy) = &rule.policy {
        quota = quota.policy(policy.as_str()).priority(rule.priority);
    }
    quota.alert_thresholds = rule.alerts.iter().copied().map(threshold).collect();
    (quota.time_zone, quota.anchor, quota.every) = cut(rule.kind);
    quota.first_use = runs_from_first_use(rule.kind);
    (quota.starts_at, quota.ends_at) = (rule.starts.map(date), rule.ends.map(date));
    quota.on_missing(on_missing(&rule.missing))
}

/// Whether an event is another one as both print: an attribute that was looked up is no property
/// that was said.
fn is_as(found: &Event<'static>, due: &PlainEvent) -> bool {
    let json = |event| serde_json::to_string(event).expect("every event prints");
    let due = event(due);
    *found == due || json(found) == json(&due)
}

pub fn event(plain: &PlainEvent) -> Event<'static> {
    let mut event = Event::new(plain.customer.clone(), plain.event_type.clone());
    if let Some(model) = &plain.model {
        event = event.model(model.clone());
    }
    if let Some(provider) = &plain.provider {
        event = event.provider(provider.clone());
    }
    for (key, value) in &plain.props {
        event = match value {
            Prop::Text(text) => event.property(key.clone(), text.clone()),
            Prop::Number(number) => event.property(key.clone(), *number),
            Prop::Flag(flag) => event.property(key.clone(), *flag),
        };
    }
    if let Some(tokens) = plain.input {
        event = event.input_tokens(tokens);
    }
    if let Some(tokens) = plain.output {
        event = event.output_tokens(tokens);
    }
    if let Some(tokens) = plain.total {
        event = event.total_tokens(tokens);
    }
    if let Some(cents) = plain.cost {
        event = event.cost_cents(decimal(cents));
    }
    for (name, milli) in &plain.values {
        event = event.value(name.clone(), decimal(*milli).as_str());
    }
    if let Some(key) = &plain.key {
        event = event.idempotency_key(key.clone());
    }
    if let Some(stamp) = plain.stamp {
        event = event.timestamp(date(stamp));
    }
    event
}

/// Thousandths as a decimal number.
fn decimal(milli: i128) -> String {
    let sign = if milli < 0 { "-" } else { "" };
    let size = milli.unsigned_abs();
    format!("{sign}{}.{:03}", size / 1_000, size % 1_000)
}

// From the crate's words to the oracle's.

/// An amount in thousandths, rounded down.
fn milli(amount: Amount) -> i128 {
    amount.millionths().div_euclid(1_000)
}

/// A limit of these tests, in thousandths.
fn limit(limit: Option<Amount>) -> i128 {
    milli(limit.expect("a limit"))
}

fn verdict(decision: &Decision) -> Verdict {
    let verdict = match decision.outcome() {
        Outcome::Admitted => Verdict::Admitted,
        Outcome::Replayed => Verdict::Replayed,
        Outcome::Refused => Verdict::Refused,
    };
    assert_eq!(decision.is_allowed(), verdict == Verdict::Admitted, "{decision:?}");
    assert_eq!(decision.is_replay(), verdict == Verdict::Replayed, "{decision:?}");
    verdict
}

fn rate_figure(status: &RateLimitStatus<'_>) -> Figure {
    Figure {
        id: status.id.to_string(),
        name: status.name.to_string(),
        limit: limit(status.limit),
        used: None,
        held: milli(status.held),
        adjusted: 0,
        remaining: milli(status.remaining),
        reset: Some(status.reset.unix_seconds()),
        exceeded: status.exceeded,
    }
}

fn quota_figure(status: &QuotaStatus<'_>) -> Figure {
    Figure {
        id: status.id.to_string(),
        name: status.name.to_string(),
        limit: limit(status.limit),
        used: Some(milli(status.used)),
        held: milli(status.held),
        adjusted: milli(status.adjusted),
        remaining: milli(status.remaining),
        reset: status.reset.map(Timestamp::unix_seconds),
        exceeded: status.exceeded,
    }
}

pub fn plain_decision(decision: &Decision) -> PlainDecision {
    PlainDecision {
        verdict: verdict(decision),
        event_id: decision.event_id().map(|id| id.to_string()),
        status_code: decision.status_code(),
        rates: decision.rate_limits().map(|status| rate_figure(&status)).collect(),
        quotas: decision.quotas().map(|status| quota_figure(&status)).collect(),
        retry: decision.retry_after().map(|retry| match retry {
            RetryAfter::After(wait) => Wait::After(nanos(wait)),
            RetryAfter::Never => Wait::Never,
        }),
    }
}

pub fn answer(result: Result<Decision, TrackError>) -> Answer {
    match result {
        Ok(decision) => Ok(plain_decision(&decision)),
        Err(TrackError::IdempotencyConflict { .. }) => Err(Fault::Conflict),
        Err(TrackError::Event(_)) => Err(Fault::BadEvent),
        Err(_) => Err(Fault::Other),
    }
}

/// An instant of the crate.
pub fn instant(at: Timestamp) -> Nanos {
    i128::from(at.unix_seconds()) * SECOND + i128::from(at.subsec_nanos())
}

pub fn plain_status(status: &ReservationStatus) -> PlainStatus {
    PlainStatus {
        name: status.id.to_string(),
        state: match status.state {
            ReservationState::Held => State::Held,
            ReservationState::Committed => State::Committed,
            ReservationState::Released => State::Released,
            ReservationState::Expired => State::Expired,
        },
        stamp: instant(status.timestamp),
        until: instant(status.expires_at),
    }
}

pub fn fault(why: &ReservationError) -> Fault {
    match why {
        ReservationError::Track(TrackError::IdempotencyConflict { .. })
        | ReservationError::Conflict { .. } => Fault::Conflict,
        ReservationError::Track(TrackError::Event(_)) | ReservationError::Length { .. } => {
            Fault::BadEvent
        }
        ReservationError::NotFound { .. } => Fault::Unknown,
        ReservationError::Ended { .. } => Fault::Ended,
        _ => Fault::Other,
    }
}

/// What the engine answered to a reserve, with the guard of what it holds.
pub fn reserved(
    result: Result<Reserved, ReservationError>,
) -> (Result<PlainReserved, Fault>, Option<Reservation>) {
    match result {
        Ok(Reserved::Held(guard)) => {
            let (name, seen) = (guard.id().to_string(), plain_decision(guard.decision()));
            assert_eq!(guard.decision().reservation_id(), Some(guard.id()));
            let until = instant(guard.expires_at());
            (Ok(PlainReserved::Held { name, seen, until }), Some(guard))
        }
        Ok(Reserved::Refused(decision)) => {
            (Ok(PlainReserved::Refused(plain_decision(&decision))), None)
        }
        Ok(Reserved::Replayed(KeyStatus::Reserved(status))) => {
            (Ok(PlainReserved::Known(plain_status(&status))), None)
        }
        Ok(Reserved::Replayed(KeyStatus::Decided(decision))) => {
            (Ok(PlainReserved::Decided(plain_decision(&decision))), None)
        }
        Err(why) => (Err(fault(&why)), None),
    }
}

pub fn committed(result: Result<Decision, ReservationError>) -> Committed {
    let seen = |decision: Decision| (plain_decision(&decision), decision.is_overrun());
    result.map(seen).map_err(|why| fault(&why))
}

pub fn plain_standing(standing: &Standing) -> PlainStanding {
    PlainStanding {
        allowed: standing.is_allowed(),
        rates: standing.rate_limits().map(|status| rate_figure(&status)).collect(),
        quotas: standing.quotas().map(|status| quota_figure(&status)).collect(),
    }
}

/// Everything that the engine says of these dimensions, as text, to compare before and after.
pub fn figures(engine: &Engine, plain: &PlainEvent) -> String {
    let event = event(plain);
    let standing = plain_standing(&engine.standing(&event).expect("the event is valid"));
    let mut fresh = plain.clone();
    fresh.key = None;
    let check = answer(engine.check(&self::event(&fresh)));
    format!("{standing:#?} {check:#?}")
}

/// Puts the rule into a running engine.
pub fn add(engine: &Engine, rule: &Rule) -> Result<(), RulesError> {
    if rule.kind.is_rate() {
        engine.rules().add(rate_limit(rule)).map(drop)
    } else {
        engine.rules().add(quota(rule)).map(drop)
    }
}

/// Changes the rule of a running engine, naming only what differs.
pub fn change(engine: &Engine, old: &Rule, new: &Rule) -> Result<(), RulesError> {
    if old.kind.is_rate() {
        let (old_algorithm, old_length, old_burst) = algorithm(old.kind);
        let (new_algorithm, new_length, new_burst) = algorithm(new.kind);
        let mut update = RateLimitUpdate::new();
        if old.name != new.name {
            update = update.name(new.name.as_str());
        }
        if old.limit != new.limit {
            update = update.limit(new.limit);
        }
        if old_length != new_length {
            update = update.window(window(new_length));
        }
        if old_algorithm != new_algorithm {
            update = update.algorithm(new_algorithm);
        }
        if let Some(burst) = new_burst
            && old_burst != new_burst
        {
            update = update.burst(Amount::from(burst));
        }
        if let Some(most) = new.max_debt
            && old.max_debt != new.max_debt
        {
            update = update.max_debt(Amount::from(most));
        }
        if old.enforce != new.enforce {
            update = update.enforcement(enforcement(new.enforce));
        }
        if old.enabled != new.enabled {
            update = update.enabled(new.enabled);
        }
        if old.priority != new.priority {
            update = update.priority(new.priority);
        }
        if (old.starts, old.ends) != (new.starts, new.ends) {
            update = update.starts_at(new.starts.map(date)).ends_at(new.ends.map(date));
        }
        engine.rules().update(&new.id, update).map(drop)
    } else {
        let mut update = QuotaUpdate::new();
        if old.name != new.name {
            update = update.name(new.name.as_str());
        }
        if old.limit != new.limit {
            update = update.limit(new.limit);
        }
        if let Kind::Balance { opening, .. } = new.kind {
            if old.kind != new.kind {
                update = update.opening(opening.map(Amount::from));
            }
        } else if old.kind != new.kind {
            let (zone, anchor, every) = cut(new.kind);
            update = update.period(quota_period(new.kind)).time_zone(zone);
            update = update.anchor(anchor).every(every);
            update = update.first_use(runs_from_first_use(new.kind));
        }
        if old.alerts != new.alerts {
            let all: Vec<_> = new.alerts.iter().copied().map(threshold).collect();
            update = update.alert_thresholds(all);
        }
        if old.enforce != new.enforce {
            update = update.enforcement(enforcement(new.enforce));
        }
        if old.enabled != new.enabled {
            update = update.enabled(new.enabled);
        }
        if old.priority != new.priority {
            update = update.priority(new.priority);
        }
        if (old.starts, old.ends) != (new.starts, new.ends) {
            update = update.starts_at(new.starts.map(date)).ends_at(new.ends.map(date));
        }
        engine.rules().update(&new.id, update).map(drop)
    }
}

/// The rules as one set.
pub fn rule_set<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> RuleSet {
    let mut set = RuleSet::new();
    for rule in rules.into_iter().filter(|rule| !rule.archived) {
        set = if rule.kind.is_rate() {
            set.rate_limit(rate_limit(rule))
        } else {
            set.quota(quota(rule))
        };
    }
    set
}

/// An engine and its oracle, asked the same things; each answer is judged at once.
pub struct Pair {
    pub engine: Engine,
    pub clock: ManualClock,
    pub oracle: Oracle,
    /// What a restart leaves, where there is a store.
    store: Option<MemoryStore>,
    /// The alerts that were taken.
    pub(super) delivered: Vec<Alert>,
    /// Some of them may be delivered once more.
    pub(super) restarted: bool,
}

impl Pair {
    pub fn new(rules: &[Rule]) -> Self {
        let (engine, clock) = engine(|builder| builder.rule_set(rule_set(rules)));
        Self::of(engine, clock, Oracle::new(START), rules)
    }

    /// An engine that knows of the past only what its counters hold: nothing is told of a closed
    /// period, and a rule that changes carries over what it can.
    pub fn without_a_record(rules: &[Rule]) -> Self {
        let (engine, clock) =
            engine(|builder| builder.recording(Recording::Off).rule_set(rule_set(rules)));
        Self::of(engine, clock, Oracle::new(START).without_a_record(), rules)
    }

    /// The same with a store, to which all rules come while it runs.
    pub fn with_a_store(rules: &[Rule]) -> Self {
        let store = MemoryStore::new();
        let durable = store.open().expect("nobody has it");
        let (engine, clock) = engine(|builder| builder.recording(Recording::Off).durable(durable));
        let mut pair = Self::of(engine, clock, Oracle::new(START).without_a_record(), &[]);
        pair.store = Some(store);
        rules.iter().for_each(|rule| pair.add(rule));
        pair
    }

    /// Ends the engine, all of whose guards are gone, and opens its store again: as it was closed,
    /// dropped, or as a crash leaves it. Without a store nothing happens.
    pub fn restart(&mut self, how: u8) {
        let Some(mut store) = self.store.take() else { return };
        match how % 3 {
            0 => self.engine.store().close().expect("it closes"),
            1 => {
                self.engine.store().flush().expect("all is committed");
                store = store.after_crash();
            }
            _ => {}
        }
        self.engine = Engine::builder().build().expect("an engine without rules");
        let durable = store.open().expect("nobody has it any more");
        let builder = Engine::builder().clock(self.clock.clone()).recording(Recording::Off);
        self.engine = builder.durable(durable).build().expect("it goes on");
        self.engine.go_straight(goes_straight());
        self.store = Some(store);
        self.restarted = true;
    }

    fn of(engine: Engine, clock: ManualClock, mut oracle: Oracle, rules: &[Rule]) -> Self {
        for rule in rules {
            oracle.add(rule.clone());
        }
        let (delivered, restarted) = (Vec::new(), false);
        Self { engine, clock, oracle, store: None, delivered, restarted }
    }

    pub fn now(&self) -> Nanos {
        self.oracle.clock()
    }

    /// Moves the clock forward, without the engine looking at it.
    pub fn advance(&mut self, length: Nanos) {
        self.clock.advance(duration(length));
        self.oracle.set_clock(self.oracle.clock() + length);
    }

    /// Sets the clock, back as well, without the engine looking at it.
    pub fn set(&mut self, instant: Nanos) {
        self.clock.set(date(instant));
        self.oracle.set_clock(instant);
    }

    pub fn track(&mut self, plain: &PlainEvent) -> Result<Answer, String> {
        let answer = answer(self.engine.track(&event(plain)));
        self.oracle.track(plain, &answer).map_err(|why| format!("track {plain:?}: {why}"))?;
        self.same_record()?;
        Ok(answer)
    }

    pub fn check(&mut self, plain: &PlainEvent) -> Result<Answer, String> {
        let answer = answer(self.engine.check(&event(plain)));
        self.oracle.check(plain, &answer).map_err(|why| format!("check {plain:?}: {why}"))?;
        self.same_record()?;
        Ok(answer)
    }

    pub fn record(&mut self, plain: &PlainEvent) -> Result<Answer, String> {
        let answer = answer(self.engine.record(&event(plain)));
        self.oracle.record(plain, &answer).map_err(|why| format!("record {plain:?}: {why}"))?;
        self.same_record()?;
        Ok(answer)
    }

    pub fn standing(&mut self, plain: &PlainEvent) -> Result<PlainStanding, String> {
        let standing = self.engine.standing(&event(plain));
        let stood =
            plain_standing(&standing.map_err(|error| format!("standing {plain:?}: {error}"))?);
        self.oracle.standing(plain, &stood).map_err(|why| format!("standing {plain:?}: {why}"))?;
        Ok(stood)
    }

    pub fn track_batch(&mut self, plain_events: &[PlainEvent]) -> Result<Vec<Answer>, String> {
        let events: Vec<Event<'_>> = plain_events.iter().map(event).collect();
        let answers: Vec<Answer> =
            self.engine.track_batch(&events).into_iter().map(answer).collect();
        if answers.len() != plain_events.len() {
            return Err(format!("{} answers to {} events", answers.len(), plain_events.len()));
        }
        for (plain, answer) in plain_events.iter().zip(&answers) {
            self.oracle.track(plain, answer).map_err(|why| format!("batch {plain:?}: {why}"))?;
        }
        self.same_record()?;
        Ok(answers)
    }

    /// Reserves, and returns the guard of what is held.
    pub fn reserve(
        &mut self,
        plain: &PlainEvent,
        hold: Hold,
    ) -> Result<(Result<PlainReserved, Fault>, Option<Reservation>), String> {
        let (answer, guard) = reserved(self.engine.reserve(&event(plain), hold));
        let lasting = nanos(hold.length());
        let judged = self.oracle.reserve(plain, lasting, &answer);
        judged.map_err(|why| format!("reserve {plain:?} {lasting}: {why}"))?;
        if let Some(guard) = &guard {
            self.status(guard.id())?;
        }
        Ok((answer, guard))
    }

    /// Reserves what is left of a measure, or at least so much.
    pub fn reserve_up_to(
        &mut self,
        plain: &PlainEvent,
        (measure, at_least): (&Measure, u64),
        hold: Hold,
    ) -> Result<(Result<PlainReserved, Fault>, Option<Reservation>), String> {
        let metric = metric(measure);
        let result = self.engine.reserve_up_to(&event(plain), &metric, at_least, hold);
        let (answer, guard) = reserved(result);
        let granted = guard.as_ref().and_then(Reservation::granted).map(Amount::to_u64_floor);
        let (lasting, wanted) = (nanos(hold.length()), (measure, at_least));
        let judged = self.oracle.reserve_up_to(plain, wanted, lasting, &answer, granted);
        judged.map_err(|why| format!("up to {at_least} of {measure:?} {plain:?}: {why}"))?;
        if let Some(guard) = &guard {
            self.status(guard.id())?;
        }
        Ok((answer, guard))
    }

    pub fn grow(&mut self, id: ReservationId, more: &PlainEvent) -> Result<Answer, String> {
        let grown = self.engine.grow(id, &event(more));
        let answer = grown.map(|seen| plain_decision(&seen)).map_err(|why| fault(&why));
        let judged = self.oracle.grow(&id.to_string(), more, &answer);
        judged.map_err(|why| format!("grow {id} by {more:?}: {why}"))?;
        self.status(id)?;
        Ok(answer)
    }

    pub fn extend(&mut self, id: ReservationId, by: Nanos) -> Result<(), String> {
        let extended = self.engine.extend(id, duration(by));
        let answer = extended.map(instant).map_err(|why| fault(&why));
        let judged = self.oracle.extend(&id.to_string(), by, &answer);
        judged.map_err(|why| format!("extend {id} by {by}: {why}"))?;
        self.status(id)
    }

    /// Commits by the id, or by the guard where one is given.
    pub fn commit(
        &mut self,
        id: ReservationId,
        guard: Option<Reservation>,
        actual: &PlainEvent,
    ) -> Result<Committed, String> {
        let result = match guard {
            Some(guard) => guard.commit(&event(actual)),
            None => self.engine.commit(id, &event(actual)),
        };
        let answer = committed(result);
        let judged = self.oracle.commit(&id.to_string(), Some(actual), &answer);
        judged.map_err(|why| format!("commit {id} with {actual:?}: {why}"))?;
        self.status(id)?;
        self.same_record()?;
        Ok(answer)
    }

    /// Releases by the id, or by the guard where one is given.
    pub fn release(&mut self, id: ReservationId, guard: Option<Reservation>) -> Result<(), String> {
        let result = match guard {
            Some(guard) => guard.release(),
            None => self.engine.release(id),
        };
        let answer = result.map(|status| plain_status(&status)).map_err(|why| fault(&why));
        let judged = self.oracle.release(&id.to_string(), &answer);
        judged.map_err(|why| format!("release {id}: {why}"))?;
        self.status(id)
    }

    /// Drops the guard: what it holds is given back, or charged.
    pub fn drop_guard(&mut self, guard: Reservation, charge_on_drop: bool) -> Result<(), String> {
        let id = guard.id();
        let name = id.to_string();
        let now = self.oracle.read_clock();
        let known = self.oracle.reservations().iter().find(|known| known.name == name);
        let known = known.expect("the guard is of a reservation").clone();
        drop(guard);
        let judged = match known.state(now) {
            State::Committed | State::Released => Ok(()),
            _ if charge_on_drop => {
                // The same commit again tells what the drop was told.
                let again = self.engine.commit(id, &event(&known.estimate));
                let answer = committed(again).map(|(seen, is_overrun)| {
                    (PlainDecision { verdict: Verdict::Admitted, ..seen }, is_overrun)
                });
                self.oracle.commit(&name, None, &answer)
            }
            _ => {
                let status = self.engine.reservation(id).as_ref().map(plain_status);
                self.oracle.release(&name, &status.ok_or(Fault::Unknown))
            }
        };
        judged.map_err(|why| format!("drop {id}: {why}"))?;
        self.status(id)?;
        self.same_record()
    }

    /// Compares how a reservation stands.
    pub fn status(&mut self, id: ReservationId) -> Result<(), String> {
        let status = self.engine.reservation(id);
        let plain = status.as_ref().map(plain_status);
        self.oracle.status(&id.to_string(), plain.as_ref())?;
        let known = self.oracle.reservations().iter().find(|known| known.name == id.to_string());
        let due = known.map(super::oracle::Reservation::completed);
        match status {
            Some(status) if !due.as_ref().is_some_and(|due| is_as(&status.estimate, due)) => {
                Err(format!("{status:?} is not of {due:?}"))
            }
            _ => Ok(()),
        }
    }

    pub fn add(&mut self, rule: &Rule) {
        add(&self.engine, rule).expect("the rule is valid");
        self.oracle.add(rule.clone());
    }

    pub fn change(&mut self, rule: &Rule) {
        let old = self.oracle.rules().find(|old| old.id == rule.id);
        let old = old.expect("the rule is there").clone();
        change(&self.engine, &old, rule).expect("the change is valid");
        self.oracle.change(rule.clone());
    }

    pub fn remove(&mut self, id: &str) {
        self.engine.rules().remove(id).expect("the rule is there");
        self.oracle.remove(id);
    }

    /// The log holds what was recorded, no more and no less.
    fn same_record(&self) -> Result<(), String> {
        let (logged, due) = (self.engine.events().len(), self.oracle.recorded().len());
        if logged == due { Ok(()) } else { Err(format!("{logged} events logged, not {due}")) }
    }
}
