//! What is asked of balances.

use super::account::Terms;
use super::change::Change;
use super::entry::CallSource;
use crate::base::amount::{Amount, IntoAmount};
use crate::base::clock::Timestamp;
use crate::base::text::excerpt;
use crate::event::bounds::MAX_AMOUNT;
use crate::event::text_rule;
use crate::rules::Units;

/// A field that breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) field: &'static str,
    pub(crate) value: Box<str>,
    pub(crate) rule: Box<str>,
}

const POSITIVE: &str = "must be more than 0 and at most 1000000000000000";
const INITIAL: &str = "must be from 0 to 1000000000000000";
const SIGNED: &str = "must be from -1000000000000000 to 1000000000000000";

impl Problem {
    fn new(field: &'static str, value: &str, rule: impl Into<Box<str>>) -> Self {
        Self { field, value: excerpt(value), rule: rule.into() }
    }

    pub(crate) fn of_text(field: &'static str, text: &str) -> Result<(), Self> {
        text_rule(text).map_or(Ok(()), |rule| Err(Self::new(field, text, rule)))
    }
}

/// An amount as it was given: setters never fail, so what is none waits for the check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given(Result<Amount, String>);

impl Given {
    fn new(amount: impl IntoAmount) -> Self {
        Self(amount.into_amount().map_err(|why| why.to_string()))
    }

    fn units(
        &self,
        field: &'static str,
        rule: &'static str,
        is_good: impl Fn(Amount) -> bool,
    ) -> Result<Units, Problem> {
        match &self.0 {
            Ok(amount) if is_good(*amount) => Ok(amount.millionths()),
            Ok(amount) => Err(Problem::new(field, &amount.to_string(), rule)),
            Err(why) => Err(Problem { field, value: Box::default(), rule: why.as_str().into() }),
        }
    }

    fn positive(&self) -> Result<Units, Problem> {
        positive(self)
    }
}

fn positive(given: &Given) -> Result<Units, Problem> {
    given.units("amount", POSITIVE, |it| it > Amount::ZERO && it <= MAX_AMOUNT)
}

/// The millionths of an amount that is asked for.
pub(crate) fn asked(amount: impl IntoAmount) -> Result<Units, Problem> {
    positive(&Given::new(amount))
}

/// A balance to be made: of an owner, under a name.
///
/// The owner is the value of the dimension that a rule's balance is [per](crate::Quota::per): for
/// most a customer. Names are compared exactly.
///
/// ```
/// use limitry::balances::NewBalance;
///
/// // 1000 to begin with, and no less than 100 is left.
/// let balance = NewBalance::new("cust_123", "credits").initial(1_000).minimum(100);
/// # let _ = balance;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is made by `Balances::create`"]
pub struct NewBalance {
    owner: String,
    name: String,
    unit: String,
    initial: Given,
    minimum: Given,
}

impl NewBalance {
    /// Says whose the balance is and what it is called.
    pub fn new(owner: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            name: name.into(),
            unit: "credits".to_owned(),
            initial: Given(Ok(Amount::ZERO)),
            minimum: Given(Ok(Amount::ZERO)),
        }
    }

    /// Says what it is counted in; `credits` where that is not said. It is shown, and not used.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Credits so much at once, as a grant that does not expire: the ledger's first entry.
    pub fn initial(mut self, amount: impl IntoAmount) -> Self {
        self.initial = Given::new(amount);
        self
    }

    /// Sets what must be left: above 0 a reserve, below 0 an overdraft.
    pub fn minimum(mut self, amount: impl IntoAmount) -> Self {
        self.minimum = Given::new(amount);
        self
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn change(&self) -> Result<Change, Problem> {
        Problem::of_text("owner", &self.owner)?;
        Problem::of_text("name", &self.name)?;
        Problem::of_text("unit", &self.unit)?;
        let initial =
            self.initial.units("initial", INITIAL, |it| !it.is_negative() && it <= MAX_AMOUNT)?;
        let least = Amount::from_millionths(MAX_AMOUNT.millionths().saturating_neg());
        let minimum =
            self.minimum.units("minimum", SIGNED, |it| it >= least && it <= MAX_AMOUNT)?;
        let unit = self.unit.as_str().into();
        Ok(Change::Create { terms: Terms { unit, minimum }, initial })
    }
}

macro_rules! call_setters {
    () => {
        /// Says what it is for: a text of 1 to 256 bytes, in the ledger.
        pub fn description(mut self, description: impl Into<String>) -> Self {
            self.description = Some(description.into());
            self
        }

        /// Names something of yours that it belongs to, an invoice for example; several entries may
        /// name the same.
        pub fn reference(mut self, reference: impl Into<String>) -> Self {
            self.reference = Some(reference.into());
            self
        }

        /// Does it once: the same call with this key again, of the same balance, answers the first
        /// entry. Keys are kept as long as those of
        /// [events](crate::EngineBuilder::idempotency_retention).
        pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
            self.key = Some(key.into());
            self
        }

        pub(crate) fn key(&self) -> Option<&str> {
            self.key.as_deref()
        }

        fn texts(&self) -> Result<(), Problem> {
            for (field, text) in [
                ("description", &self.description),
                ("reference", &self.reference),
                ("idempotencyKey", &self.key),
            ] {
                if let Some(text) = text {
                    Problem::of_text(field, text)?;
                }
            }
            Ok(())
        }
    };
}

/// An amount to be added to a balance, as a grant.
///
/// ```
/// use limitry::Timestamp;
/// use limitry::balances::Credit;
///
/// let new_year: Timestamp = "2025-01-01T00:00:00Z".parse()?;
/// let promotion = Credit::new(500).description("spring promotion").expires_at(new_year);
/// let bought = Credit::new(10_000).reference("inv_2024_117").idempotency_key("inv_2024_117");
/// # let _ = (promotion, bought);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is added by `Balances::credit`"]
pub struct Credit {
    amount: Given,
    description: Option<String>,
    reference: Option<String>,
    key: Option<String>,
    expires_at: Option<Timestamp>,
    priority: i32,
}

impl Credit {
    /// Adds so much, more than 0.
    pub fn new(amount: impl IntoAmount) -> Self {
        let (description, reference, key, expires_at) = (None, None, None, None);
        let amount = Given::new(amount);
        Self { amount, description, reference, key, expires_at, priority: 0 }
    }

    /// Lets what is left of it be worth nothing from an instant on, which must be yet to come: to
    /// the nanosecond, and nothing has to run for that.
    pub fn expires_at(mut self, instant: impl Into<Timestamp>) -> Self {
        self.expires_at = Some(instant.into());
        self
    }

    /// Sets its priority: of grants that expire together the highest is spent first. 0 where it is
    /// not set.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    call_setters!();

    /// The change, with what it says.
    pub(crate) fn change(&self) -> Result<(Units, CallSource), Problem> {
        self.texts()?;
        if let Some(at) = self.expires_at.filter(|at| !at.is_a_date()) {
            let rule = "must be in the years -262143 to 262142";
            return Err(Problem::new("expiresAt", &at.to_string(), rule));
        }
        let call = CallSource {
            description: self.description.as_deref().map(Into::into),
            reference: self.reference.as_deref().map(Into::into),
            expires: self.expires_at,
            priority: self.priority,
        };
        Ok((self.amount.positive()?, call))
    }

    /// Why it cannot be credited at an instant.
    pub(crate) fn too_late(&self, now: Timestamp) -> Option<Problem> {
        let at = self.expires_at.filter(|at| *at <= now)?;
        let rule = format!("must be after now, {now}");
        Some(Problem::new("expiresAt", &at.to_string(), rule))
    }
}

/// An amount to be taken from a balance.
///
/// ```
/// use limitry::balances::Debit;
///
/// let seat = Debit::new("12.50").description("half a seat").idempotency_key("seat_9_may");
/// # let _ = seat;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is taken by `Balances::debit`"]
pub struct Debit {
    amount: Given,
    description: Option<String>,
    reference: Option<String>,
    key: Option<String>,
}

impl Debit {
    /// Takes so much, more than 0.
    pub fn new(amount: impl IntoAmount) -> Self {
        let (description, reference, key) = (None, None, None);
        Self { amount: Given::new(amount), description, reference, key }
    }

    call_setters!();

    pub(crate) fn change(&self) -> Result<(Units, CallSource), Problem> {
        self.texts()?;
        let call = CallSource {
            description: self.description.as_deref().map(Into::into),
            reference: self.reference.as_deref().map(Into::into),
            ..CallSource::default()
        };
        Ok((self.amount.positive()?, call))
    }
}
