//! The layer: an engine, how a request becomes an event, and what is chosen.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tower_layer::Layer;

use super::commit::Commit;
use super::extract::{Additions, Extracted, Extractor};
use super::replay::{Replay, Replaying};
use super::service::Limit;
use super::source::Source;
use crate::store::Durability;
use crate::wire::HeaderDialect;
use crate::{Decision, Engine, Error, Hold};

/// Puts an engine's limits in front of a service. A clone is the same layer, at the cost of a
/// reference count. See the [module](super) for what becomes of a request.
#[derive(Clone)]
#[must_use = "it limits nothing before it stands in front of a service"]
pub struct LimitLayer {
    options: Options,
}

/// What a layer and its services share.
#[derive(Clone)]
pub(super) struct Options {
    shared: Arc<Chosen>,
}

impl std::ops::Deref for Options {
    type Target = Chosen;

    fn deref(&self) -> &Chosen {
        &self.shared
    }
}

#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) engine: Engine,
    pub(super) extractor: Extractor,
    pub(super) additions: Additions,
    pub(super) dialect: HeaderDialect,
    pub(super) is_open: bool,
    pub(super) wait: Option<Duration>,
    pub(super) reserve: Option<(Hold, Commit)>,
    pub(super) on_refused: Option<Arc<OnRefused>>,
    pub(super) on_replayed: Option<Arc<OnReplayed>>,
    on_error: Option<Arc<OnError>>,
    /// The engine's calls block the thread that they are made on.
    is_synced: bool,
}

type OnRefused = dyn Fn(&Parts, &Decision) -> Response<Bytes> + Send + Sync;
type OnError = dyn Fn(&Error) + Send + Sync;
type OnReplayed = dyn Fn(Replay) -> Replaying + Send + Sync;

impl Chosen {
    pub(super) fn report(&self, why: &Error) {
        if let Some(on_error) = &self.on_error {
            on_error(why);
        }
    }

    /// Whether a decision may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        self.is_synced || self.wait.is_some() || self.extractor.is_async()
    }
}

impl LimitLayer {
    /// Limits by the customer whose id is found there: each request is an event of the type
    /// `request`. One without an id is answered with 400.
    pub fn new(engine: &Engine, customer: Source) -> Self {
        Self::of(engine, Extractor::Customer { id: customer, event_type: "request".into() })
    }

    /// Limits by what a closure makes of each request. It may lend the event texts of the request.
    pub fn by(
        engine: &Engine,
        extract: impl for<'r> Fn(&'r Parts) -> Extracted<'r> + Send + Sync + 'static,
    ) -> Self {
        Self::of(engine, Extractor::By(Arc::new(extract)))
    }

    /// Limits by what an async closure makes of each request, such as one that looks a key up. Its
    /// future takes what it needs of the request with it.
    ///
    /// ```
    /// use http::{StatusCode, request::Parts};
    /// use limitry::tower::{Extracted, LimitLayer, Source};
    /// # use limitry::{Engine, Event};
    /// # async fn customer_of(key: &str) -> Option<String> { Some(key.to_owned()) }
    /// # let engine = Engine::builder().build()?;
    ///
    /// let key = Source::bearer_token();
    /// let limits = LimitLayer::by_async(&engine, move |request: &Parts| {
    ///     let key = key.find(request).map(|key| key.into_owned());
    ///     async move {
    ///         match customer_of(&key.unwrap_or_default()).await {
    ///             Some(customer) => Event::new(customer, "request").into(),
    ///             None => Extracted::Rejected(StatusCode::UNAUTHORIZED, "no such key".into()),
    ///         }
    ///     }
    /// });
    /// # Ok::<(), limitry::Error>(())
    /// ```
    pub fn by_async<F>(
        engine: &Engine,
        extract: impl Fn(&Parts) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Extracted<'static>> + Send + 'static,
    {
        Self::of(engine, Extractor::ByAsync(Arc::new(move |request| Box::pin(extract(request)))))
    }

    fn of(engine: &Engine, extractor: Extractor) -> Self {
        let chosen = Chosen {
            engine: engine.clone(),
            extractor,
            additions: Additions::default(),
            dialect: HeaderDialect::default(),
            is_open: false,
            wait: None,
            reserve: None,
            on_refused: None,
            on_replayed: None,
            on_error: None,
            is_synced: engine.store().health().durability == Some(Durability::Synced),
        };
        Self { options: Options { shared: Arc::new(chosen) } }
    }

    fn with(mut self, choose: impl FnOnce(&mut Chosen)) -> Self {
        choose(Arc::make_mut(&mut self.options.shared));
        self
    }

    /// Sets the type of the events that are made from a source: `request` otherwise. A closure says
    /// its own.
    pub fn event_type(self, named: impl Into<Cow<'static, str>>) -> Self {
        self.with(|chosen| {
            if let Extractor::Customer { event_type, .. } = &mut chosen.extractor {
                *event_type = named.into();
            }
        })
    }

    /// Adds a property to each event, which is a dimension for rules and usage. A request where
    /// nothing is found goes without.
    pub fn dimension(self, name: impl Into<Cow<'static, str>>, value: Source) -> Self {
        self.with(|chosen| chosen.additions.dimensions.push((name.into(), value)))
    }

    /// Takes the idempotency key of each event from there: such as the header `idempotency-key`. A
    /// request whose key was here before is not sent to the service again.
    pub fn idempotency_key(self, key: Source) -> Self {
        self.with(|chosen| chosen.additions.idempotency_key = Some(key))
    }

    /// Chooses the names of the headers.
    pub fn headers(self, dialect: HeaderDialect) -> Self {
        self.with(|chosen| chosen.dialect = dialect)
    }

    /// Lets requests through, without headers, where the engine has no answer: its store has
    /// failed, or it is closed. Otherwise they are answered with 503.
    ///
    /// What a client can bring about lets nothing through: a bad id, a key used twice, too many who
    /// wait.
    pub fn fail_open(self) -> Self {
        self.with(|chosen| chosen.is_open = true)
    }

    /// Lets each request wait for room for at most so long, in the order of their coming, before it
    /// is refused: see [`Engine::wait_until`]. A client that goes away leaves the line.
    pub fn wait(self, most: Duration) -> Self {
        self.with(|chosen| chosen.wait = Some(most))
    }

    /// Reserves the event of each request, and commits what its response says that it cost:
    /// [`Engine::reserve`]. The event is an estimate then.
    ///
    /// The commit is made on the thread that sends the last piece of the body; with a store whose
    /// calls are [`Synced`](Durability::Synced) it blocks that thread for a sync of the disk.
    pub fn reserve(self, hold: Hold, commit: Commit) -> Self {
        self.with(|chosen| chosen.reserve = Some((hold, commit)))
    }

    /// Answers refusals by a closure. The limits' headers are added, where it sets none of them.
    pub fn on_refused<B: Into<Bytes>>(
        self,
        answer: impl Fn(&Parts, &Decision) -> Response<B> + Send + Sync + 'static,
    ) -> Self {
        let answer =
            move |request: &Parts, decision: &Decision| answer(request, decision).map(Into::into);
        self.with(|chosen| chosen.on_refused = Some(Arc::new(answer)))
    }

    /// Answers replays by an async closure: with what the application has stored for the key, or
    /// with `None` as without a closure: 409. The response says `Idempotent-Replayed: true`.
    pub fn on_replayed<F, B>(self, answer: impl Fn(Replay) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Response<B>>> + Send + 'static,
        B: Into<Bytes>,
    {
        let answer = move |replay| -> Replaying {
            let stored = answer(replay);
            Box::pin(async move { Some(stored.await?.map(Into::into)) })
        };
        self.with(|chosen| chosen.on_replayed = Some(Arc::new(answer)))
    }

    /// Tells a closure of each error of the engine, those of commits with them, whose response has
    /// been sent already.
    pub fn on_error(self, tell: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.with(|chosen| chosen.on_error = Some(Arc::new(tell)))
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit::new(inner, self.options.clone())
    }
}

impl fmt::Debug for LimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitLayer")
            .field("engine", &self.engine)
            .field("dialect", &self.dialect)
            .field("fail_open", &self.is_open)
            .field("wait", &self.wait)
            .field("hold", &self.reserve.as_ref().map(|(hold, _)| hold))
            .finish_non_exhaustive()
    }
}
