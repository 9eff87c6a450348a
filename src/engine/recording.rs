//! Which events an engine keeps, and which refused calls.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::base::words::UnknownWord;

const DEFAULT_EVENTS: usize = 100_000;
const MAX_REFUSALS: usize = 1_000_000;

/// Which events an engine keeps.
///
/// An event is packed: its strings with a byte more each, its numbers in as many bytes as they
/// need, and 20 bytes or so beside them. 46 bytes for a customer's id of 12 bytes and a type of 4,
/// 70 for a model call with model, provider, tokens and cost, 119 with a latency, a property, a
/// named value and a timestamp of its own to the nanosecond (measured, test `memory::bytes`). What
/// the roll-ups for [`usage`](crate::Engine::usage) take is beside that, and follows their rows,
/// not the events.
///
/// An engine that keeps events also [counts what it refuses](crate::handles::Refusals).
///
/// It is plain data: `"off"`, `{ "newest": 100000 }` or `{ "newest": 100000, "refusals": 1000 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recording {
    /// None: a pure limiter.
    Off,
    /// The newest of this number, in memory; the default is 100 000. They have at most a KiB each
    /// on average, or what [`event_bytes`](crate::EngineBuilder::event_bytes) says.
    Newest(usize),
    /// The newest events as [`Newest`](Self::Newest), and beside them the newest refused calls: see
    /// [`refusals`](Self::refusals).
    WithRefusals {
        /// How many events.
        newest: usize,
        /// How many refused calls.
        refusals: usize,
    },
}

impl Recording {
    /// Keeps the newest so many refused calls beside the events, at most a million: the event, when
    /// it was decided about, and which rules refused it ([`Refusals::list`]). They have at most a
    /// KiB each on average, and some 120 bytes beside. A refused call is packed then, as one that
    /// is let in. [Simulations](crate::Engine::simulate) take them for the demand that they are.
    ///
    /// ```
    /// use limitry::events::Recording;
    /// use limitry::refusals::RefusalQuery;
    /// use limitry::{Engine, Event, RateLimit, Window};
    ///
    /// let calls = RateLimit::new("Calls", 1, Window::Minute);
    /// let recording = Recording::default().refusals(1_000);
    /// let engine = Engine::builder().rate_limit(calls).recording(recording).build()?;
    /// for model in ["gpt-4o", "o3"] {
    ///     let _ = engine.track(&Event::new("ann", "call").model(model))?;
    /// }
    /// let refused = engine.refusals().list(&RefusalQuery::new())?.items;
    /// assert_eq!(refused[0].event.dimension("model"), Some("o3"));
    /// assert_eq!(refused[0].rules, ["rl_calls"]);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// [`Refusals::list`]: crate::handles::Refusals::list
    #[must_use]
    pub fn refusals(self, refusals: usize) -> Self {
        Self::WithRefusals { newest: self.kept_events().unwrap_or(0), refusals }
    }

    /// How many events are kept; `None` where it is off.
    pub(super) fn kept_events(self) -> Option<usize> {
        match self {
            Self::Off => None,
            Self::Newest(newest) | Self::WithRefusals { newest, .. } => Some(newest),
        }
    }

    pub(super) fn kept_refusals(self) -> usize {
        match self {
            Self::Off | Self::Newest(_) => 0,
            Self::WithRefusals { refusals, .. } => refusals,
        }
    }

    /// What is wrong with it, if something is.
    pub(super) fn problem(self) -> Option<String> {
        match self {
            Self::WithRefusals { refusals, .. } if refusals > MAX_REFUSALS => {
                Some(format!("refusals: {refusals} must be at most {MAX_REFUSALS}"))
            }
            Self::WithRefusals { newest: 0, refusals: 1.. } => {
                Some("refusals are kept where events are: newest must be at least 1".to_owned())
            }
            _ => None,
        }
    }
}

/// `off`, the number of events, or that and the number of refused calls behind a `+`.
impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Newest(events) => events.fmt(f),
            Self::WithRefusals { newest, refusals } => write!(f, "{newest}+{refusals}"),
        }
    }
}

impl FromStr for Recording {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = &["off", "a number of events", "one of events + one of refused calls"];
        let unknown = || UnknownWord { what: "recording", text: text.into(), known };
        let number = |text: &str| text.parse().map_err(|_| unknown());
        match text.split_once('+') {
            None if text == "off" => Ok(Self::Off),
            None => Ok(Self::Newest(number(text)?)),
            Some((newest, refusals)) => {
                Ok(Self::WithRefusals { newest: number(newest)?, refusals: number(refusals)? })
            }
        }
    }
}

impl Default for Recording {
    fn default() -> Self {
        Self::Newest(DEFAULT_EVENTS)
    }
}

impl Serialize for Recording {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(newest) = self.kept_events() else { return serializer.serialize_str("off") };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("newest", &newest)?;
        if let Self::WithRefusals { refusals, .. } = self {
            map.serialize_entry("refusals", refusals)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Recording {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadRecording)
    }
}

struct ReadRecording;

impl<'de> Visitor<'de> for ReadRecording {
    type Value = Recording;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`off`, or how many events are kept as `newest`, and calls as `refusals`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Recording, E> {
        match text {
            "off" => Ok(Recording::Off),
            _ => Err(E::unknown_variant(text, &["off", "newest"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Recording, A::Error> {
        let (mut newest, mut refusals) = (None, None);
        while let Some(field) = map.next_key::<String>()? {
            match &*field {
                "newest" => newest = Some(map.next_value()?),
                "refusals" => refusals = Some(map.next_value()?),
                _ => return Err(A::Error::unknown_field(&field, &["newest", "refusals"])),
            }
        }
        let newest = newest.ok_or_else(|| A::Error::missing_field("newest"))?;
        Ok(match refusals {
            None => Recording::Newest(newest),
            Some(refusals) => Recording::WithRefusals { newest, refusals },
        })
    }
}
