//! What an application says of a customer.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::Value;

use super::OwnCalendar;
use crate::base::calendar::TimeZone;
use crate::base::clock::Timestamp;
use crate::base::reading;
use crate::base::text::excerpt;
use crate::event::{Dimension, bounds::JsonBudget, key_rule, text_rule};

/// How many entries the metadata of a customer has at most.
const MAX_METADATA: usize = 64;
/// The longest key of metadata: with `customer_` before it, it is the name of a dimension.
const MAX_KEY_BYTES: usize = 55;

reading::body! {
    /// What is known of a customer beside its events: [`Customers`](crate::handles::Customers).
    ///
    /// As data: `{"id": "cust_123", "name": "Acme", "timeZone": "Europe/Berlin", "billingAnchor":
    /// "2024-01-31", "metadata": {"plan": "pro"}}`, all but the id optional.
    ///
    /// A string of its metadata is an attribute: see
    /// [`Customers`](crate::handles::Customers#attributes).
    ///
    /// In memory it takes some 400 bytes and its texts, and 200 more where it has a zone or an
    /// anchor. While something names an attribute, it takes its id, its attributes and some 150
    /// bytes beside.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[non_exhaustive]
    pub struct Customer {
        /// The `customer_id` of its events, of 1 to 256 bytes; of another dimension its value.
        #[serde(alias = "customer_id", alias = "customerId", alias = "externalId")]
        pub id: String,
        /// What people call it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// By which zone's midnights its days, weeks, months and years begin.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            alias = "time_zone",
            alias = "timezone"
        )]
        pub time_zone: Option<TimeZone>,
        /// The date that its weeks, months and years run from.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "billing_anchor")]
        pub billing_anchor: Option<NaiveDate>,
        /// What else is to be known of it: at most 64 entries of 16 384 bytes of JSON together.
        /// Keys are 1 to 55 letters, digits or `_`, and strings have 1 to 256 bytes.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub metadata: BTreeMap<String, Value>,
        /// When it was first set; set by the engine.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "created_at")]
        pub created_at: Option<Timestamp>,
        /// When it was last set; set by the engine.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "updated_at")]
        pub updated_at: Option<Timestamp>,
    }
}

/// Something that is wrong with a customer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("customer {customer:?}: {field}: {value:?} {rule}")]
#[non_exhaustive]
pub struct CustomerError {
    /// The id, cut short where it is long.
    pub customer: Box<str>,
    /// The field, such as `name` or `metadata.plan`.
    pub field: Box<str>,
    /// Its value, cut short where it is long.
    pub value: Box<str>,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl Customer {
    /// Says of a customer nothing but its id.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: None,
            time_zone: None,
            billing_anchor: None,
            metadata: BTreeMap::new(),
            created_at: None,
            updated_at: None,
        }
    }

    /// Sets what people call it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Begins the days, weeks, months and years of its quotas at midnight in a zone, where they do
    /// not say [their own](crate::Quota::time_zone). Without it they go by the zone of the
    /// [engine](crate::EngineBuilder::time_zone).
    #[must_use]
    pub fn time_zone(mut self, zone: impl Into<TimeZone>) -> Self {
        self.time_zone = Some(zone.into());
        self
    }

    /// Runs the weeks, months and years of its quotas from a date, and days in
    /// [groups](crate::Quota::every), where they do not say [their own](crate::Quota::anchor): the
    /// day on which it pays. Without it they begin on Monday, on the 1st and on 1 January.
    #[must_use]
    pub fn billing_anchor(mut self, date: NaiveDate) -> Self {
        self.billing_anchor = Some(date);
        self
    }

    /// Sets an entry of its metadata.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    pub(crate) fn calendar(&self) -> OwnCalendar {
        OwnCalendar { zone: self.time_zone.map(Into::into), anchor: self.billing_anchor }
    }

    /// Checks all that users say.
    pub(crate) fn check(&self) -> Result<(), CustomerError> {
        let wrong = |field: &str, value: &str, rule| CustomerError {
            customer: excerpt(&self.id),
            field: field.into(),
            value: excerpt(value),
            rule,
        };
        let text = |field: &str, value: &str| match text_rule(value) {
            Some(rule) => Err(wrong(field, value, rule)),
            None => Ok(()),
        };
        text("id", &self.id)?;
        self.name.as_deref().map_or(Ok(()), |name| text("name", name))?;
        let mut budget = JsonBudget::of_properties();
        for (place, (key, value)) in self.metadata.iter().enumerate() {
            if place == MAX_METADATA {
                return Err(wrong("metadata", key, "is one too many: a customer has at most 64"));
            }
            if key_rule(key).is_some() || key.len() > MAX_KEY_BYTES || key == "id" {
                let rule = "must be 1 to 55 ASCII letters, digits or `_`, and not `id`";
                return Err(wrong("metadata", key, rule));
            }
            let field = || format!("metadata.{key}");
            if let Value::String(value) = value {
                text(&field(), value)?;
            }
            let taken = budget.comma(place).and_then(|()| budget.key(key));
            let taken = taken.and_then(|()| budget.json(value, 0));
            taken.map_err(|rule| wrong(&field(), &value.to_string(), rule))?;
        }
        Ok(())
    }
}

/// Checks the name of a dimension.
pub(crate) fn check_dimension(name: &str) -> Result<Dimension, CustomerError> {
    match key_rule(name) {
        Some(rule) => Err(CustomerError {
            customer: Box::default(),
            field: "dimension".into(),
            value: excerpt(name),
            rule,
        }),
        None => Ok(Dimension::parse(name)),
    }
}
