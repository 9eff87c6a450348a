//! One act of a customer, as the application describes it.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::base::amount::{Amount, IntoAmount};
use crate::base::clock::Timestamp;

pub mod bounds;
mod error;
mod few;
mod hashes;
mod id;
mod json;
mod names;
mod pricer;
mod property;
mod validate;

use self::bounds::{MAX_PROPERTIES, MAX_VALUES};
pub use self::error::EventError;
use self::few::Few;
pub(crate) use self::hashes::{DimensionHashes, mix};
pub use self::id::{EventId, EventIdParseError};
pub(crate) use self::json::{stored_json, stored_object};
pub(crate) use self::names::{Dimension, ValueName};
pub use self::pricer::{PriceError, Pricer};
pub use self::property::PropertyValue;
pub(crate) use self::validate::{check_amount, key_rule, text_rule};

/// One act of a customer: a model call, an embedding, a tool run.
///
/// An event borrows or owns its strings. Built from borrowed strings with at most three
/// properties and two named values it lives on the stack alone; the setters never fail. What is
/// wrong with an event is said by the call that it is given to, as an [`EventError`] that names
/// the field, the value and the rule.
///
/// Ids and dimension values are 1 to 256 bytes without control characters; keys of properties and
/// names of values are 1 to 64 ASCII letters, digits and `_`. How large numbers, and the event as a
/// whole, may be is in [`bounds`].
///
/// ```
/// use limitry::Event;
///
/// let event = Event::new("cust_123", "model_call")
///     .model("gpt-4")
///     .input_tokens(150)
///     .output_tokens(50)
///     .property("team_id", "team_eng")
///     .value("images", 4);
/// assert_eq!(event.dimension("team_id"), Some("team_eng"));
/// assert_eq!(event.amount("total_tokens"), Some(200_u64.into()));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_field_names, reason = "`event_type` is the product's name")]
pub struct Event<'a> {
    pub(crate) customer_id: Cow<'a, str>,
    pub(crate) event_type: Cow<'a, str>,
    pub(crate) model: Option<Cow<'a, str>>,
    pub(crate) provider: Option<Cow<'a, str>>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) total_tokens: Option<u64>,
    pub(crate) cost_cents: Option<Amount>,
    pub(crate) latency_ms: Option<u64>,
    pub(crate) properties: Few<(Cow<'a, str>, PropertyValue<'a>), 3>,
    pub(crate) values: Few<(Cow<'a, str>, Amount), 2>,
    pub(crate) idempotency_key: Option<Cow<'a, str>>,
    pub(crate) timestamp: Option<Timestamp>,
    /// What few events have.
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few events have, in a box of its own: an event without it is as small as one could be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rare {
    /// The first thing that a setter could not take; the call that gets the event reports it.
    problem: Option<EventError>,
    attached: Map<String, Value>,
    /// The cost is what the engine's prices say, and was not given.
    is_priced: bool,
}

impl<'a> Event<'a> {
    /// Describes an act of `event_type` (such as `model_call`) by the customer `customer_id`.
    #[must_use]
    #[inline]
    pub fn new(customer_id: impl Into<Cow<'a, str>>, event_type: impl Into<Cow<'a, str>>) -> Self {
        Self {
            customer_id: customer_id.into(),
            event_type: event_type.into(),
            model: None,
            provider: None,
            input_tokens: None,
            output_tokens: None,
            total_tokens: None,
            cost_cents: None,
            latency_ms: None,
            properties: Few::NONE,
            values: Few::NONE,
            idempotency_key: None,
            timestamp: None,
            rare: None,
        }
    }

    /// Sets the model, a built-in dimension.
    #[must_use]
    #[inline]
    pub fn model(self, model: impl Into<Cow<'a, str>>) -> Self {
        Self { model: Some(model.into()), ..self }
    }

    /// Sets the provider, a built-in dimension.
    #[must_use]
    #[inline]
    pub fn provider(self, provider: impl Into<Cow<'a, str>>) -> Self {
        Self { provider: Some(provider.into()), ..self }
    }

    /// Sets the tokens that went in.
    #[must_use]
    #[inline]
    pub fn input_tokens(self, tokens: u64) -> Self {
        Self { input_tokens: Some(tokens), ..self }
    }

    /// Sets the tokens that came out.
    #[must_use]
    #[inline]
    pub fn output_tokens(self, tokens: u64) -> Self {
        Self { output_tokens: Some(tokens), ..self }
    }

    /// Sets the total of tokens; where it is not set it is input plus output.
    #[must_use]
    #[inline]
    pub fn total_tokens(self, tokens: u64) -> Self {
        Self { total_tokens: Some(tokens), ..self }
    }

    /// Sets the cost in cents: a whole number, a decimal of up to six fractional digits, or an
    /// [`Amount`]; negative for what is given back. [`Amount`] says how exact that is for money.
    #[must_use]
    #[inline]
    pub fn cost_cents(mut self, cents: impl IntoAmount) -> Self {
        match cents.into_amount() {
            Ok(cents) => self.set_cost(Some(cents), false),
            Err(source) => self.report(EventError::Amount { field: "cost_cents".into(), source }),
        }
        self
    }

    /// Sets the cost to what [prices](Pricer) say, or takes it out: for who restates events that
    /// are recorded. The event [tells](Self::is_priced) it from one that was given.
    #[must_use]
    pub fn cost_by_prices(mut self, cents: Option<Amount>) -> Self {
        self.set_cost(cents, cents.is_some());
        self
    }

    /// Sets the latency in milliseconds.
    #[must_use]
    #[inline]
    pub fn latency_ms(self, milliseconds: u64) -> Self {
        Self { latency_ms: Some(milliseconds), ..self }
    }

    /// Sets a property; a string is a dimension under `key`, unless `key` is the name of a
    /// built-in dimension, which wins. A key set twice keeps the last value. Of more than
    /// [`MAX_PROPERTIES`] the rest is not kept, and the event is refused.
    #[must_use]
    #[inline]
    pub fn property(
        mut self,
        key: impl Into<Cow<'a, str>>,
        value: impl Into<PropertyValue<'a>>,
    ) -> Self {
        let (key, mut value) = (key.into(), value.into());
        match &mut value {
            PropertyValue::Text(_) => {}
            // A JSON text is what it says: it is a dimension once it is printed and read again.
            PropertyValue::Json(json) => {
                if let Value::String(text) = &mut **json {
                    value = PropertyValue::Text(Cow::Owned(std::mem::take(text)));
                }
            }
            PropertyValue::Attribute(text) => {
                value = PropertyValue::Text(Cow::Owned(text.to_string()));
            }
        }
        let has_room = self.properties.len() < MAX_PROPERTIES;
        match self.properties.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None if has_room => self.properties.push((key, value)),
            None => self.report_invalid("properties", &key, bounds::PROPERTIES_RULE),
        }
        self
    }

    /// Attaches something to the event under a key, which may be any text: it is kept and shown
    /// with the event, and is no dimension, whatever it is. Texts may have any length within the
    /// bound for [all of it](bounds::MAX_PROPERTIES_BYTES), which properties share. A key set twice
    /// keeps the last value. Of more than [`MAX_PROPERTIES`] the rest is not kept, and the event is
    /// refused.
    ///
    /// ```
    /// use limitry::Event;
    ///
    /// let event = Event::new("cust_123", "model_call").attach("prompt", "a\nlong text");
    /// assert_eq!(event.attached().and_then(|all| all["prompt"].as_str()), Some("a\nlong text"));
    /// assert_eq!(event.dimension("prompt"), None);
    /// ```
    #[must_use]
    pub fn attach(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let (key, value) = (key.into(), value.into());
        let attached = &mut self.rare.get_or_insert_default().attached;
        if attached.len() < MAX_PROPERTIES || attached.contains_key(&key) {
            attached.insert(key, value);
        } else {
            self.report_invalid("attached", &key, bounds::ATTACHED_RULE);
        }
        self
    }

    /// Sets a named value: a whole number, a decimal of up to six fractional digits, or an
    /// [`Amount`]. A built-in name sets that field: `cost_cents` any amount, and `input_tokens`,
    /// `output_tokens`, `total_tokens` and `latency_ms` whole numbers from 0 on. A name set twice
    /// keeps the last value. Of more than [`MAX_VALUES`] other names the rest is not kept, and the
    /// event is refused.
    #[must_use]
    #[inline]
    pub fn value(mut self, name: impl Into<Cow<'a, str>>, amount: impl IntoAmount) -> Self {
        let name = name.into();
        match amount.into_amount() {
            Ok(amount) => self.set_value(name, amount),
            Err(source) => self.report(EventError::Amount { field: name.into(), source }),
        }
        self
    }

    /// Sets the key that makes a retry of this event count once. Keys are the customer's: the same
    /// key of another customer is another key. The engine keeps keys for its retention, 24 hours
    /// by default.
    ///
    /// An event with the same customer and key is a retry when it has the same type, model,
    /// provider, tokens, cost, latency, properties, values and attachments, and a conflict
    /// otherwise. What may differ is the timestamp, which is that of the first, and whether
    /// `total_tokens` is given or left to be computed.
    #[must_use]
    #[inline]
    pub fn idempotency_key(self, key: impl Into<Cow<'a, str>>) -> Self {
        Self { idempotency_key: Some(key.into()), ..self }
    }

    /// Sets when the act happened; without it the event happens now. Calendar quotas count the
    /// event in the period of this instant. More than 24 hours ahead of the engine's clock is an
    /// error.
    #[must_use]
    #[inline]
    pub fn timestamp(self, timestamp: impl Into<Timestamp>) -> Self {
        Self { timestamp: Some(timestamp.into()), ..self }
    }

    /// Whether it brings a negative amount, which gives something back.
    pub(crate) fn brings_less_than_nothing(&self) -> bool {
        self.cost_cents.is_some_and(Amount::is_negative)
            || self.values.iter().any(|(_, amount)| amount.is_negative())
    }

    /// Returns the customer's id.
    #[must_use]
    pub fn customer_id(&self) -> &str {
        &self.customer_id
    }

    /// Returns the event's type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns the value of a dimension: `customer_id`, `event_type`, `model`, `provider`, or a
    /// string property of that key; of an event that is recorded also what was an
    /// [attribute](crate::handles::Customers#attributes) of its customer.
    #[must_use]
    pub fn dimension(&self, name: &str) -> Option<&str> {
        match name {
            "customer_id" => Some(&self.customer_id),
            "event_type" => Some(&self.event_type),
            "model" => self.model.as_deref(),
            "provider" => self.provider.as_deref(),
            _ => self.text_property(name),
        }
    }

    /// Returns a value by name, `total_tokens` being input plus output where it is not set;
    /// `None` where the event has no such value or that sum is above `u64::MAX`.
    #[must_use]
    pub fn amount(&self, name: &str) -> Option<Amount> {
        match name {
            "total_tokens" => self.tokens().flatten().map(Amount::from),
            "input_tokens" => self.input_tokens.map(Amount::from),
            "output_tokens" => self.output_tokens.map(Amount::from),
            "cost_cents" => self.cost_cents,
            "latency_ms" => self.latency_ms.map(Amount::from),
            _ => self.named_value(name),
        }
    }

    /// Returns what is [attached](Self::attach) to the event, by key; `None` where nothing is.
    #[must_use]
    #[inline]
    pub fn attached(&self) -> Option<&Map<String, Value>> {
        self.rare.as_ref().map(|rare| &rare.attached).filter(|attached| !attached.is_empty())
    }

    /// Returns an event that owns its strings.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        self.owned()
    }

    /// The same for who wants it of a shorter life: an event of one lifetime is none of another.
    pub(crate) fn owned<'o>(self) -> Event<'o> {
        fn own<'o>(text: Cow<'_, str>) -> Cow<'o, str> {
            Cow::Owned(text.into_owned())
        }
        let own_property = |(key, value): (Cow<'_, str>, PropertyValue<'_>)| {
            let value = match value {
                PropertyValue::Text(text) => PropertyValue::Text(own(text)),
                PropertyValue::Json(json) => PropertyValue::Json(json),
                PropertyValue::Attribute(text) => PropertyValue::Attribute(text),
            };
            (own(key), value)
        };
        Event {
            customer_id: own(self.customer_id),
            event_type: own(self.event_type),
            model: self.model.map(own),
            provider: self.provider.map(own),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            total_tokens: self.total_tokens,
            cost_cents: self.cost_cents,
            latency_ms: self.latency_ms,
            properties: self.properties.into_iter().map(own_property).collect(),
            values: self.values.into_iter().map(|(name, amount)| (own(name), amount)).collect(),
            idempotency_key: self.idempotency_key.map(own),
            timestamp: self.timestamp,
            rare: self.rare,
        }
    }

    /// Tells whether the cost is what the [prices](Pricer) of an engine say, and was not given with
    /// the event.
    #[must_use]
    #[inline]
    pub fn is_priced(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_priced)
    }

    /// The cost that was given with the event.
    pub(crate) fn given_cost(&self) -> Option<Amount> {
        self.cost_cents.filter(|_| !self.is_priced())
    }

    /// Sets the cost, and whether it is what prices say.
    #[inline]
    pub(crate) fn set_cost(&mut self, cents: Option<Amount>, is_priced: bool) {
        self.cost_cents = cents;
        if is_priced {
            self.rare.get_or_insert_default().is_priced = true;
        } else if let Some(rare) = &mut self.rare {
            rare.is_priced = false;
        }
    }

    /// The event with a cost that prices say. It borrows all texts of this one.
    pub(crate) fn priced(&self, cents: Amount) -> Event<'_> {
        let mut priced = self.lent();
        priced.set_cost(Some(cents), true);
        priced
    }

    /// The same event, which borrows all texts of this one.
    pub(crate) fn lent<'e>(&'e self) -> Event<'e> {
        let lend = |text: &'e Cow<'_, str>| Cow::Borrowed(&**text);
        let property = |(key, value): &'e (Cow<'_, str>, PropertyValue<'_>)| {
            let value = match value {
                PropertyValue::Text(text) => PropertyValue::Text(lend(text)),
                PropertyValue::Json(json) => PropertyValue::Json(json.clone()),
                PropertyValue::Attribute(text) => PropertyValue::Attribute(Arc::clone(text)),
            };
            (lend(key), value)
        };
        Event {
            customer_id: lend(&self.customer_id),
            event_type: lend(&self.event_type),
            model: self.model.as_ref().map(lend),
            provider: self.provider.as_ref().map(lend),
            cost_cents: self.cost_cents,
            properties: self.properties.iter().map(property).collect(),
            values: self.values.iter().map(|(name, amount)| (lend(name), *amount)).collect(),
            idempotency_key: self.idempotency_key.as_ref().map(lend),
            rare: self.rare.clone(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            total_tokens: self.total_tokens,
            latency_ms: self.latency_ms,
            timestamp: self.timestamp,
        }
    }

    /// Whether something is said of a property, whatever it is.
    pub(crate) fn has_property(&self, key: &str) -> bool {
        self.properties.iter().any(|(known, _)| known == key)
    }

    /// Adds an attribute of the customer under the name of its dimension, of which the event says
    /// nothing.
    pub(crate) fn add_attribute(&mut self, dimension: Cow<'a, str>, value: Arc<str>) {
        self.properties.push((dimension, PropertyValue::Attribute(value)));
    }

    /// The attributes of the customer that were looked up, by the names of their dimensions.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.properties.iter().filter_map(|(key, value)| match value {
            PropertyValue::Attribute(text) => Some((&**key, text)),
            _ => None,
        })
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    pub(crate) fn happened_at(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// The tokens of the event: the total where it is given, else input plus output; the outer
    /// `None` where that sum does not fit, which [`validate`](Self::validate) refuses.
    #[inline]
    #[expect(clippy::option_option, reason = "two words that come back in registers")]
    pub(crate) fn tokens(&self) -> Option<Option<u64>> {
        total_tokens(self.total_tokens, self.input_tokens, self.output_tokens)
    }

    pub(crate) fn named_value(&self, name: &str) -> Option<Amount> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, amount)| *amount)
    }

    pub(crate) fn text_property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find_map(|(key, value)| value.text().filter(|_| key == name))
    }

    /// Whether the engine has added something to what was given: a price, or attributes of the
    /// customer. Either may be another one when the event is sent again.
    pub(crate) fn is_completed(&self) -> bool {
        self.is_priced() || self.attributes().next().is_some()
    }

    /// Feeds everything that a retry of this event must have in common with it to a hasher, as it
    /// is or as it was given: all but the customer and the idempotency key, which are looked up,
    /// and the timestamp, which a client may set anew each time.
    pub(crate) fn hash_payload(&self, as_given: bool, state: &mut impl Hasher) {
        self.event_type.hash(state);
        self.model.hash(state);
        self.provider.hash(state);
        self.input_tokens.hash(state);
        self.output_tokens.hash(state);
        self.tokens().hash(state);
        if as_given { self.given_cost() } else { self.cost_cents }.hash(state);
        self.latency_ms.hash(state);
        if let Some(attached) = self.attached() {
            (2_u8, attached_json(attached)).hash(state);
        }
        let is_meant =
            |(_, value): &&(Cow<'a, str>, PropertyValue<'a>)| !as_given || !value.is_attribute();
        let mut properties: SmallVec<[_; 8]> = self.properties.iter().filter(is_meant).collect();
        if properties.is_empty() && self.values.is_empty() {
            return;
        }
        // The order in which properties and values were set means nothing.
        properties.sort_by(|a, b| a.0.cmp(&b.0));
        properties.len().hash(state);
        for (key, value) in properties {
            key.hash(state);
            // A text and a JSON value that prints alike are not the same: only one is a dimension.
            match value {
                PropertyValue::Text(text) => (0_u8, text).hash(state),
                PropertyValue::Json(json) => (1_u8, json.to_string()).hash(state),
                PropertyValue::Attribute(text) => (0_u8, text).hash(state),
            }
        }
        let mut values: SmallVec<[_; 8]> = self.values.iter().collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        values.hash(state);
    }

    /// Whether a value of this name can be set.
    pub(crate) fn has_room_for(&self, name: &str) -> bool {
        let is_known = || self.values.iter().any(|(known, _)| known == name);
        self.values.len() < MAX_VALUES
            || is_known()
            || ValueName::BUILT_IN.iter().any(|built_in| built_in.as_str() == name)
    }

    pub(crate) fn set_value(&mut self, name: Cow<'a, str>, amount: Amount) {
        let whole = match &*name {
            "input_tokens" => &mut self.input_tokens,
            "output_tokens" => &mut self.output_tokens,
            "total_tokens" => &mut self.total_tokens,
            "latency_ms" => &mut self.latency_ms,
            "cost_cents" => return self.set_cost(Some(amount), false),
            _ => {
                let has_room = self.values.len() < MAX_VALUES;
                match self.values.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = amount,
                    None if has_room => self.values.push((name, amount)),
                    None => self.report_invalid("values", &name, bounds::VALUES_RULE),
                }
                return;
            }
        };
        match u64::try_from(amount) {
            Ok(number) => *whole = Some(number),
            Err(_) => self.report_invalid(&name, &amount.to_string(), bounds::WHOLE_RULE),
        }
    }

    #[cold]
    fn report_invalid(&mut self, field: &str, value: &str, rule: &'static str) {
        self.report(EventError::invalid(field, value, rule));
    }

    fn report(&mut self, problem: EventError) {
        self.rare.get_or_insert_default().problem.get_or_insert(problem);
    }

    /// Takes out what a setter could not take.
    pub(crate) fn take_problem(&mut self) -> Option<EventError> {
        let problem = self.rare.as_mut()?.problem.take();
        self.rare.take_if(|rare| rare.attached.is_empty() && !rare.is_priced);
        problem
    }

    /// Sets all that is attached.
    pub(crate) fn set_attached(&mut self, attached: Map<String, Value>) {
        if !attached.is_empty() {
            self.rare.get_or_insert_default().attached = attached;
        }
    }
}

/// What is attached to an event, as it is stored and compared.
pub(crate) fn attached_json(attached: &Map<String, Value>) -> String {
    // A map of texts and values is always printed.
    serde_json::to_string(attached).unwrap_or_default()
}

/// The total of tokens: the one that is given, else input plus output; the outer `None` where that
/// sum does not fit.
#[inline]
#[expect(clippy::option_option, reason = "two words that come back in registers")]
pub(crate) fn total_tokens(
    given: Option<u64>,
    input: Option<u64>,
    output: Option<u64>,
) -> Option<Option<u64>> {
    match (given, input, output) {
        (Some(total), _, _) => Some(Some(total)),
        (None, None, None) => Some(None),
        (None, input, output) => input.unwrap_or(0).checked_add(output.unwrap_or(0)).map(Some),
    }
}
