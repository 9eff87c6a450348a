//! Paths, what answers them and what is said of them. The router of a generation and its `OpenAPI`
//! document are made of one list, so that neither has what the other does not.

use axum::Router;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use super::failure::Reason;
use super::openapi::Param;

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
    handler: MethodRouter,
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

    /// The router. It has whole paths: one that is nested writes the path of each request anew.
    pub(super) fn into_router(self) -> Router {
        let Self { base, list, .. } = self;
        list.into_iter().fold(Router::new(), |router, route| {
            router.route(&format!("{base}{}", route.path), route.handler)
        })
    }
}

fn route<H: Handler<T, ()>, T: 'static>(
    method: HttpMethod,
    filter: MethodFilter,
    path: &'static str,
    id: &'static str,
    handler: H,
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
        handler: on(filter, handler),
    }
}

pub(super) fn get<H: Handler<T, ()>, T: 'static>(
    path: &'static str,
    id: &'static str,
    handler: H,
) -> Route {
    route(HttpMethod::Get, MethodFilter::GET, path, id, handler)
}

pub(super) fn post<H: Handler<T, ()>, T: 'static>(
    path: &'static str,
    id: &'static str,
    handler: H,
) -> Route {
    route(HttpMethod::Post, MethodFilter::POST, path, id, handler)
}

pub(super) fn put<H: Handler<T, ()>, T: 'static>(
    path: &'static str,
    id: &'static str,
    handler: H,
) -> Route {
    route(HttpMethod::Put, MethodFilter::PUT, path, id, handler)
}

pub(super) fn patch<H: Handler<T, ()>, T: 'static>(
    path: &'static str,
    id: &'static str,
    handler: H,
) -> Route {
    route(HttpMethod::Patch, MethodFilter::PATCH, path, id, handler)
}

pub(super) fn delete<H: Handler<T, ()>, T: 'static>(
    path: &'static str,
    id: &'static str,
    handler: H,
) -> Route {
    route(HttpMethod::Delete, MethodFilter::DELETE, path, id, handler)
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
