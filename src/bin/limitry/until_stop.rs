//! Answers that do not end by themselves.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use hyper::body::Frame;
use tokio::sync::watch;

/// A body that ends when the server stops.
struct UntilStop {
    body: Body,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl hyper::body::Body for UntilStop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}

/// Lets an answer that is a stream of events end when the server stops; any other one ends anyway.
pub(crate) fn until(
    mut stopped: watch::Receiver<bool>,
    response: Response<Body>,
) -> Response<Body> {
    let kind = response.headers().get(CONTENT_TYPE);
    if kind.is_none_or(|kind| kind.as_bytes() != b"text/event-stream") {
        return response;
    }
    let stop = Box::pin(async move {
        // Who would say it is gone: that is a stop, too.
        let _stopped = stopped.wait_for(|is_stopped| *is_stopped).await;
    });
    response.map(|body| Body::new(UntilStop { body, stop }))
}
