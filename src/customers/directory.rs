//! The customers that are known by more than their events.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Customer;
use crate::event::Dimension;

type ById = BTreeMap<Box<str>, Arc<Customer>>;

/// Customers by their ids, and the values of other dimensions that have the same.
///
/// The lock is one of the last: under it nothing else is taken.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    known: RwLock<BTreeMap<Dimension, ById>>,
}

/// Some customers, by ascending ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CustomerPage {
    /// The customers.
    pub customers: Vec<Customer>,
    /// Whether more are behind the last one.
    pub has_more: bool,
}

impl Directory {
    pub(crate) fn get(&self, dimension: &Dimension, id: &str) -> Option<Arc<Customer>> {
        self.known.read().get(dimension)?.get(id).cloned()
    }

    /// Goes through those of a dimension.
    pub(crate) fn each(&self, dimension: &Dimension, mut of: impl FnMut(&Customer)) {
        let known = self.known.read();
        known.get(dimension).into_iter().flat_map(BTreeMap::values).for_each(|one| of(one));
    }

    /// Adds one, in place of the one that has its id.
    pub(crate) fn set(&self, dimension: &Dimension, customer: Customer) {
        let mut known = self.known.write();
        let of = known.entry(dimension.clone()).or_default();
        of.insert(customer.id.as_str().into(), Arc::new(customer));
    }

    /// Removes one, if it is there.
    pub(crate) fn remove(&self, dimension: &Dimension, id: &str) -> Option<Arc<Customer>> {
        let mut known = self.known.write();
        let of = known.get_mut(dimension)?;
        let removed = of.remove(id);
        if of.is_empty() {
            known.remove(dimension);
        }
        removed
    }

    /// The first so many behind an id, and those whose ids `others` are, which are known by their
    /// events alone.
    pub(crate) fn page(
        &self,
        dimension: &Dimension,
        after: Option<&str>,
        limit: usize,
        others: Vec<String>,
    ) -> CustomerPage {
        let mut customers: BTreeMap<String, Customer> =
            others.into_iter().map(|id| (id.clone(), Customer::new(id))).collect();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        if let Some(known) = self.known.read().get(dimension) {
            let known = known.range::<str, _>((from, Bound::Unbounded));
            let some = known.take(limit.saturating_add(1));
            customers.extend(some.map(|(id, customer)| (id.to_string(), (**customer).clone())));
        }
        let has_more = customers.len() > limit;
        CustomerPage { customers: customers.into_values().take(limit).collect(), has_more }
    }
}
