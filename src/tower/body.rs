//! The body of an answer: the service's, read as it goes by where that is asked for, or one that
//! the layer has made.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::commit::Ended;
use super::reading::Reading;

pin_project! {
    /// The body of a response that comes through a [`Limit`](super::Limit).
    #[derive(Debug)]
    pub struct LimitBody<B> {
        // The service's.
        #[pin]
        inner: Option<B>,
        // The layer's own, where there is no other.
        made: Option<Bytes>,
        reading: Option<Box<Reading>>,
    }
}

impl<B> LimitBody<B> {
    pub(super) fn made(body: Bytes) -> Self {
        let made = Some(body).filter(|body| !body.is_empty());
        Self { inner: None, made, reading: None }
    }
}

impl<B: Body<Data = Bytes>> LimitBody<B> {
    pub(super) fn of_service(inner: B, reading: Option<Reading>) -> Self {
        let mut reading = reading.map(Box::new);
        if inner.is_end_stream() {
            // Nobody asks one that has ended already.
            end(&mut reading, Ended::Whole);
        }
        Self { inner: Some(inner), made: None, reading }
    }
}

/// Ends a reading, once.
fn end(reading: &mut Option<Box<Reading>>, ended: Ended) {
    if let Some(mut reading) = reading.take() {
        reading.end(ended);
    }
}

impl<B: Body<Data = Bytes>> Body for LimitBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(this.made.take().map(|body| Ok(Frame::data(body))));
        };
        let frame = ready!(inner.as_mut().poll_frame(task));
        if let Some(reading) = this.reading.as_deref_mut() {
            let ended = match &frame {
                None => Some(Ended::Whole),
                Some(Err(_)) => Some(Ended::CutOff),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        reading.read(data);
                    } else if let Some(trailers) = frame.trailers_ref() {
                        reading.read_trailers(trailers);
                    }
                    // Servers ask no further then.
                    let is_over = inner.is_end_stream() || reading.has_all();
                    is_over.then_some(Ended::Whole)
                }
            };
            if let Some(ended) = ended {
                end(this.reading, ended);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Some(inner) => inner.is_end_stream(),
            None => self.made.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.inner, &self.made) {
            (Some(inner), _) => inner.size_hint(),
            (None, Some(body)) => {
                SizeHint::with_exact(u64::try_from(body.len()).unwrap_or(u64::MAX))
            }
            (None, None) => SizeHint::with_exact(0),
        }
    }
}

// What it makes itself: for services that make answers of the same kind.
impl<B> Default for LimitBody<B> {
    fn default() -> Self {
        Self::made(Bytes::new())
    }
}
