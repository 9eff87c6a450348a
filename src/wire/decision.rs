//! Decisions, standings and statuses as they are printed.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::decision::{Decision, QuotaStatus, RateLimitStatus, Standing};

impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = usize::from(self.event_id().is_some());
        let fields = if self.is_let_in() { 3_usize.saturating_add(recorded) } else { 4 };
        let mut body = serializer.serialize_struct("Decision", fields)?;
        if let Some(id) = self.event_id() {
            body.serialize_field("id", &id)?;
        }
        body.serialize_field("allowed", &self.is_let_in())?;
        if !self.is_let_in() {
            body.serialize_field("error", self.error())?;
        }
        body.serialize_field("rateLimits", &self.rate_limits().collect::<Vec<_>>())?;
        body.serialize_field("quotas", &self.quotas().collect::<Vec<_>>())?;
        body.end()
    }
}

impl Serialize for Standing {
    /// The product's check bodies in one: `{allowed, rateLimits, quotas}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_struct("Standing", 3)?;
        body.serialize_field("allowed", &self.is_allowed())?;
        body.serialize_field("rateLimits", &self.rate_limits().collect::<Vec<_>>())?;
        body.serialize_field("quotas", &self.quotas().collect::<Vec<_>>())?;
        body.end()
    }
}

impl Serialize for RateLimitStatus<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut status = serializer.serialize_struct("RateLimitStatus", 7)?;
        status.serialize_field("id", self.id)?;
        status.serialize_field("name", self.name)?;
        status.serialize_field("window", &format_args!("{}", self.window))?;
        status.serialize_field("limit", &self.limit)?;
        status.serialize_field("remaining", &self.limit.map(|_| self.remaining))?;
        status.serialize_field("reset", &self.reset.unix_seconds())?;
        status.serialize_field("exceeded", &self.exceeded)?;
        status.end()
    }
}

impl Serialize for QuotaStatus<'_> {
    /// The product's shape, which has no `reset`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut status = serializer.serialize_struct("QuotaStatus", 8)?;
        status.serialize_field("id", self.id)?;
        status.serialize_field("name", self.name)?;
        status.serialize_field("metric", self.metric)?;
        status.serialize_field("period", &self.period)?;
        status.serialize_field("limit", &self.limit)?;
        status.serialize_field("used", &self.used)?;
        status.serialize_field("remaining", &self.limit.map(|_| self.remaining))?;
        status.serialize_field("exceeded", &self.exceeded)?;
        status.end()
    }
}
