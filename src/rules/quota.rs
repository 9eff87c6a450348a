//! A long-period rule.

use std::num::NonZeroU32;
use std::ops::Range;

use chrono::NaiveDate;

use super::fields::{rule, rule_setters, yes};
use super::limit::read_limit;
use super::period::Shape;
use super::{Enforcement, Metric, Period, Threshold};
use crate::base::amount::{Amount, IntoAmount};
use crate::base::calendar::{Calendar, Cycle, TimeZone, Unit};
use crate::base::clock::Timestamp;

/// How many different values of a key are told apart.
const DEFAULT_MAX_VALUES: u32 = 100_000;
/// The most that a quota may ask for.
pub(super) const MAX_VALUES: u32 = 10_000_000;

rule! {
    /// A long-period rule: at most `limit` of a metric a period.
    ///
    /// ```
    /// use limitry::{Metric, Period, Quota};
    ///
    /// let rule = Quota::new("Team budget", Metric::TotalCostCents, 50_000, Period::Month)
    ///     .filter("team_id", "team_eng");
    /// assert_eq!(rule.worst_case(), Some(100_000.into())); // across the turn of a month
    /// ```
    ///
    /// It refuses an event that raises the figure above the limit. The figure after the event is
    /// used and amount together; of a `max` meter the higher of the two; of a `latest` meter the
    /// amount, or the figure as it is where the event is older than the one that the figure is of.
    /// An event that lacks the value leaves the figure as it is. One that leaves or lowers it is
    /// never refused: over a limit that was lowered, a gauge may go down and not up.
    ///
    /// With recording on, the figure of a quota is always that of its meter over the period: also
    /// of a quota that is added, or that starts to count something else, while the period is under
    /// way, and of a calendar period that has long ended. A rolling period ends now, and what is
    /// dated ahead is in it. The figure differs
    ///
    /// - for a shadow quota, which takes only what fits while it judges: the counter leaves out
    ///   events that are recorded;
    /// - for keys that share a counter because there was no room for theirs;
    /// - for a rolling period with more than 62 instants of use, of which some leave late (see
    ///   [`Period::rolling`]), and for what was recorded before the quota came into being or the
    ///   engine was started again: that leaves in pieces of a sixtieth of the period;
    /// - where retention has taken events of the period: a quota that changes then carries its use
    ///   over as [`QuotaUpdate`](crate::rules::QuotaUpdate) says, as it does where recording is
    ///   off.
    Quota {
        before limit {
            /// What it counts.
            metric,
        }
        /// The period that the limit is for.
        period: Period,
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        enabled,
        after enabled {}
        optional {
            /// By which zone's midnights the periods of the calendar begin; UTC where it is not
            /// given.
            #[serde(alias = "time_zone", alias = "timezone")]
            time_zone: TimeZone,
            /// A date on which a period begins, and from which the others run.
            anchor: NaiveDate,
            /// How many hours, days, weeks, months or years a period of the calendar has; one where
            /// it is not given.
            every: u32,
            /// Whether periods run from the first use of a key, in place of the calendar's.
            #[serde(alias = "first_use")]
            first_use: bool,
            /// How many different values of a key are told apart, of a quota on them; 100 000 where
            /// it is not given.
            #[serde(alias = "max_values")]
            max_values: u32,
            /// The name of the balance that it takes what it counts from, in place of a limit.
            balance: String,
            /// What an owner of that balance begins with who has none; such an owner is refused
            /// where it is not given.
            opening: Amount,
        }
        options {
            /// At which figures an alert fires.
            #[serde(
                alias = "alert_thresholds",
                deserialize_with = "crate::rules::threshold::listed"
            )]
            alert_thresholds: Vec<Threshold>,
        }
    }

    /// A change of a quota; what is not set stays.
    ///
    /// A new limit goes on with the use that there is. With another metric, filter, partition or
    /// period, and when it is turned on, a quota starts from what the recorded events
    /// have used of it.
    ///
    /// Where nothing is recorded, or not all of the period, the use of the rule's counters carries
    /// over. With another period what is used of the current one counts in the new one as one lump;
    /// with another metric or partition there is nothing to carry, and counters start afresh.
    QuotaUpdate
}

impl Quota {
    /// Makes a rule that admits `limit` of `metric` a period, shared by all.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        metric: Metric,
        limit: impl IntoAmount,
        period: Period,
    ) -> Self {
        Self::with_limit(name, metric, limit, period)
    }

    /// Makes a rule without a limit: it counts and never refuses, as a plan's exception does under
    /// a policy.
    #[must_use]
    pub fn unlimited(name: impl Into<String>, metric: Metric, period: Period) -> Self {
        Self { limit_value: None, ..Self::new(name, metric, 0, period) }
    }

    /// Makes a rule that lets `limit` reservations be open at once, shared by all: a
    /// [reservation](crate::Engine::reserve) takes a slot whatever it brings, and gives it back
    /// when it is committed, released or expires.
    ///
    /// Any other call takes none and is told whether one is free: where none is, `track` and
    /// `check` refuse the event. `record` asks nobody.
    ///
    /// ```
    /// use limitry::{Engine, Event, Hold, Quota, Reserved};
    /// use std::time::Duration;
    ///
    /// let at_once = Quota::concurrent("At once", 1).per("customer_id");
    /// let engine = Engine::builder().quota(at_once).build()?;
    /// let (call, hold) = (Event::new("cust_123", "call"), Hold::lasting(Duration::from_secs(60)));
    /// let Reserved::Held(first) = engine.reserve(&call, hold)? else { panic!("one is free") };
    /// assert!(matches!(engine.reserve(&call, hold)?, Reserved::Refused(_)));
    /// first.release()?;
    /// assert!(matches!(engine.reserve(&call, hold)?, Reserved::Held(_)));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    #[must_use]
    pub fn concurrent(name: impl Into<String>, limit: impl IntoAmount) -> Self {
        Self::with_limit(name, Metric::TotalEvents, limit, Period::Concurrent)
    }

    /// Makes a rule that takes what it counts from the prepaid [balance](crate::balances) of a
    /// name: credits. Split it by one dimension, whose value is the owner of the balance:
    /// `per("customer_id")`.
    ///
    /// An event takes all of what it counts, with what it takes of every other rule, or nothing; a
    /// [reservation](crate::Engine::reserve) holds it. It is refused where less is available, and
    /// for [`Never`](crate::RetryAfter::Never), unless holds that expire give back enough. An owner
    /// without a balance is refused so, but where the rule has an [`opening`](Self::opening)
    /// amount. Rules that name the same balance take from the same: each must fit beside those
    /// before it, of which those come last that refuse nobody, and an owner without one begins with
    /// what the first of them states.
    ///
    /// In a status `used` is what was taken, `remaining` what is available, and the limit both
    /// together. Where another rule of its policy judges, or out of its times, it takes nothing. A
    /// soft rule takes what there is and more, as `record` does: that is owed, and the next credit
    /// pays it.
    ///
    /// ```
    /// use limitry::balances::NewBalance;
    /// use limitry::{Engine, Event, Metric, Quota};
    ///
    /// let credits = Quota::balance("credits", Metric::TotalTokens).per("customer_id");
    /// let engine = Engine::builder().quota(credits).build()?;
    /// engine.balances().create(&NewBalance::new("cust_123", "credits").initial(1_000))?;
    /// let call = Event::new("cust_123", "model_call").input_tokens(600);
    /// assert!(engine.track(&call)?.is_allowed());
    /// assert!(!engine.track(&call)?.is_allowed()); // 400 are left
    /// # Ok::<(), limitry::Error>(())
    /// ```
    #[must_use]
    pub fn balance(balance: impl Into<String>, metric: Metric) -> Self {
        let balance = balance.into();
        let quota = Self::unlimited(balance.clone(), metric, Period::AllTime);
        Self { balance: Some(balance), ..quota }
    }

    /// Lets an owner without a balance begin with so much: the first event that takes something
    /// opens one, as a credit that does not expire.
    #[must_use]
    pub fn opening(mut self, amount: impl IntoAmount) -> Self {
        self.opening = Some(read_limit("opening", amount, &mut self.problem));
        self
    }

    rule_setters!();

    /// Begins days, weeks, months and years at midnight by the wall clock of a zone; UTC without
    /// it. Where clocks change a day has 23 or 25 hours, and one whose midnight they jump over
    /// begins where they land. Hours are those of UTC in every zone.
    ///
    /// ```
    /// use limitry::time::Tz;
    /// use limitry::{Metric, Period, Quota};
    ///
    /// let a_day = Quota::new("Calls a day", Metric::TotalEvents, 1_000, Period::Day);
    /// let a_day = a_day.time_zone(Tz::America__New_York);
    /// assert_eq!(a_day.time_zone, "America/New_York".parse().ok());
    /// ```
    #[must_use]
    pub fn time_zone(mut self, zone: impl Into<TimeZone>) -> Self {
        self.time_zone = Some(zone.into());
        self
    }

    /// Runs periods from a date, at midnight in the [time zone](Self::time_zone): weeks begin on
    /// its weekday, months on its day, years on its day and month, several days or more on it and
    /// each so many later. A month that is shorter begins on its last day, and the next one on
    /// the anchor's day again: from 31 January on 29 February, 31 March, 30 April.
    ///
    /// Without it weeks begin on Monday, months on the 1st and years on 1 January.
    #[must_use]
    pub fn anchor(mut self, date: NaiveDate) -> Self {
        self.anchor = Some(date);
        self
    }

    /// Makes a period of several hours, days, weeks, months or years: three months are a quarter.
    /// They are counted from the [anchor](Self::anchor); without one from the calendar's own
    /// origins, so that quarters begin in January, April, July and October, six hours at 0, 6, 12
    /// and 18 o'clock in UTC, several days with 1970-01-01 and several weeks with Monday
    /// 1970-01-05. Hours have no anchor. At most 100 years.
    ///
    /// ```
    /// use limitry::{Metric, Period, Quota};
    ///
    /// let cents = Quota::new("Cents a quarter", Metric::TotalCostCents, 50_000, Period::Month);
    /// let cents = cents.every(3).per("customer_id");
    /// assert_eq!(cents.every, Some(3));
    /// ```
    #[must_use]
    pub fn every(mut self, periods: u32) -> Self {
        self.every = Some(periods);
        self
    }

    /// Runs the periods of each key from its first use: a trial of 14 days from the first call on.
    /// The first period begins with the first event, or reservation, of the key that is let in and
    /// counts something, in its second, and never moves; each is followed by the next one, whether
    /// something is used of it or not. Hours, days of 24 hours and weeks, or
    /// [several](Self::every) of them.
    ///
    /// Such a quota goes by the engine's clock, as rate limits do: an event that is dated ahead
    /// counts now, and one that is dated before the period, or recorded before the quota was there,
    /// counts in usage alone. A first event with a timestamp of its own begins the period there. A
    /// rule that is changed to another length begins its periods anew with the change, with what
    /// was used as one lump. A key that has begun keeps its counter for good, so that
    /// [`max_keys`](crate::EngineBuilder::max_keys) bounds how many can.
    ///
    /// ```
    /// use limitry::{Metric, Period, Quota};
    ///
    /// let trial = Quota::new("Trial", Metric::TotalEvents, 100, Period::Day);
    /// let trial = trial.every(14).first_use().per("customer_id");
    /// assert_eq!(trial.first_use, Some(true));
    /// ```
    #[must_use]
    pub fn first_use(mut self) -> Self {
        self.first_use = Some(true);
        self
    }

    pub(crate) fn runs_from_first_use(&self) -> bool {
        self.first_use == Some(true)
    }

    /// How long its periods are, where all are equally long.
    pub(crate) fn fixed_seconds(&self) -> Option<u64> {
        let unit: u64 = match self.period {
            Period::Hour => 3_600,
            Period::Day => 86_400,
            Period::Week => 604_800,
            _ => return None,
        };
        Some(unit.saturating_mul(self.every.unwrap_or(1).into()))
    }

    /// Lets an alert fire when the use of a key reaches this; call it again for another threshold,
    /// 16 at the most. What fired is taken from [`Engine::alerts`](crate::Engine::alerts).
    ///
    /// Each threshold fires once for a key and a period, in ascending order where one event reaches
    /// several. It counts what events have used, not what reservations hold. A use that falls and
    /// rises again fires no more; the next period starts anew. One that is set below what is used
    /// fires with the next use, and so does one that an [adjustment](crate::handles::Rules::adjust)
    /// reaches. A rolling period has no next one: there a threshold may fire again
    /// once the length of the period has passed since it did, to the second.
    ///
    /// Only events that fall in the period of now are looked at, and only while the rule judges:
    /// one in [shadow](Enforcement::Shadow) fires none, and of a policy only the rule that decided.
    /// A percentage is one of the limit as it is then, and stays the same threshold when the limit
    /// changes.
    ///
    /// **Of a balance** a threshold is an amount that it falls to, which may be 0 or less:
    /// [`BalanceLow`](crate::alerts::AlertKind::BalanceLow) fires with the event after which what
    /// the ledger sums up to is at or below it, whatever is held; of several the highest first. It
    /// fires again once a credit (a call that credits, not an event that gives back) has left the
    /// balance above it and an event finds it there or below again. What a call debits, and a grant
    /// that expires, is seen with the next event. Which credits there were is asked of the kept
    /// ledger, the newest 256 entries: a credit with more entries behind it, of which none is of
    /// this rule, is not seen.
    ///
    /// A key for which something has fired takes some 200 bytes more until the period is over, and
    /// 64 for each further threshold; one for which nothing has takes none. An engine whose rules
    /// have no thresholds pays nothing.
    ///
    /// To watch a meter without a limit give an [unlimited](Self::unlimited) quota an amount.
    ///
    /// ```
    /// use limitry::rules::Threshold;
    /// use limitry::{Engine, Event, Metric, Period, Quota};
    ///
    /// let tokens = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Month)
    ///     .per("customer_id")
    ///     .alert_at(Threshold::percent(80))
    ///     .alert_at(Threshold::percent(100));
    /// let engine = Engine::builder().quota(tokens).build()?;
    /// let call = Event::new("cust_123", "model_call").total_tokens(820);
    /// assert!(engine.track(&call)?.is_allowed());
    /// let fired = engine.alerts().poll().expect("82 % are used");
    /// assert_eq!(fired.threshold, Threshold::percent(80));
    /// assert_eq!((fired.used, fired.percentage), (820.into(), Some(82)));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    #[must_use]
    pub fn alert_at(mut self, threshold: Threshold) -> Self {
        self.alert_thresholds.push(threshold);
        self
    }

    /// Sets how many different values of one key a quota on them ([`Metric::unique`]) tells apart
    /// in a period: 100 000 without it, and at most 10 000 000. The limit is not above that.
    ///
    /// Each value of each key takes what a key with one rule takes, about 160 bytes where both are
    /// short, from its first event in a period on, until the period is over and upkeep has come
    /// by; for all time where that is the period. It is one of the engine's keys, too, of which
    /// [`max_keys`](crate::EngineBuilder::max_keys) bounds the number. Values are compared as what
    /// they are, and so the figure is exact. At the cap, and where the engine has no room for
    /// another key, it stays where it is: what `record` brings, or a rule that is soft or has no
    /// limit lets in, counts no more of those values that are new, and `used` is then the least
    /// that there are.
    ///
    /// An event whose value has had its event in the period costs nothing, and is let in whatever
    /// the limit is. A reservation holds 1 for a value that has had none yet, and so do several of
    /// the same value at the same time: all but one give it back when they are committed. What the
    /// event lacks is no value.
    ///
    /// With recording on a quota that is added, or that starts to count another dimension, knows
    /// the values of the recorded events: each is looked for at its first event. It costs little
    /// where the dimension is [declared](crate::usage::RollupOptions::dimension); else the kept
    /// events are gone through, with the locks of the decision held.
    ///
    /// ```
    /// use limitry::{Engine, Event, Metric, Period, Quota};
    ///
    /// let users = Quota::new("Users a month", Metric::unique("user_id"), 2, Period::Month);
    /// let engine = Engine::builder().quota(users.per("customer_id")).build()?;
    /// let call = |user: &'static str| Event::new("cust_123", "call").property("user_id", user);
    /// assert!(engine.track(&call("ann"))?.is_allowed());
    /// assert!(engine.track(&call("bob"))?.is_allowed());
    /// assert!(engine.track(&call("ann"))?.is_allowed()); // she is counted
    /// assert!(!engine.track(&call("cid"))?.is_allowed()); // a third
    /// # Ok::<(), limitry::Error>(())
    /// ```
    #[must_use]
    pub fn max_values(mut self, values: u32) -> Self {
        self.max_values = Some(values);
        self
    }

    /// How many values of a key are told apart.
    pub(crate) fn values_cap(&self) -> u32 {
        self.max_values.unwrap_or(DEFAULT_MAX_VALUES)
    }

    /// The rule that counts the events of each key and value of a dimension, of a quota on those
    /// values: over the same events, in the same periods.
    pub(crate) fn of_marks(&self, dimension: &str) -> Self {
        let mut marks = Self::unlimited(&*self.name, Metric::TotalEvents, self.period);
        marks.per.clone_from(&self.per);
        marks.per.push(dimension.to_owned());
        marks.dimension_filters.clone_from(&self.dimension_filters);
        marks.id.clone_from(&self.id);
        marks.enabled = self.enabled;
        (marks.time_zone, marks.anchor, marks.every) = (self.time_zone, self.anchor, self.every);
        marks
    }

    /// Returns the period that an instant lies in, from its start to before its end, by the zone
    /// of the quota, or else by this one; `None` where periods are not those of the calendar.
    ///
    /// What a customer says of [its own](crate::Customer) periods has no part in it.
    ///
    /// ```
    /// use limitry::time::Tz;
    /// use limitry::{Metric, Period, Quota, Timestamp};
    ///
    /// let a_day = Quota::new("Calls a day", Metric::TotalEvents, 1_000, Period::Day);
    /// let noon: Timestamp = "2024-01-15T12:00:00Z".parse()?;
    /// let day = a_day.period_at(noon, Tz::America__New_York).ok_or("a day has an end")?;
    /// assert_eq!(day.start.to_string(), "2024-01-15T05:00:00Z");
    /// assert_eq!(day.end.to_string(), "2024-01-16T05:00:00Z");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn period_at(
        &self,
        instant: Timestamp,
        zone: impl Into<TimeZone>,
    ) -> Option<Range<Timestamp>> {
        let Shape::Calendar(unit) = self.period.shape() else { return None };
        if self.runs_from_first_use() {
            return None;
        }
        let calendar = Calendar::UTC.in_zone(zone.into().into());
        let bounds = self.cycle(unit).period_of(calendar, instant.unix_seconds());
        Some(Timestamp::new(bounds.start, 0)..Timestamp::new(bounds.end?, 0))
    }

    /// How its periods are cut, where they are those of the calendar.
    pub(crate) fn cycle(&self, unit: Unit) -> Cycle {
        Cycle {
            unit,
            every: self.every.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
            zone: self.time_zone.map(Into::into),
            anchor: self.anchor,
        }
    }

    /// Returns the most that one counter can admit in any span as long as the period: twice the
    /// limit across an edge of calendar periods, the limit for a rolling period and for all
    /// time; `None` where it refuses nobody (soft, shadow, without a limit).
    #[must_use]
    pub fn worst_case(&self) -> Option<Amount> {
        if self.enforcement != Enforcement::Hard {
            return None;
        }
        let limit = self.limit_value?;
        Some(match self.period {
            Period::Rolling(_) | Period::AllTime | Period::Concurrent => limit,
            _ => limit.saturating_add(limit),
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}
