//! How large an event may be, the same for every way in: an event that is built, a body that is
//! read, a batch, an import.
//!
//! What is beyond a bound is an error that names the field, the value and the rule, and nothing of
//! the event is counted. So what one customer sends costs the others little, and what goes in
//! comes out: every event that is recorded can be listed, exported and imported again. What an
//! older store holds beyond these bounds stays there and is listed and exported; an import does
//! not take it.
//!
//! # Why no sum can pass its type
//!
//! A sum of amounts is kept in millionths, in 128 bits with a sign. One amount is at most
//! [`MAX_AMOUNT`], 10^21 millionths, so a sum passes its type after 1.7 * 10^17 events at the
//! earliest. Each of them takes more than 30 bytes in memory or in a store, 5 exabytes all
//! together.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use super::{EventError, PropertyValue};
use crate::base::amount::Amount;

/// The longest id or dimension value, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 256;
/// The longest key of a property or name of a value, in bytes.
pub const MAX_KEY_BYTES: usize = 64;
/// How many values an event has at most, the built-in ones (`input_tokens` and the like) not
/// counted.
pub const MAX_VALUES: usize = 64;
/// How many properties an event has at most, those that are dimensions with them; the built-in
/// dimensions are none of them. As many things may be attached to it.
pub const MAX_PROPERTIES: usize = 64;
/// How many bytes the properties of an event and what is attached to it have at most, all together
/// as compact JSON: objects without spaces.
pub const MAX_PROPERTIES_BYTES: usize = 16 * 1_024;
/// How many lists and objects may lie within each other in a property, or in what is attached:
/// `[{}]` is 2 deep.
pub const MAX_JSON_DEPTH: usize = 32;
/// How many bytes an event has at most as compact JSON. It follows from the other bounds.
pub const MAX_EVENT_BYTES: usize = 64 * 1_024;
/// The largest amount of one event, 10^15, either side of zero: of its values, cost, tokens and
/// latency, none of which but values may be negative. The limit of a rule, which is for many, may
/// be larger.
pub const MAX_AMOUNT: Amount = Amount::from_millionths(1_000_000_000_000_000_000_000);

/// [`MAX_AMOUNT`] in whole units.
pub(crate) const MAX_UNITS: u64 = 1_000_000_000_000_000;

pub(crate) const SIGNED_RULE: &str = "must be from -1000000000000000 to 1000000000000000";
/// What a timestamp must be: else no text could say it.
pub(super) const DATE_RULE: &str = "must be in the years -262143 to 262142";
pub(crate) const WHOLE_RULE: &str = "must be a whole number from 0 to 1000000000000000";
pub(crate) const TOTAL_RULE: &str =
    "must be at most 1000000000000000, input_tokens and output_tokens together";
pub(crate) const VALUES_RULE: &str = "is one too many: an event has at most 64 values";
pub(crate) const PROPERTIES_RULE: &str = "is one too many: an event has at most 64 properties";
pub(crate) const ATTACHED_RULE: &str = "is one too many: an event has at most 64 attachments";
pub(crate) const BYTES_RULE: &str =
    "is too much: properties and attachments have at most 16384 bytes of compact JSON together";
pub(crate) const DEPTH_RULE: &str = "must be at most 32 lists and objects deep";
/// Objects by which `serde_json` hands over numbers and texts of JSON begin with such a key: it
/// reads what was recorded under one as something else, or not at all.
const RESERVED: &str = "$serde_json::private::";
pub(crate) const RESERVED_RULE: &str = "must have no key that begins with `$serde_json::private::`";

const _: () = assert!(MAX_AMOUNT.millionths() == MAX_UNITS as i128 * 1_000_000);

/// A text in JSON has two bytes for a quote or a backslash; other characters are as they are, or
/// are not allowed in an id or a dimension value.
const MAX_TEXT_JSON: usize = 2 * MAX_TEXT_BYTES + 2;
/// An entry of an object: a key and a colon, the value, and a comma.
const fn entry(key: usize, value: usize) -> usize {
    key.saturating_add(value).saturating_add(4)
}
// An amount as text has a sign, 16 digits, a point, 6 digits and quotes; an instant of chrono's
// range is shorter than 64 bytes.
const _: () = assert!(
    2 + 5 * entry(MAX_KEY_BYTES, MAX_TEXT_JSON)
        + 5 * entry(MAX_KEY_BYTES, 32)
        + entry(MAX_KEY_BYTES, MAX_PROPERTIES_BYTES)
        + entry(MAX_KEY_BYTES, 2)
        + entry(MAX_KEY_BYTES, 2 + MAX_VALUES * entry(MAX_KEY_BYTES, 32))
        + entry(MAX_KEY_BYTES, 64)
        <= MAX_EVENT_BYTES
);
/// So many texts cannot pass [`MAX_PROPERTIES_BYTES`]: they need not be measured.
const SMALL: usize = (MAX_PROPERTIES_BYTES - 2) / entry(MAX_KEY_BYTES, MAX_TEXT_JSON);

/// Checks the number, the size and the depth of properties whose keys and texts are good.
#[inline]
pub(super) fn check_properties(
    properties: &[(Cow<'_, str>, PropertyValue<'_>)],
) -> Result<(), EventError> {
    let is_text = |(_, value): &(_, PropertyValue<'_>)| value.text().is_some();
    if properties.len() <= SMALL && properties.iter().all(is_text) {
        return Ok(());
    }
    measure_properties(properties).map(drop)
}

/// Checks the number, the size and the depth of what is attached to an event of these properties.
pub(super) fn check_attached(
    attached: &Map<String, Value>,
    properties: &[(Cow<'_, str>, PropertyValue<'_>)],
) -> Result<(), EventError> {
    let mut budget = measure_properties(properties)?;
    for (place, (key, value)) in attached.iter().enumerate() {
        let taken = if place < MAX_PROPERTIES { Ok(()) } else { Err(ATTACHED_RULE) };
        let taken = taken.and_then(|()| budget.comma(place)).and_then(|()| budget.key(key));
        let taken = taken.and_then(|()| budget.json(value, 0));
        taken.map_err(|rule| EventError::invalid("attached", key, rule))?;
    }
    Ok(())
}

/// The room that properties leave.
#[cold]
fn measure_properties(
    properties: &[(Cow<'_, str>, PropertyValue<'_>)],
) -> Result<JsonBudget, EventError> {
    if let Some((key, _)) = properties.get(MAX_PROPERTIES) {
        return Err(EventError::invalid("properties", key, PROPERTIES_RULE));
    }
    let mut budget = JsonBudget::of_properties();
    for (place, (key, value)) in properties.iter().enumerate() {
        let taken = budget.comma(place).and_then(|()| budget.key(key));
        let taken = taken.and_then(|()| match value {
            PropertyValue::Text(text) => budget.text(text),
            PropertyValue::Json(json) => budget.json(json, 0),
            PropertyValue::Attribute(text) => budget.text(text),
        });
        taken.map_err(|rule| EventError::invalid("properties", key, rule))?;
    }
    Ok(budget)
}

/// The bytes that are left for compact JSON. Each step takes what it is told of, or says which
/// rule is broken.
pub(crate) struct JsonBudget {
    left: usize,
}

impl JsonBudget {
    /// Room for the properties of an event, their braces taken.
    pub(crate) fn of_properties() -> Self {
        Self { left: MAX_PROPERTIES_BYTES.saturating_sub(2) }
    }

    fn take(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.left = self.left.checked_sub(bytes).ok_or(BYTES_RULE)?;
        Ok(())
    }

    /// A key and its colon.
    pub(crate) fn key(&mut self, key: &str) -> Result<(), &'static str> {
        if key.starts_with(RESERVED) {
            return Err(RESERVED_RULE);
        }
        self.text(key)?;
        self.take(1)
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), &'static str> {
        // Looks at no more of it than there is room for.
        self.take(text.len())?;
        let more = text.bytes().map(|byte| match byte {
            b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 1,
            0..0x20 => 5,
            _ => 0,
        });
        self.take(more.fold(2_usize, usize::saturating_add))
    }

    /// The comma before all entries of a list or an object but the first.
    pub(crate) fn comma(&mut self, place: usize) -> Result<(), &'static str> {
        self.take(usize::from(place > 0))
    }

    /// A list or an object that lies in `depth` others, with its brackets.
    pub(crate) fn open(&mut self, depth: usize) -> Result<(), &'static str> {
        if depth >= MAX_JSON_DEPTH {
            return Err(DEPTH_RULE);
        }
        self.take(2)
    }

    /// Anything else, as it is printed.
    pub(crate) fn shown(&mut self, value: impl fmt::Display) -> Result<(), &'static str> {
        fmt::write(self, format_args!("{value}")).map_err(|_| BYTES_RULE)
    }

    /// A value that lies in `depth` lists and objects of the same property.
    pub(crate) fn json(&mut self, json: &Value, depth: usize) -> Result<(), &'static str> {
        let within = depth.saturating_add(1);
        match json {
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.open(depth)?;
                items.iter().enumerate().try_for_each(|(place, item)| {
                    self.comma(place)?;
                    self.json(item, within)
                })
            }
            Value::Object(entries) => {
                self.open(depth)?;
                entries.iter().enumerate().try_for_each(|(place, (key, value))| {
                    self.comma(place)?;
                    self.key(key)?;
                    self.json(value, within)
                })
            }
            other => self.shown(other),
        }
    }
}

impl fmt::Write for JsonBudget {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.take(part.len()).map_err(|_| fmt::Error)
    }
}
