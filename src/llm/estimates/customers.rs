//! What is learned of customers, each with each of its models.

use ahash::RandomState;
use parking_lot::Mutex;

use super::models::Given;
use super::window::Window;
use crate::rules::Percentile;

/// How many of the newest calls are remembered of a customer and a model, and up to twice as many.
const GENERATION: u64 = 100;
/// The places of a group: a customer's are all in one, so that no customer takes those of others
/// in any other group ...
pub(super) const PLACES: usize = 64;
/// ... and in its own so many.
const OF_ONE: usize = 16;
/// A place is given up after so many calls of others in its group.
const IDLE: u64 = 4_096;

/// A customer with a model.
#[derive(Debug)]
struct Place {
    hash: u64,
    customer: Box<str>,
    model: Box<str>,
    window: Window,
    given: Given,
    last: u64,
}

#[derive(Debug, Default)]
struct Group {
    calls: u64,
    places: Vec<Place>,
}

/// Places in groups, each with a lock of its own.
#[derive(Debug)]
pub(super) struct Customers {
    hasher: RandomState,
    groups: Box<[Mutex<Group>]>,
}

impl Customers {
    /// With at least so many places.
    pub(super) fn new(places: usize) -> Self {
        let groups = places.div_ceil(PLACES).max(1);
        let groups = std::iter::repeat_with(Mutex::default).take(groups).collect();
        Self { hasher: RandomState::new(), groups }
    }

    pub(super) fn len(&self) -> usize {
        self.groups.iter().map(|group| group.lock().places.len()).sum()
    }

    /// Learns from a call, and goes on with what the customer has given to others, under the lock
    /// of its group; with `None` where it has no place.
    pub(super) fn learn(
        &self,
        (customer, model): (&str, &str),
        tokens: u64,
        go_on: impl FnOnce(Option<&mut Given>),
    ) {
        let Some(group) = self.group(customer) else { return };
        let hash = self.hasher.hash_one((customer, model));
        let mut group = group.lock();
        match group.place(hash, customer, model) {
            Some(place) => {
                place.window.add(tokens);
                go_on(Some(&mut place.given));
            }
            None => go_on(None),
        }
    }

    pub(super) fn estimate(&self, customer: &str, model: &str, at: Percentile) -> Option<u64> {
        let hash = self.hasher.hash_one((customer, model));
        let group = self.group(customer)?.lock();
        group.places.iter().find(|place| place.is(hash, customer, model))?.window.estimate(at)
    }

    /// Gives up the places of a customer.
    pub(super) fn forget(&self, customer: &str) {
        if let Some(group) = self.group(customer) {
            group.lock().places.retain(|place| &*place.customer != customer);
        }
    }

    fn group(&self, customer: &str) -> Option<&Mutex<Group>> {
        let groups = u64::try_from(self.groups.len()).ok()?;
        let place = self.hasher.hash_one(customer).checked_rem(groups)?;
        self.groups.get(usize::try_from(place).ok()?)
    }
}

impl Place {
    fn new(hash: u64, customer: &str, model: &str, last: u64) -> Self {
        let (window, given) = (Window::new(GENERATION), Given::default());
        Self { hash, customer: customer.into(), model: model.into(), window, given, last }
    }

    fn is(&self, hash: u64, customer: &str, model: &str) -> bool {
        self.hash == hash && &*self.customer == customer && &*self.model == model
    }
}

impl Group {
    /// The place that a call is learned in, if it gets one. O(places of a group).
    fn place(&mut self, hash: u64, customer: &str, model: &str) -> Option<&mut Place> {
        self.calls = self.calls.saturating_add(1);
        let now = self.calls;
        if let Some(known) = self.places.iter().position(|it| it.is(hash, customer, model)) {
            let place = self.places.get_mut(known)?;
            place.last = now;
            return Some(place);
        }
        let own = self.places.iter().filter(|place| &*place.customer == customer).count();
        if own < OF_ONE && self.places.len() < PLACES {
            self.places.push(Place::new(hash, customer, model, now));
            return self.places.last_mut();
        }
        let takes = |place: &&mut Place| own < OF_ONE || &*place.customer == customer;
        let idle = self.places.iter_mut().filter(takes).min_by_key(|place| place.last)?;
        if now.saturating_sub(idle.last) <= IDLE {
            return None;
        }
        *idle = Place::new(hash, customer, model, now);
        Some(idle)
    }
}
