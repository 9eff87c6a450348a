//! What a set of rules must keep to.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::limit::LimitProblem;
use super::measure::{Fold, Measure};
use super::meter::{Aggregation, EventFilter, Meter, MeterField, Meters};
use super::quota::MAX_VALUES;
use super::rule::{Kind, Rule};
use super::threshold::{MAX_PERCENT, MAX_THRESHOLDS, Threshold};
use super::{Algorithm, Condition, Metric, Period, Quota, Rate, RateLimit, RuleProblem};
use crate::base::amount::Amount;
use crate::event::bounds::MAX_AMOUNT;
use crate::event::{key_rule, text_rule};

/// The longest window and rolling period: 100 years of 365.25 days.
pub(crate) const MAX_LENGTH: Duration = Duration::from_secs(3_155_760_000);
/// The most combinations of the values that a filter lists: the entries of its rule in the index.
const MAX_COMBINATIONS: usize = 256;
/// The most rules that ask only what a dimension is not: a decision looks at each of them.
const MAX_UNFINDABLE: usize = 64;
/// How many texts an application may keep with a rule.
const MAX_METADATA: usize = 16;
/// The largest limit and burst, in wholes.
const MAX_LIMIT: Amount = Amount::from_millionths(1_000_000 << 62);

/// Everything that is wrong with the rules, each one alone and all together.
pub(crate) fn set_problems(rules: &[Rule], meters: &Meters) -> Vec<RuleProblem> {
    let mut problems = meter_problems(meters);
    let mut ids: HashMap<&str, String> = HashMap::new();
    let mut policies: HashMap<&str, (Kind, String)> = HashMap::new();
    let mut places: HashMap<Kind, usize> = HashMap::new();
    let mut unfindable = 0_usize;
    for rule in rules {
        let place = places.entry(rule.kind()).or_default();
        let label = label(rule.kind().as_str(), rule.name(), *place);
        *place = place.saturating_add(1);
        problems.extend(problems_of(rule, meters, &label));
        if rule.enabled() && is_found_by_nothing(rule, meters) {
            unfindable = unfindable.saturating_add(1);
            if unfindable > MAX_UNFINDABLE {
                problems.push(problem(&label, "dimensionFilters", unfindable_reason()));
            }
        }
        if let Some(id) = rule.id()
            && let Some(first) = ids.insert(id, label.clone())
        {
            problems.push(problem(&label, "id", format!("{id:?} is the id of {first} too")));
        }
        if let Some(policy) = rule.policy() {
            let (kind, first) =
                policies.entry(policy).or_insert_with(|| (rule.kind(), label.clone()));
            if *kind != rule.kind() {
                let reason = format!(
                    "{policy:?} is the policy of {first} too: a rate limit and a quota cannot \
                     compete, because one would silently switch the other off"
                );
                problems.push(problem(&label, "policy", reason));
            }
        }
    }
    problems
}

/// What a rule and its meter ask of events.
fn conditions<'r>(
    rule: &'r Rule,
    meters: &'r Meters,
) -> impl Iterator<Item = (&'r str, &'r Condition)> {
    let meter = match rule.metric() {
        Metric::Meter(id) => meters.get(id),
        _ => None,
    };
    let own = rule.filters().iter().map(|(key, condition)| (key.as_str(), condition));
    own.chain(meter.into_iter().flat_map(|meter| meter.event_filter.conditions()))
}

fn unfindable_reason() -> String {
    format!(
        "asks only what a dimension is not (`not`, `present: false`): at most {MAX_UNFINDABLE} \
         rules that are turned on may, because every decision looks at them; add a value, a prefix \
         or `present: true`"
    )
}

/// Whether nothing of a rule's filter is a value that the rule could be found by.
fn is_found_by_nothing(rule: &Rule, meters: &Meters) -> bool {
    let mut conditions = conditions(rule, meters).peekable();
    conditions.peek().is_some() && conditions.all(|(_, condition)| condition.finds_nothing())
}

/// Everything that is wrong with one rule.
fn problems_of(rule: &Rule, meters: &Meters, label: &str) -> Vec<RuleProblem> {
    let mut found = Found { label, problems: Vec::new() };
    if let Some(id) = rule.id() {
        found.text("id", id);
    }
    found.text("name", rule.name());
    found.filter(rule, meters);
    for (place, key) in rule.per().iter().enumerate() {
        found.broken("per", key, key_rule(key));
        if rule.per().iter().take(place).any(|earlier| earlier == key) {
            found.add("per", format!("{key:?} is named twice"));
        }
    }
    if let Some(policy) = rule.policy() {
        found.text("policy", policy);
    } else if rule.priority() != 0 {
        let reason = format!(
            "{} is set, but the rule has no policy: only rules of one policy compete",
            rule.priority()
        );
        found.add("priority", reason);
    }
    found.times(rule);
    if let Some(value) = rule.on_missing().value() {
        found.text("onMissing", value);
    }
    found.metadata(rule);
    found.metric(rule, meters);
    let measure = Measure::of_metric(rule.metric(), meters).unwrap_or_default();
    if let Some(LimitProblem { field, why }) = rule.problem() {
        found.add(field, why.to_string());
    }
    if let Some(limit) = rule.limit() {
        found.limit("limitValue", limit, rule, &measure);
    }
    if rule.max_keys() == Some(0) {
        found.add("maxKeys", "0 must be at least 1".to_owned());
    }
    match rule {
        Rule::RateLimit(rate_limit) => {
            found.length("window", rate_limit.window.length());
            found.rate(rate_limit, &measure);
            found.of_a_bucket(rate_limit, rule, &measure);
        }
        Rule::Quota(quota) => {
            if let Period::Rolling(length) = quota.period {
                found.length("period", length);
            }
            found.cycle(quota);
            found.first_use(quota, &measure);
            found.thresholds(quota, &measure);
            found.unique(quota, &measure);
            found.balance(quota, meters);
            if rule.is_concurrent() && quota.metric != Metric::TotalEvents {
                let reason = format!(
                    "\"{}\" must be `total_events`: a concurrent quota counts open reservations, \
                     whatever they bring",
                    quota.metric
                );
                found.add("metric", reason);
            }
        }
    }
    found.problems
}

struct Found<'l> {
    label: &'l str,
    problems: Vec<RuleProblem>,
}

impl Found<'_> {
    fn add(&mut self, field: &str, reason: String) {
        self.problems.push(problem(self.label, field, reason));
    }

    fn broken(&mut self, field: &str, value: &str, rule: Option<&str>) {
        if let Some(rule) = rule {
            self.add(field, format!("{value:?} {rule}"));
        }
    }

    fn text(&mut self, field: &str, value: &str) {
        self.broken(field, value, text_rule(value));
    }

    fn condition(&mut self, filter: &str, key: &str, condition: &Condition) {
        let field = format!("{filter}.{key}");
        self.broken(&field, key, key_rule(key));
        self.condition_alone(&field, key, condition);
    }

    fn condition_alone(&mut self, field: &str, key: &str, condition: &Condition) {
        if let Some(reason) = condition.problem() {
            self.add(field, reason);
        }
        if *condition == Condition::Absent && matches!(key, "customer_id" | "event_type") {
            self.add(field, format!("{key} is never absent: every event has one"));
        }
    }

    fn metadata(&mut self, rule: &Rule) {
        for (place, (key, text)) in rule.metadata().iter().enumerate() {
            if place == MAX_METADATA {
                let reason = format!("{key:?} is one too many: a rule has at most {MAX_METADATA}");
                self.add("metadata", reason);
                return;
            }
            let field = format!("metadata.{key}");
            self.broken(&field, key, key_rule(key));
            self.text(&field, text);
        }
    }

    fn times(&mut self, rule: &Rule) {
        let (start, end) = rule.times();
        for (field, instant) in [("startsAt", start), ("endsAt", end)] {
            // As data it has to be a date.
            if let Some(instant) = instant.filter(|it| DateTime::<Utc>::try_from(*it).is_err()) {
                let reason = format!("{instant} must be within 262000 years of the year 0");
                self.add(field, reason);
            }
        }
        if let (Some(start), Some(end)) = (start, end)
            && end <= start
        {
            self.add("endsAt", format!("{end} must be after startsAt, {start}"));
        }
    }

    /// The rule's own filter, and what comes of it with that of its meter.
    fn filter(&mut self, rule: &Rule, meters: &Meters) {
        for (key, condition) in rule.filters() {
            self.condition("dimensionFilters", key, condition);
            if *condition == Condition::Absent
                && rule.on_missing().value().is_none()
                && rule.per().contains(key)
            {
                let field = format!("dimensionFilters.{key}");
                let reason = format!("no event lacks {key:?} and is split by it: matches nothing");
                self.add(&field, reason);
            }
        }
        let alternatives = conditions(rule, meters).map(|(_, condition)| condition.alternatives());
        let combinations = alternatives.fold(1, usize::saturating_mul);
        if combinations > MAX_COMBINATIONS {
            let reason = format!(
                "the lists of values have {combinations} combinations, with those of the meter: \
                 at most {MAX_COMBINATIONS}"
            );
            self.add("dimensionFilters", reason);
        }
    }

    /// How a quota's periods are cut, which only those of the calendar are.
    fn cycle(&mut self, quota: &Quota) {
        // As many as 100 years have of them.
        let most = match quota.period {
            Period::Hour => 876_600,
            Period::Day => 36_525,
            Period::Week => 5_217,
            Period::Month => 1_200,
            Period::Year => 100,
            Period::AllTime | Period::Rolling(_) | Period::Concurrent => 0,
        };
        let by_dates = most > 0 && quota.period != Period::Hour;
        let of_dates = |value: String| {
            format!("{value} is for days, weeks, months and years, not for {}", quota.period)
        };
        if let Some(zone) = quota.time_zone.filter(|_| !by_dates) {
            self.add("timeZone", of_dates(zone.to_string()));
        }
        if let Some(anchor) = quota.anchor.filter(|_| !by_dates) {
            self.add("anchor", of_dates(anchor.to_string()));
        }
        if let Some(every) = quota.every.filter(|every| *every > most || *every == 0) {
            let period = quota.period;
            let reason = match most {
                0 => format!("{every} is for periods of the calendar, not for {period}"),
                _ => format!("{every} must be 1 to {most} for {period}: at most 100 years"),
            };
            self.add("every", reason);
        }
    }

    /// Whether a quota's periods can run from the first use.
    fn first_use(&mut self, quota: &Quota, measure: &Measure) {
        if !quota.runs_from_first_use() {
            return;
        }
        let field = "firstUse";
        if quota.fixed_seconds().is_none() {
            self.add(field, format!("is for hours, days and weeks, not for {}", quota.period));
        }
        if quota.time_zone.is_some() || quota.anchor.is_some() {
            self.add(field, "has no calendar: leave out a time zone or an anchor".to_owned());
        }
        if measure.fold() != Fold::Sum || quota.balance.is_some() {
            self.add(field, "is of sums: not of one value, different values or a balance".into());
        }
    }

    /// At which figures alerts of a quota fire.
    fn thresholds(&mut self, quota: &Quota, measure: &Measure) {
        let (field, all) = ("alertThresholds", &quota.alert_thresholds);
        if all.len() > MAX_THRESHOLDS {
            let reason = format!("{} thresholds: at most {MAX_THRESHOLDS} a rule", all.len());
            self.add(field, reason);
        }
        if !all.is_empty() && quota.period == Period::Concurrent {
            let reason = "a concurrent quota has none: it counts what is held, not what is used";
            self.add(field, reason.to_owned());
        }
        for (place, threshold) in all.iter().enumerate() {
            if all.iter().take(place).any(|earlier| earlier == threshold) {
                self.add(field, format!("{threshold} is named twice"));
            }
            let is_of_balance = quota.balance.is_some();
            let of_balance = Amount::ZERO.saturating_sub(MAX_AMOUNT)..=MAX_AMOUNT;
            let reason = match threshold {
                Threshold::Percent(_) if is_of_balance => Some(format!(
                    "{threshold} is one of a limit: a balance has none, give the amount that it \
                     falls to"
                )),
                Threshold::Amount(amount) if is_of_balance => (!of_balance.contains(amount))
                    .then(|| format!("{amount} must be {} to {MAX_AMOUNT}", of_balance.start())),
                Threshold::Percent(1..=MAX_PERCENT) if quota.limit_value.is_some() => None,
                Threshold::Percent(1..=MAX_PERCENT) => {
                    Some(format!("{threshold} is one of the limit, and the rule has none"))
                }
                Threshold::Percent(_) => Some(format!("{threshold} must be 1 to {MAX_PERCENT}")),
                Threshold::Amount(amount) if *amount <= Amount::ZERO || *amount > MAX_LIMIT => {
                    Some(format!("{amount} must be more than 0 and at most {MAX_LIMIT}"))
                }
                Threshold::Amount(amount)
                    if measure.amount_of(measure.units_of(*amount)) != *amount =>
                {
                    let metric = &quota.metric;
                    Some(format!("{amount} must be whole: {metric} counts in whole numbers"))
                }
                Threshold::Amount(_) => None,
            };
            if let Some(reason) = reason {
                self.add(field, reason);
            }
        }
    }

    /// What a quota on different values asks for, and what others do not have.
    fn unique(&mut self, quota: &Quota, measure: &Measure) {
        if measure.unique().is_none() {
            if let Some(values) = quota.max_values {
                let metric = &quota.metric;
                let reason = format!("{values} is for quotas on different values, not on {metric}");
                self.add("maxValues", reason);
            }
            return;
        }
        let most = quota.values_cap();
        if !(1..=MAX_VALUES).contains(&most) {
            self.add("maxValues", format!("{most} must be 1 to {MAX_VALUES}"));
        }
        if let Some(limit) = quota.limit_value.filter(|limit| *limit > Amount::from(most)) {
            let reason = format!("{limit} must be at most maxValues, {most}: set it higher");
            self.add("limitValue", reason);
        }
        if let Some(value) = quota.on_missing.value() {
            let reason = format!(
                "{value:?} would stand for a dimension, but a quota on different values counts \
                 those that are there: use `skip` or `refuse`"
            );
            self.add("onMissing", reason);
        }
    }

    /// What a quota must be that takes from a balance.
    fn balance(&mut self, quota: &Quota, meters: &Meters) {
        let Some(balance) = &quota.balance else {
            if let Some(opening) = quota.opening {
                let reason = format!("{opening} is set, but the rule takes from no balance");
                self.add("opening", reason);
            }
            return;
        };
        self.text("balance", balance);
        if quota.per.len() != 1 {
            let reason = format!(
                "{:?} must be one dimension: its value is the owner of the balance {balance:?}",
                quota.per
            );
            self.add("per", reason);
        }
        if let Some(limit) = quota.limit_value {
            let reason = format!("{limit} must be none: what the balance {balance:?} has is it");
            self.add("limitValue", reason);
        }
        if quota.period != Period::AllTime {
            let reason = format!("{} must be all_time: a balance has no periods", quota.period);
            self.add("period", reason);
        }
        if let Some(keys) = quota.max_keys {
            let reason = format!("{keys} is set, but a balance has accounts in place of counters");
            self.add("maxKeys", reason);
        }
        let fold = Measure::of_metric(&quota.metric, meters).map(|measure| measure.fold());
        if fold.is_some_and(|fold| fold != Fold::Sum) {
            let reason = format!("\"{}\" must be a count or a sum to be paid for", quota.metric);
            self.add("metric", reason);
        }
        let is_read = quota.problem.as_ref().is_none_or(|problem| problem.field != "opening");
        let bound = Amount::ZERO..=MAX_AMOUNT;
        if let Some(opening) = quota.opening.filter(|it| is_read && !bound.contains(it)) {
            let reason = format!("{opening} must be at least 0 and at most {}", bound.end());
            self.add("opening", reason);
        }
    }

    /// What a rule counts: a name that is well formed, a meter that is there and suits the rule.
    fn metric(&mut self, rule: &Rule, meters: &Meters) {
        let metric = rule.metric();
        if let Some(reason) = metric.problem() {
            return self.add("metric", format!("\"{metric}\" {reason}"));
        }
        let reason = match metric {
            Metric::Meter(id) => match meters.get(id) {
                Some(meter) => unsuited(rule, meter.aggregation),
                None => Some("no meter has this id"),
            },
            Metric::Unique(_) => unsuited(rule, Aggregation::Unique),
            _ => None,
        };
        if let Some(reason) = reason {
            self.add("metric", format!("\"{metric}\": {reason}"));
        }
    }

    /// What only a token bucket has.
    fn of_a_bucket(&mut self, limit: &RateLimit, rule: &Rule, measure: &Measure) {
        if let Some(burst) = limit.burst {
            self.limit("burst", burst, rule, measure);
            if limit.limit_value.is_none_or(|limit| limit == Amount::ZERO) {
                let reason =
                    format!("{burst} is set, but a rule that blocks or has no limit has none");
                self.add("burst", reason);
            }
        }
        // No debt at all is one that can be asked for.
        if let Some(most) = limit.max_debt.filter(|most| *most != Amount::ZERO) {
            self.limit("maxDebt", most, rule, measure);
        }
        if limit.algorithm == Algorithm::TokenBucket {
            return;
        }
        let options = [("burst", "burst", limit.burst), ("maxDebt", "debt", limit.max_debt)];
        for (field, what, value) in options {
            if let Some(value) = value {
                let reason = format!("{value} is set, but only a token bucket has a {what}");
                self.add(field, reason);
            }
        }
    }

    fn limit(&mut self, field: &str, value: Amount, rule: &Rule, measure: &Measure) {
        // What could not be read stands as 0.
        if rule.problem().is_some_and(|problem| problem.field == field) {
            return;
        }
        // A limit of 0 blocks. A bucket that holds nothing would do so in disguise.
        let may_be_zero = field != "burst";
        if value < Amount::ZERO || value > MAX_LIMIT || (value == Amount::ZERO && !may_be_zero) {
            let least = if may_be_zero { "at least" } else { "more than" };
            self.add(field, format!("{value} must be {least} 0 and at most {MAX_LIMIT}"));
        } else if measure.amount_of(measure.units_of(value)) != value {
            let metric = rule.metric();
            self.add(field, format!("{value} must be whole: {metric} counts in whole numbers"));
        }
    }

    /// A token bucket counts parts of a unit: a rate that is no exact fraction of numbers that it
    /// has room for is none that it can count by.
    fn rate(&mut self, rule: &RateLimit, measure: &Measure) {
        let Some(limit) = rule.limit_value else { return };
        let units = |limit: Amount| measure.units_of(limit);
        let capacity = rule.burst.unwrap_or(limit);
        let length = rule.window.length();
        let window = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let is_bound = |amount: Amount| (Amount::ZERO..=MAX_LIMIT).contains(&amount);
        let is_bucket = rule.algorithm == Algorithm::TokenBucket;
        let is_bucket = is_bucket && is_bound(limit) && is_bound(capacity);
        if is_bucket && Rate::new(units(limit), window, units(capacity)).is_none() {
            let reason = format!(
                "{limit} each {length:?} with a burst of {capacity} is too large a fraction for a \
                 token bucket: use a lower limit, a window of whole milliseconds or another \
                 algorithm"
            );
            self.add("limitValue", reason);
        }
    }

    fn length(&mut self, field: &str, length: Duration) {
        if length.is_zero() || length > MAX_LENGTH {
            let reason = format!("{length:?} must be at least 1ns and at most 100 years");
            self.add(field, reason);
        }
    }
}

fn problem(label: &str, field: &str, reason: String) -> RuleProblem {
    RuleProblem { rule: label.to_owned(), field: field.to_owned(), reason }
}

/// Why a rule cannot count a meter of this aggregation, if it cannot.
fn unsuited(rule: &Rule, aggregation: Aggregation) -> Option<&'static str> {
    let drains = match rule {
        Rule::RateLimit(_) => true,
        Rule::Quota(quota) => matches!(quota.period, Period::Rolling(_)),
    };
    match aggregation {
        Aggregation::Max | Aggregation::Latest if drains => Some(
            "a `max` or `latest` is not used up and does not drain: only quotas by the calendar \
             or for all time count one",
        ),
        Aggregation::Min => Some("an event can only lower a `min`, so no limit would refuse it"),
        Aggregation::Avg | Aggregation::TimeAvg => {
            Some("an average is used up by no event: the next may lower it again")
        }
        Aggregation::Percentile(_) => Some("a percentile is used up by no event"),
        Aggregation::Unique if drains => Some(
            "different values are not used up and do not drain: only quotas by the calendar or \
             for all time count them",
        ),
        _ => None,
    }
}

/// Everything that is wrong with the meters, each one alone and all together.
fn meter_problems(meters: &Meters) -> Vec<RuleProblem> {
    let mut problems = Vec::new();
    let mut ids: HashMap<&str, String> = HashMap::new();
    for (place, meter) in meters.list().iter().enumerate() {
        let label = label("meter", &meter.name, place);
        let mut found = Found { label: &label, problems: Vec::new() };
        found.text("name", &meter.name);
        found.meter_field(meter);
        found.event_filter(&meter.event_filter);
        if let Some(id) = &meter.id {
            found.broken("id", id, key_rule(id));
            if let Some(first) = ids.insert(id, label.clone()) {
                found.add("id", format!("{id:?} is the id of {first} too"));
            }
        }
        problems.extend(found.problems);
    }
    problems
}

impl Found<'_> {
    fn meter_field(&mut self, meter: &Meter) {
        let Meter { aggregation, field, .. } = meter;
        let (wanted, suits) = match aggregation {
            Aggregation::Count => ("`*`, because it counts events", field == &MeterField::Events),
            Aggregation::Unique => {
                ("`dimensions.` with a key", matches!(field, MeterField::Dimension(_)))
            }
            _ => ("`values.` with a name", matches!(field, MeterField::Value(_))),
        };
        if !suits {
            self.add("field", format!("\"{field}\" of a {aggregation} must be {wanted}"));
        }
        if let MeterField::Value(name) | MeterField::Dimension(name) = field {
            self.broken("field", name, key_rule(name));
        }
    }

    fn event_filter(&mut self, filter: &EventFilter) {
        if let Some(condition) = &filter.event_type {
            self.condition_alone("eventFilter.eventType", "event_type", condition);
        }
        for (key, condition) in &filter.dimensions {
            self.condition("eventFilter.dimensions", key, condition);
        }
        if filter.event_type.is_some() && filter.dimensions.contains_key("event_type") {
            let reason = "stands beside eventType: give one of them".to_owned();
            self.add("eventFilter.dimensions.event_type", reason);
        }
    }
}

/// How messages call a rule.
pub(crate) fn rule_label(rule: &Rule) -> String {
    format!("{} {:?}", rule.kind().as_str(), rule.name())
}

/// How messages call a rule or a meter: by its name, or by its place among those of its kind where
/// it has none.
fn label(kind: &str, name: &str, place: usize) -> String {
    if name.is_empty() {
        format!("{kind} #{}", place.saturating_add(1))
    } else {
        format!("{kind} {name:?}")
    }
}
