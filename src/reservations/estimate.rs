//! What a reservation was made for, in few bytes.

use std::borrow::Cow;

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::event::{Dimension, Event};
use crate::log::{Packed, Stored};

/// What a reservation was made for, and has grown by. It is read when a reservation grows or is
/// shown, and for nothing else, so that it is cheap to make: an everyday event is its texts and its
/// numbers one after the other, and any other is packed as the log packs events.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    /// The customer's id, and then the rest.
    bytes: Box<[u8]>,
    /// How long the id is.
    customer: u16,
    form: Form,
    key: Option<Box<str>>,
    /// The event brought its own timestamp.
    is_dated: bool,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// Behind the id are the texts of these lengths, and the numbers that these bits say, in the
    /// order of both. A length of 0 is of a text that is not there.
    Plain { texts: [u16; TEXTS], numbers: u8 },
    /// Behind the id is the packed event.
    Packed,
}

/// The type, the model and the provider.
const TEXTS: usize = 3;
/// Of the numbers: the two sorts of tokens, their total, the latency, of eight bytes each; the cost
/// in millionths, of sixteen; and that it was not given. Behind them is the timestamp that the
/// event brought, its seconds and its nanoseconds.
const INPUT: u8 = 1;
const OUTPUT: u8 = 1 << 1;
const TOTAL: u8 = 1 << 2;
const LATENCY: u8 = 1 << 3;
const COST: u8 = 1 << 4;
const PRICED: u8 = 1 << 5;

impl Estimate {
    /// Of an event that happened at `timestamp`, whether it says so or not.
    pub(crate) fn new(event: &Event<'_>, timestamp: Timestamp) -> Self {
        Self::plain(event).unwrap_or_else(|| {
            let packed = Packed::unsigned(event, timestamp, timestamp);
            Self::of(event, packed.bytes())
        })
    }

    /// Of what a journal has packed.
    pub(super) fn of_packed(packed: &[u8], is_dated: bool, key: Option<&str>) -> Self {
        let stored = Stored::decode_all(Reader::new(Version::NEWEST, packed));
        debug_assert!(stored.is_ok(), "what was packed is unpacked: {stored:?}");
        let Ok(stored) = stored else { return Self::of(&Event::new("", ""), packed) };
        let timestamp = is_dated.then(|| stored.timestamp());
        let idempotency_key = key.map(Into::into);
        let event = Event { idempotency_key, timestamp, ..stored.event() };
        Self::plain(&event).unwrap_or_else(|| Self::of(&event, packed))
    }

    /// Of an event with a few texts and numbers alone.
    fn plain(event: &Event<'_>) -> Option<Self> {
        let is_plain = event.properties.is_empty()
            && event.values.is_empty()
            && (event.rare.is_none() || event.attached().is_none());
        if !is_plain {
            return None;
        }
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map_or(0, str::len);
        let customer = u16::try_from(event.customer_id.len()).ok()?;
        let texts = [
            u16::try_from(event.event_type.len()).ok()?,
            u16::try_from(text(&event.model)).ok()?,
            u16::try_from(text(&event.provider)).ok()?,
        ];
        let counts = [
            (INPUT, event.input_tokens),
            (OUTPUT, event.output_tokens),
            (TOTAL, event.total_tokens),
            (LATENCY, event.latency_ms),
        ];
        let mut length = texts
            .iter()
            .fold(usize::from(customer), |sum, text| sum.saturating_add(usize::from(*text)));
        let mut numbers = if event.is_priced() { PRICED } else { 0 };
        for (bit, count) in counts {
            if count.is_some() {
                (numbers, length) = (numbers | bit, length.saturating_add(size_of::<u64>()));
            }
        }
        if event.cost_cents.is_some() {
            (numbers, length) = (numbers | COST, length.saturating_add(size_of::<i128>()));
        }
        let dated = event.happened_at();
        if dated.is_some() {
            length = length.saturating_add(size_of::<i64>()).saturating_add(size_of::<u32>());
        }
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(event.customer_id.as_bytes());
        bytes.extend_from_slice(event.event_type.as_bytes());
        for text in [&event.model, &event.provider].into_iter().flatten() {
            bytes.extend_from_slice(text.as_bytes());
        }
        for count in counts.into_iter().filter_map(|(_, count)| count) {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        if let Some(cost) = event.cost_cents {
            bytes.extend_from_slice(&cost.millionths().to_le_bytes());
        }
        if let Some(timestamp) = dated {
            bytes.extend_from_slice(&timestamp.unix_seconds().to_le_bytes());
            bytes.extend_from_slice(&timestamp.subsec_nanos().to_le_bytes());
        }
        let (bytes, form) = (bytes.into_boxed_slice(), Form::Plain { texts, numbers });
        let key = event.key().map(Box::from);
        Some(Self { bytes, customer, form, key, is_dated: dated.is_some() })
    }

    fn of(event: &Event<'_>, packed: &[u8]) -> Self {
        let customer = event.customer_id();
        let bytes = [customer.as_bytes(), packed].concat().into_boxed_slice();
        let customer = u16::try_from(customer.len()).unwrap_or(0);
        let (key, is_dated) = (event.key().map(Box::from), event.happened_at().is_some());
        Self { bytes, customer, form: Form::Packed, key, is_dated }
    }

    /// Appends it to what a journal keeps, packed: it happened at `timestamp`.
    pub(super) fn put_packed(&self, timestamp: Timestamp, put: impl FnOnce(&[u8])) {
        match self.form {
            Form::Packed => put(self.rest()),
            Form::Plain { .. } => {
                put(Packed::unsigned(&self.event(), timestamp, timestamp).bytes());
            }
        }
    }

    /// What is behind the customer's id.
    fn rest(&self) -> &[u8] {
        self.bytes.get(usize::from(self.customer)..).unwrap_or_default()
    }

    pub(super) fn is_dated(&self) -> bool {
        self.is_dated
    }

    /// The event, which borrows its texts.
    pub(crate) fn event(&self) -> Event<'_> {
        let idempotency_key = self.key().map(Into::into);
        match self.form {
            Form::Plain { texts, numbers } => {
                Event { idempotency_key, ..self.plain_event(texts, numbers) }
            }
            Form::Packed => {
                let stored = Stored::decode_all(Reader::new(Version::NEWEST, self.rest()));
                debug_assert!(stored.is_ok(), "what was packed is unpacked: {stored:?}");
                let Ok(stored) = stored else { return Event::new("", "") };
                let timestamp = self.is_dated.then(|| stored.timestamp());
                Event { idempotency_key, timestamp, ..stored.event() }
            }
        }
    }

    fn plain_event(&self, texts: [u16; TEXTS], numbers: u8) -> Event<'_> {
        let (texts, mut rest) = self.texts(texts);
        let [event_type, model, provider] = texts;
        let mut event = Event::new(self.customer_id(), event_type);
        event.model = Some(model).filter(|model| !model.is_empty()).map(Into::into);
        event.provider = Some(provider).filter(|it| !it.is_empty()).map(Into::into);
        let mut count = |bit: u8| {
            let (count, behind) = rest.split_first_chunk().filter(|_| numbers & bit > 0)?;
            rest = behind;
            Some(u64::from_le_bytes(*count))
        };
        (event.input_tokens, event.output_tokens) = (count(INPUT), count(OUTPUT));
        (event.total_tokens, event.latency_ms) = (count(TOTAL), count(LATENCY));
        let cost = rest.split_first_chunk().filter(|_| numbers & COST > 0);
        let cost = cost.map(|(cost, behind)| {
            rest = behind;
            Amount::from_millionths(i128::from_le_bytes(*cost))
        });
        event.set_cost(cost, numbers & PRICED > 0);
        let seconds = rest.split_first_chunk().filter(|_| self.is_dated);
        event.timestamp = seconds.and_then(|(seconds, behind)| {
            let nanos = u32::from_le_bytes(*behind.first_chunk()?);
            Some(Timestamp::new(i64::from_le_bytes(*seconds), nanos))
        });
        event
    }

    /// The texts of these lengths, and what is behind them.
    fn texts(&self, lengths: [u16; TEXTS]) -> ([&str; TEXTS], &[u8]) {
        let mut rest = self.rest();
        let texts = lengths.map(|length| {
            let (text, behind) = rest.split_at_checked(length.into()).unwrap_or_default();
            rest = behind;
            std::str::from_utf8(text).unwrap_or_default()
        });
        (texts, rest)
    }

    /// The value of a dimension.
    pub(crate) fn value(&self, dimension: &Dimension) -> Option<&str> {
        match self.form {
            Form::Packed => {
                let stored = Stored::decode_all(Reader::new(Version::NEWEST, self.rest()));
                stored.ok()?.dimension(dimension)
            }
            Form::Plain { texts, .. } => {
                let ([event_type, model, provider], _) = self.texts(texts);
                let value = match dimension {
                    Dimension::CustomerId => self.customer_id(),
                    Dimension::EventType => event_type,
                    Dimension::Model => model,
                    Dimension::Provider => provider,
                    Dimension::Property(_) => "",
                };
                (!value.is_empty()).then_some(value)
            }
        }
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
            .cost_cents("0.25".parse::<Amount>().expect("an amount"))
            .latency_ms(9)
            .property("team", "a")
            .property("tags", serde_json::json!({"a": [1, 2.5]}))
            .value("images", 3)
            .idempotency_key("key");
        let at = Timestamp::new(1_700_000_000, 7);
        let numbers = plain.clone().model("m").input_tokens(u64::MAX).latency_ms(0).cost_cents(-7);
        let some = plain.clone().provider("p").output_tokens(3).total_tokens(5);
        let some = some.cost_by_prices(Some(2_u64.into()));
        let all = [numbers, some, full.clone().timestamp(at), plain.clone().timestamp(at)];
        for event in all.into_iter().chain([plain, full]) {
            let estimate = Estimate::new(&event, at);
            assert_eq!(estimate.event().into_owned(), event);
            assert!(estimate.is_of(event.customer_id()) && !estimate.is_of("cus"));
            assert_eq!(estimate.key(), event.key());
            for dimension in ["customer_id", "event_type", "model", "provider", "team", "tags"] {
                let value = estimate.value(&Dimension::parse(dimension));
                assert_eq!(value, event.dimension(dimension), "{dimension}");
            }
            let mut packed = Vec::new();
            estimate.put_packed(at, |bytes| packed.extend_from_slice(bytes));
            let again = Estimate::of_packed(&packed, estimate.is_dated(), estimate.key());
            assert_eq!(format!("{again:?}"), format!("{estimate:?}"));
        }
    }
}
