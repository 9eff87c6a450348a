//! What is mounted, as `OpenAPI` documents: one a generation, and one of the engine's own API.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response as Answer;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
    PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, RefOr,
    Required, ResponseBuilder, ResponsesBuilder, Schema,
};

use super::access::Generation;
use super::failure::Reason;
use super::replay::{MAX_KEY_BYTES, REPLAYED};
use super::routes::{Route, Routes, Said, Shape};
use super::{engine, first, second, third};

mod examples;
mod params;
mod values;

use self::examples::Examples;
pub(super) use self::params::{Param, any_whole, date, flag, text, whole, word};
pub(super) use self::values::{Cost, any_of, page_of};

/// What is said of an API as a whole.
pub(super) struct About {
    pub(super) title: &'static str,
    pub(super) says: &'static str,
    /// What is said in place of an answer.
    pub(super) problem: Shape,
    /// What type of content that is.
    pub(super) problem_is: &'static str,
    /// The same to who has come without a key, which says no generation: the first one answers.
    pub(super) without_key: Option<RefOr<Schema>>,
    /// What a test was answered.
    pub(super) examples: &'static str,
    pub(super) keys: &'static str,
}

pub(super) const JSON: &str = "application/json";
/// A problem (RFC 9457).
pub(super) const PROBLEM: &str = "application/problem+json";
/// The name of the one way to come in.
const KEY: &str = "key";

static FIRST: LazyLock<Bytes> = LazyLock::new(|| written(first::about(), [first::routes()]));
static SECOND: LazyLock<Bytes> =
    LazyLock::new(|| written(second::about(), [second::routes(), second::client::routes()]));
static THIRD: LazyLock<Bytes> = LazyLock::new(|| written(third::about(), [third::routes()]));

static ENGINE: LazyLock<Bytes> = LazyLock::new(|| written(engine::about(), [engine::routes()]));

/// The document of a generation.
pub(super) fn document(generation: Generation) -> Answer {
    answer(match generation {
        Generation::First => &FIRST,
        Generation::Second => &SECOND,
        Generation::Third => &THIRD,
    })
}

/// That of the engine's own API.
pub(super) fn of_engine() -> Answer {
    answer(&ENGINE)
}

fn answer(document: &Bytes) -> Answer {
    let mut answer = Answer::new(Body::from(Bytes::clone(document)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    answer
}

fn written<const N: usize>(about: About, routes: [Routes; N]) -> Bytes {
    let document = whole_document(about, routes);
    let text = serde_json::to_vec(&document);
    debug_assert!(text.is_ok(), "keys of a document are texts");
    text.unwrap_or_default().into()
}

fn whole_document<const N: usize>(about: About, routes: [Routes; N]) -> OpenApi {
    let examples = Examples::read(about.examples);
    let mut schemas: BTreeMap<String, RefOr<Schema>> = about.problem.parts.into_iter().collect();
    let problem = about.problem.whole;
    let unauthorized = match about.without_key {
        Some(other) => AnyOfBuilder::new().item(problem.clone()).item(other).into(),
        None => problem.clone(),
    };
    let problems = Problems { problem, unauthorized, is: about.problem_is };
    let (mut paths, mut topics) = (PathsBuilder::new(), Vec::new());
    for Routes { base, list, .. } in routes {
        for route in list.into_iter().filter(|route| !route.is_left_out) {
            if !topics.contains(&route.topic) {
                topics.push(route.topic);
            }
            let (path, method) = (format!("{base}{}", route.path), route.method.clone());
            let operation = operation(route, &path, &problems, &examples, &mut schemas);
            paths = paths.path(path, PathItem::new(method, operation));
        }
    }
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about.keys));
    let components = ComponentsBuilder::new()
        .security_scheme(KEY, SecurityScheme::Http(key.build()))
        .schemas_from_iter(schemas);
    let mut license = LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build();
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    let info = InfoBuilder::new()
        .title(about.title)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(about.says))
        .license(Some(license));
    let tags = topics.into_iter().map(|topic| TagBuilder::new().name(topic).build());
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new(KEY, [""; 0])]))
        .tags(Some(tags))
        .build()
}

/// What is said in place of an answer.
struct Problems {
    problem: RefOr<Schema>,
    unauthorized: RefOr<Schema>,
    is: &'static str,
}

impl Problems {
    fn of(&self, reason: Reason) -> &RefOr<Schema> {
        if reason == Reason::Unauthorized { &self.unauthorized } else { &self.problem }
    }
}

/// What is said of a route; the shapes that it needs go to the others.
fn operation(
    route: Route,
    path: &str,
    problems: &Problems,
    examples: &Examples,
    schemas: &mut BTreeMap<String, RefOr<Schema>>,
) -> Operation {
    let Route { method, id, topic, says, params, takes, answers, fails, .. } = route;
    let is_read = method == HttpMethod::Get;
    let shown = examples.of(&method, path);
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id))
        .tag(topic)
        .summary(Some(says))
        .parameters(Some(parts_of(path).map(path_parameter)))
        .parameters(Some(params.into_iter().map(Param::build)));
    if !is_read {
        operation = operation.parameter(idempotency_key());
    }
    if let Some(takes) = takes {
        schemas.extend(takes.shape.parts);
        let content = ContentBuilder::new().schema(Some(takes.shape.whole));
        let content = content.examples_from_iter(examples::requests(&shown)).build();
        let required = if takes.is_optional { Required::False } else { Required::True };
        let body = RequestBodyBuilder::new().content(JSON, content).required(Some(required));
        operation = operation.request_body(Some(body.build()));
    }
    let mut responses = ResponsesBuilder::new();
    let mut said = Vec::new();
    for Said { status, says, shape, headers } in answers {
        said.push(status);
        let mut response = ResponseBuilder::new().description(says);
        if let Some(shape) = shape {
            schemas.extend(shape.parts);
            let content = ContentBuilder::new().schema(Some(shape.whole));
            let examples = examples::answers(&shown, status);
            response = response.content(JSON, content.examples_from_iter(examples).build());
        }
        for (name, says) in headers {
            response = response.header(*name, header(says));
        }
        if !is_read {
            response = response.header(REPLAYED, header("`true` of an answer that is given again"));
        }
        responses = responses.response(status.as_str(), response);
    }
    // Of reasons with the same status the first one speaks.
    let mut reasons: BTreeMap<u16, Reason> = BTreeMap::new();
    for reason in fails {
        reasons.entry(reason.status().as_u16()).or_insert(reason);
    }
    for reason in reasons.into_values().filter(|reason| !said.contains(&reason.status())) {
        let content = ContentBuilder::new().schema(Some(problems.of(reason).clone()));
        let examples = examples::answers(&shown, reason.status());
        let content = content.examples_from_iter(examples).build();
        let mut response =
            ResponseBuilder::new().description(reason.usual()).content(problems.is, content);
        if reason == Reason::Unauthorized {
            response = response.header("WWW-Authenticate", header("`Bearer`: how to come in"));
        }
        responses = responses.response(reason.status().as_str(), response);
    }
    operation.responses(responses.build()).build()
}

/// The names of the parts of a path that name something.
fn parts_of(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
    parameter.required(Required::True).schema(Some(values::text(None))).build()
}

fn idempotency_key() -> Parameter {
    let says = "Answers the same request with the same key once, and repeats the answer for 24 \
                hours";
    let parameter = ParameterBuilder::new().name("Idempotency-Key").description(Some(says));
    let schema = values::text(Some(1..=MAX_KEY_BYTES));
    parameter.parameter_in(ParameterIn::Header).schema(Some(schema)).build()
}

fn header(says: &str) -> Header {
    HeaderBuilder::new().description(Some(says)).build()
}
