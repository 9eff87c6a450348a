//! The second generation: events, meters, limits on them, balances, customers.

use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{PartialSchema, ToSchema};

use super::access::Need;
use super::call::{self, Call, Params, Project};
use super::failure::{Failure, Reason};
use super::first;
use super::openapi::{About, JSON, Param, text};
use super::pages::Page;
use super::routes::{Routes, Shape, delete, get, post, put};
use crate::wire;

mod balances;
mod check;
pub(super) mod client;
mod customers;
mod events;
mod limits;
mod meters;
mod schema;
pub(super) mod tokens;

/// What is said of it as a whole.
pub(super) fn about() -> About {
    About {
        title: "limitry: events, meters, limits, balances, customers",
        says: "Checked before, recorded after. Paths are below where the API is mounted. Those \
               below /client are opened by client tokens alone.",
        problem: Shape::of::<Problem<'_>>(),
        problem_is: JSON,
        without_key: Some(first::Problem::schema()),
        examples: include_str!("../openapi/examples/second.json"),
        keys: "An API key that begins with `limitry_sk_`, a personal access token \
               (`limitry_pat_`, with the header `X-Project`), or below /client a client token \
               (`limitry_ct_`)",
    }
}

/// Its paths.
pub(super) fn routes() -> Routes {
    let routes = event_routes(Routes::below("/v1"));
    let routes = balance_routes(limit_routes(meter_routes(routes)));
    other_routes(customer_routes(routes))
}

fn event_routes(routes: Routes) -> Routes {
    let range = || first::range().map(Param::needed).into_iter().chain(filters());
    routes
        .about("Events")
        .with(
            get("/events", "listEvents", events::list)
                .says("Lists recorded events, the newest first")
                .asks(filters().into_iter().chain(first::range()).chain(first::page()))
                .answers::<schema::EventPage>(StatusCode::OK, "A page of events")
                .fails([Reason::Conflict]),
        )
        .with(
            post("/events/record", "recordEvent", events::record)
                .says("Records an event, whatever the limits say")
                .takes_all::<events::Recorded>("NewEvent", &["customerId", "eventType"])
                .answers::<events::Done>(StatusCode::CREATED, "It is recorded"),
        )
        .with(
            post("/events/batch", "batchIngestEvents", events::record_batch)
                .says("Records up to 1 000 events, or none of them")
                .takes_all::<events::Batch>("NewEvents", &["events"])
                .answers::<events::Counted>(StatusCode::CREATED, "They are recorded"),
        )
        .with(
            get("/events/summary", "getEventSummary", events::summary)
                .says("Sums up what was recorded in a range of time")
                .asks(range())
                .answers::<schema::EventSummary>(StatusCode::OK, "The sums")
                .fails([Reason::Conflict]),
        )
        .with(
            get("/events/breakdown", "getEventBreakdown", events::breakdown)
                .says("The same of each value of a dimension")
                .asks(range())
                .asks([text("groupBy", "A dimension, such as `model`").needed()])
                .answers::<schema::EventBreakdown>(StatusCode::OK, "The sums of each")
                .fails([Reason::Conflict]),
        )
}

fn meter_routes(routes: Routes) -> Routes {
    routes
        .about("Meters")
        .with(
            post("/meters", "createMeter", meters::add)
                .says("Makes a meter")
                .takes_all::<meters::Given>("NewMeter", &["name", "aggregation", "field"])
                .answers::<meters::Shown>(StatusCode::CREATED, "The meter"),
        )
        .with(
            get("/meters", "listMeters", meters::list)
                .says("Lists the meters, the newest first and the global ones last")
                .asks(first::page())
                .answers::<Page<meters::Shown>>(StatusCode::OK, "A page of meters"),
        )
        .with(
            get("/meters/{id}", "getMeter", meters::get)
                .says("Returns a meter")
                .answers::<meters::Shown>(StatusCode::OK, "The meter"),
        )
        .with(
            put("/meters/{id}", "updateMeter", meters::update)
                .says("Changes a meter: what is not given stays")
                .takes::<meters::Given>()
                .answers::<meters::Shown>(StatusCode::OK, "It is changed"),
        )
        .with(
            delete("/meters/{id}", "deleteMeter", meters::remove)
                .says("Removes a meter that no limit is on")
                .answers_nothing("It is removed"),
        )
        .with(
            post("/meters/{id}/query", "queryMeter", meters::query)
                .says("Says what a meter counts")
                .may_take::<meters::Question>()
                .answers::<meters::Figure>(StatusCode::OK, "The figure"),
        )
}

fn limit_routes(routes: Routes) -> Routes {
    let customer = || [text("customerId", "Only those of a customer")];
    routes
        .about("Limits")
        .with(
            post("/limits", "createLimit", limits::add)
                .says("Limits what a meter counts, of each customer or of one")
                .takes_all::<limits::Given>(
                    "NewLimit",
                    &["name", "meterId", "limitValue", "period"],
                )
                .answers::<limits::Shown>(StatusCode::CREATED, "It is in force")
                .fails([Reason::NotFound]),
        )
        .with(
            get("/limits", "listLimits", limits::list)
                .says("Lists the limits, the newest first")
                .asks(customer().into_iter().chain(first::page()))
                .answers::<Page<limits::Shown>>(StatusCode::OK, "A page of limits"),
        )
        .with(
            post("/limits/check", "checkLimits", check::check)
                .says("Says where a customer stands on the limits; nothing is taken")
                .may_take::<check::Question>()
                .answers::<check::Checked>(StatusCode::OK, "Where it stands"),
        )
        .with(
            get("/limits/{id}", "getLimit", limits::get)
                .says("Returns a limit")
                .answers::<limits::Shown>(StatusCode::OK, "The limit"),
        )
        .with(
            put("/limits/{id}", "updateLimit", limits::update)
                .says("Changes a limit: what is not given stays")
                .takes::<limits::Given>()
                .answers::<limits::Shown>(StatusCode::OK, "It is changed"),
        )
        .with(
            delete("/limits/{id}", "deleteLimit", limits::remove)
                .says("Removes a limit")
                .answers_nothing("It is removed"),
        )
}

fn balance_routes(routes: Routes) -> Routes {
    let change = ["customerId", "name", "amount", "description"];
    routes
        .about("Balances")
        .with(
            post("/balances", "createBalance", balances::add)
                .says("Makes a balance of a customer")
                .takes_all::<balances::Wanted>("NewBalance", &["customerId", "name"])
                .answers::<balances::Shown>(StatusCode::CREATED, "The balance"),
        )
        .with(
            get("/balances", "listBalances", balances::list)
                .says("Lists the balances by customer and name")
                .asks([
                    text("customerId", "Only those of a customer"),
                    text("name", "Only those of a name"),
                ])
                .asks(first::page())
                .answers::<Page<balances::Shown>>(StatusCode::OK, "A page of balances"),
        )
        .with(
            post("/balances/check", "checkBalance", balances::check)
                .says("Says whether a balance has enough; nothing is taken")
                .takes_all::<balances::Question>(
                    "BalanceQuestion",
                    &["customerId", "name", "amount"],
                )
                .answers::<balances::Sufficiency>(StatusCode::OK, "Whether it has")
                .fails([Reason::NotFound]),
        )
        .with(
            post("/balances/credit", "creditBalance", balances::credit)
                .says("Adds to a balance")
                .takes_all::<balances::Given>("Credit", &change)
                .answers::<balances::Posted>(StatusCode::OK, "It is added")
                .fails([Reason::NotFound]),
        )
        .with(
            post("/balances/debit", "debitBalance", balances::debit)
                .says("Takes from a balance, if it has enough")
                .takes_all::<balances::Given>("Debit", &change)
                .answers::<balances::Posted>(StatusCode::OK, "It is taken, or there is too little")
                .fails([Reason::NotFound]),
        )
        .with(
            get("/balances/{id}", "getBalance", balances::get)
                .says("Returns a balance")
                .answers::<balances::Shown>(StatusCode::OK, "The balance"),
        )
        .with(
            get("/balances/{id}/transactions", "listTransactions", balances::transactions)
                .says("Lists what was added to a balance and taken from it, the newest first")
                .asks(first::page())
                .answers::<Page<balances::Transaction>>(StatusCode::OK, "A page of the ledger"),
        )
}

fn customer_routes(routes: Routes) -> Routes {
    routes
        .about("Customers")
        .with(
            post("/customers", "createCustomer", customers::add)
                .says("Makes a customer, or changes what is given of one that is known")
                .takes_all::<customers::Given>("NewCustomer", &["externalId"])
                .answers::<customers::Shown>(StatusCode::CREATED, "It is new")
                .answers::<customers::Shown>(StatusCode::OK, "It was known"),
        )
        .with(
            get("/customers", "listCustomers", customers::list)
                .says("Lists the customers by their `externalId`")
                .asks(first::page())
                .answers::<Page<customers::Shown>>(StatusCode::OK, "A page of customers"),
        )
        .with(
            get("/customers/{id}", "getCustomer", customers::get)
                .says("Returns a customer, by its id or its `externalId`")
                .answers::<customers::Shown>(StatusCode::OK, "The customer"),
        )
        .with(
            put("/customers/{id}", "updateCustomer", customers::update)
                .says("Changes a customer: what is not given stays")
                .takes::<customers::Given>()
                .answers::<customers::Shown>(StatusCode::OK, "It is changed"),
        )
        .with(
            delete("/customers/{id}", "deleteCustomer", customers::remove)
                .says("Forgets a customer; its events and its use stay")
                .answers_nothing("It is forgotten"),
        )
        .with(
            get("/customers/{id}/usage", "getCustomerUsage", customers::usage)
                .says("Sums up what a customer used")
                .asks(first::range())
                .asks(filters().into_iter().skip(1))
                .answers::<schema::CustomerUsage>(StatusCode::OK, "The sums")
                .fails([Reason::Conflict]),
        )
        .with(
            get("/customers/{id}/balances", "getCustomerBalances", customers::balances)
                .says("Lists the balances of a customer")
                .answers::<customers::Balances>(StatusCode::OK, "The balances"),
        )
}

fn other_routes(routes: Routes) -> Routes {
    routes
        .about("Client tokens")
        .with(
            post("/client-tokens", "createClientToken", tokens::add)
                .says("Makes a token that lets a customer's client in")
                .takes_all::<tokens::Given>("NewClientToken", &["publicMetadata"])
                .answers::<tokens::Made>(
                    StatusCode::CREATED,
                    "The token, which is shown this once",
                ),
        )
        .with(
            delete("/client-tokens/{id}", "deleteClientToken", tokens::end)
                .says("Ends a token: it opens nothing from now on")
                .answers_nothing("It is ended"),
        )
        .about("Project")
        .with(
            get("/project", "getProject", call::project)
                .says("Returns the project of the key")
                .answers::<call::ShownProject<'_>>(StatusCode::OK, "The project"),
        )
}

/// Which events are asked about.
fn filters() -> [Param; 2] {
    [text("customerId", "Only those of a customer"), text("eventType", "Only those of a type")]
}

/// Why there is no answer, as this generation says it.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'p> {
    error: Said<'p>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProblemSaid)]
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
