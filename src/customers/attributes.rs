//! What of customers stands in for dimensions that their events do not say: a string of the
//! metadata under `plan` is the dimension `customer_plan` of the customer's events.
//!
//! It is known twice, here for who decides: nothing is kept for an engine in which nothing names
//! such a dimension. Who changes customers or rules holds the compiler's lock; who looks up takes
//! the lock of a shard, under which nothing else is taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dashmap::DashMap;
use serde_json::Value;

use super::{Customer, Directory};
use crate::event::Dimension;

/// What stands before the key of an attribute in the name of its dimension.
const PREFIX: &str = "customer_";

/// The attributes of customers, for as long as something names one.
#[derive(Debug)]
pub(crate) struct Attributes {
    /// The dimensions of attributes that sums are kept by, whatever the rules are.
    of_usage: Box<[AttributeName]>,
    /// Something names one. Relaxed suffices for who asks: a call that begins after a change of the
    /// rules has returned sees it by whatever told its caller of that.
    are_named: AtomicBool,
    known: DashMap<Box<str>, Box<[Known]>, ahash::RandomState>,
    /// How often what is known has changed.
    changes: AtomicU64,
}

/// An attribute of a customer: its key and its value.
type Known = (Box<str>, Arc<str>);

/// The name of a dimension that is an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttributeName(Box<str>);

impl AttributeName {
    /// The name, if it is one of an attribute.
    fn parse(name: &str) -> Option<Self> {
        let key = name.strip_prefix(PREFIX)?;
        (!key.is_empty() && name != Dimension::CustomerId.as_str()).then(|| Self(name.into()))
    }

    /// Those of some dimensions, each once.
    pub(crate) fn of<'d>(dimensions: impl IntoIterator<Item = &'d str>) -> Box<[Self]> {
        let names: BTreeSet<Self> = dimensions.into_iter().filter_map(Self::parse).collect();
        names.into_iter().collect()
    }

    /// The dimension.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn key(&self) -> &str {
        self.0.get(PREFIX.len()..).unwrap_or_default()
    }
}

impl Attributes {
    /// Those of an engine that keeps sums by these dimensions.
    pub(crate) fn new(usage: &[Dimension], hasher: ahash::RandomState) -> Self {
        Self {
            of_usage: AttributeName::of(usage.iter().map(Dimension::as_str)),
            are_named: AtomicBool::new(false),
            known: DashMap::with_hasher(hasher),
            changes: AtomicU64::new(0),
        }
    }

    /// Whether something names one.
    #[inline]
    pub(crate) fn are_named(&self) -> bool {
        self.are_named.load(Ordering::Relaxed)
    }

    /// Looks them up from now on where rules that are about to be in force name some, or sums are
    /// kept by one.
    pub(crate) fn look_up(&self, by_rules: &[AttributeName], directory: &Directory) {
        let are_named = !(by_rules.is_empty() && self.of_usage.is_empty());
        if are_named && !self.are_named() {
            directory.each(&Dimension::CustomerId, |customer| self.keep(customer));
        }
        self.are_named.store(are_named, Ordering::Relaxed);
    }

    /// Forgets them where the rules that are in force now name none.
    pub(crate) fn tidy(&self) {
        if !self.are_named() {
            self.known.clear();
            self.known.shrink_to_fit();
        }
    }

    /// Knows what is now said of a customer, or that nothing is.
    pub(crate) fn set(&self, dimension: &Dimension, id: &str, customer: Option<&Customer>) {
        if *dimension != Dimension::CustomerId || !self.are_named() {
            return;
        }
        match customer {
            Some(customer) => self.keep(customer),
            None => drop(self.known.remove(id)),
        }
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// How often what is known of customers has changed: who reads another number than before sees
    /// what has.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn keep(&self, customer: &Customer) {
        let texts = customer.metadata.iter().filter_map(|(key, value)| match value {
            Value::String(text) => Some((key.as_str().into(), text.as_str().into())),
            _ => None,
        });
        let texts: Box<[Known]> = texts.collect();
        if texts.is_empty() {
            self.known.remove(customer.id.as_str());
        } else {
            self.known.insert(customer.id.as_str().into(), texts);
        }
    }

    /// The dimensions of attributes that rules or sums are by, some of them twice.
    pub(crate) fn names<'n>(
        &'n self,
        by_rules: &'n [AttributeName],
    ) -> impl Iterator<Item = &'n str> {
        self.named(by_rules).map(AttributeName::as_str)
    }

    fn named<'n>(
        &'n self,
        by_rules: &'n [AttributeName],
    ) -> impl Iterator<Item = &'n AttributeName> {
        by_rules.iter().chain(&self.of_usage)
    }

    /// Hands over the attributes of a customer that rules or sums are by.
    pub(crate) fn each<'n>(
        &'n self,
        customer: &str,
        by_rules: &'n [AttributeName],
        mut of: impl FnMut(&'n str, Arc<str>),
    ) {
        let Some(known) = self.known.get(customer) else { return };
        for name in self.named(by_rules) {
            if let Some((_, value)) = known.iter().find(|(key, _)| **key == *name.key()) {
                of(name.as_str(), Arc::clone(value));
            }
        }
    }
}
