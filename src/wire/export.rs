//! Events as lines of an export.

use serde::Serialize;

use crate::base::clock::Timestamp;
use crate::event::{Event, EventId};
use crate::wire::event::{properties, values};

/// An event as a line of an export, with its idempotency key.
pub(crate) struct ExportLine<'a, 'e> {
    pub(crate) id: EventId,
    pub(crate) created_at: Timestamp,
    pub(crate) event: &'a Event<'e>,
    pub(crate) key: Option<&'a str>,
}

impl ExportLine<'_, '_> {
    /// Appends the line: the event as a [`RecordedEvent`](crate::events::RecordedEvent) serializes,
    /// but for what it has not got, which is left out.
    ///
    /// `serde_json` prints the values. The names of fields need no looking through for what JSON
    /// escapes, and are put down with all that stands before a value.
    ///
    /// # Errors
    /// A value cannot be printed; the line is not whole then.
    pub(crate) fn append(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let event = self.event;
        put(out, "{\"id\":", Some(self.id))?;
        put(out, ",\"customerId\":", Some(event.customer_id()))?;
        put(out, ",\"eventType\":", Some(event.event_type()))?;
        put(out, ",\"model\":", event.model.as_deref())?;
        put(out, ",\"provider\":", event.provider.as_deref())?;
        put(out, ",\"inputTokens\":", event.input_tokens)?;
        put(out, ",\"outputTokens\":", event.output_tokens)?;
        put(out, ",\"totalTokens\":", event.tokens().flatten())?;
        put(out, ",\"latencyMs\":", event.latency_ms)?;
        put(out, ",\"costCents\":", event.cost_cents)?;
        if !event.properties.is_empty() {
            put(out, ",\"properties\":", Some(properties(event)))?;
        }
        put(out, ",\"attached\":", event.attached())?;
        if !event.values.is_empty() {
            put(out, ",\"values\":", Some(values(event)))?;
        }
        put(out, ",\"createdAt\":", Some(self.created_at))?;
        put(out, ",\"idempotencyKey\":", self.key)?;
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// Appends a value behind what stands before it, where there is one.
fn put(out: &mut Vec<u8>, before: &str, value: Option<impl Serialize>) -> serde_json::Result<()> {
    let Some(value) = value else { return Ok(()) };
    out.extend_from_slice(before.as_bytes());
    serde_json::to_writer(out, &value)
}
