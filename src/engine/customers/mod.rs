//! What an application says of customers, which may be changed while other threads decide.

use std::sync::Arc;

use super::{Core, Engine, RulesError};
use crate::base::calendar::TimeZone;
use crate::customers::{Customer, CustomerError, CustomerPage, check_dimension};
use crate::event::Dimension;
use crate::telemetry;

mod change;
mod erase;

pub use self::erase::EraseReport;

/// The most customers of a page.
const MAX_PAGE: usize = 1_000;

/// What an engine knows of customers beside their events: [`Engine::customers`]. It may be changed
/// while other threads decide.
///
/// A customer's zone and billing anchor say how its periods are cut, in each quota that is split by
/// `customer_id` or filters one customer, as far as the quota does not say it itself. Values of any
/// other dimension may have the same: see [`of`](Self::of). Where several of a quota's dimensions
/// have a zone (or an anchor), that of a value in its filter comes before that of a key, and
/// `customer_id` before other dimensions, which come in the order of their names.
///
/// A change holds from the next decision on that is made after the call: what is used of the
/// periods, as they are cut then, is what is recorded of them. Where that is not recorded, or not
/// kept any more, what was used of the period of now carries over as one lump.
///
/// A customer that is not known appears by itself: one whose events are recorded is listed, with
/// its id alone, for as long as roll-ups of it are kept. It has the calendar of the engine until it
/// is given one.
///
/// ```
/// use limitry::time::Tz;
/// use limitry::{Customer, Engine, Event, Metric, Period, Quota};
///
/// let a_month = Quota::new("Calls", Metric::TotalEvents, 1_000, Period::Month);
/// let engine = Engine::builder().quota(a_month.per("customer_id")).build()?;
/// let day = "2024-01-31".parse().expect("a date");
/// let acme = Customer::new("cust_123").time_zone(Tz::Europe__Berlin).billing_anchor(day);
/// engine.customers().upsert(acme.metadata("plan", "pro"))?;
/// assert!(engine.track(&Event::new("cust_123", "call"))?.is_allowed());
/// let known = engine.customers().get("cust_123").expect("it was set");
/// assert_eq!(known.metadata["plan"], "pro");
/// # Ok::<(), limitry::Error>(())
/// ```
///
/// # Attributes
/// A string in the metadata of a customer is a dimension of the customer's events: the entry `plan`
/// is `customer_plan`. It is looked up where a rule, a meter or a
/// [declared](crate::usage::RollupOptions::dimension) dimension of usage names it, and in no other
/// case. Other values than strings are no dimensions, and what is known of values of other
/// dimensions ([`of`](Self::of)) are no attributes.
///
/// ```
/// use limitry::{Customer, Engine, Event, Metric, Period, Quota};
///
/// let calls = |name: &str, limit: u64| {
///     let quota = Quota::new(name, Metric::TotalEvents, limit, Period::Month);
///     quota.policy("calls").per("customer_id")
/// };
/// let engine = Engine::builder()
///     .quota(calls("Calls", 1))
///     .quota(calls("Calls of a pro", 1_000).filter("customer_plan", "pro"))
///     .build()?;
/// engine.customers().upsert(Customer::new("cust_123").metadata("plan", "pro"))?;
/// let decision = engine.track(&Event::new("cust_123", "call"))?;
/// assert_eq!(decision.quotas().next().and_then(|quota| quota.limit), Some(1_000.into()));
/// # Ok::<(), limitry::Error>(())
/// ```
///
/// An event has the attributes that its customer has when it is decided about, and is recorded with
/// them: what is recorded keeps what it was, and a change of an attribute holds from the next
/// decision on. What an event says itself under that name comes first, whatever it is. A customer
/// that is not known has none. A reservation keeps to the end the attributes of its reserve; its
/// commit has them where it does not say them itself. A retry by its idempotency key is one
/// whatever the attributes are by then. [`explain`](crate::Engine::explain) says which values are
/// attributes. A [simulation](crate::Engine::simulate) takes events as they are recorded, and for
/// what they do not say the attributes of now.
///
/// Where the rules come to name an attribute, calls that begin after the change of the rules look
/// it up; one that is under way may be decided without it. Attributes and properties of an event
/// are together within the [bounds](crate::bounds) of properties, and beyond them the event is an
/// error.
///
/// A call of an engine in which nothing names an attribute costs what it does without customers. In
/// another one it costs a look-up by the customer's id under a lock that is one of many, and where
/// something is found an event that borrows from the first one. That allocates nothing where the
/// event has at most three properties with its attributes.
#[derive(Clone, Debug)]
pub struct Customers {
    core: Arc<Core>,
    dimension: Dimension,
}

/// Why customers could not be changed or listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomersError {
    /// What was given breaks a rule. Nothing was changed.
    #[error(transparent)]
    Invalid(#[from] CustomerError),
    /// The rules that filter a customer could not be compiled anew, or the store did not take the
    /// change. Where it failed while it wrote, the change is in force
    /// and may be gone when the store is opened again.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

impl Engine {
    /// Returns what is known of customers.
    #[must_use]
    pub fn customers(&self) -> Customers {
        Customers { core: Arc::clone(&self.core), dimension: Dimension::CustomerId }
    }

    /// Returns the [zone](crate::EngineBuilder::time_zone) by whose midnights days, weeks, months
    /// and years begin, where neither the quota nor the customer says another.
    #[must_use]
    pub fn time_zone(&self) -> TimeZone {
        self.core.calendars.zone().into()
    }
}

impl Customers {
    /// Returns the same of the values of another dimension: a zone of a team, say. What is called
    /// an id is then a value of it.
    ///
    /// # Errors
    /// The dimension is not 1 to 64 letters, digits or `_`.
    pub fn of(&self, dimension: &str) -> Result<Self, CustomersError> {
        Ok(Self { core: Arc::clone(&self.core), dimension: check_dimension(dimension)? })
    }

    /// Sets all that is known of a customer, in place of what was known before, and returns it as
    /// it now is. O(rules), and where its zone or its anchor change O(its keys): where quotas by
    /// the calendar are split by another dimension beside it, O(keys).
    ///
    /// # Errors
    /// A field breaks its rule; the store does not take it.
    pub fn upsert(&self, customer: Customer) -> Result<Customer, CustomersError> {
        let mut set = self.upsert_all([customer.clone()])?;
        Ok(set.pop().unwrap_or(customer))
    }

    /// The same of many, at once: all of them or none. It goes over the keys once, where one
    /// [`upsert`](Self::upsert) after the other would do so for each.
    ///
    /// # Errors
    /// As `upsert`.
    pub fn upsert_all(
        &self,
        customers: impl IntoIterator<Item = Customer>,
    ) -> Result<Vec<Customer>, CustomersError> {
        let customers: Vec<Customer> = customers.into_iter().collect();
        customers.iter().try_for_each(Customer::check)?;
        let span = telemetry::span!("upsert_customers", customers = customers.len());
        span.run(|| self.core.set_customers(&self.dimension, customers))
    }

    /// Forgets what was set of a customer, its events and counters aside, and returns what that
    /// was. Its periods are those of the engine from then on. O as of [`upsert`](Self::upsert).
    ///
    /// # Errors
    /// The store does not take it.
    pub fn remove(&self, id: &str) -> Result<Option<Customer>, CustomersError> {
        let span = telemetry::span!("remove_customer", id = id);
        span.run(|| self.core.remove_customer(&self.dimension, id))
    }

    /// Returns what is known of a customer: what was set, or the id alone of one whose events are
    /// recorded; `None` of one that is not known. O(log customers).
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Customer> {
        let known = self.core.directory.get(&self.dimension, id);
        if let Some(known) = known {
            return Some((*known).clone());
        }
        let ledger = self.core.ledger.as_ref()?;
        ledger.knows(&self.dimension, id).then(|| Customer::new(id))
    }

    /// Returns the first `limit` customers by ascending id; those behind an id where one is given.
    /// O(customers) where events are recorded, otherwise O(limit).
    ///
    /// # Errors
    /// The limit is not 1 to 1 000.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Result<CustomerPage, CustomersError> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(CustomersError::Invalid(CustomerError {
                customer: Box::default(),
                field: "limit".into(),
                value: limit.to_string().into(),
                rule: "must be 1 to 1000",
            }));
        }
        let others = self
            .core
            .ledger
            .as_ref()
            .map(|ledger| ledger.values_after(&self.dimension, after, limit.saturating_add(1)));
        Ok(self.core.directory.page(&self.dimension, after, limit, others.unwrap_or_default()))
    }
}
