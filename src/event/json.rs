//! Reading a property that was stored as JSON, however deep it is.

use serde_json::{Map, Value};

use super::PropertyValue;

/// How deep a value is that is shown as what it is. Reading, printing and dropping one takes stack
/// for each list and object; those that are recorded are at most 32 deep.
const MAX_SHOWN_DEPTH: usize = 512;

/// Reads a property that was stored as JSON. What cannot be read is shown as a list of its text: a
/// text alone would be a dimension once it is exported and imported.
pub(crate) fn stored_json(json: &str) -> PropertyValue<'static> {
    let value = match serde_json::from_str(json) {
        Ok(value) => value,
        // `serde_json` reads 127 lists and objects within each other, and prints any number.
        Err(_) => deep(json).unwrap_or_else(|| vec![json].into()),
    };
    PropertyValue::Json(Box::new(value))
}

/// Reads what was stored as attached to an event; nothing where it cannot be read.
pub(crate) fn stored_object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap_or_else(|_| match deep(json) {
        Some(Value::Object(entries)) => entries,
        _ => Map::new(),
    })
}

/// A list or an object of which the beginning was read.
enum Open {
    List(Vec<Value>),
    /// With the key of the entry that comes next.
    Object(Map<String, Value>, String),
}

/// Reads JSON as `serde_json` prints it, without spaces, however deep it is.
fn deep(json: &str) -> Option<Value> {
    let mut rest = json;
    let mut open: Vec<Open> = Vec::new();
    loop {
        if let Some(within) = rest.strip_prefix('[') {
            rest = within;
            open.push(Open::List(Vec::new()));
            if !rest.starts_with(']') {
                continue;
            }
        } else if let Some(within) = rest.strip_prefix('{') {
            rest = within;
            open.push(Open::Object(Map::new(), String::new()));
            if !rest.starts_with('}') {
                rest = next_key(&mut open, rest)?;
                continue;
            }
        } else {
            let end = scalar_end(rest)?;
            let (scalar, after) = rest.split_at_checked(end)?;
            rest = after;
            put(&mut open, serde_json::from_str(scalar).ok()?)?;
        }
        if open.len() > MAX_SHOWN_DEPTH {
            return None;
        }
        // What ends here, and what comes after it.
        while let Some(end) = rest.chars().next().filter(|end| [']', '}'].contains(end)) {
            let value = match (open.pop()?, end) {
                (Open::List(items), ']') => Value::Array(items),
                (Open::Object(entries, _), '}') => Value::Object(entries),
                _ => return None,
            };
            rest = rest.get(1..)?;
            if open.is_empty() {
                return rest.is_empty().then_some(value);
            }
            put(&mut open, value)?;
        }
        rest = next_key(&mut open, rest.strip_prefix(',')?)?;
    }
}

/// Reads the key at the beginning of an entry, where it is one of an object. Returns what comes
/// after it.
fn next_key<'j>(open: &mut [Open], entry: &'j str) -> Option<&'j str> {
    let Open::Object(_, next) = open.last_mut()? else { return Some(entry) };
    let (key, after) = entry.split_at_checked(scalar_end(entry)?)?;
    *next = serde_json::from_str(key).ok()?;
    after.strip_prefix(':')
}

/// Puts a value into the list or the object that it stands in.
fn put(open: &mut [Open], value: Value) -> Option<()> {
    match open.last_mut()? {
        Open::List(items) => items.push(value),
        Open::Object(entries, key) => {
            entries.insert(std::mem::take(key), value);
        }
    }
    Some(())
}

/// Where the text, number or word that a text begins with ends.
fn scalar_end(text: &str) -> Option<usize> {
    let Some(within) = text.strip_prefix('"') else { return text.find([',', ']', '}', ':']) };
    let mut escaped = false;
    let end = within.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    // Behind the quotes.
    end?.checked_add(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{PropertyValue, deep, stored_json};

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[\"\\\\\\[\\]{},:a\\x00]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 60, 5, |within| {
            let key = "[\"\\\\\\[\\]{},:a]{0,3}";
            prop_oneof![
                prop::collection::vec(within.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(key, within, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_without_a_limit_to_its_depth(value in json_value()) {
            let within = json!([value, {"a": [value]}, [], {}]);
            prop_assert_eq!(deep(&within.to_string()), Some(within));
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{},:\"\\\\0a ]{0,30}") {
            if let Some(value) = deep(&text) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
            }
        }
    }

    #[test]
    fn what_is_not_json_is_none() {
        for text in
            ["{:}", "[0}", "{\"a\":0]", "{\"a\":}", "{\"a\"}", "[0,]", "[,0]", "[0]]", "{0:0}", ""]
        {
            assert_eq!(deep(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_deeper_than_a_reader_goes_is_json_and_no_dimension() {
        for depth in [1, 126, 127, 128, 129, 512] {
            let value = (0..depth).fold(json!("x"), |within, _| json!([within]));
            assert_eq!(
                stored_json(&value.to_string()),
                PropertyValue::Json(Box::new(value)),
                "{depth}"
            );
        }
        for text in ["[".repeat(600) + &"]".repeat(600), "[".repeat(1_000_000), "1e999".into()] {
            assert_eq!(stored_json(&text), PropertyValue::Json(Box::new(json!([text]))));
        }
    }
}
