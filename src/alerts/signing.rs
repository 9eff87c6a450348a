//! Signatures of webhooks, as Standard Webhooks 1.0 says.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::base::clock::Timestamp;

/// What a secret begins with as a text.
const SECRET: &str = "whsec_";
/// What a signature begins with that this version makes.
const VERSION: &str = "v1,";
/// How far the time of an attempt may be from that of its receiver, in seconds.
const TOLERANCE: u64 = 300;
/// How many signatures of a header are looked at.
const MAX_SIGNATURES: usize = 32;

/// Signs what is sent to a webhook, and verifies what one has received, by
/// [Standard Webhooks](https://www.standardwebhooks.com) 1.0 with a secret that both sides have:
/// HMAC-SHA256 over the id, the time and the body as it is sent.
///
/// Sending is the application's: the headers are `webhook-id` (the same in every attempt, such as
/// the [id](crate::alerts::Alert::id) of an alert), `webhook-timestamp` (the Unix second of this
/// attempt) and `webhook-signature`. A receiver remembers ids, so that what comes twice counts
/// once.
///
/// ```
/// use limitry::alerts::StandardWebhook;
/// use limitry::Timestamp;
///
/// let webhook = StandardWebhook::new("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")?;
/// let (body, now) = (br#"{"event":"limit.exceeded"}"#, Timestamp::new(1_700_000_000, 0));
/// let signature = webhook.sign("alt_1", now, body)?;
/// webhook.verify("alt_1", "1700000000", &signature, body, now)?;
/// assert!(webhook.verify("alt_1", "1700000000", &signature, b"{}", now).is_err());
/// # Ok::<(), limitry::alerts::WebhookError>(())
/// ```
#[derive(Clone)]
pub struct StandardWebhook {
    /// Of each secret a code that has taken nothing but the key.
    keys: Vec<Hmac<Sha256>>,
}

/// Not the secrets.
impl fmt::Debug for StandardWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandardWebhook").field("secrets", &self.keys.len()).finish_non_exhaustive()
    }
}

/// Why a webhook cannot be signed, or is not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// A secret is none: it is not shown.
    #[error("the secret must be `whsec_` and 24 to 64 bytes as padded standard base64")]
    Secret,
    /// The id would make the signed bytes ambiguous.
    #[error("webhook-id must not be empty and have no full stop")]
    Id,
    /// The time is no Unix second.
    #[error("webhook-timestamp must be a Unix second in decimal digits")]
    Timestamp,
    /// The time is too far from the receiver's.
    #[error("webhook-timestamp is {seconds} s from now: at most 300 s")]
    TooFarFromNow {
        /// How far, in seconds.
        seconds: u64,
    },
    /// No signature of the header is one by a secret that is known here.
    #[error("webhook-signature has no `v1` signature by a known secret")]
    Signature,
}

impl StandardWebhook {
    /// Makes one of a secret, `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// The secret is none.
    pub fn new(secret: &str) -> Result<Self, WebhookError> {
        Ok(Self { keys: vec![key(secret)?] })
    }

    /// Adds a secret, while one takes the place of the other: what is signed has a signature by
    /// each, and one of them is enough to be verified.
    ///
    /// # Errors
    /// The secret is none.
    pub fn and_secret(mut self, secret: &str) -> Result<Self, WebhookError> {
        self.keys.push(key(secret)?);
        Ok(self)
    }

    /// Returns the value of `webhook-signature` for an attempt at an instant, of which whole
    /// seconds count.
    ///
    /// # Errors
    /// The id is empty or has a full stop; the instant is before 1970.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> Result<String, WebhookError> {
        let second = u64::try_from(at.unix_seconds()).map_err(|_| WebhookError::Timestamp)?;
        let second = second.to_string();
        let codes = self.codes(id, &second, body)?;
        let signatures = codes.map(|code| {
            let code = STANDARD.encode(code.finalize().into_bytes());
            format!("{VERSION}{code}")
        });
        Ok(signatures.collect::<Vec<_>>().join(" "))
    }

    /// Verifies the values of the three headers and the body of a request, byte for byte as they
    /// came, at an instant. Signatures of other versions are passed over, and of all no more than
    /// 32 are looked at. They are compared in constant time.
    ///
    /// # Errors
    /// A header is not well formed, the time is more than 300 s before or after now, or no
    /// signature is right.
    pub fn verify(
        &self,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), WebhookError> {
        let digits = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let second = timestamp.parse::<i64>().ok().filter(|_| digits);
        let second = second.ok_or(WebhookError::Timestamp)?;
        let seconds = second.abs_diff(now.unix_seconds());
        if seconds > TOLERANCE {
            return Err(WebhookError::TooFarFromNow { seconds });
        }
        let given = signatures.split(' ').take(MAX_SIGNATURES);
        let given = given.filter_map(|signature| signature.strip_prefix(VERSION));
        let given: Vec<Vec<u8>> = given.filter_map(|it| STANDARD.decode(it).ok()).collect();
        for code in self.codes(id, timestamp, body)? {
            if given.iter().any(|given| code.clone().verify_slice(given).is_ok()) {
                return Ok(());
            }
        }
        Err(WebhookError::Signature)
    }

    /// The code of what is signed, by each secret.
    fn codes(
        &self,
        id: &str,
        timestamp: &str,
        body: &[u8],
    ) -> Result<impl Iterator<Item = Hmac<Sha256>>, WebhookError> {
        if id.is_empty() || id.contains('.') {
            return Err(WebhookError::Id);
        }
        Ok(self.keys.iter().map(move |key| {
            let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
            parts.iter().fold(key.clone(), Mac::chain_update)
        }))
    }
}

fn key(secret: &str) -> Result<Hmac<Sha256>, WebhookError> {
    let bytes = secret.strip_prefix(SECRET).and_then(|text| STANDARD.decode(text).ok());
    let bytes = bytes.filter(|bytes| (24..=64).contains(&bytes.len()));
    let bytes = bytes.ok_or(WebhookError::Secret)?;
    Hmac::new_from_slice(&bytes).map_err(|_| WebhookError::Secret)
}
