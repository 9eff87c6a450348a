//! The limits that providers keep, mirrored: see [`RemoteLimits`].

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Usage;
use crate::Timestamp;
use crate::time::{Clock, SystemClock};

mod error;
mod headers;
mod mirror;
mod structured;
mod values;

pub use self::error::{RemoteHeaderError, RemoteReason, RemoteRefusal};

use self::mirror::{Deployment, Held, PerUnit, Room, Start};

/// The most deployments that are known at once.
const MAX_DEPLOYMENTS: usize = 4_096;

/// What providers say of their own limits in the headers of each response, mirrored: a call that a
/// provider would refuse is refused here, with the wait, before it is made.
///
/// Limits are of a *deployment*: whatever has limits of its own, such as a key and a model, by a
/// name that the application gives it. Of several that could answer a call
/// [`start_any`](Self::start_any) takes the one with most room.
///
/// ```
/// use limitry::llm::{RemoteLimits, Usage};
///
/// let limits = RemoteLimits::new();
/// let estimate = Usage::estimated(1_200, 400);
/// let call = limits.start("gpt-4o, key 1", &estimate)?; // nothing is known yet
/// // ... the response comes ...
/// call.answered(200, [
///     ("x-ratelimit-limit-tokens", "30000"),
///     ("x-ratelimit-remaining-tokens", "900"),
///     ("x-ratelimit-reset-tokens", "58.2s"),
/// ])?;
/// let refusal = limits.start("gpt-4o, key 1", &estimate).unwrap_err();
/// assert!(refusal.retry_after.is_some_and(|wait| wait.as_secs() <= 58));
/// assert_eq!(limits.start_any(["gpt-4o, key 1", "gpt-4o, key 2"], &estimate)?.deployment(),
///     "gpt-4o, key 2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Which headers
///
/// | provider | headers | of them |
/// |---|---|---|
/// | OpenAI, Azure, Groq, Mistral | `x-ratelimit-{limit,remaining,reset}-*` | `6m0s` or `20` |
/// | Anthropic | `anthropic-ratelimit-*-{limit,remaining,reset}` | RFC 3339; no Priority Tier |
/// | who follows the IETF draft 10 | `RateLimit`, `RateLimit-Policy` | `q`, `qu`, `w`, `r`, `t` |
/// | all | `retry-after-ms`, `retry-after` | on 429, 503 and 529: until then |
/// | all | `date` | what resets that are instants are compared with |
///
/// `-1` says that the provider does not know; a limit of 0 does, too (Azure). Headers of one limit
/// are believed together or not at all.
///
/// # What counts against which limit
///
/// By the limit's name, or the draft's unit `qu`: `requests` (1, or the estimate's), `input`
/// tokens, `output` tokens, other tokens (both together), and 1 of what is none of these. Where an
/// estimate lacks a count, 1. Tokens that the provider does not count, such as what Anthropic reads
/// from a cache, are the caller's to leave out.
///
/// # What is exact
///
/// A response counts its own call, and all that had ended before that started. Nobody can tell from
/// here whether it counts calls that were in flight then, or were started since; so all of them are
/// taken from what remains. A response that arrives late does not replace one that overlaps it:
/// both hold, until there is one whose call started after they were there. So what is let in is
/// never more than the newest response lets in, in whatever order responses arrive; and less by at
/// most what was in flight around it.
///
/// Until a limit's reset what remained holds, and nothing comes back meanwhile
/// ([`Refill::AtReset`]), as providers say no more than that; with [`Refill::Continuous`] it comes
/// back evenly. From the reset on the whole limit holds, without what was sent since that response;
/// and for as long again, but at least a minute or the window that the provider says, so that calls
/// which break off without an answer are not forgotten at once. Then nothing is known, and the next
/// call finds out. A response that does not say when the limit resets holds for a minute.
///
/// Other processes that use the same key are known by the provider's answers only.
///
/// # Clocks
///
/// Lengths of time count from the moment when the response is handed in, which is never before the
/// provider meant. Resets that are instants are compared with the response's own `date`, so that it
/// does not matter what time it is here; without one they are compared with the clock here. A clock
/// that is set back stands still until it has caught up.
///
/// # Cost
///
/// One lock for all deployments, held for a look at what is known of those that are asked about; up
/// to 4096 deployments, each with up to 32 limits and 32 overlapping responses of each. A handle is
/// as cheap to clone as an `Arc`.
#[derive(Clone)]
pub struct RemoteLimits {
    clock: Arc<dyn Clock>,
    refill: Refill,
    mirror: Arc<Mutex<Mirror>>,
}

/// How a limit comes back until its reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refill {
    /// All of it at the reset, nothing before: never more than any provider lets in.
    #[default]
    AtReset,
    /// Evenly, rounded down, so that it is whole at the reset: as a token bucket does, which
    /// Anthropic documents (2026-08) and OpenAI's resets are of (the time until nothing is used).
    Continuous,
}

#[derive(Default)]
struct Mirror {
    deployments: HashMap<Arc<str>, Deployment>,
    /// The latest instant that was seen.
    latest: Option<Timestamp>,
}

impl Default for RemoteLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl RemoteLimits {
    /// Knows nothing yet, and goes by the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(SystemClock::new())
    }

    /// Knows nothing yet, and goes by this clock.
    #[must_use]
    pub fn with_clock(clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), refill: Refill::default(), mirror: Arc::default() }
    }

    /// Sets how limits come back, for what this handle reads from now on.
    #[must_use]
    pub fn refill(mut self, refill: Refill) -> Self {
        self.refill = refill;
        self
    }

    /// Starts a call that takes so much, where the deployment's limits have room for it: from here
    /// on it counts. Asks nothing of the provider.
    ///
    /// # Errors
    /// What holds it back, and how long.
    pub fn start(&self, deployment: &str, estimate: &Usage) -> Result<RemoteCall, RemoteRefusal> {
        self.start_any([deployment], estimate)
    }

    /// Starts a call at the deployment that has most room left after it: the largest share of its
    /// scarcest limit, all of it where nothing is known; of equals where less is in flight, then
    /// the first. Choosing and starting is one step.
    ///
    /// # Errors
    /// That none has room: of all deployments the one that has it first.
    pub fn start_any<'d>(
        &self,
        deployments: impl IntoIterator<Item = &'d str>,
        estimate: &Usage,
    ) -> Result<RemoteCall, RemoteRefusal> {
        let cost = PerUnit::of_usage(estimate);
        // The caller's iterator, and the clock, run under no lock.
        let deployments: SmallVec<[&str; 8]> = deployments.into_iter().collect();
        let now = self.clock.now();
        let mut mirror = self.mirror.lock();
        let now = mirror.at(now);
        let mut best: Option<(&str, Room)> = None;
        let mut first: Option<(&str, Held)> = None;
        let unknown = Deployment::default();
        for name in deployments {
            let deployment = mirror.deployments.get(name).unwrap_or(&unknown);
            match deployment.judge(&cost, now) {
                Ok(room) if best.as_ref().is_none_or(|(_, best)| room.is_more_than(best)) => {
                    best = Some((name, room));
                }
                Err(held) if first.as_ref().is_none_or(|(_, first)| held.until < first.until) => {
                    first = Some((name, held));
                }
                _ => {}
            }
        }
        let Some((name, _)) = best else {
            return Err(refusal(first, now));
        };
        let (deployment, start) = mirror.start(name, cost, now)?;
        drop(mirror);
        Ok(RemoteCall { limits: self.clone(), deployment, start })
    }

    /// How each of a deployment's limits stands; nothing where none is known.
    #[must_use]
    pub fn standing(&self, deployment: &str) -> RemoteStanding {
        let now = self.clock.now();
        let mut mirror = self.mirror.lock();
        let now = mirror.at(now);
        let Some(deployment) = mirror.deployments.get(deployment) else {
            return RemoteStanding { blocked_until: None, limits: Vec::new() };
        };
        let (blocked_until, limits) = deployment.standing(now);
        let limits = limits.into_iter().map(|limit| RemoteLimit {
            name: limit.name,
            left: limit.left,
            limit: limit.limit,
            resets_at: limit.whole_at,
        });
        RemoteStanding { blocked_until, limits: limits.collect() }
    }

    /// Forgets what a deployment's provider has said: another key stands behind the name, or its
    /// limits were raised. Calls in flight stay known.
    pub fn forget(&self, deployment: &str) {
        let mut mirror = self.mirror.lock();
        if let Some(deployment) = mirror.deployments.get_mut(deployment) {
            deployment.forget();
        }
    }
}

fn refusal(first: Option<(&str, Held)>, now: Timestamp) -> RemoteRefusal {
    let Some((name, held)) = first else {
        let reason = RemoteReason::NoDeployment;
        return RemoteRefusal { deployment: "".into(), reason, retry_after: None };
    };
    let reason = match held.limit {
        None => RemoteReason::Blocked,
        Some(by) => {
            RemoteReason::Limit { name: by.name, asked: by.asked, left: by.left, limit: by.limit }
        }
    };
    let retry_after = Some(held.until.saturating_since(now));
    RemoteRefusal { deployment: name.into(), reason, retry_after }
}

impl Mirror {
    /// The instant now: never before one that was seen.
    fn at(&mut self, now: Timestamp) -> Timestamp {
        let now = self.latest.map_or(now, |latest| now.max(latest));
        self.latest = Some(now);
        now
    }

    fn start(
        &mut self,
        name: &str,
        cost: PerUnit<u64>,
        now: Timestamp,
    ) -> Result<(Arc<str>, Start), RemoteRefusal> {
        if let Some((known, _)) = self.deployments.get_key_value(name) {
            let known = Arc::clone(known);
            let start = self.deployments.get_mut(name).map(|it| it.start(cost));
            return start.map(|start| (known, start)).ok_or_else(|| refusal(None, now));
        }
        if self.deployments.len() >= MAX_DEPLOYMENTS {
            self.deployments.retain(|_, deployment| !deployment.is_idle(now));
        }
        if self.deployments.len() >= MAX_DEPLOYMENTS {
            let reason = RemoteReason::TooManyDeployments { most: MAX_DEPLOYMENTS };
            return Err(RemoteRefusal { deployment: name.into(), reason, retry_after: None });
        }
        let name: Arc<str> = name.into();
        let start = self.deployments.entry(Arc::clone(&name)).or_default().start(cost);
        Ok((name, start))
    }
}

/// A call that is in flight. It ends when it is [answered](Self::answered); dropped before that it
/// has broken off, and may have been counted by the provider.
#[must_use = "a call that is dropped has ended"]
pub struct RemoteCall {
    limits: RemoteLimits,
    deployment: Arc<str>,
    start: Start,
}

impl RemoteCall {
    /// The deployment that the call goes to.
    #[must_use]
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// Ends the call with the status and the headers of its response, which are to be handed in as
    /// soon as they are there, before the body: `http` and `reqwest` have them as
    /// `response.headers()`. Names in any case; headers that say nothing of limits are ignored.
    ///
    /// # Errors
    /// The first header that is not as its provider documents it. What the others say holds all the
    /// same, without those of the same limit.
    pub fn answered<N: AsRef<str>, V: AsRef<[u8]>>(
        self,
        status: u16,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), RemoteHeaderError> {
        let limits = self.limits.clone();
        let now = limits.clock.now();
        let said = headers::read(headers, now);
        let mut problem = said.problem;
        let mut mirror = limits.mirror.lock();
        let now = mirror.at(now);
        if let Some(deployment) = mirror.deployments.get_mut(&*self.deployment) {
            deployment.answer();
            // 529 is Anthropic's word for an overload.
            let wait = said.retry_after.filter(|_| matches!(status, 429 | 503 | 529));
            if let Some(wait) = wait {
                deployment.block(now.saturating_add(wait));
            }
            let fills = limits.refill == Refill::Continuous;
            for reported in said.limits {
                let name = reported.name.clone();
                if !deployment.read(&self.start, reported, now, fills) && problem.is_none() {
                    let why = "must be one of at most 32 limits that hold at once";
                    problem = Some(RemoteHeaderError::new("ratelimit", &name, why));
                }
            }
        }
        drop(mirror);
        // It has ended now.
        drop(self);
        problem.map_or(Ok(()), Err)
    }
}

impl Drop for RemoteCall {
    fn drop(&mut self) {
        let mut mirror = self.limits.mirror.lock();
        if let Some(deployment) = mirror.deployments.get_mut(&*self.deployment) {
            deployment.end(&self.start);
        }
    }
}

/// How the limits of a deployment stand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStanding {
    /// Until when the provider said to wait.
    pub blocked_until: Option<Timestamp>,
    /// Its limits, in no order.
    pub limits: Vec<RemoteLimit>,
}

/// How a limit of a provider's stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteLimit {
    /// As the headers call it.
    pub name: Box<str>,
    /// What is left of it, by the strictest response that holds, without what was sent since.
    pub left: u64,
    /// The whole limit, where the provider said it.
    pub limit: Option<u64>,
    /// When it resets, by that response; an instant of the clock here.
    pub resets_at: Timestamp,
}

impl fmt::Debug for RemoteLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deployments = self.mirror.lock().deployments.len();
        f.debug_struct("RemoteLimits")
            .field("refill", &self.refill)
            .field("deployments", &deployments)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RemoteCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCall").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}
