//! Texts of users as messages show them.

/// A value cut short where it is long, as it is.
pub(crate) fn excerpt(value: &str) -> Box<str> {
    const SHOWN: usize = 80;
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown.push_str("...");
    }
    shown.into()
}

/// A value cut short and escaped, fit for one line of a log however long or odd it is.
pub(crate) fn excerpt_of_line(value: &str) -> Box<str> {
    const SHOWN: usize = 48;
    let mut shown: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown.into()
}
