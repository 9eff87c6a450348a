//! What a reservation was made for, in few bytes.

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::event::{Dimension, Event};
use crate::log::{Packed, Stored};

/// What a reservation was made for, and has grown by: packed as the log packs events. It is read
/// when a reservation grows or is shown, and for nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    /// The customer's id, and the packed event.
    bytes: Box<[u8]>,
    /// How long the id is.
    customer: u16,
    key: Option<Box<str>>,
    /// The event brought its own timestamp.
    is_dated: bool,
}

impl Estimate {
    /// Of an event that happened at `timestamp`, whether it says so or not.
    pub(crate) fn new(event: &Event<'_>, timestamp: Timestamp) -> Self {
        let packed = Packed::unsigned(event, timestamp, timestamp);
        let is_dated = event.happened_at().is_some();
        Self::of(event.customer_id(), packed.bytes(), is_dated, event.key())
    }

    /// Of what a journal has packed.
    pub(super) fn of_packed(packed: &[u8], is_dated: bool, key: Option<&str>) -> Self {
        let stored = Stored::decode_all(Reader::new(Version::NEWEST, packed));
        let event = stored.map(Stored::event);
        Self::of(event.as_ref().map_or("", Event::customer_id), packed, is_dated, key)
    }

    fn of(customer: &str, packed: &[u8], is_dated: bool, key: Option<&str>) -> Self {
        let mut bytes = Vec::with_capacity(customer.len().saturating_add(packed.len()));
        bytes.extend_from_slice(customer.as_bytes());
        bytes.extend_from_slice(packed);
        let customer = u16::try_from(customer.len()).unwrap_or(0);
        Self { bytes: bytes.into_boxed_slice(), customer, key: key.map(Box::from), is_dated }
    }

    pub(super) fn packed(&self) -> &[u8] {
        self.bytes.get(usize::from(self.customer)..).unwrap_or_default()
    }

    pub(super) fn is_dated(&self) -> bool {
        self.is_dated
    }

    /// The event, which borrows its texts.
    pub(crate) fn event(&self) -> Event<'_> {
        let stored = Stored::decode_all(Reader::new(Version::NEWEST, self.packed()));
        debug_assert!(stored.is_ok(), "what was packed is unpacked: {stored:?}");
        let Ok(stored) = stored else { return Event::new("", "") };
        let timestamp = self.is_dated.then(|| stored.timestamp());
        let idempotency_key = self.key().map(Into::into);
        Event { idempotency_key, timestamp, ..stored.event() }
    }

    /// The value of a dimension.
    pub(crate) fn value(&self, dimension: &Dimension) -> Option<&str> {
        let stored = Stored::decode_all(Reader::new(Version::NEWEST, self.packed()));
        stored.ok()?.dimension(dimension)
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn customer_id(&self) -> &str {
        let customer = self.bytes.get(..usize::from(self.customer));
        customer.and_then(|it| std::str::from_utf8(it).ok()).unwrap_or_default()
    }

    /// Whether it is this customer's.
    pub(crate) fn is_of(&self, customer: &str) -> bool {
        self.bytes.get(..usize::from(self.customer)) == Some(customer.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_comes_back_as_it_was() {
        let plain = Event::new("cust", "call");
        let full = Event::new("cust\u{e9}", "call")
            .model("m")
            .provider("p")
            .input_tokens(1)
            .output_tokens(2)
            .total_tokens(4)
            .cost_cents("0.25".parse::<crate::Amount>().expect("an amount"))
            .latency_ms(9)
            .property("team", "a")
            .property("tags", serde_json::json!({"a": [1, 2.5]}))
            .value("images", 3)
            .idempotency_key("key");
        let at = Timestamp::new(1_700_000_000, 7);
        for event in [plain.clone(), full.clone(), full.timestamp(at), plain.timestamp(at)] {
            let estimate = Estimate::new(&event, at);
            assert_eq!(estimate.event().into_owned(), event);
            assert!(estimate.is_of(event.customer_id()) && !estimate.is_of("cus"));
            assert_eq!(estimate.key(), event.key());
        }
    }
}
