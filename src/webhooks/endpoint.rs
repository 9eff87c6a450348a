//! Endpoints: who is told, of what, and with which secrets.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::address::{is_local_name, is_public};
use super::generation::Generation;
use super::payload;
use super::settings::WebhookOptions;
use crate::Timestamp;
use crate::alerts::{StandardWebhook, WebhookError};
use crate::store::SpaceError;

/// How many endpoints there are at the most.
pub(super) const MAX_ENDPOINTS: usize = 10;
/// How many bytes a URL and a description have at most.
const MAX_URL_BYTES: usize = 2_048;
const MAX_DESCRIPTION_BYTES: usize = 1_024;
/// How many bytes a secret has: as many as the hash.
const SECRET_BYTES: usize = 32;
/// How many older secrets an endpoint has beside its own.
const MAX_OLD_SECRETS: usize = 4;
/// How long an older secret signs at the most.
const MAX_OVERLAP: Duration = Duration::from_secs(7 * 86_400);

/// An endpoint to make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewEndpoint {
    pub(super) url: String,
    pub(super) generation: Generation,
    pub(super) description: Option<String>,
    pub(super) event_types: Option<Vec<String>>,
}

impl NewEndpoint {
    /// One that is sent all events of a generation.
    pub fn new(url: impl Into<String>, generation: Generation) -> Self {
        Self { url: url.into(), generation, description: None, event_types: None }
    }

    /// Says what it is for.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Narrows it to events of [types](super::event_types).
    pub fn event_types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.event_types = Some(types.into_iter().map(Into::into).collect());
        self
    }

    pub(super) fn validate(&self, options: &WebhookOptions) -> Result<(), EndpointError> {
        check_url(&self.url, options).map_err(|rule| EndpointError::Url {
            url: self.url.chars().take(200).collect(),
            rule,
        })?;
        let described = self.description.as_deref().unwrap_or_default().len();
        if described > MAX_DESCRIPTION_BYTES {
            return Err(EndpointError::Description { bytes: described });
        }
        let Some(types) = &self.event_types else { return Ok(()) };
        let known = payload::event_types(self.generation);
        let unknown = types.iter().find(|it| !known.iter().any(|(known, _)| known == it));
        match unknown {
            Some(unknown) => {
                let found = unknown.chars().take(100).collect();
                let known = known.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
                Err(EndpointError::EventType { found, known })
            }
            None if types.is_empty() => Err(EndpointError::NoEventTypes),
            None => Ok(()),
        }
    }
}

/// What is wrong with a URL, if anything is.
fn check_url(url: &str, options: &WebhookOptions) -> Result<(), &'static str> {
    if url.len() > MAX_URL_BYTES {
        return Err("must have at most 2048 bytes");
    }
    let url: http::Uri = url.parse().map_err(|_| "must be a URL of ASCII letters")?;
    match url.scheme_str() {
        Some("https") => {}
        Some("http") if options.allow_http => {}
        _ => return Err("must begin with https://"),
    }
    let authority = url.authority().ok_or("must have a host")?;
    if authority.as_str().contains('@') {
        return Err("must have no user and no password in it");
    }
    let host = authority.host();
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    if plain.is_empty() || url.port_u16() == Some(0) {
        return Err("must have a host, and no port 0");
    }
    if authority.as_str().len() > host.len() && url.port_u16().is_none() {
        return Err("must have a port of 1 to 65535, if it has one");
    }
    if options.allow_private_addresses {
        return Ok(());
    }
    let is_good = match plain.parse::<IpAddr>() {
        Ok(address) => is_public(address),
        Err(_) => !is_local_name(plain),
    };
    if is_good { Ok(()) } else { Err("must be of a public host") }
}

/// An endpoint, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Endpoint {
    /// Its id, `whe_` and 32 digits.
    pub id: String,
    /// Where events are sent.
    pub url: String,
    /// In whose words events are.
    pub generation: Generation,
    /// What it is for.
    pub description: Option<String>,
    /// Whether events are sent to it.
    pub enabled: bool,
    /// The types of events that it is sent; `None`: all.
    pub event_types: Option<Vec<String>>,
    /// How many attempts have failed since one succeeded. At 20 it is disabled.
    pub consecutive_failures: u32,
    /// The status of the last attempt; `None` where there was no answer, or no attempt yet.
    pub last_status: Option<u16>,
    /// When that was.
    pub last_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An endpoint as it is made: the only time that a secret is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its secret.
    pub secret: Secret,
}

/// The secret of an endpoint, `whsec_` and 32 bytes in base64. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Makes one by chance.
    pub(super) fn fresh() -> Result<Self, EndpointError> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| EndpointError::NoChance)?;
        Ok(Self(format!("whsec_{}", STANDARD.encode(bytes))))
    }

    /// Returns it as a text, to be handed to the receiver.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An endpoint as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointRow {
    pub(super) endpoint: Endpoint,
    /// Its place among all: those that were made later have higher ones.
    pub(super) number: u64,
    secret: Secret,
    /// The older ones, and until when each still signs.
    old_secrets: Vec<(Secret, Timestamp)>,
    /// Deliveries whose numbers are below this were given up when it was disabled.
    pub(super) given_up_below: u64,
}

impl EndpointRow {
    pub(super) fn new(endpoint: Endpoint, secret: Secret, number: u64) -> Self {
        Self { endpoint, number, secret, old_secrets: Vec::new(), given_up_below: 0 }
    }

    /// Gives it another secret; the one before signs beside it for so long.
    pub(super) fn rotate(
        &mut self,
        secret: Secret,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        if overlap > MAX_OVERLAP {
            return Err(EndpointError::Overlap { seconds: overlap.as_secs() });
        }
        let before = std::mem::replace(&mut self.secret, secret);
        if overlap.is_zero() {
            // It is known to who should not know it, and so may be the ones before.
            self.old_secrets.clear();
            return Ok(());
        }
        self.old_secrets.retain(|(_, until)| now < *until);
        self.old_secrets.push((before, now.saturating_add(overlap)));
        if self.old_secrets.len() > MAX_OLD_SECRETS {
            return Err(EndpointError::TooManySecrets { most: MAX_OLD_SECRETS });
        }
        Ok(())
    }

    /// What signs at an instant.
    pub(super) fn signer(&self, now: Timestamp) -> Result<StandardWebhook, WebhookError> {
        let old = self.old_secrets.iter().filter(|(_, until)| now < *until);
        let mut old = old.map(|(secret, _)| secret);
        old.try_fold(StandardWebhook::new(&self.secret.0)?, |signer, secret| {
            signer.and_secret(&secret.0)
        })
    }

    /// Whether it is sent events of a type.
    pub(super) fn wants(&self, event_type: &str) -> bool {
        let types = self.endpoint.event_types.as_deref();
        self.endpoint.enabled && types.is_none_or(|types| types.iter().any(|it| it == event_type))
    }
}

/// Why an endpoint cannot be made, found or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The URL may not be called.
    #[error("url: {url:?} {rule}")]
    Url {
        /// Its first letters.
        url: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The description is too long.
    #[error("description: must have at most 1024 bytes, and has {bytes}")]
    Description {
        /// How many bytes it has.
        bytes: usize,
    },
    /// There are no events of a type in this generation.
    #[error("eventTypes: {found:?} must be one of {known}")]
    EventType {
        /// Its first letters.
        found: String,
        /// All that there are.
        known: String,
    },
    /// It would be sent nothing.
    #[error("eventTypes: must name one at least, or be left out for all")]
    NoEventTypes,
    /// There are as many as there may be.
    #[error("there are {most} webhook endpoints: no more may be")]
    TooMany {
        /// How many.
        most: usize,
    },
    /// The overlap is too long.
    #[error("overlapSeconds: {seconds} must be 0 to 604800")]
    Overlap {
        /// How long it is.
        seconds: u64,
    },
    /// There are as many older secrets as there may be that still sign.
    #[error("there are {most} older secrets that still sign: wait, or end them by an overlap of 0")]
    TooManySecrets {
        /// How many.
        most: usize,
    },
    /// No endpoint has this id.
    #[error("no webhook endpoint has the id {id:?}")]
    NoEndpoint {
        /// The id.
        id: String,
    },
    /// The endpoint has no delivery of this id.
    #[error("no delivery of the webhook endpoint has the id {id:?}")]
    NoDelivery {
        /// The id.
        id: String,
    },
    /// The endpoint is disabled.
    #[error("the webhook endpoint is disabled: enable it first")]
    Disabled,
    /// The system has no source of chance.
    #[error("the system gives no random bytes")]
    NoChance,
    /// The store has failed or is closed.
    #[error(transparent)]
    Store(#[from] SpaceError),
}

impl EndpointError {
    /// Whether what was given is wrong.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::Url { .. }
                | Self::Description { .. }
                | Self::EventType { .. }
                | Self::NoEventTypes
                | Self::Overlap { .. }
        )
    }

    /// Whether what is there stands against it.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::TooMany { .. } | Self::TooManySecrets { .. } | Self::Disabled)
    }

    /// Whether what it is about is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoEndpoint { .. } | Self::NoDelivery { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str, options: &WebhookOptions) -> Option<&'static str> {
        check_url(url, options).err()
    }

    #[test]
    fn only_public_https_urls_are_taken() {
        let options = WebhookOptions::new();
        for good in [
            "https://example.com",
            "https://example.com:8443/hooks?a=b",
            "https://93.184.216.34/x",
            "https://[2606:4700::1111]:444/x",
        ] {
            assert_eq!(error(good, &options), None, "{good}");
        }
        for bad in [
            "",
            "example.com",
            "/hooks",
            "http://example.com",
            "ftp://example.com",
            "https://",
            "https://user@example.com",
            "https://user:secret@example.com",
            "https://example.com:0/",
            "https://example.com:70000/",
            "https://example.com:/",
            "https://localhost/",
            "https://a.LOCALHOST./",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://metadata.google.internal/",
            "https://ex\u{e4}mple.com/",
            "https://example.com/\r\nx: y",
        ] {
            assert!(error(bad, &options).is_some(), "{bad}");
        }
        let long = format!("https://example.com/{}", "a".repeat(2_048));
        assert!(error(&long, &options).is_some());
        let open = options.allow_http(true).allow_private_addresses(true);
        assert_eq!(error("http://127.0.0.1:8080/x", &open), None);
    }

    #[test]
    fn both_secrets_sign_for_as_long_as_was_said() {
        let now = Timestamp::new(1_700_000_000, 0);
        let (first, second) = (Secret::fresh().expect("chance"), Secret::fresh().expect("chance"));
        let endpoint = Endpoint {
            id: "whe_1".to_owned(),
            url: "https://example.com".to_owned(),
            generation: Generation::Third,
            description: None,
            enabled: true,
            event_types: None,
            consecutive_failures: 0,
            last_status: None,
            last_attempt_at: None,
            created_at: now,
        };
        let mut row = EndpointRow::new(endpoint, first.clone(), 0);
        let hour = Duration::from_secs(3_600);
        row.rotate(second.clone(), hour, now).expect("it may be");
        let verifies = |secret: &Secret, row: &EndpointRow, at: Timestamp| {
            let signed = row.signer(at).expect("secrets").sign("dlv_1", at, b"{}").expect("good");
            let receiver = StandardWebhook::new(secret.expose()).expect("a secret");
            let stamp = at.unix_seconds().to_string();
            receiver.verify("dlv_1", &stamp, &signed, b"{}", at).is_ok()
        };
        let last = now.saturating_add(hour.saturating_sub(Duration::from_nanos(1)));
        for at in [now, last] {
            assert!(verifies(&first, &row, at) && verifies(&second, &row, at));
        }
        let over = now.saturating_add(hour);
        assert!(!verifies(&first, &row, over) && verifies(&second, &row, over));
        // Without an overlap all older ones end at once.
        let third = Secret::fresh().expect("chance");
        row.rotate(third.clone(), Duration::ZERO, now).expect("it may be");
        assert!(!verifies(&second, &row, now) && verifies(&third, &row, now));
        for _ in 0..4 {
            row.rotate(Secret::fresh().expect("chance"), hour, now).expect("it may be");
        }
        let fifth = row.clone().rotate(third.clone(), hour, now);
        assert_eq!(fifth, Err(EndpointError::TooManySecrets { most: 4 }));
        row.rotate(third, hour, over).expect("the others have ended");
        assert!(!format!("{row:?}").contains(first.expose()));
    }
}
