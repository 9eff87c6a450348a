//! What a reservation was made for, in few bytes.

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::event::Event;
use crate::log::{Packed, Stored};

/// What a reservation was made for, and has grown by: packed as the log packs events. It is read
/// when a reservation grows or is shown, and for nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    packed: Box<[u8]>,
    key: Option<Box<str>>,
    /// The event brought its own timestamp.
    is_dated: bool,
}

impl Estimate {
    /// Of an event that happened at `timestamp`, whether it says so or not.
    pub(crate) fn new(event: &Event<'_>, timestamp: Timestamp) -> Self {
        let packed = Packed::unsigned(event, timestamp, timestamp).bytes().into();
        let is_dated = event.happened_at().is_some();
        Self { packed, key: event.key().map(Box::from), is_dated }
    }

    /// Of what a journal has packed.
    pub(super) fn of_packed(packed: &[u8], is_dated: bool, key: Option<&str>) -> Self {
        Self { packed: packed.into(), key: key.map(Box::from), is_dated }
    }

    pub(super) fn packed(&self) -> &[u8] {
        &self.packed
    }

    pub(super) fn is_dated(&self) -> bool {
        self.is_dated
    }

    /// The event, which borrows its texts.
    pub(crate) fn event(&self) -> Event<'_> {
        let stored = Stored::decode_all(Reader::new(Version::NEWEST, &self.packed));
        debug_assert!(stored.is_ok(), "what was packed is unpacked: {stored:?}");
        let Ok(stored) = stored else { return Event::new("", "") };
        let timestamp = self.is_dated.then(|| stored.timestamp());
        let idempotency_key = self.key().map(Into::into);
        Event { idempotency_key, timestamp, ..stored.event() }
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(crate) fn customer_id(&self) -> &str {
        Stored::customer_of(&self.packed).unwrap_or_default()
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
            assert_eq!(estimate.customer_id(), event.customer_id());
            assert_eq!(estimate.key(), event.key());
        }
    }
}
