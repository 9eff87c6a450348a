//! Webhooks of the program: what its file says of them, and what sends them.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use limitry::Engine;
use limitry::webhooks::{self, Client, ClientOptions, WebhookOptions, Webhooks};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::config_file::{SECONDS, time_problem};

/// How many deliveries of an endpoint are kept, and how many requests to it are under way at once.
const DELIVERIES: RangeInclusive<usize> = 10..=100_000;
const AT_ONCE: RangeInclusive<usize> = 1..=100;
/// How often a delivery is tried again at the most.
const MAX_RETRIES: usize = 100;

/// The table `[webhooks]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct WebhooksConfig {
    /// For tests, and where a proxy beside adds TLS: URLs may begin with `http://`.
    allow_http: bool,
    /// For tests, and where who creates endpoints may reach all that this machine reaches.
    allow_private_addresses: bool,
    connect_timeout_seconds: Option<u64>,
    timeout_seconds: Option<u64>,
    /// The waits after the first failed attempt, the second and so on.
    retry_seconds: Option<Vec<u64>>,
    max_deliveries: Option<usize>,
    requests_at_once: Option<usize>,
}

impl WebhooksConfig {
    /// The fields whose values may not be.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let times = [
            ("connectTimeoutSeconds", self.connect_timeout_seconds),
            ("timeoutSeconds", self.timeout_seconds),
        ];
        let times = times.into_iter().filter_map(|(field, seconds)| time_problem(field, seconds));
        let mut found: Vec<_> = times.collect();
        let counts = [
            ("maxDeliveries", self.max_deliveries, DELIVERIES),
            ("requestsAtOnce", self.requests_at_once, AT_ONCE),
        ];
        for (field, count, bounds) in counts {
            if let Some(count) = count.filter(|count| !bounds.contains(count)) {
                let (least, most) = bounds.into_inner();
                found.push((field, format!("{field}: {count} must be {least} to {most}")));
            }
        }
        let waits = self.retry_seconds.as_deref().unwrap_or_default();
        if waits.len() > MAX_RETRIES || waits.iter().any(|wait| !SECONDS.contains(wait)) {
            let rule = "must be at most 100 waits of 1 to 86400 seconds";
            found.push(("retrySeconds", format!("retrySeconds: {rule}")));
        }
        found
    }

    fn options(&self) -> WebhookOptions {
        let mut options = WebhookOptions::new()
            .allow_http(self.allow_http)
            .allow_private_addresses(self.allow_private_addresses);
        if let Some(waits) = &self.retry_seconds {
            options = options.retries(waits.iter().copied().map(Duration::from_secs));
        }
        if let Some(most) = self.max_deliveries {
            options = options.max_deliveries(most);
        }
        if let Some(most) = self.requests_at_once {
            options = options.requests_at_once(most);
        }
        options
    }

    fn client(&self) -> ClientOptions {
        let mut options =
            ClientOptions::new().allow_private_addresses(self.allow_private_addresses);
        if let Some(seconds) = self.connect_timeout_seconds {
            options = options.connect_timeout(Duration::from_secs(seconds));
        }
        if let Some(seconds) = self.timeout_seconds {
            options = options.timeout(Duration::from_secs(seconds));
        }
        options
    }
}

/// What sends webhooks as long as the program runs.
pub(crate) struct Sender {
    hooks: Webhooks,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Sender {
    pub(crate) fn start(engine: &Engine, config: &WebhooksConfig) -> Result<Self, Failure> {
        let hooks = Webhooks::open(engine, config.options())?;
        let client = Arc::new(Client::new(config.client())?);
        let (stop, stopped) = oneshot::channel();
        // Who starts it is gone where there is an error: then it stops, too.
        let stopped = async move { drop(stopped.await) };
        let running = tokio::spawn(webhooks::run(hooks.clone(), client, stopped));
        Ok(Self { hooks, stop, running })
    }

    pub(crate) fn hooks(&self) -> Webhooks {
        self.hooks.clone()
    }

    /// Waits for what is under way, for so long at the most; what is not sent by then is sent when
    /// the program is started again, where it has a store.
    pub(crate) async fn stop(mut self, timeout: Duration) {
        let _told = self.stop.send(());
        if tokio::time::timeout(timeout, &mut self.running).await.is_err() {
            self.running.abort();
            let _ended = self.running.await;
            tracing::warn!(
                "webhooks were under way for longer than they may when the server stops"
            );
        }
    }

    /// What makes the figures, in Prometheus' text format.
    pub(crate) fn figures(&self) -> impl Fn() -> String + Send + Sync + use<> {
        let hooks = self.hooks.clone();
        move || page(&hooks)
    }
}

fn page(hooks: &Webhooks) -> String {
    let now = hooks.figures();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let figures = [
        ("endpoints", "gauge", "Webhook endpoints", number(now.endpoints)),
        ("endpoints_disabled", "gauge", "Those that are disabled", number(now.disabled)),
        ("waiting", "gauge", "Deliveries that are pending", number(now.waiting)),
        ("under_way", "gauge", "Requests that are under way", number(now.under_way)),
        ("delivered_total", "counter", "Deliveries that were taken", now.delivered),
        ("failed_attempts_total", "counter", "Attempts that have failed", now.failed_attempts),
        ("failed_total", "counter", "Deliveries that are tried no more", now.failed),
        ("dropped_total", "counter", "Pending deliveries that gave way to newer", now.dropped),
    ];
    figures.into_iter().fold(String::new(), |mut text, (name, kind, help, value)| {
        // A text takes all that is written.
        let _written = writeln!(
            text,
            "# HELP limitry_webhooks_{name} {help}\n# TYPE limitry_webhooks_{name} {kind}\n\
             limitry_webhooks_{name} {value}"
        );
        text
    })
}
