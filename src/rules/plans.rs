//! The plans that applications sell, as rules.

use super::{Metric, Period, Quota, RateLimit, RuleSet, Threshold, Window};
use crate::base::amount::Amount;

/// The property of an event by which [`Plan::members`] knows who has a plan.
const PLAN: &str = "plan";
const CUSTOMER: &str = "customer_id";

/// A plan: what each customer may do, in the five figures that most are made of.
///
/// [`free`](Self::free), [`pro`](Self::pro) and [`enterprise`](Self::enterprise) are a start: their
/// figures are nobody's but meant to be changed, here by setters or later in the rules. A plan
/// becomes rules, which are added to a [`RuleSet`]: of all customers that nothing else is said
/// of ([`everybody`](Self::everybody)), of those whose events have the plan's name as the property
/// `plan` ([`members`](Self::members)), or of one customer ([`customer`](Self::customer)). A figure
/// is a [policy](Quota::policy) of its own, so that of each the customer's own rule judges before
/// that of the plan, and that before everybody's, whichever was added first; and what a customer
/// has used goes with it from plan to plan.
///
/// | figure | rule | policy |
/// |---|---|---|
/// | requests a minute | rate limit of events | `requests a minute` |
/// | tokens a minute | rate limit of `total_tokens` | `tokens a minute` |
/// | tokens a day | quota of `total_tokens`, a calendar's day | `tokens a day` |
/// | cents a month | quota of `total_cost_cents`, alerts at 50, 80, 100 % | `cents a month` |
/// | at once | concurrent quota, which [reservations](crate::Engine::reserve) take | `at once` |
///
/// ```
/// use limitry::presets::Plan;
/// use limitry::{Engine, Event, RuleSet};
///
/// let mut rules = RuleSet::new();
/// rules.extend(Plan::free().everybody());
/// rules.extend(Plan::pro().tokens_a_day(2_000_000).members());
/// rules.extend(Plan::new("cust_7").requests_a_minute(1_200).customer("cust_7"));
/// println!("{}", toml::to_string(&rules)?); // to be edited, and read again
///
/// let engine = Engine::builder().rule_set(rules).build()?;
/// let decision = engine.track(&Event::new("cust_7", "model_call").property("plan", "pro"))?;
/// let rates: Vec<_> = decision.rate_limits().map(|it| it.name).collect();
/// assert_eq!(rates, ["pro: tokens a minute", "cust_7: requests a minute"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// What its rules are called by, and the value of `plan`.
    pub name: String,
    /// The most requests a minute.
    pub requests_a_minute: Option<u64>,
    /// The most tokens a minute.
    pub tokens_a_minute: Option<u64>,
    /// The most tokens a day.
    pub tokens_a_day: Option<u64>,
    /// The budget of a month, in cents.
    pub cents_a_month: Option<Amount>,
    /// The most reservations that are open at once.
    pub at_once: Option<u64>,
}

/// Who a plan's rules are of.
#[derive(Clone, Copy)]
enum Of<'a> {
    Everybody,
    Members,
    Customer(&'a str),
}

impl Plan {
    /// Makes a plan without figures.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            requests_a_minute: None,
            tokens_a_minute: None,
            tokens_a_day: None,
            cents_a_month: None,
            at_once: None,
        }
    }

    /// To try it out: 10 requests and 20 000 tokens a minute, 100 000 tokens a day, a dollar a
    /// month, one at once.
    #[must_use]
    pub fn free() -> Self {
        let plan = Self::new("free").requests_a_minute(10).tokens_a_minute(20_000);
        plan.tokens_a_day(100_000).cents_a_month(100).at_once(1)
    }

    /// To work with: 300 requests and 500 000 tokens a minute, 10 million tokens a day, a hundred
    /// dollars a month, 10 at once.
    #[must_use]
    pub fn pro() -> Self {
        let plan = Self::new("pro").requests_a_minute(300).tokens_a_minute(500_000);
        plan.tokens_a_day(10_000_000).cents_a_month(10_000).at_once(10)
    }

    /// For a company: 5 000 requests and 5 million tokens a minute, 500 million tokens a day, ten
    /// thousand dollars a month, 200 at once.
    #[must_use]
    pub fn enterprise() -> Self {
        let plan = Self::new("enterprise").requests_a_minute(5_000).tokens_a_minute(5_000_000);
        plan.tokens_a_day(500_000_000).cents_a_month(1_000_000).at_once(200)
    }

    /// Sets the most requests a minute.
    #[must_use]
    pub fn requests_a_minute(mut self, most: u64) -> Self {
        self.requests_a_minute = Some(most);
        self
    }

    /// Sets the most tokens a minute.
    #[must_use]
    pub fn tokens_a_minute(mut self, most: u64) -> Self {
        self.tokens_a_minute = Some(most);
        self
    }

    /// Sets the most tokens a day.
    #[must_use]
    pub fn tokens_a_day(mut self, most: u64) -> Self {
        self.tokens_a_day = Some(most);
        self
    }

    /// Sets the budget of a month, in cents.
    #[must_use]
    pub fn cents_a_month(mut self, most: impl Into<Amount>) -> Self {
        self.cents_a_month = Some(most.into());
        self
    }

    /// Sets the most reservations that are open at once.
    #[must_use]
    pub fn at_once(mut self, most: u64) -> Self {
        self.at_once = Some(most);
        self
    }

    /// The rules of each customer that nothing else is said of. A figure that is not set has none.
    #[must_use]
    pub fn everybody(&self) -> RuleSet {
        self.rules(Of::Everybody)
    }

    /// The rules of each customer whose events have the plan's name as their property `plan`. A
    /// figure that is not set has a rule without a limit, so that everybody's does not hold: such a
    /// rule is printed as JSON, while TOML has no null to print it by.
    #[must_use]
    pub fn members(&self) -> RuleSet {
        self.rules(Of::Members)
    }

    /// The rules of one customer, whatever plan its events name. A figure that is not set has none:
    /// that of the plan holds.
    #[must_use]
    pub fn customer(&self, customer_id: &str) -> RuleSet {
        self.rules(Of::Customer(customer_id))
    }

    fn rules(&self, of: Of<'_>) -> RuleSet {
        let who = match of {
            Of::Everybody => None,
            Of::Members => Some((PLAN, self.name.as_str())),
            Of::Customer(customer) => Some((CUSTOMER, customer)),
        };
        let is_said = |most: Option<Amount>| most.is_some() || matches!(of, Of::Members);
        let mut rules = RuleSet::new();
        for (figure, metric, most) in [
            ("requests a minute", Metric::TotalEvents, self.requests_a_minute),
            ("tokens a minute", Metric::TotalTokens, self.tokens_a_minute),
        ] {
            let rule = RateLimit::unlimited(self.name_of(figure), Window::Minute);
            let mut rule = rule.metric(metric).per(CUSTOMER).policy(figure);
            rule.limit_value = most.map(Into::into);
            rule = who.into_iter().fold(rule, |rule, (dimension, is)| rule.filter(dimension, is));
            rules.rate_limits.extend(is_said(rule.limit_value).then_some(rule));
        }
        for (figure, metric, period, most) in [
            ("tokens a day", Metric::TotalTokens, Period::Day, self.tokens_a_day.map(Into::into)),
            ("cents a month", Metric::TotalCostCents, Period::Month, self.cents_a_month),
            ("at once", Metric::TotalEvents, Period::Concurrent, self.at_once.map(Into::into)),
        ] {
            let rule = Quota::unlimited(self.name_of(figure), metric, period);
            let mut rule = rule.per(CUSTOMER).policy(figure);
            rule.limit_value = most;
            if most.is_some() && rule.metric == Metric::TotalCostCents {
                let alerts = [50, 80, 100].map(Threshold::percent);
                rule = alerts.into_iter().fold(rule, Quota::alert_at);
            }
            rule = who.into_iter().fold(rule, |rule, (dimension, is)| rule.filter(dimension, is));
            rules.quotas.extend(is_said(most).then_some(rule));
        }
        rules
    }

    fn name_of(&self, figure: &str) -> String {
        format!("{}: {figure}", self.name)
    }
}

/// The three plans as they are: [`free`](Plan::free) for everybody, [`pro`](Plan::pro) and
/// [`enterprise`](Plan::enterprise) for those whose events say so.
///
/// ```
/// let rules = limitry::presets::plans();
/// rules.validate()?;
/// let text = serde_json::to_string_pretty(&rules).expect("rules are data");
/// assert!(text.contains("\"pro: tokens a day\""));
/// # Ok::<(), limitry::rules::RuleSetError>(())
/// ```
#[must_use]
pub fn plans() -> RuleSet {
    let mut rules = Plan::free().everybody();
    rules.extend(Plan::pro().members());
    rules.extend(Plan::enterprise().members());
    rules
}
