//! What can be wrong with a set of rules.

use std::fmt;

/// One problem of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleProblem {
    /// The rule, by its kind and its name, or its place among those of its kind:
    /// `rate limit "API"`, `quota #3`.
    pub rule: String,
    /// The field, by its name on the wire: `limitValue`, `dimensionFilters.team_id`.
    pub field: String,
    /// The value and the rule that it breaks.
    pub reason: String,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.field, self.reason)
    }
}

/// Everything that is wrong with a set of rules, all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSetError {
    problems: Vec<RuleProblem>,
}

impl RuleSetError {
    /// Makes an error of the problems, or `Ok` of none.
    pub(crate) fn check(problems: Vec<RuleProblem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// Returns the problems, in the order of the rules. There is at least one.
    #[must_use]
    pub fn problems(&self) -> &[RuleProblem] {
        &self.problems
    }
}

impl fmt::Display for RuleSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.problems.as_slice() {
            return fmt::Display::fmt(only, f);
        }
        write!(f, "{} problems", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

impl std::error::Error for RuleSetError {}
