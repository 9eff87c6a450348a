//! Examples: requests that a test has sent, each with the answer that it got.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::path::HttpMethod;

/// A request, and what it was answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sent {
    /// The path of its route, with names for what stands in it.
    route: String,
    method: String,
    /// What it shows.
    says: String,
    body: Option<Value>,
    status: u16,
    answer: Value,
    /// The path and the query as they were sent: for the test alone.
    #[serde(rename = "path")]
    _path: String,
    /// The key that it was sent with, where that is not the usual one: for the test, too.
    #[serde(rename = "key")]
    _key: Option<String>,
    /// Whether it was sent to an engine with a store and a folder for backups: for the test, too.
    #[serde(rename = "stored", default)]
    _is_stored: bool,
}

/// All of a document.
pub(super) struct Examples(Vec<Sent>);

impl Examples {
    pub(super) fn read(text: &str) -> Self {
        let read = serde_json::from_str(text);
        debug_assert!(read.is_ok(), "{read:?}");
        Self(read.unwrap_or_default())
    }

    /// Those of a route.
    pub(super) fn of(&self, method: &HttpMethod, route: &str) -> Vec<&Sent> {
        let method = match method {
            HttpMethod::Get => "GET",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
            _ => "POST",
        };
        let sent = self.0.iter();
        sent.filter(|sent| sent.method == method && sent.route == route).collect()
    }
}

/// Examples of what is sent.
pub(super) fn requests<'e>(shown: &'e [&Sent]) -> impl Iterator<Item = (String, Example)> + 'e {
    let good = shown.iter().filter(|sent| sent.status != 400);
    good.filter_map(|sent| Some((sent.says.clone(), example(sent.body.clone()?))))
}

/// Examples of what is answered with a status.
pub(super) fn answers<'e>(
    shown: &'e [&Sent],
    status: StatusCode,
) -> impl Iterator<Item = (String, Example)> + 'e {
    let of_status = shown.iter().filter(move |sent| sent.status == status.as_u16());
    of_status.map(|sent| (sent.says.clone(), example(sent.answer.clone())))
}

fn example(value: Value) -> Example {
    ExampleBuilder::new().value(Some(value)).build()
}
