//! String attributes of customers, which are dimensions of their events where a rule names them.

use super::*;

/// What stands before the key of an attribute in the name of its dimension.
const PREFIX: &str = "customer_";

impl PlainEvent {
    pub(super) fn has_property(&self, name: &str) -> bool {
        self.props.iter().any(|(key, _)| key == name)
    }

    /// The event with these dimensions, as far as it does not say them itself.
    pub(super) fn with_attributes(&self, attributes: &[(String, String)]) -> Self {
        let mut plain = self.clone();
        for (name, value) in attributes {
            if !plain.has_property(name) {
                plain.props.push((name.clone(), Prop::Text(value.clone())));
            }
        }
        plain
    }
}

impl Oracle {
    /// Says what is known of a customer, in place of what was.
    pub fn set_attributes(&mut self, customer: &str, attributes: &[(&str, &str)]) {
        let owned = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.attributes.insert(customer.to_owned(), owned.collect());
    }

    /// Whether something is known of a customer that a rule names.
    pub fn has_attributes(&self, customer: &str) -> bool {
        !self.attributes_of(&PlainEvent::new(customer, "call")).is_empty()
    }

    /// Whether a rule names a dimension; one that is archived, too, which counts what happened
    /// meanwhile once it is restored.
    fn is_named(&self, name: &str) -> bool {
        self.rules().any(|rule| {
            rule.per.iter().chain(rule.filter.iter().map(|(key, _)| key)).any(|key| key == name)
        })
    }

    /// The attributes of the customer of an event that rules name and it does not say itself.
    pub(super) fn attributes_of(&self, plain: &PlainEvent) -> Vec<(String, String)> {
        let known = self.attributes.get(&plain.customer).into_iter().flatten();
        let known = known.map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()));
        known.filter(|(name, _)| self.is_named(name) && !plain.has_property(name)).collect()
    }

    /// The event as rules see it.
    pub(super) fn completed(&self, plain: &PlainEvent) -> PlainEvent {
        plain.with_attributes(&self.attributes_of(plain))
    }

    /// What happened, with what the reservation knew of the customer and rules name now.
    pub(super) fn completed_by(&self, known: &Reservation, actual: &PlainEvent) -> PlainEvent {
        let estimate = known.completed();
        let texts = estimate.props.iter().filter_map(|(name, value)| match value {
            Prop::Text(text) if name.starts_with(PREFIX) => Some((name.clone(), text.clone())),
            _ => None,
        });
        let named: Vec<_> = texts.filter(|(name, _)| self.is_named(name)).collect();
        actual.with_attributes(&named)
    }
}

impl Reservation {
    /// What it was made for, as rules saw it.
    pub fn completed(&self) -> PlainEvent {
        self.estimate.with_attributes(&self.attributes)
    }
}
