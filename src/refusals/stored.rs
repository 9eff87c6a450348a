//! Refusals as a store has them: rows beside those of the spaces of applications, whose names have
//! a letter at least.
//!
//! ```text
//! a key: 0 | r | 1 | hour (8, ascending) | what follows
//! all calls: nothing; a rule: its id and dimensions; a key: the same, and the values
//! a key of an attempt: 0 | r | 2 | number (8, ascending)
//! a key of a rule's last refusal: 0 | r | 3 | its id and dimensions
//! a value: format | how often it was refused; the ids of rules and the packed event; an instant
//! ```

use super::attempts::Kept;
use super::counts::RuleName;
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_list, put_text, put_varint, put_wide};
use crate::base::format::Version;

/// What stands before the key of a row: no name of a space, and what it is.
const PREFIX: [u8; 2] = [0, b'r'];
const COUNT: u8 = 1;
const ATTEMPT: u8 = 2;
const LAST: u8 = 3;

/// A row of the store: its key, and its value or none of one that is removed.
pub(crate) type Row = (Box<[u8]>, Option<Vec<u8>>);

/// The first key that a row may have.
pub(crate) fn first_key() -> &'static [u8] {
    &PREFIX
}

/// What a count is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoredCount<'c> {
    Calls { hour: i64 },
    Rule { hour: i64, name: &'c RuleName },
    Key { hour: i64, name: &'c RuleName, values: &'c [Box<str>] },
}

/// The same as it was read: no name of all calls, and no values of all keys of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredKey {
    pub(super) hour: i64,
    pub(super) name: Option<RuleName>,
    pub(super) values: Option<Box<[Box<str>]>>,
}

/// What a row says.
#[derive(Debug)]
pub(super) enum StoredRow {
    Count(StoredKey, u64),
    Last(RuleName, Timestamp),
    Attempt(Kept),
}

impl StoredCount<'_> {
    fn key(self) -> Box<[u8]> {
        let (Self::Calls { hour } | Self::Rule { hour, .. } | Self::Key { hour, .. }) = self;
        let mut key = [&PREFIX[..], &[COUNT]].concat();
        // The order of the numbers is that of the bytes.
        key.extend((hour.cast_unsigned() ^ (1 << 63)).to_be_bytes());
        if let Self::Rule { name, .. } | Self::Key { name, .. } = self {
            put_name(&mut key, name);
        }
        if let Self::Key { values, .. } = self {
            put_texts(&mut key, values);
        }
        key.into()
    }

    pub(super) fn row(self, refused: u64) -> Row {
        let mut value = Vec::new();
        Version::NEWEST.encode(&mut value);
        put_varint(&mut value, refused);
        (self.key(), Some(value))
    }

    pub(super) fn removed(self) -> Row {
        (self.key(), None)
    }
}

fn put_name(out: &mut Vec<u8>, name: &RuleName) {
    put_text(out, &name.id);
    put_texts(out, &name.dimensions);
}

fn name(from: &mut Reader<'_>) -> Result<RuleName, Malformed> {
    let id = from.text()?.into();
    Ok(RuleName { id, dimensions: texts(from, "dimensions")? })
}

fn put_texts(out: &mut Vec<u8>, texts: &[Box<str>]) {
    put_list(out, texts.iter(), |text, out| put_text(out, text));
}

fn texts(from: &mut Reader<'_>, what: &'static str) -> Result<Box<[Box<str>]>, Malformed> {
    let texts: Vec<Box<str>> = from.list(what, |from| Ok(from.text()?.into()))?;
    Ok(texts.into())
}

/// The row that says when a rule refused a call the last time.
pub(super) fn last_row(name: &RuleName, last: Timestamp) -> Row {
    let (mut key, mut value) = ([&PREFIX[..], &[LAST]].concat(), Vec::new());
    put_name(&mut key, name);
    Version::NEWEST.encode(&mut value);
    put_wide(&mut value, last.unix_nanos());
    (key.into(), Some(value))
}

pub(super) fn attempt_key(number: u64) -> Box<[u8]> {
    [&PREFIX[..], &[ATTEMPT], &number.to_be_bytes()].concat().into()
}

pub(super) fn attempt_row(number: u64, rules: &[Box<str>], event: &[u8]) -> Row {
    let mut value = Vec::new();
    Version::NEWEST.encode(&mut value);
    put_texts(&mut value, rules);
    value.extend_from_slice(event);
    (attempt_key(number), Some(value))
}

/// Reads a row; `None` of another's.
pub(super) fn read_row(key: &[u8], value: &[u8]) -> Option<Result<StoredRow, Malformed>> {
    let own = key.strip_prefix(&PREFIX)?;
    Some(read(own, value))
}

fn read(key: &[u8], value: &[u8]) -> Result<StoredRow, Malformed> {
    let version = Version::decode(&mut Reader::new(Version::NEWEST, value))?;
    let (mut key, mut value) = (Reader::new(version, key), Reader::new(version, value));
    let _: Version = Codec::decode(&mut value)?;
    match u8::decode(&mut key)? {
        COUNT => {
            let bytes = key.array("an hour")?;
            let hour = (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed();
            let (mut of, mut values) = (None, None);
            if !key.is_at_end() {
                of = Some(name(&mut key)?);
            }
            if !key.is_at_end() {
                values = Some(texts(&mut key, "values of a key")?);
            }
            let refused = value.varint()?;
            key.end()?;
            value.end()?;
            Ok(StoredRow::Count(StoredKey { hour, name: of, values }, refused))
        }
        ATTEMPT => {
            let number = u64::from_be_bytes(key.array("a number")?);
            key.end()?;
            let rules = texts(&mut value, "rules")?;
            let kept = Kept::new(number, value.take_rest().into(), rules);
            if kept.read().is_none() {
                return Err(value.malformed("an event"));
            }
            Ok(StoredRow::Attempt(kept))
        }
        LAST => {
            let (name, last) = (name(&mut key)?, value.wide()?);
            key.end()?;
            value.end()?;
            Ok(StoredRow::Last(name, Timestamp::from_unix_nanos(last)))
        }
        _ => Err(key.malformed("a row of refusals")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> RuleName {
        RuleName { id: "qta_1".into(), dimensions: ["customer_id".into(), "model".into()].into() }
    }

    #[test]
    fn a_count_reads_as_it_was_written() {
        let (name, values) = (name(), [Box::from("ann"), Box::from("gpt-4")]);
        let mut keys = Vec::new();
        for hour in [i64::MIN, -1, 0, 1, 495_000] {
            for of in [
                StoredCount::Calls { hour },
                StoredCount::Rule { hour, name: &name },
                StoredCount::Key { hour, name: &name, values: &values },
            ] {
                let (key, value) = of.row(7);
                let value = value.expect("a value");
                let read = read_row(&key, &value).expect("its own").expect("it is whole");
                let StoredRow::Count(read, 7) = read else { panic!("{read:?}") };
                assert_eq!(read.hour, hour);
                let (has_name, has_values) = match of {
                    StoredCount::Calls { .. } => (false, false),
                    StoredCount::Rule { .. } => (true, false),
                    StoredCount::Key { .. } => (true, true),
                };
                assert_eq!(read.name, has_name.then(|| name.clone()));
                assert_eq!(read.values, has_values.then(|| values.clone().into()));
                for cut in 0..value.len() {
                    assert!(read_row(&key, &value[..cut]).expect("its own").is_err());
                }
                assert_eq!(of.removed(), (key.clone(), None));
                keys.push(key);
            }
        }
        assert!(keys.is_sorted(), "rows come by hour");
        let (last, (key, value)) = (Timestamp::new(7, 9), last_row(&name, Timestamp::new(7, 9)));
        let read = read_row(&key, &value.expect("a value")).expect("its own");
        assert!(matches!(read, Ok(StoredRow::Last(of, at)) if (&of, at) == (&name, last)));
        assert!(read_row(b"\x05space", b"").is_none());
    }

    #[test]
    fn no_bytes_panic() {
        for kind in 0..5 {
            for length in 0..40 {
                let key = [&PREFIX[..], &[kind], &vec![0x81; length]].concat();
                let _ = read_row(&key, &vec![2; length]);
            }
        }
    }
}
