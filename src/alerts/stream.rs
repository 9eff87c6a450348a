//! Alerts as a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::outbox::{Delivered, Outbox, Waiter};

/// Alerts as they fire, as a [`Stream`]. It ends once the engine is closed and all is taken, and
/// does not keep the engine open.
#[derive(Debug)]
#[must_use = "a stream takes nothing unless it is polled"]
pub struct AlertStream(Waiter);

impl AlertStream {
    pub(crate) fn new(outbox: &Arc<Outbox>) -> Self {
        Self(Waiter::new(outbox))
    }
}

impl Stream for AlertStream {
    type Item = Delivered;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll(task)
    }
}
