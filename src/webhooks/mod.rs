//! Webhooks: alerts, sent to the endpoints that asked for them, signed.
//!
//! [`Webhooks::open`] gives an engine endpoints, each a URL with a secret. Every
//! [alert](crate::alerts::Alert) becomes a delivery for each endpoint that is sent its type, in the
//! shape of the endpoint's [generation](Generation). What is due is sent by whoever asks for it:
//! the program does, and so does an application that spawns `limitry::webhooks::run` (feature
//! `webhook-client`) or makes the requests itself:
//!
//! ```
//! use limitry::webhooks::{Generation, NewEndpoint, Reply, WebhookOptions, Webhooks};
//! use limitry::rules::Threshold;
//! use limitry::{Engine, Event, Metric, Period, Quota};
//!
//! let tokens = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day);
//! let engine = Engine::builder().quota(tokens.alert_at(Threshold::percent(80))).build()?;
//! let hooks = Webhooks::open(&engine, WebhookOptions::new())?;
//! let new = NewEndpoint::new("https://example.com/hooks", Generation::Second);
//! let created = hooks.create(new)?;
//! assert!(created.secret.expose().starts_with("whsec_"));
//!
//! assert!(engine.track(&Event::new("ann", "call").input_tokens(900))?.is_allowed());
//! hooks.take_alerts()?;
//! for attempt in hooks.due() {
//!     assert!(attempt.request().header("webhook-signature").is_some());
//!     // Send it; and say what was answered.
//!     attempt.done(&Ok(Reply::new(204)))?;
//! }
//! assert_eq!(hooks.figures().delivered, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - **At least once.** An alert is acknowledged when its deliveries are in the store, and a
//!   delivery is pending until a receiver has answered 200 to 299. After a crash what was under way
//!   is sent again, with the same ids. Without a store all of it is in memory.
//! - **One id.** An alert has one event id in all of its deliveries, also those that somebody asked
//!   for again. The header `webhook-id` is the event's id for the first two generations, and the
//!   delivery's for the third, whose events have their id in the body, as the product's do.
//! - **Signed** as [Standard Webhooks](crate::alerts::StandardWebhook) says, by each secret that
//!   the endpoint has: while one is [rotated](Webhooks::rotate) by both.
//! - **Retried** after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, to each of which up
//!   to a fifth is added; what a receiver asks for with `Retry-After` is waited for where it is
//!   longer, up to a day. After ten attempts a delivery has failed. There is no order among
//!   deliveries.
//! - **Ended.** An endpoint whose last 20 attempts have failed, whatever deliveries they were of,
//!   or that answered 410 (Gone), is disabled: what is pending has failed, and nothing is sent
//!   until it is [enabled](Webhooks::enable).
//! - **Bounded.** 10 endpoints; of each the newest 1 000 deliveries, for 30 days, with what they
//!   say; 3 requests under way at once, which are the endpoint's own, so that one that never
//!   answers keeps no other waiting.
//! - **Nowhere else.** URLs are of `https`, and of [public](is_public) hosts. A redirect is a
//!   failure, and is not followed. The client of the feature `webhook-client` checks the address
//!   that it connects to.
//!
//! Secrets are in the store as they are, for they are needed to sign: keep its file as safe as the
//! secrets.

mod address;
#[cfg(feature = "webhook-client")]
mod client;
mod delivery;
mod endpoint;
mod generation;
mod hooks;
mod payload;
mod schedule;
mod settings;
mod state;
mod transport;

pub use self::address::is_public;
#[cfg(feature = "webhook-client")]
pub use self::client::{Client, ClientOptions, Resolve, Resolving, SystemResolver, run};
pub use self::delivery::{Delivery, DeliveryPage, DeliveryStatus};
pub use self::endpoint::{Created, Endpoint, EndpointError, NewEndpoint, Secret};
pub use self::generation::Generation;
pub use self::hooks::{Attempt, WebhookFigures, Webhooks};
pub use self::payload::event_types;
pub use self::settings::WebhookOptions;
pub use self::transport::{Outgoing, Reply, SendError, Sending, Transport};
