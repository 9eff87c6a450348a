//! How webhooks are sent.

use std::time::Duration;

use super::schedule;

/// How many deliveries of an endpoint are kept at the least and at the most.
const MIN_DELIVERIES: usize = 10;
const MAX_DELIVERIES: usize = 100_000;

/// How webhooks are sent: [`Webhooks::open`](super::Webhooks::open).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct WebhookOptions {
    pub(super) allow_http: bool,
    pub(super) allow_private_addresses: bool,
    pub(super) retries: Vec<Duration>,
    pub(super) max_deliveries: usize,
    pub(super) requests_at_once: usize,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl WebhookOptions {
    /// The usual ones.
    pub fn new() -> Self {
        Self {
            allow_http: false,
            allow_private_addresses: false,
            retries: schedule::USUAL.to_vec(),
            max_deliveries: 1_000,
            requests_at_once: 3,
        }
    }

    /// Lets URLs begin with `http://`: for tests, and where a proxy beside adds TLS. Not allowed
    /// where it is not set.
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.allow_http = allow;
        self
    }

    /// Lets URLs name hosts that are not [public](super::is_public): for tests, and where whoever
    /// creates endpoints may reach all that this machine reaches. Not allowed where it is not set.
    /// The [transport](super::Transport) has to allow it, too.
    pub fn allow_private_addresses(mut self, allow: bool) -> Self {
        self.allow_private_addresses = allow;
        self
    }

    /// Sets how long is waited after the first failed attempt of a delivery, after the second, and
    /// so on; after the last of them it has failed. Up to a fifth is added to each. Where it is not
    /// set: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
    pub fn retries(mut self, waits: impl IntoIterator<Item = Duration>) -> Self {
        self.retries = waits.into_iter().take(100).collect();
        self
    }

    /// Sets how many deliveries are kept of an endpoint, those that are done and those that are
    /// not: 1 000 where it is not set, and 10 to 100 000. Each takes about a kilobyte. Where there
    /// are more the oldest one that is done makes room, or else the oldest.
    pub fn max_deliveries(mut self, most: usize) -> Self {
        self.max_deliveries = most.clamp(MIN_DELIVERIES, MAX_DELIVERIES);
        self
    }

    /// Sets how many requests to an endpoint are under way at once: 3 where it is not set, and 1 to
    /// 100. An endpoint has these to itself, so that one that never answers keeps no other waiting;
    /// in all there are at most ten times as many.
    pub fn requests_at_once(mut self, most: usize) -> Self {
        self.requests_at_once = most.clamp(1, 100);
        self
    }
}
