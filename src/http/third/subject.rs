//! Who acts: a kind and an id, and what an event says of them.
//!
//! A kind is a dimension of events: `customer` is `customer_id`, another one is a property of that
//! name. A kind that cannot be the name of a property is written as one, so that it can be read
//! back.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Fields, is_text};
use crate::Event;
use crate::http::failure::Failure;

/// The value of an event that limits count.
pub(super) const UNITS: &str = "units";
/// The property that says of an event which kind acts, where it is no customer: its `customer_id`
/// is then that of no customer.
pub(super) const ACTING_KIND: &str = "subject_kind";
const CUSTOMER: &str = "customer";
const CUSTOMER_ID: &str = "customer_id";

/// What begins the dimension of a kind that is no name of a property.
const WRITTEN: &str = "kind_";
/// The longest name of a property.
const MAX_NAME: usize = 64;
/// Names that mean something else in an event.
const TAKEN: [&str; 6] = [CUSTOMER_ID, "event_type", "model", "provider", ACTING_KIND, CUSTOMER];

/// How many subjects a check may draw from beside its own.
pub(super) const MAX_SHARED: usize = 4;

/// Who acts, or a pool that is drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub(super) struct Subject {
    /// A label of the caller's own, such as `user` or `team`.
    #[schema(min_length = 1, max_length = 256)]
    pub(super) kind: String,
    #[schema(min_length = 1, max_length = 256)]
    pub(super) id: String,
}

impl Subject {
    /// Reads `{kind, id}`.
    pub(super) fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let part = fields.object(name);
        let part = fields.need(name, part)?;
        Self::take(fields, part)
    }

    fn take(fields: &mut Fields, mut part: Fields) -> Option<Self> {
        let (kind, id) = (read_kind(&mut part), part.text("id"));
        let (kind, id) = (part.need("kind", kind), part.need("id", id));
        if let (Some(kind), Some(id)) = (&kind, &id)
            && kind != CUSTOMER
            && !is_text(&format!("{kind}:{id}"))
        {
            part.wrong("id", "must have at most 255 bytes together with the kind");
        }
        part.check_rest();
        fields.join(part);
        Some(Self { kind: kind?, id: id? })
    }

    /// Reads the subjects that a check draws from beside its own.
    pub(super) fn read_shared(fields: &mut Fields, own: Option<&Self>) -> Vec<Self> {
        let list = fields.list("shared").unwrap_or_default();
        if list.len() > MAX_SHARED {
            fields.wrong("shared", format_args!("must be at most {MAX_SHARED} subjects"));
            return Vec::new();
        }
        let mut shared: Vec<Self> = Vec::new();
        for (path, value) in list {
            let Some(subject) = Self::take(fields, Fields::of(path, value)) else { continue };
            if own.into_iter().chain(&shared).any(|other| other.kind == subject.kind) {
                let kind = &subject.kind;
                fields.wrong("shared", format_args!("must name one subject of the kind {kind:?}"));
            }
            shared.push(subject);
        }
        shared
    }

    /// Reads the `kind:id` of a query.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let parts = text.split_once(':').filter(|(kind, _)| dimension_of(kind).is_some());
        let parts = parts.filter(|(_, id)| is_text(id));
        let (kind, id) = parts.ok_or_else(|| {
            let rule = "must be a kind and an id of 1 to 256 bytes, such as user:usr_123";
            Failure::bad_input(&format_args!("{name}: {text:?} {rule}"))
        })?;
        Ok(Self { kind: kind.to_owned(), id: id.to_owned() })
    }

    /// Takes the two parts of a path.
    pub(super) fn of_path(kind: &str, id: &str) -> Result<Self, Failure> {
        Self::parse("subject", &format!("{kind}:{id}"))
    }

    /// The dimension of its kind.
    pub(super) fn dimension(&self) -> Cow<'_, str> {
        dimension_of(&self.kind).unwrap_or(Cow::Borrowed(ACTING_KIND))
    }
}

/// Reads a kind.
pub(super) fn read_kind(part: &mut Fields) -> Option<String> {
    let kind = part.text("kind")?;
    if dimension_of(&kind).is_some() {
        return Some(kind);
    }
    part.wrong("kind", format_args!("{kind:?} must not hold a `:`, and be shorter"));
    None
}

/// The event of what subjects do: the first acts, and the others are drawn from.
pub(super) fn event_of(subjects: &[Subject], action: &str, cost: u64) -> Event<'static> {
    let customer = subjects.iter().find(|subject| subject.kind == CUSTOMER);
    let acting = subjects.first();
    let id = match (customer, acting) {
        (Some(customer), _) => customer.id.clone(),
        (None, Some(acting)) => format!("{}:{}", acting.kind, acting.id),
        (None, None) => String::new(),
    };
    let mut event = Event::new(id, action.to_owned()).value(UNITS, cost);
    for subject in subjects.iter().filter(|subject| subject.kind != CUSTOMER) {
        event = event.property(subject.dimension().into_owned(), subject.id.clone());
    }
    match (customer, acting) {
        (None, Some(acting)) => event.property(ACTING_KIND, acting.kind.clone()),
        _ => event,
    }
}

/// The dimension of a kind; `None` of one that has none: it holds a `:`, or is too long.
pub(super) fn dimension_of(kind: &str) -> Option<Cow<'_, str>> {
    if kind == CUSTOMER {
        return Some(Cow::Borrowed(CUSTOMER_ID));
    }
    if !is_text(kind) || kind.contains(':') {
        return None;
    }
    let is_name = kind.len() <= MAX_NAME
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name && !kind.starts_with(WRITTEN) && !TAKEN.contains(&kind) {
        return Some(Cow::Borrowed(kind));
    }
    let mut written = WRITTEN.to_owned();
    for byte in kind.bytes() {
        if byte.is_ascii_alphanumeric() {
            written.push(char::from(byte));
        } else {
            // A text takes whatever is written to it.
            let _written = write!(written, "_{byte:02x}");
        }
    }
    (written.len() <= MAX_NAME).then_some(Cow::Owned(written))
}

/// The kind of a dimension; `None` of one that is that of no kind.
pub(super) fn kind_of(dimension: &str) -> Option<String> {
    let kind = match dimension.strip_prefix(WRITTEN) {
        Some(written) => read_back(written)?,
        None if dimension == CUSTOMER_ID => CUSTOMER.to_owned(),
        None => dimension.to_owned(),
    };
    (dimension_of(&kind)? == dimension).then_some(kind)
}

fn read_back(written: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), written);
    while let Some(first) = rest.bytes().next() {
        if first == b'_' {
            bytes.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
            rest = rest.get(3..)?;
        } else {
            bytes.push(first);
            rest = rest.get(1..)?;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The subjects of a check, its own first.
pub(super) fn read_all(fields: &mut Fields) -> Option<Vec<Subject>> {
    let own = Subject::read(fields, "subject");
    let mut subjects = Subject::read_shared(fields, own.as_ref());
    subjects.insert(0, own?);
    Some(subjects)
}

/// The value that stands for a subject where there may be none.
pub(super) fn id_of(part: &mut Fields) -> Option<String> {
    match part.any("id") {
        None => None,
        Some(Value::String(id)) if is_text(&id) => Some(id),
        Some(other) => {
            let rule = "must be null or a text of 1 to 256 bytes without control characters";
            part.wrong("id", format_args!("{other} {rule}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_dimension_of_its_own_that_is_read_back() {
        for (kind, dimension) in [
            ("customer", "customer_id"),
            ("user", "user"),
            ("api-key", "kind_api_2dkey"),
            ("model", "kind_model"),
            ("customer_id", "kind_customer_5fid"),
            ("kind_x", "kind_kind_5fx"),
            ("\u{e9}", "kind__c3_a9"),
            ("subject_kind", "kind_subject_5fkind"),
        ] {
            assert_eq!(dimension_of(kind).as_deref(), Some(dimension), "{kind}");
            assert_eq!(kind_of(dimension).as_deref(), Some(kind), "{dimension}");
        }
        let long = "-".repeat(20);
        for kind in ["", "a:b", "a\n", &long] {
            assert_eq!(dimension_of(kind), None, "{kind:?}");
        }
        for dimension in ["customer", "model", "kind_user", "kind_", "kind__zz", "kind_a_2", "a-b"]
        {
            assert_eq!(kind_of(dimension), None, "{dimension}");
        }
    }
}
