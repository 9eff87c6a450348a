//! What the headers of a response say of limits.
//!
//! By OpenAI's guide to rate limits (2026-06-26), Azure OpenAI's (2026-11), Anthropic's pages on
//! rate limits (2026-08), Groq's (2026-11) and draft-ietf-httpapi-ratelimit-headers-10.

use std::time::Duration;

use super::RemoteHeaderError;
use super::mirror::{Reported, Unit};
use super::structured::{self, Item};
use super::values::{self, Reset};
use crate::Timestamp;

/// The longest value that is read, in bytes.
const MAX_VALUE: usize = 2_048;
/// The longest name of a limit, in bytes.
const MAX_NAME: usize = 128;
/// The most limits of one response.
const MAX_LIMITS: usize = 32;

/// What a response says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) retry_after: Option<Duration>,
    pub(super) limits: Vec<Reported>,
    /// The first header that is not as it should be. What the others say holds all the same.
    pub(super) problem: Option<RemoteHeaderError>,
}

/// One limit, as far as headers have said it.
#[derive(Debug)]
struct Parts {
    name: String,
    unit: Unit,
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Reset>,
    window: Option<Duration>,
    /// A header of it is wrong, or says that it is not known: then nothing of it is believed.
    is_void: bool,
}

#[derive(Default)]
struct Reader {
    date: Option<Timestamp>,
    retry_after: Option<Reset>,
    retry_after_ms: Option<Duration>,
    parts: Vec<Parts>,
    policies: Vec<Item>,
    drafts: Vec<Item>,
    problem: Option<RemoteHeaderError>,
}

/// Reads the headers of a response that is there since `received`.
pub(super) fn read<N: AsRef<str>, V: AsRef<[u8]>>(
    headers: impl IntoIterator<Item = (N, V)>,
    received: Timestamp,
) -> Said {
    let mut reader = Reader::default();
    for (name, value) in headers {
        let name = name.as_ref().to_ascii_lowercase();
        if let Some(header) = Header::of(&name) {
            reader.header(&name, &header, value.as_ref());
        }
    }
    reader.said(received)
}

/// A header that says something of limits.
enum Header<'n> {
    Date,
    RetryAfter,
    RetryAfterMs,
    Policy,
    Draft,
    Part(Part, &'n str),
}

#[derive(Clone, Copy)]
enum Part {
    Limit,
    Remaining,
    Reset,
}

impl<'n> Header<'n> {
    fn of(name: &'n str) -> Option<Self> {
        Some(match name {
            "date" => Self::Date,
            "retry-after" => Self::RetryAfter,
            "retry-after-ms" => Self::RetryAfterMs,
            "ratelimit-policy" => Self::Policy,
            "ratelimit" => Self::Draft,
            _ => {
                let (part, limit) = if let Some(rest) = name.strip_prefix("x-ratelimit-") {
                    // Without a name it is of requests.
                    rest.split_once('-').unwrap_or((rest, "requests"))
                } else {
                    let (limit, part) =
                        name.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')?;
                    (part, limit)
                };
                let part = match part {
                    "limit" => Part::Limit,
                    "remaining" => Part::Remaining,
                    "reset" => Part::Reset,
                    _ => return None,
                };
                Self::Part(part, limit)
            }
        })
    }
}

impl Reader {
    fn header(&mut self, name: &str, header: &Header<'_>, value: &[u8]) {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_VALUE);
        let Some(text) = text.map(str::trim) else {
            let shown =
                String::from_utf8_lossy(value.get(..MAX_NAME.min(value.len())).unwrap_or(value));
            let why = "must be a text of at most 2048 bytes";
            self.wrong(RemoteHeaderError::new(name, &shown, why));
            if let Header::Part(_, limit) = header {
                self.void(limit);
            }
            return;
        };
        if let Err(why) = self.value(header, text) {
            self.wrong(RemoteHeaderError::new(name, text, why));
            if let Header::Part(_, limit) = header {
                self.void(limit);
            }
        }
    }

    /// Notes what a header says. One that comes twice says the last; lists go on.
    fn value(&mut self, header: &Header<'_>, text: &str) -> Result<(), &'static str> {
        const LIST: &str = "must be a list of at most 32 items, as structured fields write them";
        match header {
            Header::Date => self.date = Some(values::http_date(text)?),
            Header::RetryAfter => self.retry_after = Some(values::retry_after(text)?),
            Header::RetryAfterMs => {
                let length = values::milliseconds(text);
                self.retry_after_ms = Some(length.ok_or("must be milliseconds, at most 366 days")?);
            }
            Header::Policy => self.policies.extend(structured::list(text).ok_or(LIST)?),
            Header::Draft => self.drafts.extend(structured::list(text).ok_or(LIST)?),
            Header::Part(part, limit) => {
                let is_void = match part {
                    Part::Limit => {
                        let count = values::count(text)?;
                        self.part(limit)?.limit = count;
                        // Azure says 0, or -1, for what it does not know.
                        count.is_none_or(|count| count == 0)
                    }
                    Part::Remaining => {
                        let count = values::count(text)?;
                        self.part(limit)?.remaining = count;
                        count.is_none()
                    }
                    Part::Reset => {
                        self.part(limit)?.reset = values::reset(text)?;
                        false
                    }
                };
                self.part(limit)?.is_void |= is_void;
            }
        }
        Ok(())
    }

    fn part(&mut self, name: &str) -> Result<&mut Parts, &'static str> {
        let known = self.parts.iter().position(|parts| parts.name == name);
        let place = known.unwrap_or(self.parts.len());
        if known.is_none() {
            if name.is_empty() || name.len() > MAX_NAME || place >= MAX_LIMITS {
                return Err("must be one of at most 32 limits, with a name of at most 128 bytes");
            }
            let window = if name.ends_with("-minute") { Some(60) } else { None };
            self.parts.push(Parts {
                name: name.to_owned(),
                unit: Unit::of(name),
                limit: None,
                remaining: None,
                reset: None,
                window: window.map(Duration::from_secs),
                is_void: false,
            });
        }
        self.parts.get_mut(place).ok_or("must be a limit")
    }

    fn void(&mut self, name: &str) {
        if let Ok(parts) = self.part(name) {
            parts.is_void = true;
        }
    }

    fn wrong(&mut self, problem: RemoteHeaderError) {
        self.problem.get_or_insert(problem);
    }

    /// What an item of `RateLimit` says, with its policy's.
    fn draft(&self, item: &Item) -> Result<Parts, RemoteHeaderError> {
        let wrong = |header, value: &str, why| RemoteHeaderError::new(header, value, why);
        let integer = |header, item: &Item, key| match item.parameter(key) {
            None => Ok(None),
            Some(text) => values::count(text).map_err(|why| wrong(header, text, why)),
        };
        let length = |header, item: &Item, key| match item.parameter(key) {
            None => Ok(None),
            Some(text) => values::seconds(text)
                .map(Some)
                .ok_or_else(|| wrong(header, text, "must be seconds, at most 366 days of them")),
        };
        let name = item.name.clone();
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(wrong("ratelimit", &name, "must be a name of 1 to 128 bytes"));
        }
        let remaining = integer("ratelimit", item, "r")?;
        if remaining.is_none() {
            return Err(wrong("ratelimit", &name, "must have a parameter r, what remains"));
        }
        let reset = length("ratelimit", item, "t")?.map(Reset::After);
        let policy = self.policies.iter().find(|policy| policy.name == name);
        let (mut limit, mut window, mut unit) = (None, None, Unit::Requests);
        if let Some(policy) = policy {
            limit = integer("ratelimit-policy", policy, "q")?;
            window = length("ratelimit-policy", policy, "w")?;
            unit = policy.parameter("qu").map_or(unit, Unit::of);
        }
        Ok(Parts { name, unit, limit, remaining, reset, window, is_void: false })
    }

    fn said(mut self, received: Timestamp) -> Said {
        for item in std::mem::take(&mut self.drafts) {
            match self.draft(&item) {
                Ok(parts) => self.parts.push(parts),
                Err(why) => self.wrong(why),
            }
        }
        let date = self.date;
        let known = self.parts.into_iter().filter(|parts| !parts.is_void);
        let limits = known.filter_map(|parts| {
            Some(Reported {
                name: parts.name.into(),
                unit: parts.unit,
                limit: parts.limit,
                remaining: parts.remaining?,
                reset: parts.reset.map(|reset| reset.since(date, received)),
                window: parts.window,
            })
        });
        let retry_after = self.retry_after.map(|reset| reset.since(date, received));
        Said {
            // The finer of the two says it exactly.
            retry_after: self.retry_after_ms.or(retry_after),
            limits: limits.collect(),
            problem: self.problem,
        }
    }
}
