//! What carries a request to a receiver.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A `POST` to make, signed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// Where to.
    pub url: String,
    /// `content-type`, `user-agent`, `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    pub headers: Vec<(&'static str, String)>,
    /// The body, to be sent as it is: it is signed.
    pub body: Arc<str>,
}

impl Outgoing {
    /// Returns a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| &**value)
    }
}

/// Not the signature, by which it could be sent again.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a receiver answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The status. 200 to 299 say that it was taken, and no other does: a redirect is a failure,
    /// and is not followed.
    pub status: u16,
    /// What its `Retry-After` asks for.
    pub retry_after: Option<Duration>,
}

impl Reply {
    /// Makes one of a status.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, retry_after: None }
    }

    /// Adds that the receiver asks to be left alone for so long.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Whether it says that the event was taken.
    #[must_use]
    pub fn is_taken(self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The URL cannot be called.
    #[error("the URL cannot be called")]
    Url,
    /// The name has an address that may not be called, and none that may.
    #[error("{address} is not a public address")]
    NotPublic {
        /// One of its addresses.
        address: IpAddr,
    },
    /// The name has no address.
    #[error("the host's name has no address")]
    NoAddress,
    /// No connection came about.
    #[error("no connection: {why}")]
    Connect {
        /// What the system says.
        why: String,
    },
    /// The receiver could not prove who it is.
    #[error("no TLS: {why}")]
    Tls {
        /// What is wrong.
        why: String,
    },
    /// There was no answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// What came is no answer.
    #[error("no answer: {why}")]
    Answer {
        /// What is wrong.
        why: String,
    },
}

/// The answer of [`Transport::send`].
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Reply, SendError>> + Send + 'a>>;

/// Carries requests to receivers: `limitry::webhooks::Client` (feature `webhook-client`), or an
/// application's own, over the HTTP client that it has.
///
/// Whoever writes one answers for it that no request goes to an address that is not
/// [public](super::is_public): URLs are of who may create endpoints.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Makes a request, and returns what was answered. It ends in a bounded time.
    fn send<'a>(&'a self, request: &'a Outgoing) -> Sending<'a>;
}
