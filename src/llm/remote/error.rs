//! Why a call is held back, and what is wrong with a header.

use std::fmt;
use std::time::Duration;

/// Why a call is not made: its provider would refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteRefusal {
    /// The deployment, or of several the one that has room first; empty where there is none.
    pub deployment: Box<str>,
    /// What holds the call back, of several what does so for longest.
    pub reason: RemoteReason,
    /// How long, exactly: after it the call is let in here, where nothing else happens meanwhile.
    /// `None` where no wait will do.
    pub retry_after: Option<Duration>,
}

/// What holds a call back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteReason {
    /// The provider said `Retry-After`.
    Blocked,
    /// A limit of the provider's.
    #[non_exhaustive]
    Limit {
        /// As its headers call it: `requests`, `input-tokens`, or a policy's name.
        name: Box<str>,
        /// How much of it the call takes.
        asked: u64,
        /// How much is left of it, without what was sent since the provider said so.
        left: u64,
        /// The whole limit, where the provider said it. A call that takes more is never let in by
        /// the provider, and here once the limit has not been heard of for a while.
        limit: Option<u64>,
    },
    /// No deployment was named.
    NoDeployment,
    /// So many deployments have calls in flight, or limits, that this is one too many to know.
    #[non_exhaustive]
    TooManyDeployments {
        /// The most that are known at once.
        most: usize,
    },
}

impl fmt::Display for RemoteRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            RemoteReason::Blocked => write!(f, "{}: the provider said to wait", self.deployment)?,
            RemoteReason::Limit { name, asked, left, .. } => {
                write!(f, "{}: {name}: {asked} asked, {left} left", self.deployment)?;
            }
            RemoteReason::NoDeployment => f.write_str("deployments: at least one must be named")?,
            RemoteReason::TooManyDeployments { most } => {
                write!(f, "{}: at most {most} deployments are in use at once", self.deployment)?;
            }
        }
        match self.retry_after {
            Some(wait) => write!(f, ", for {wait:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RemoteRefusal {}

/// A header that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{header}: {value:?} {reason}")]
#[non_exhaustive]
pub struct RemoteHeaderError {
    /// The header, in lower case.
    pub header: Box<str>,
    /// What is there, cut short when it is long.
    pub value: Box<str>,
    /// What it must be.
    pub reason: &'static str,
}

impl RemoteHeaderError {
    pub(super) fn new(header: &str, value: &str, reason: &'static str) -> Self {
        let value = value.chars().take(48).collect::<String>().into();
        Self { header: header.into(), value, reason }
    }
}
