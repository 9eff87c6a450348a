//! Requests that were here before.

use std::pin::Pin;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::reservations::KeyStatus;

/// A request whose idempotency key was here before, for [`LimitLayer::on_replayed`].
///
/// [`LimitLayer::on_replayed`]: super::LimitLayer::on_replayed
#[derive(Debug)]
#[non_exhaustive]
pub struct Replay {
    /// The request, without its body.
    pub request: Parts,
    /// What the key was used for. Of a reservation it says whether the first call is under way
    /// (`held`), was answered (`committed`), or came to nothing (`released`, `expired`).
    pub status: KeyStatus,
}

pub(super) type Replaying = Pin<Box<dyn Future<Output = Option<Response<Bytes>>> + Send>>;
