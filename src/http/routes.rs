//! Paths, what answers them and what is said of them. The router of a generation and its `OpenAPI`
//! document are made of one list, so that neither has what the other does not.

use std::borrow::Cow;
use std::pin::Pin;

use axum::http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use super::call::{Answer, Call};
use super::failure::{Failure, Reason};
use super::openapi::Param;

/// What answers a request that was let in.
type Handler = Box<dyn Fn(Call) -> Answering + Send + Sync>;
pub(super) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The paths of an API, to be found.
pub(super) struct Paths {
    paths: matchit::Router<Vec<(Method, Handler)>>,
    /// What is said of a path that is none of them.
    other: fn(&str) -> Failure,
}

/// The paths of an API, below a base.
pub(super) struct Routes {
    pub(super) base: &'static str,
    pub(super) list: Vec<Route>,
    /// What those are about that are added next.
    topic: &'static str,
}

/// A path with a method, what answers it and what is said of it.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) method: HttpMethod,
    /// What clients call it.
    pub(super) id: &'static str,
    pub(super) topic: &'static str,
    pub(super) says: &'static str,
    pub(super) params: Vec<Param>,
    pub(super) takes: Option<Takes>,
    pub(super) answers: Vec<Said>,
    pub(super) fails: Vec<Reason>,
    /// It is not served: it answers that it is not.
    pub(super) is_left_out: bool,
    handler: Handler,
}

/// The shape of a body, and of what it is made of.
pub(super) struct Shape {
    pub(super) whole: RefOr<Schema>,
    pub(super) parts: Vec<(String, RefOr<Schema>)>,
}

/// A body that a request has.
pub(super) struct Takes {
    pub(super) shape: Shape,
    /// Whether it may be left out.
    pub(super) is_optional: bool,
}

/// An answer.
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) says: &'static str,
    /// None of an answer without a body.
    pub(super) shape: Option<Shape>,
    pub(super) headers: &'static [(&'static str, &'static str)],
}

impl Shape {
    pub(super) fn of<T: ToSchema>() -> Self {
        let name = T::name();
        let mut parts = vec![(name.clone().into_owned(), T::schema())];
        T::schemas(&mut parts);
        Self { whole: Ref::from_schema_name(name).into(), parts }
    }

    /// The same under another name, with fields that must be there and are optional otherwise.
    fn needing<T: ToSchema>(name: &'static str, needed: &[&str]) -> Self {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        let mut schema = T::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            for field in needed {
                debug_assert!(object.properties.contains_key(*field), "{name} has no {field}");
                object.properties.entry((*field).to_owned()).and_modify(never_null);
                object.required.push((*field).to_owned());
            }
        }
        parts.push((name.to_owned(), schema));
        Self { whole: Ref::from_schema_name(name).into(), parts }
    }
}

/// Takes null out of what a field may be.
fn never_null(schema: &mut RefOr<Schema>) {
    let null = Type::Null;
    match schema {
        RefOr::T(Schema::Object(object)) => {
            if let SchemaType::Array(types) = &object.schema_type {
                let other = types.iter().find(|kind| **kind != null);
                object.schema_type = other.cloned().map_or(SchemaType::AnyValue, SchemaType::Type);
            }
        }
        RefOr::T(Schema::Array(array)) => array.schema_type = SchemaType::Type(Type::Array),
        RefOr::T(Schema::OneOf(one_of)) => {
            let is_null = |item: &RefOr<Schema>| match item {
                RefOr::T(Schema::Object(object)) => {
                    object.schema_type == SchemaType::Type(Type::Null)
                }
                _ => false,
            };
            let other = one_of.items.iter().find(|item| !is_null(item)).cloned();
            if let Some(other) = other {
                *schema = other;
            }
        }
        _ => {}
    }
}

impl Routes {
    pub(super) fn below(base: &'static str) -> Self {
        Self { base, list: Vec::new(), topic: "" }
    }

    /// Says what the paths are about that follow.
    pub(super) fn about(mut self, topic: &'static str) -> Self {
        self.topic = topic;
        self
    }

    pub(super) fn with(mut self, route: Route) -> Self {
        self.list.push(Route { topic: self.topic, ..route });
        self
    }

    /// The paths, as whole ones. `other` is what is said of any other path.
    pub(super) fn paths(self, other: fn(&str) -> Failure) -> Paths {
        let mut paths: Vec<(String, Vec<(Method, Handler)>)> = Vec::new();
        for Route { path, method, handler, .. } in self.list {
            let path = format!("{}{path}", self.base);
            let answered = (method_of(&method), handler);
            match paths.iter_mut().find(|(known, _)| *known == path) {
                Some((_, methods)) => methods.push(answered),
                None => paths.push((path, vec![answered])),
            }
        }
        let none = Paths { paths: matchit::Router::new(), other };
        paths.into_iter().fold(none, |found, (path, methods)| found.and(path, methods))
    }
}

impl Paths {
    fn and(mut self, path: impl Into<String>, methods: Vec<(Method, Handler)>) -> Self {
        let added = self.paths.insert(path, methods);
        debug_assert!(added.is_ok(), "two paths are one: {added:?}");
        self
    }

    /// Adds a path that is in no document.
    pub(super) fn and_get<F: Future<Output = Answer> + Send + 'static>(
        self,
        path: &'static str,
        handler: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        self.and(path, vec![(Method::GET, erased(handler))])
    }

    /// What answers a request, and what stands in its path in the places of names, decoded: none of
    /// them where one is no text. A question about the head of an answer is one for the answer.
    pub(super) fn find(
        &self,
        method: &Method,
        path: &str,
    ) -> Result<(&Handler, Vec<String>), Failure> {
        let found = self.paths.at(path).map_err(|_| (self.other)(path))?;
        let answers =
            |known: &Method| known == method || (*method == Method::HEAD && *known == Method::GET);
        let Some((_, handler)) = found.value.iter().find(|(known, _)| answers(known)) else {
            return Err(Failure::not_allowed(found.value.iter().map(|(known, _)| known)));
        };
        let named = found.params.iter().map(|(_, part)| percent_decode_str(part).decode_utf8());
        let named: Result<_, _> = named.map(|part| part.map(Cow::into_owned)).collect();
        Ok((handler, named.unwrap_or_default()))
    }
}

fn erased<F: Future<Output = Answer> + Send + 'static>(
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Handler {
    Box::new(move |call| Box::pin(handler(call)))
}

/// The method of a document as one of a request.
fn method_of(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}

fn route<F: Future<Output = Answer> + Send + 'static>(
    method: HttpMethod,
    path: &'static str,
    id: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Route {
    let is_read = method == HttpMethod::Get;
    // A personal token that does not say which project it is used for is a bad request anywhere.
    let mut fails = vec![Reason::BadInput, Reason::Unauthorized, Reason::Forbidden];
    if !is_read {
        // A body that is too long, and the Idempotency-Key of another request.
        fails.extend([Reason::Conflict, Reason::TooLarge]);
    }
    if path.contains('{') {
        fails.push(Reason::NotFound);
    }
    fails.extend([Reason::Unavailable, Reason::Internal]);
    Route {
        path,
        method,
        id,
        topic: "",
        says: "",
        params: Vec::new(),
        takes: None,
        answers: Vec::new(),
        fails,
        is_left_out: false,
        handler: erased(handler),
    }
}

pub(super) fn get<F: Future<Output = Answer> + Send + 'static>(
    path: &'static str,
    id: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Route {
    route(HttpMethod::Get, path, id, handler)
}

pub(super) fn post<F: Future<Output = Answer> + Send + 'static>(
    path: &'static str,
    id: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Route {
    route(HttpMethod::Post, path, id, handler)
}

pub(super) fn put<F: Future<Output = Answer> + Send + 'static>(
    path: &'static str,
    id: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Route {
    route(HttpMethod::Put, path, id, handler)
}

pub(super) fn patch<F: Future<Output = Answer> + Send + 'static>(
    path: &'static str,
    id: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Route {
    route(HttpMethod::Patch, path, id, handler)
}

pub(super) fn delete<F: Future<Output = Answer> + Send + 'static>(
    path: &'static str,
    id: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Route {
    route(HttpMethod::Delete, path, id, handler)
}

impl Route {
    /// Says in a sentence what it does.
    pub(super) fn says(mut self, says: &'static str) -> Self {
        self.says = says;
        self
    }

    /// The parameters of its query.
    pub(super) fn asks(mut self, params: impl IntoIterator<Item = Param>) -> Self {
        self.params.extend(params);
        self
    }

    /// The body of its requests.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Some(Takes { shape: Shape::of::<T>(), is_optional: false });
        self
    }

    /// The same, under a name of its own, of one whose fields must be there that are named.
    pub(super) fn takes_all<T: ToSchema>(mut self, name: &'static str, needed: &[&str]) -> Self {
        self.takes = Some(Takes { shape: Shape::needing::<T>(name, needed), is_optional: false });
        self
    }

    /// The same of one that may be left out.
    pub(super) fn may_take<T: ToSchema>(mut self) -> Self {
        self.takes = Some(Takes { shape: Shape::of::<T>(), is_optional: true });
        self
    }

    /// One of its answers.
    pub(super) fn answers<T: ToSchema>(self, status: StatusCode, says: &'static str) -> Self {
        self.said(status, says, Some(Shape::of::<T>()))
    }

    /// One without a body.
    pub(super) fn answers_nothing(self, says: &'static str) -> Self {
        self.said(StatusCode::NO_CONTENT, says, None)
    }

    fn said(mut self, status: StatusCode, says: &'static str, shape: Option<Shape>) -> Self {
        self.answers.push(Said { status, says, shape, headers: &[] });
        self
    }

    /// The headers of the answer that was said last, each with what it is.
    pub(super) fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        if let Some(last) = self.answers.last_mut() {
            last.headers = headers;
        }
        self
    }

    /// For which reasons it has no answer, beside those that any has.
    pub(super) fn fails(mut self, reasons: impl IntoIterator<Item = Reason>) -> Self {
        self.fails.extend(reasons);
        self
    }

    /// Marks what is not served, and says so.
    pub(super) fn left_out(mut self) -> Self {
        self.is_left_out = true;
        self
    }
}
