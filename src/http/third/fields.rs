//! The fields of a body, read so that all that is wrong with them is said at once, each with its
//! path.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Amount;
use crate::http::call::from_json;
use crate::http::failure::{Detail, Failure};

/// The largest cost of a check or a commit.
pub(super) const COST: RangeInclusive<i64> = 0..=1_000_000_000;
/// How many seconds a reservation lasts.
pub(super) const TTL: RangeInclusive<i64> = 1..=3_600;
pub(super) const DEFAULT_TTL: u64 = 300;

/// An object whose fields are taken one after the other.
#[derive(Debug)]
pub(super) struct Fields {
    path: String,
    left: Map<String, Value>,
    problems: Vec<Detail>,
}

impl Fields {
    /// The fields of a body; an empty one has none.
    pub(super) fn of_body(body: &[u8]) -> Result<Self, Failure> {
        let value = if body.is_empty() { Value::Object(Map::new()) } else { from_json(body)? };
        Ok(Self::of(String::new(), value))
    }

    /// The fields of an object at a path.
    pub(super) fn of(path: String, value: Value) -> Self {
        match value {
            Value::Object(left) => Self { path, left, problems: Vec::new() },
            other => {
                let mut fields = Self { path, left: Map::new(), problems: Vec::new() };
                fields.wrong("", format_args!("{other} must be an object"));
                fields
            }
        }
    }

    /// Says that something is wrong with a field.
    pub(super) fn wrong(&mut self, name: &str, why: impl fmt::Display) {
        let path = self.path_of(name);
        self.problems.push(Detail { path, message: why.to_string() });
    }

    fn path_of(&self, name: &str) -> String {
        match (&*self.path, name) {
            (path, "") => path.to_owned(),
            ("", name) => name.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }

    /// A field as it came; null is as if it were not there.
    pub(super) fn any(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// Takes the fields of an object within this one.
    pub(super) fn object(&mut self, name: &str) -> Option<Self> {
        let value = self.any(name)?;
        Some(Self::of(self.path_of(name), value))
    }

    /// Takes a list, each with its path.
    pub(super) fn list(&mut self, name: &str) -> Option<Vec<(String, Value)>> {
        match self.any(name)? {
            Value::Array(list) => {
                let path = self.path_of(name);
                let named = list.into_iter().enumerate();
                Some(named.map(|(place, value)| (format!("{path}[{place}]"), value)).collect())
            }
            other => {
                self.wrong(name, format_args!("{other} must be a list"));
                None
            }
        }
    }

    /// Takes what was wrong with a part over.
    pub(super) fn join(&mut self, part: Self) {
        self.problems.extend(part.problems);
    }

    /// Takes a text of 1 to 256 bytes without control characters.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.any(name)?;
        match value {
            Value::String(text) if is_text(&text) => Some(text),
            other => {
                let rule = "must be a text of 1 to 256 bytes without control characters";
                self.wrong(name, format_args!("{other} {rule}"));
                None
            }
        }
    }

    /// Takes a whole number within bounds: `2.0` is one.
    pub(super) fn whole(&mut self, name: &str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let value = self.any(name)?;
        let whole = value.is_number().then(|| whole_of(&value)).flatten();
        let whole = whole.filter(|whole| bounds.contains(whole));
        if whole.is_none() {
            let (least, most) = bounds.into_inner();
            self.wrong(name, format_args!("{value} must be a whole number from {least} to {most}"));
        }
        whole
    }

    /// The same where it is not below zero.
    pub(super) fn count(&mut self, name: &str, bounds: RangeInclusive<i64>) -> Option<u64> {
        self.whole(name, bounds).and_then(|whole| u64::try_from(whole).ok())
    }

    /// Takes one of several words, or a `true` or `false`.
    pub(super) fn word<T: DeserializeOwned>(&mut self, name: &str, words: &str) -> Option<T> {
        let value = self.any(name)?;
        let word = serde_json::from_value(value.clone()).ok();
        if word.is_none() {
            self.wrong(name, format_args!("{value} must be {words}"));
        }
        word
    }

    /// Says of what must be there that it is not, unless what came was wrong.
    pub(super) fn need<T>(&mut self, name: &str, found: Option<T>) -> Option<T> {
        let path = self.path_of(name);
        let is_said = |problem: &Detail| problem.path.starts_with(&path);
        if found.is_none() && !self.problems.iter().any(is_said) {
            self.wrong(name, "must be given");
        }
        found
    }

    /// Whether something is wrong as far as it was read.
    pub(super) fn is_wrong(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Says of what is left that nobody knows it.
    pub(super) fn check_rest(&mut self) {
        for name in std::mem::take(&mut self.left).keys() {
            self.wrong(name, "is not a field here");
        }
    }

    /// Ends the reading: the value, or all that is wrong.
    pub(super) fn end<T>(mut self, value: Option<T>) -> Result<T, Failure> {
        self.check_rest();
        match value.filter(|_| self.problems.is_empty()) {
            Some(value) => Ok(value),
            None => Err(Failure::invalid(self.problems)),
        }
    }
}

/// Whether it is a text as the engine takes them.
pub(super) fn is_text(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A number that is whole, whatever it is written as.
fn whole_of(value: &Value) -> Option<i64> {
    let amount: Amount = serde_json::from_value(value.clone()).ok()?;
    let whole = amount.millionths().checked_div(1_000_000)?;
    let whole = i64::try_from(whole).ok()?;
    (Amount::from(whole) == amount).then_some(whole)
}

/// An amount in whole units, rounded down, as this generation shows them.
pub(super) fn units(amount: Amount) -> i64 {
    let whole = amount.millionths().div_euclid(1_000_000);
    i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
}
