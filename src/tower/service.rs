//! The service behind a layer, and what becomes of one request.

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::answer;
use super::body::LimitBody;
use super::extract::Extracted;
use super::layer::Options;
use super::reading::{self, Open};
use super::replay::Replay;
use crate::errors::{ReservationError, WaitError};
use crate::reservations::KeyStatus;
use crate::{Decision, Error, Event, Outcome, Reserved};

/// A service behind limits: what a [`LimitLayer`](super::LimitLayer) makes.
#[derive(Clone)]
pub struct Limit<S> {
    inner: S,
    options: Options,
}

impl<S> Limit<S> {
    pub(super) fn new(inner: S, options: Options) -> Self {
        Self { inner, options }
    }
}

impl<S: fmt::Debug> fmt::Debug for Limit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("inner", &self.inner).field("by", &self.options).finish()
    }
}

impl<S, B, R> Service<Request<B>> for Limit<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    B: Send + 'static,
    R: Body<Data = Bytes>,
{
    type Response = Response<LimitBody<R>>;
    type Error = S::Error;
    type Future = LimitFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let options = self.options.clone();
        let (parts, body) = request.into_parts();
        if !options.may_wait() {
            return match options.decide_at_once(&parts) {
                Verdict::Pass(pass) => {
                    let future = self.inner.call(Request::from_parts(parts, body));
                    LimitFuture { state: State::Calling { future, pass: Some(pass), options } }
                }
                Verdict::Answer(answer) => LimitFuture::answer(answer),
                Verdict::Replay(status) => {
                    let answer = async move { Next::Answer(options.replayed(parts, status).await) };
                    LimitFuture { state: State::Waiting { next: Box::pin(answer) } }
                }
            };
        }
        // The one that is ready goes with the request.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let next = async move {
            match options.decide(&parts).await {
                Verdict::Pass(pass) => {
                    let future = inner.call(Request::from_parts(parts, body));
                    Next::Call(future, pass, options)
                }
                Verdict::Answer(answer) => Next::Answer(answer),
                Verdict::Replay(status) => Next::Answer(options.replayed(parts, status).await),
            }
        };
        LimitFuture { state: State::Waiting { next: Box::pin(next) } }
    }
}

/// What becomes of a request.
enum Verdict {
    Pass(Pass),
    Answer(Box<Response<Bytes>>),
    Replay(KeyStatus),
}

/// What a request that is sent to the service goes with. Dropped it gives back what is held.
enum Pass {
    /// No rule is asked, or the engine has no answer.
    Free,
    Tracked(Decision),
    Reserved(Box<Open>),
}

impl Options {
    /// Decides about a request where nothing has to be waited for.
    fn decide_at_once(&self, request: &Parts) -> Verdict {
        match self.extractor.at_once(request) {
            Ok(Extracted::Event(event)) => {
                let event = self.additions.add(event, request, |text| text);
                match &self.reserve {
                    None => self.tracked(request, self.engine.track(&event).map_err(Error::from)),
                    Some((hold, _)) => {
                        let reserved = self.engine.reserve(&event, *hold);
                        self.reserved(request, event, reserved.map_err(Error::from))
                    }
                }
            }
            Ok(other) => other_than_event(request, other),
            // Nobody comes here with an async closure.
            Err(_) => self.failed(request, &Error::from(WaitError::Closed)),
        }
    }

    /// Decides about a request, and waits for what has to be waited for.
    async fn decide(&self, request: &Parts) -> Verdict {
        match self.extractor.at_once(request) {
            Ok(Extracted::Event(event)) => {
                let event = self.additions.add(event, request, |text| text);
                self.decide_on(request, event).await
            }
            Ok(other) => other_than_event(request, other),
            Err(extracting) => match extracting.await {
                Extracted::Event(event) => {
                    let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
                    self.decide_on(request, self.additions.add(event, request, own)).await
                }
                other => other_than_event(request, other),
            },
        }
    }

    async fn decide_on(&self, request: &Parts, event: Event<'_>) -> Verdict {
        // A deadline that is over asks once, and blocks no thread.
        let now = self.engine.now();
        let deadline = self.wait.map_or(now, |wait| now.saturating_add(wait));
        match &self.reserve {
            None => {
                let decision = self.engine.wait_until(&event, deadline).await;
                self.tracked(request, decision.map_err(Error::from))
            }
            Some((hold, _)) => {
                let reserved = self.engine.wait_reserve_until(&event, *hold, deadline).await;
                self.reserved(request, event, reserved.map_err(Error::from))
            }
        }
    }

    fn tracked(&self, request: &Parts, decision: Result<Decision, Error>) -> Verdict {
        match decision {
            Ok(decision) => match decision.outcome() {
                Outcome::Admitted => Verdict::Pass(Pass::Tracked(decision)),
                Outcome::Replayed => Verdict::Replay(KeyStatus::Decided(decision)),
                Outcome::Refused => self.refused(request, &decision),
            },
            Err(why) => self.failed(request, &why),
        }
    }

    fn reserved(
        &self,
        request: &Parts,
        event: Event<'_>,
        reserved: Result<Reserved, Error>,
    ) -> Verdict {
        match reserved {
            Ok(Reserved::Held(reservation)) => {
                let event = event.into_owned();
                Verdict::Pass(Pass::Reserved(Box::new(Open { reservation, event })))
            }
            Ok(Reserved::Replayed(status)) => Verdict::Replay(status),
            Ok(Reserved::Refused(decision)) => self.refused(request, &decision),
            Err(why) => self.failed(request, &why),
        }
    }

    fn refused(&self, request: &Parts, decision: &Decision) -> Verdict {
        let mut response = match &self.on_refused {
            Some(answer) => answer(request, decision),
            None => answer::refusal(request, decision),
        };
        answer::set_headers(response.headers_mut(), decision, self.dialect);
        Verdict::Answer(Box::new(response))
    }

    /// The engine has no answer. What a client can bring about never lets its request through.
    fn failed(&self, request: &Parts, why: &Error) -> Verdict {
        self.report(why);
        let status = match why {
            // The layer's own setting.
            Error::Reservation(ReservationError::Length { .. })
            | Error::Wait(WaitError::Reservation(ReservationError::Length { .. })) => None,
            Error::Wait(WaitError::TooMany { .. }) => Some(StatusCode::SERVICE_UNAVAILABLE),
            why if why.is_bad_input() => Some(StatusCode::BAD_REQUEST),
            why if why.is_conflict() => Some(StatusCode::UNPROCESSABLE_ENTITY),
            _ => None,
        };
        if let Some(status) = status {
            return reject(request, status, &why.to_string());
        }
        if self.is_open {
            return Verdict::Pass(Pass::Free);
        }
        // What is wrong with a store is not for clients.
        reject(request, StatusCode::SERVICE_UNAVAILABLE, "the limits cannot be checked now")
    }

    async fn replayed(&self, request: Parts, status: KeyStatus) -> Box<Response<Bytes>> {
        let conflict = answer::failure(
            &request,
            StatusCode::CONFLICT,
            "the idempotency key was here before, and its request is not done again",
        );
        let stored = match &self.on_replayed {
            Some(answer) => answer(Replay { request, status }).await,
            None => None,
        };
        Box::new(match stored {
            Some(mut response) => {
                response.headers_mut().insert(answer::REPLAYED, HeaderValue::from_static("true"));
                response
            }
            None => conflict,
        })
    }

    /// The service's response, as it goes on.
    fn pass_on<R: Body<Data = Bytes>>(
        &self,
        pass: Pass,
        response: Response<R>,
    ) -> Response<LimitBody<R>> {
        let (mut parts, body) = response.into_parts();
        let reading = match pass {
            Pass::Free => None,
            Pass::Tracked(decision) => {
                answer::set_headers(&mut parts.headers, &decision, self.dialect);
                None
            }
            Pass::Reserved(open) => {
                let decision = open.reservation.decision();
                answer::set_headers(&mut parts.headers, decision, self.dialect);
                reading::start(*open, self, &parts, body.size_hint().exact())
            }
        };
        Response::from_parts(parts, LimitBody::of_service(body, reading))
    }
}

fn other_than_event(request: &Parts, extracted: Extracted<'_>) -> Verdict {
    match extracted {
        Extracted::Rejected(status, why) => reject(request, status, &why),
        Extracted::Exempt | Extracted::Event(_) => Verdict::Pass(Pass::Free),
    }
}

fn reject(request: &Parts, status: StatusCode, why: &str) -> Verdict {
    Verdict::Answer(Box::new(answer::failure(request, status, why)))
}

pin_project! {
    /// The response to come of a [`Limit`]. Dropping it gives up the request, and what is held for
    /// it.
    pub struct LimitFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateNow]
    enum State<F> {
        // The service works.
        Calling { #[pin] future: F, pass: Option<Pass>, options: Options },
        Answer { answer: Option<Box<Response<Bytes>>> },
        // For a decision, or for an answer that is looked up.
        Waiting { next: Pin<Box<dyn Future<Output = Next<F>> + Send>> },
    }
}

enum Next<F> {
    Call(F, Pass, Options),
    Answer(Box<Response<Bytes>>),
}

impl<F> LimitFuture<F> {
    fn answer(answer: Box<Response<Bytes>>) -> Self {
        Self { state: State::Answer { answer: Some(answer) } }
    }
}

impl<F, R, E> Future for LimitFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<LimitBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let state = match this.state.as_mut().project() {
                StateNow::Calling { future, pass, options } => {
                    let response = ready!(future.poll(task))?;
                    let pass = pass.take().unwrap_or(Pass::Free);
                    return Poll::Ready(Ok(options.pass_on(pass, response)));
                }
                StateNow::Answer { answer } => match answer.take() {
                    Some(answer) => return Poll::Ready(Ok(answer.map(LimitBody::made))),
                    // It has had its answer.
                    None => return Poll::Pending,
                },
                StateNow::Waiting { next } => match ready!(next.as_mut().poll(task)) {
                    Next::Call(future, pass, options) => {
                        State::Calling { future, pass: Some(pass), options }
                    }
                    Next::Answer(answer) => State::Answer { answer: Some(answer) },
                },
            };
            this.state.set(state);
        }
    }
}

impl<F> fmt::Debug for LimitFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitFuture").finish_non_exhaustive()
    }
}
