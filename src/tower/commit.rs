//! What is committed for a request whose cost its response says.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;

use crate::Event;

/// Reads from a response what its request cost: for [`LimitLayer::reserve`].
///
/// Each closure is given the event that was reserved, and answers the one that happened: the same
/// with other amounts, `event.output_tokens(421)`. `None` gives all back: nothing happened.
///
/// Where the service fails or panics, where the client goes away before the body has ended and
/// where the body breaks off, the hold is given back, or charged in full by
/// [`Hold::charge_on_drop`](crate::Hold::charge_on_drop); a [reader](Self::by_stream) may commit
/// what it has seen instead. While a body flows its hold does not expire.
///
/// [`LimitLayer::reserve`]: super::LimitLayer::reserve
#[derive(Clone)]
pub struct Commit {
    pub(super) how: How,
}

#[derive(Clone)]
pub(super) enum How {
    ByHead(Arc<ByHead>),
    ByStream(Arc<ByStream>),
}

type ByHead = dyn Fn(Event<'static>, &Parts) -> Option<Event<'static>> + Send + Sync;
type ByStream = dyn Fn(&Parts) -> Box<dyn StreamReader> + Send + Sync;

impl Commit {
    /// By the response's status and headers, when it begins.
    ///
    /// ```
    /// use limitry::tower::Commit;
    ///
    /// let commit = Commit::by_response(|event, response| {
    ///     let tokens = response.headers.get("x-tokens")?.to_str().ok()?;
    ///     Some(event.total_tokens(tokens.parse().ok()?))
    /// });
    /// ```
    #[must_use]
    pub fn by_response(
        read: impl Fn(Event<'static>, &Parts) -> Option<Event<'static>> + Send + Sync + 'static,
    ) -> Self {
        Self { how: How::ByHead(Arc::new(read)) }
    }

    /// By the last `most` bytes of the body, when it has ended: all of it where it is no longer.
    /// They are copied as they go by; the client gets its response as soon as without.
    ///
    /// ```
    /// use limitry::tower::Commit;
    /// use serde_json::Value;
    ///
    /// // Every stream and every answer of this model ends with what it used.
    /// let commit = Commit::by_body(4_096, |event, response, body| {
    ///     let usage = body.rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty())?;
    ///     let usage: Value = serde_json::from_slice(usage).ok()?;
    ///     Some(event.output_tokens(usage["output_tokens"].as_u64()?))
    /// });
    /// ```
    #[must_use]
    pub fn by_body<F>(most: usize, read: F) -> Self
    where
        F: Fn(Event<'static>, &Parts, &[u8]) -> Option<Event<'static>> + Send + Sync + 'static,
    {
        let read = Arc::new(read);
        let start = move |response: &Parts| -> Box<dyn StreamReader> {
            let (read, response) = (Arc::clone(&read), head_of(response));
            let end = move |event, body: &[u8]| read(event, &response, body);
            Box::new(Tail { most, kept: Vec::new(), end })
        };
        Self { how: How::ByStream(Arc::new(start)) }
    }

    /// By a reader of each response, which is given the body as it goes by.
    #[must_use]
    pub fn by_stream<R: StreamReader>(start: impl Fn(&Parts) -> R + Send + Sync + 'static) -> Self {
        Self { how: How::ByStream(Arc::new(move |response| Box::new(start(response)))) }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").finish_non_exhaustive()
    }
}

/// Reads what a request cost from its response's body, as it goes by.
///
/// Dropped without [`end`](Self::end) where there is a panic.
pub trait StreamReader: Send + 'static {
    /// Reads a piece of the body, before the client gets it.
    fn read(&mut self, data: &Bytes);

    /// Reads the trailers of the body: of gRPC its status.
    fn read_trailers(&mut self, trailers: &HeaderMap) {
        let _ = trailers;
    }

    /// Says what happened: the event that was reserved with other amounts. `None` where there is
    /// nothing to commit: the hold is given back then, and where the body was cut off charged by
    /// [`Hold::charge_on_drop`](crate::Hold::charge_on_drop).
    fn end(self: Box<Self>, event: Event<'static>, ended: Ended) -> Option<Event<'static>>;
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it ended, or it did not")]
pub enum Ended {
    /// As it should.
    Whole,
    /// The client went away, or the body is an error from here on.
    CutOff,
}

/// Keeps the end of a body.
struct Tail<F> {
    most: usize,
    kept: Vec<u8>,
    end: F,
}

impl<F> StreamReader for Tail<F>
where
    F: FnOnce(Event<'static>, &[u8]) -> Option<Event<'static>> + Send + 'static,
{
    fn read(&mut self, data: &Bytes) {
        let from = data.len().saturating_sub(self.most);
        let data = data.get(from..).unwrap_or_default();
        // What is too much is dropped when there is as much again, so that each byte moves once.
        if self.kept.len().saturating_add(data.len()) > self.most.saturating_mul(2) {
            self.drop_front(self.most.saturating_sub(data.len()));
        }
        self.kept.extend_from_slice(data);
    }

    fn end(mut self: Box<Self>, event: Event<'static>, ended: Ended) -> Option<Event<'static>> {
        if ended == Ended::CutOff {
            return None;
        }
        self.drop_front(self.most);
        (self.end)(event, &self.kept)
    }
}

impl<F> Tail<F> {
    /// Drops all but the last bytes.
    fn drop_front(&mut self, keep: usize) {
        let from = self.kept.len().saturating_sub(keep);
        self.kept.drain(..from);
    }
}

/// The head of a response, without what other layers have put into it.
fn head_of(response: &Parts) -> Parts {
    let (mut head, ()) = http::Response::new(()).into_parts();
    (head.status, head.version) = (response.status, response.version);
    head.headers.clone_from(&response.headers);
    head
}
