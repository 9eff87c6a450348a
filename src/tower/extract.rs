//! How a request becomes an event.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;

use super::source::Source;
use crate::Event;

/// What a closure makes of a request.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever reads it acts on all three")]
#[expect(clippy::large_enum_variant, reason = "it is the usual one, and moved once")]
pub enum Extracted<'r> {
    /// This is what the rules judge.
    Event(Event<'r>),
    /// No rule is about it: it goes through as if there were no layer.
    Exempt,
    /// It is answered with this status, and why; the service is not called.
    Rejected(StatusCode, Cow<'static, str>),
}

impl<'r> From<Event<'r>> for Extracted<'r> {
    fn from(event: Event<'r>) -> Self {
        Self::Event(event)
    }
}

impl Extracted<'_> {
    fn missing(source: &Source) -> Self {
        let why = format!("the request must have {source}");
        Self::Rejected(StatusCode::BAD_REQUEST, why.into())
    }
}

pub(super) type Extracting = Pin<Box<dyn Future<Output = Extracted<'static>> + Send>>;

/// How a request becomes an event.
#[derive(Clone)]
pub(super) enum Extractor {
    Customer { id: Source, event_type: Cow<'static, str> },
    By(Arc<dyn for<'r> Fn(&'r Parts) -> Extracted<'r> + Send + Sync>),
    ByAsync(Arc<dyn Fn(&Parts) -> Extracting + Send + Sync>),
}

/// What sources add to any event.
#[derive(Clone, Default)]
pub(super) struct Additions {
    pub(super) dimensions: Vec<(Cow<'static, str>, Source)>,
    pub(super) idempotency_key: Option<Source>,
}

impl Extractor {
    pub(super) fn is_async(&self) -> bool {
        matches!(self, Self::ByAsync(_))
    }

    /// What a request is, as far as nothing has to be waited for.
    pub(super) fn at_once<'r>(&'r self, request: &'r Parts) -> Result<Extracted<'r>, Extracting> {
        match self {
            Self::Customer { id, event_type } => Ok(id.find(request).map_or_else(
                || Extracted::missing(id),
                |customer| Event::new(customer, &**event_type).into(),
            )),
            Self::By(extract) => Ok(extract(request)),
            Self::ByAsync(extract) => Err(extract(request)),
        }
    }
}

impl Additions {
    /// Adds to an event what the request says. `lend` makes a text of the request one of the event.
    pub(super) fn add<'e, 'r>(
        &'r self,
        mut event: Event<'e>,
        request: &'r Parts,
        lend: impl Fn(Cow<'r, str>) -> Cow<'e, str>,
    ) -> Event<'e> {
        for (name, source) in &self.dimensions {
            if let Some(value) = source.find(request) {
                event = event.property(lend(Cow::Borrowed(name)), lend(value));
            }
        }
        match self.idempotency_key.as_ref().and_then(|source| source.find(request)) {
            Some(key) => event.idempotency_key(lend(key)),
            None => event,
        }
    }
}
