//! A decision as JSON, with no serializer between: most of it is the same in every answer by the
//! same rules, and is printed once.

use serde::Serialize;

use super::decision::as_text;
use crate::base::amount::Amount;
use crate::compiled::CompiledRule;
use crate::decision::{Decision, QuotaStatus, RateLimitStatus};
use crate::rules::{Metric, Period, Rule, Window};

impl Decision {
    /// Appends the decision as JSON: byte for byte what `serde_json` prints of it, at a fraction of
    /// the time. What stays the same of a rule is printed once, and kept as long as the rule.
    /// O(rules); it allocates nothing but what `out` grows by.
    ///
    /// ```
    /// use limitry::{Engine, Event, RateLimit, Window};
    ///
    /// let calls = RateLimit::new("Calls", 60, Window::Minute);
    /// let engine = Engine::builder().rate_limit(calls).build()?;
    /// let decision = engine.track(&Event::new("cust_123", "model_call"))?;
    /// let mut body = Vec::new();
    /// decision.append_json(&mut body);
    /// assert_eq!(body, serde_json::to_vec(&decision)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if let Some(id) = self.event_id() {
            out.extend_from_slice(b"\"id\":\"");
            out.extend_from_slice(id.name().as_str().as_bytes());
            out.extend_from_slice(b"\",");
        }
        if self.is_let_in() {
            out.extend_from_slice(b"\"allowed\":true,\"rateLimits\":[");
        } else {
            out.extend_from_slice(b"\"allowed\":false,\"error\":");
            put(out, self.error());
            out.extend_from_slice(b",\"rateLimits\":[");
        }
        for (place, (rule, status)) in self.rate_limits_of().enumerate() {
            put_comma(out, place);
            put_rate_limit(out, rule, &status);
        }
        out.extend_from_slice(b"],\"quotas\":[");
        for (place, (rule, status)) in self.quotas_of().enumerate() {
            put_comma(out, place);
            put_quota(out, rule, &status);
        }
        out.extend_from_slice(b"]}");
    }
}

fn put_rate_limit(out: &mut Vec<u8>, rule: &CompiledRule, status: &RateLimitStatus<'_>) {
    put_head(out, rule, status.limit);
    out.extend_from_slice(b",\"remaining\":");
    put_amount(out, status.limit.map(|_| status.remaining));
    put_if_any(out, b",\"held\":", status.held);
    out.extend_from_slice(b",\"reset\":");
    put(out, &status.reset.unix_seconds());
    put_end(out, status.exceeded);
}

fn put_quota(out: &mut Vec<u8>, rule: &CompiledRule, status: &QuotaStatus<'_>) {
    put_head(out, rule, status.limit);
    out.extend_from_slice(b",\"used\":");
    put_amount(out, Some(status.used));
    put_if_any(out, b",\"held\":", status.held);
    put_if_any(out, b",\"adjusted\":", status.adjusted);
    out.extend_from_slice(b",\"remaining\":");
    put_amount(out, status.limit.map(|_| status.remaining));
    put_end(out, status.exceeded);
}

/// What a rate limit's status begins with.
#[derive(Serialize)]
struct RateLimitHead<'r> {
    id: &'r str,
    name: &'r str,
    #[serde(serialize_with = "as_text")]
    window: Window,
}

/// What a quota's status begins with.
#[derive(Serialize)]
struct QuotaHead<'r> {
    id: &'r str,
    name: &'r str,
    metric: &'r Metric,
    period: Period,
}

/// A status up to its limit. That of a balance is another one each time.
fn put_head(out: &mut Vec<u8>, rule: &CompiledRule, limit: Option<Amount>) {
    let moves = rule.rule.balance().is_some();
    let head = rule.said(|| {
        let mut head = Vec::new();
        match &rule.rule {
            Rule::RateLimit(of) => {
                put(&mut head, &RateLimitHead { id: rule.id(), name: &of.name, window: of.window });
            }
            Rule::Quota(of) => {
                let (id, name, metric, period) = (rule.id(), &of.name, &of.metric, of.period);
                put(&mut head, &QuotaHead { id, name, metric, period });
            }
        }
        // It goes on.
        head.pop();
        head.extend_from_slice(b",\"limit\":");
        if !moves {
            put_amount(&mut head, limit);
        }
        head.into()
    });
    out.extend_from_slice(head);
    if moves {
        put_amount(out, limit);
    }
}

fn put_end(out: &mut Vec<u8>, exceeded: bool) {
    out.extend_from_slice(if exceeded { b",\"exceeded\":true}" } else { b",\"exceeded\":false}" });
}

fn put_comma(out: &mut Vec<u8>, place: usize) {
    if place > 0 {
        out.push(b',');
    }
}

fn put_if_any(out: &mut Vec<u8>, name: &[u8], amount: Amount) {
    if amount != Amount::ZERO {
        out.extend_from_slice(name);
        put_amount(out, Some(amount));
    }
}

fn put_amount(out: &mut Vec<u8>, amount: Option<Amount>) {
    match amount.map(|amount| amount.whole_units().ok_or(amount)) {
        Some(Ok(units)) => put(out, &units),
        Some(Err(amount)) => put(out, &amount),
        None => out.extend_from_slice(b"null"),
    }
}

/// Texts, numbers and structs of both always have a form, and a list of bytes takes them all.
fn put(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let _ = serde_json::to_writer(out, value);
}
