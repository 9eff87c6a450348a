//! The limit that would have refused no more than a share.

use serde::Serialize;

use super::traffic::{Opened, Traffic};
use super::{SimulateError, Simulation, SimulationReport};
use crate::base::amount::{Amount, AmountError, IntoAmount};
use crate::engine::{Core, Engine};
use crate::rules::{Rule, RuleProblem, RuleSet, RuleSetError, Units, rule_label};

/// The whole, in millionths of a percent.
const WHOLE: i128 = 100_000_000;

/// The largest limit that is tried: a bucket counts exactly by any up to this.
const MOST: i128 = 1_000_000_000_000_000;

/// The share of what may be refused at the most, in percent: of calls, or of customers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    percent: Result<Amount, AmountError>,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Calls,
    Customers,
}

impl Share {
    /// So many percent of the calls that the rule judges: `1`, or `"0.5"`.
    #[must_use]
    pub fn of_calls(percent: impl IntoAmount) -> Self {
        Self { percent: percent.into_amount(), of: Of::Calls }
    }

    /// So many percent of the customers of which the rule judges a call may be refused one or
    /// more.
    #[must_use]
    pub fn of_customers(percent: impl IntoAmount) -> Self {
        Self { percent: percent.into_amount(), of: Of::Customers }
    }

    fn checked(self) -> Result<Most, SimulateError> {
        let bad = |share: String| SimulateError::Share { share: share.into() };
        let percent = self.percent.map_err(|why| bad(why.to_string()))?;
        let (share, of) = (percent.millionths(), self.of);
        let is_share = (0..=WHOLE).contains(&share);
        is_share.then_some(Most { share, of }).ok_or_else(|| bad(percent.to_string()))
    }
}

/// The most that may be refused, in millionths of a percent.
#[derive(Clone, Copy)]
struct Most {
    share: i128,
    of: Of,
}

impl Most {
    /// Whether a report refuses no more.
    fn holds(self, report: &SimulationReport) -> bool {
        let (refused, all) = match self.of {
            Of::Calls => {
                let rule = report.rules.first();
                rule.map_or((0, 0), |rule| (rule.exceeded, rule.calls))
            }
            Of::Customers => (report.refused_customers, report.customers),
        };
        i128::from(refused).saturating_mul(WHOLE) <= i128::from(all).saturating_mul(self.share)
    }
}

/// A limit, and what it would have done: the answer of [`Engine::suggest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Suggestion {
    /// The limit, in wholes; `None` where none refuses so few.
    pub limit: Option<Amount>,
    /// What the rule does with this limit, or with the largest that was tried.
    pub report: SimulationReport,
}

impl Engine {
    /// Proposes the limit of a rule that would have refused no more than a share of the calls, or
    /// of the customers, that are recorded.
    ///
    /// The rule stands alone, hard, without its policy and turned on, whatever it says itself of
    /// these and of its limit. A limit is a whole number, of 10^15 at the most. It is found by
    /// trying: what is proposed refuses no more than the share, and the limit of one less refuses
    /// more. Where refusing a large call makes room for several small ones a limit that is lower
    /// still may refuse no more than the share, too.
    ///
    /// ```
    /// use limitry::simulation::Share;
    /// use limitry::{Engine, Event, Metric, Period, Quota};
    ///
    /// let engine = Engine::builder().build()?;
    /// for number in 1..=100_u64 {
    ///     let customer = format!("cust_{number}");
    ///     let call = Event::new(customer.as_str(), "call").input_tokens(number * 10);
    ///     assert!(engine.track(&call)?.is_allowed());
    /// }
    /// let tokens = Quota::new("Tokens", Metric::TotalTokens, 0, Period::Day).per("customer_id");
    /// let suggestion = engine.suggest(tokens, Share::of_customers(5))?;
    /// assert_eq!(suggestion.limit, Some(950.into()));
    /// assert_eq!(suggestion.report.refused_customers, 5);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// Costs as many [simulations](Self::simulate) as what the calls bring together has binary
    /// digits, some 20 to 40.
    ///
    /// # Errors
    /// As `simulate`; the share is not 0 to 100 percent.
    pub fn suggest(
        &self,
        rule: impl Into<Rule>,
        share: Share,
    ) -> Result<Suggestion, SimulateError> {
        self.suggest_over(rule, share, Traffic::recorded())
    }

    /// The same over any calls. Progress is told of each simulation.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn suggest_over<'t>(
        &self,
        rule: impl Into<Rule>,
        share: Share,
        calls: impl Into<Traffic<'t>>,
    ) -> Result<Suggestion, SimulateError> {
        let most = share.checked()?;
        let mut traffic = calls.into();
        let search = Search { core: &self.core, rule: rule.into() };
        search.check()?;
        let opened = traffic.open(&self.core)?;
        let mut high = search.most(&opened)?;
        let mut report = search.report(high, &opened)?;
        if !most.holds(&report) {
            return Ok(Suggestion { limit: None, report });
        }
        // Refuses more, as a limit below 0 would.
        let mut low = -1;
        while high.saturating_sub(low) > 1 {
            let middle = low.saturating_add(high.saturating_sub(low).div_euclid(2));
            let tried = search.report(middle, &opened)?;
            if most.holds(&tried) {
                (high, report) = (middle, tried);
            } else {
                low = middle;
            }
        }
        Ok(Suggestion { limit: Some(wholes(high)), report })
    }
}

fn wholes(limit: i128) -> Amount {
    Amount::from_millionths(limit.saturating_mul(1_000_000))
}

/// The trying of limits.
struct Search<'e> {
    core: &'e Core,
    rule: Rule,
}

impl Search<'_> {
    fn check(&self) -> Result<(), RuleSetError> {
        self.rules(None).validate()?;
        let reason = if self.rule.is_concurrent() {
            Some((
                "period",
                "concurrent: reservations are not replayed, and nothing else is refused",
            ))
        } else {
            let balance = self.rule.balance();
            balance.map(|_| ("balance", "a rule that takes from a balance has no limit"))
        };
        let problems = reason.map(|(field, reason)| RuleProblem {
            rule: rule_label(&self.rule),
            field: field.to_owned(),
            reason: reason.to_owned(),
        });
        RuleSetError::check(problems.into_iter().collect())
    }

    /// The rule alone with a limit, and the meters of the engine, one of which it may count.
    fn rules(&self, limit: Option<i128>) -> RuleSet {
        let mut rules = RuleSet::new();
        let meters = &self.core.snapshot.load().meters;
        rules.meters = meters.list().iter().map(|meter| (**meter).clone()).collect();
        rules.rule(self.rule.clone().alone(limit.map(wholes)))
    }

    fn report(
        &self,
        limit: i128,
        opened: &Opened<'_, '_>,
    ) -> Result<SimulationReport, SimulateError> {
        let mut simulation = Simulation::of(self.core, self.rules(Some(limit)), opened)?;
        opened.each(&mut |attempt| simulation.add(attempt));
        Ok(simulation.report(opened.keys()))
    }

    /// A limit that refuses nothing: all that calls bring, beside what may be used before.
    fn most(&self, opened: &Opened<'_, '_>) -> Result<i128, SimulateError> {
        let simulation = Simulation::of(self.core, self.rules(None), opened)?;
        let mut per_whole: Units = 1;
        let (mut peak, mut sum): (Units, Units) = (0, 0);
        opened.each(&mut |attempt| {
            let Ok(decision) = simulation.decide(attempt.at, &attempt.event) else { return };
            for (compiled, charge) in decision.judged() {
                per_whole = compiled.units_per_whole();
                sum = sum.saturating_add(charge.cost().units.max(0));
                peak = peak.max(decision.used_of(compiled, charge));
            }
        });
        let units = sum.saturating_add(peak).saturating_add(per_whole.saturating_sub(1));
        Ok(units.checked_div_euclid(per_whole).unwrap_or(0).clamp(1, MOST))
    }
}
