//! What is to be adjusted.

use crate::base::amount::{Amount, IntoAmount};
use crate::event::bounds::MAX_AMOUNT;
use crate::event::text_rule;
use crate::rules::RuleKey;

const MAX_NOTE_BYTES: usize = 1_024;

/// What is to be given back of a rule to a key, or taken:
/// [`Rules::apply`](crate::handles::Rules::apply).
///
/// ```
/// use limitry::keys::Adjust;
///
/// let refund = Adjust::by("qta_tokens", ("customer_id", "cust_123"), -500);
/// let refund = refund.note("ticket 7, by jo").idempotency_key("ticket-7");
/// let anew = Adjust::reset("qta_tokens", ("customer_id", "cust_123"));
/// # let _ = (refund, anew);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it changes nothing by itself"]
pub struct Adjust {
    pub(crate) rule_id: String,
    pub(crate) key: RuleKey,
    /// How much is added to what is used; `None` to begin anew.
    amount: Option<Result<Amount, Box<str>>>,
    pub(crate) note: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

/// What is wrong with an adjustment: the field, the value, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) field: &'static str,
    pub(crate) value: Box<str>,
    pub(crate) rule: &'static str,
}

impl Adjust {
    /// Adds an amount to what a key has used of a rule: one below zero gives back.
    pub fn by(
        rule_id: impl Into<String>,
        key: impl Into<RuleKey>,
        amount: impl IntoAmount,
    ) -> Self {
        let amount = amount.into_amount().map_err(|why| why.to_string().into());
        Self { amount: Some(amount), ..Self::reset(rule_id, key) }
    }

    /// Lets a key begin anew: what it has used is 0 then.
    pub fn reset(rule_id: impl Into<String>, key: impl Into<RuleKey>) -> Self {
        let (rule_id, key) = (rule_id.into(), key.into());
        Self { rule_id, key, amount: None, note: None, idempotency_key: None }
    }

    /// Says who adjusts, and why: at most 1 024 bytes.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Makes it once: the same adjustment with this key again changes nothing, and is answered with
    /// the first. The key is one of the engine's, of 1 to 256 bytes, and is known for as long as
    /// the adjustment is listed.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.amount.is_none()
    }

    /// Checks all but the rule and the key; returns how much is added, or nothing for a reset.
    pub(crate) fn check(&self) -> Result<Option<Amount>, Problem> {
        let problem = |field, value: &str, rule| {
            Err(Problem { field, value: crate::base::text::excerpt(value), rule })
        };
        if let Some(note) = &self.note {
            if note.len() > MAX_NOTE_BYTES {
                return problem("note", note, "must be at most 1024 bytes long");
            }
            if note.chars().any(char::is_control) {
                return problem("note", note, "must not hold control characters");
            }
        }
        if let Some(key) = &self.idempotency_key
            && let Some(rule) = text_rule(key)
        {
            return problem("idempotency_key", key, rule);
        }
        let bounds = Amount::ZERO.saturating_sub(MAX_AMOUNT)..=MAX_AMOUNT;
        match &self.amount {
            None => Ok(None),
            Some(Err(why)) => problem("amount", why, "must be an exact amount"),
            Some(Ok(amount)) if *amount == Amount::ZERO => problem("amount", "0", "must not be 0"),
            Some(Ok(amount)) if !bounds.contains(amount) => problem(
                "amount",
                &amount.to_string(),
                "must be from -1000000000000000 to 1000000000000000",
            ),
            Some(Ok(amount)) => Ok(Some(*amount)),
        }
    }
}
