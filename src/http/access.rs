//! Who may do what.

use std::fmt;
use std::pin::Pin;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
pub use crate::webhooks::Generation;

impl Generation {
    /// Returns the generation that a key is of by its first letters.
    ///
    /// ```
    /// use limitry::http::Generation;
    ///
    /// assert_eq!(Generation::of_key("lm_0123"), Some(Generation::First));
    /// assert_eq!(Generation::of_key("sk_0123"), None);
    /// ```
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        const PREFIXES: [(&str, Generation); 5] = [
            ("lm_", Generation::First),
            ("lmtry_sk_", Generation::First),
            ("limitry_sk_", Generation::Second),
            ("limitry_pat_", Generation::Second),
            ("lim_", Generation::Third),
        ];
        let found = PREFIXES.into_iter().find(|(prefix, _)| key.starts_with(prefix));
        found.map(|(_, generation)| generation)
    }
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// Everything: rules may be changed, too.
    #[default]
    All,
    /// Questions: lists, usage, checks. Nothing is changed.
    Read,
    /// Events, and checks before them: what an application does on its way. It reads nothing else
    /// and changes no rule.
    Record,
}

impl Scope {
    /// Whether it covers what a request does.
    pub(super) fn covers(self, need: Need) -> bool {
        match (self, need) {
            (Self::All, _) | (_, Need::Check) => true,
            (Self::Read, need) => need == Need::Read,
            (Self::Record, need) => need == Need::Record,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Read => "read",
            Self::Record => "record",
        })
    }
}

/// What a request does, as scopes tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It asks before an act.
    Check,
    Record,
    Read,
    /// It changes rules.
    Manage,
}

/// What a request is let in to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// The project: one engine.
    pub project: String,
    /// The API that is spoken.
    pub generation: Generation,
    /// What may be done.
    pub scope: Scope,
    /// Who it is, as the log of changes says it; none of who is not told apart.
    pub who: Option<String>,
}

impl Access {
    /// Lets a request in to all of a project.
    #[must_use]
    pub fn to(project: impl Into<String>, generation: Generation) -> Self {
        Self { project: project.into(), generation, scope: Scope::All, who: None }
    }

    /// Narrows it to a scope.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Says who it is.
    #[must_use]
    pub fn who(mut self, who: impl Into<String>) -> Self {
        self.who = Some(who.into());
        self
    }
}

/// The answer of [`Authenticate::authenticate`].
pub type Authenticated<'a> = Pin<Box<dyn Future<Output = Option<Access>> + Send + 'a>>;

/// Says who may come in: [`ApiKeys`](super::ApiKeys), or an application's own way.
///
/// ```
/// use std::future::ready;
/// use axum::http::HeaderMap;
/// use limitry::Timestamp;
/// use limitry::http::{Access, Authenticate, Authenticated, Generation};
///
/// /// A proxy in front has said who it is.
/// #[derive(Debug)]
/// struct ByProxy;
///
/// impl Authenticate for ByProxy {
///     fn authenticate<'a>(&'a self, headers: &'a HeaderMap, _: Timestamp) -> Authenticated<'a> {
///         let project = headers.get("x-verified-project").and_then(|it| it.to_str().ok());
///         Box::pin(ready(project.map(|project| Access::to(project, Generation::First))))
///     }
/// }
/// ```
pub trait Authenticate: fmt::Debug + Send + Sync + 'static {
    /// Returns what a request with these headers may do at this time; `None` lets it do nothing,
    /// and its caller is told no more than that.
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap, now: Timestamp) -> Authenticated<'a>;
}

/// The token of an `Authorization: Bearer` header (RFC 6750); the scheme's case is open.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    const SCHEME: &[u8] = b"bearer ";
    let value = headers.get(AUTHORIZATION)?;
    let (scheme, _) = value.as_bytes().split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let token = value.to_str().ok()?.get(SCHEME.len()..)?.trim_matches(' ');
    (!token.is_empty()).then_some(token)
}
