//! The second generation: events, meters, limits on them, balances, customers.

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{delete, get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::access::Need;
use super::call::{self, Call, Params, Project};
use super::failure::{Failure, Reason};
use crate::wire;

mod balances;
mod check;
pub(super) mod client;
mod customers;
mod events;
mod limits;
mod meters;
pub(super) mod tokens;

/// Its paths.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/events", get(events::list))
        .route("/events/record", post(events::record))
        .route("/events/batch", post(events::record_batch))
        .route("/events/summary", get(events::summary))
        .route("/events/breakdown", get(events::breakdown))
        .route("/meters", post(meters::add).get(meters::list))
        .route("/meters/{id}", get(meters::get).put(meters::update).delete(meters::remove))
        .route("/meters/{id}/query", post(meters::query))
        .route("/limits", post(limits::add).get(limits::list))
        .route("/limits/check", post(check::check))
        .route("/limits/{id}", get(limits::get).put(limits::update).delete(limits::remove))
        .route("/balances", post(balances::add).get(balances::list))
        .route("/balances/check", post(balances::check))
        .route("/balances/credit", post(balances::credit))
        .route("/balances/debit", post(balances::debit))
        .route("/balances/{id}", get(balances::get))
        .route("/balances/{id}/transactions", get(balances::transactions))
        .route("/customers", post(customers::add).get(customers::list))
        .route(
            "/customers/{id}",
            get(customers::get).put(customers::update).delete(customers::remove),
        )
        .route("/customers/{id}/usage", get(customers::usage))
        .route("/customers/{id}/balances", get(customers::balances))
        .route("/client-tokens", post(tokens::add))
        .route("/client-tokens/{id}", delete(tokens::end))
        .route("/project", get(call::project))
}

/// Why there is no answer, as this generation says it.
#[derive(Serialize)]
pub(super) struct Problem<'p> {
    error: Said<'p>,
}

#[derive(Serialize)]
struct Said<'p> {
    code: &'p str,
    message: &'p str,
    status: u16,
}

impl<'p> Problem<'p> {
    pub(super) fn of(why: &'p Failure) -> Self {
        let code = match why.reason {
            Reason::BadInput | Reason::EmptyRange => "invalid_field_value",
            Reason::Unauthorized => "invalid_api_key",
            Reason::Forbidden => "insufficient_permissions",
            Reason::NotFound => "not_found",
            Reason::NotAllowed => "method_not_allowed",
            Reason::Conflict => "conflict",
            Reason::TooLarge => "request_too_large",
            Reason::Unavailable => "service_unavailable",
            Reason::Internal => "internal_error",
        };
        let (code, status) = (why.code.unwrap_or(code), why.reason.status().as_u16());
        Self { error: Said { code, message: why.said(), status } }
    }
}

/// Checks that a personal access token says which project it is used for.
pub(super) fn needs_project(headers: &HeaderMap) -> Result<(), Failure> {
    need(headers.get("x-project"), "the header X-Project").map(drop)
}

/// Reads the body of a call that a key must be good for.
async fn body<T: DeserializeOwned>(call: Call, need: Need) -> Result<(Project, T), Failure> {
    let (project, bytes) = call.needs(need)?.body().await?;
    Ok((project, parse(&bytes)?))
}

/// Reads a body that is an object; no body is an empty one.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    match first_of(bytes) {
        None => read(b"{}"),
        Some(b'{') => read(bytes),
        Some(_) => Err(Failure::bad_input("the body must be an object").code("invalid_request")),
    }
}

/// The first byte of a body that says something.
fn first_of(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Reads JSON; what is wrong with it is named by its path.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    wire::from_json(bytes).map_err(|why| {
        let failure = Failure::bad_input(&why);
        // A body that can be read has a field or a value that is wrong.
        if why.is_data() { failure } else { failure.code("invalid_request") }
    })
}

/// A field that must be there.
fn need<T>(field: Option<T>, name: &str) -> Result<T, Failure> {
    field.ok_or_else(|| missing(&format_args!("{name} must be given")))
}

fn missing(message: &(impl ToString + ?Sized)) -> Failure {
    Failure::bad_input(message).code("missing_required_field")
}

/// A parameter that must be there.
fn need_param(params: &mut Params, name: &str) -> Result<String, Failure> {
    params.need(name).map_err(|why| why.code("missing_required_field"))
}

/// What is said where nothing has an id.
fn not_found(kind: &str, code: &'static str, id: &str) -> Failure {
    Failure::not_found(kind, id).code(code)
}

#[expect(clippy::option_option, reason = "not given, given as null, given")]
/// Tells a field that is null from one that is not there.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// An id that says a text.
fn hex(prefix: &str, text: &str) -> String {
    let mut id = prefix.to_owned();
    for byte in text.bytes() {
        for digit in [byte >> 4, byte & 15] {
            id.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    id
}

/// The text that an id says.
fn unhex(prefix: &str, id: &str) -> Option<String> {
    let (pairs, rest) = id.strip_prefix(prefix)?.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| {
        let digit = char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
        digit.and_then(|digit| u8::try_from(digit).ok())
    };
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4) | digit(*low)?);
    let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    String::from_utf8(bytes).ok().filter(|text| rest.is_empty() && !text.is_empty())
}

/// 128 bits that nobody can guess.
fn chance() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|why| Failure::new(Reason::Internal, &why))?;
    Ok(u128::from_le_bytes(bytes))
}

/// A new id.
fn fresh_id(prefix: &str) -> Result<String, Failure> {
    Ok(format!("{prefix}{:032x}", chance()?))
}
