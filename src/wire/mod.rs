//! What goes over the wire: events as they come in and are listed, decisions with their headers,
//! and usage as it is answered. The types themselves know no form.

use serde::de::DeserializeOwned;

use crate::base::reading;

mod alert;
mod decision;
mod decision_json;
mod event;
mod export;
mod headers;
mod recorded;
mod usage;

pub use self::decision::DecisionBody;
pub(crate) use self::event::{DraftProblem, Line, MAX_BATCH};
pub use self::event::{EventBatch, event_from_json};
pub(crate) use self::export::ExportLine;
pub use self::headers::{HeaderDialect, Headers};
pub use self::usage::Generic;

/// Reads a body of JSON into any type. An error names the field by its path, the value and the
/// rule, as those of the bodies of this crate do.
///
/// ```
/// use std::collections::BTreeMap;
/// use limitry::wire::from_json;
///
/// let why = from_json::<BTreeMap<String, Vec<String>>>(br#"{"teams": ["red", 7]}"#).unwrap_err();
/// assert!(why.to_string().starts_with("teams[1]: 7 must be a string"));
/// ```
///
/// # Errors
/// It is not JSON, or not what the type is read from.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let mut from = serde_json::Deserializer::from_slice(json);
    let body = reading::read(&mut from)?;
    from.end().map(|()| body)
}
