//! The word that was probably meant.

/// A longer word is not looked at: what is sent must not cost more than it is worth.
const MAX_BYTES: usize = 64;

/// Returns the known word that is nearest to `word`, where one is near enough to be meant: at most
/// a third of its letters are wrong, missing, too many or swapped with their neighbour. Case and
/// `_`, `-`, `.`, spaces between words count for nothing, so that `input_tokens` is near to
/// `inputTokens`. Of words as near the first.
///
/// O(length of `word` * length of all known words), for a word of at most 64 bytes.
pub(crate) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.is_empty() || word.len() > MAX_BYTES {
        return None;
    }
    let word = plain(word);
    let near = |name: &&'a str| {
        let letters = plain(name);
        let wrong = distance(&word, &letters);
        (wrong.saturating_mul(3) <= letters.len()).then_some((wrong, *name))
    };
    known.iter().filter_map(near).min_by_key(|(wrong, _)| *wrong).map(|(_, name)| name)
}

/// The end of a message about a word that is not known: `; did you mean ...?`, or nothing.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    closest(word, known).map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"))
}

/// A word without what people write differently.
fn plain(word: &str) -> Vec<char> {
    let letters = word.chars().filter(|letter| !matches!(letter, '_' | '-' | '.' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

/// How many letters must be changed, added, taken away or swapped with their neighbour.
fn distance(from: &[char], to: &[char]) -> usize {
    // Rows of the table of distances between all beginnings of the two: the last two.
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut last = None;
    for (place, letter) in from.iter().enumerate() {
        let mut next = vec![place.saturating_add(1)];
        for (column, other) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let right = column.saturating_add(1);
            let changed = at(&row, column).saturating_add(usize::from(letter != other));
            let taken = at(&row, right).saturating_add(1);
            let added = at(&next, column).saturating_add(1);
            let left = column.checked_sub(1);
            let is_swap = last == Some(other) && left.and_then(|left| to.get(left)) == Some(letter);
            let swapped = left.filter(|_| is_swap).map_or(usize::MAX, |left| at(&before, left));
            next.push(changed.min(taken).min(added).min(swapped.saturating_add(1)));
        }
        before = std::mem::replace(&mut row, next);
        last = Some(letter);
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::closest;

    const FIELDS: &[&str] = &["customerId", "eventType", "inputTokens", "outputTokens", "model"];

    #[test]
    fn what_was_probably_meant_is_found() {
        for (word, meant) in [
            ("inputToken", "inputTokens"),
            ("input_tokens", "inputTokens"),
            ("INPUT-TOKENS", "inputTokens"),
            ("intputTokens", "inputTokens"),
            ("customer", "customerId"),
            ("custmerId", "customerId"),
            ("cusotmerId", "customerId"),
            ("modle", "model"),
            ("event.type", "eventType"),
        ] {
            assert_eq!(closest(word, FIELDS), Some(meant), "{word}");
        }
    }

    #[test]
    fn what_is_far_from_all_words_is_not_guessed() {
        let long = "inputTokens".repeat(100_000);
        for word in ["", "x", "color", "timestamp", "\u{0}", "\u{1f600}", "____", &long] {
            assert_eq!(closest(word, FIELDS), None, "{word:.20}");
        }
        assert_eq!(closest("x", &[]), None);
    }

    #[test]
    fn of_words_as_near_the_first_is_taken() {
        assert_eq!(closest("das", &["day", "dab"]), Some("day"));
    }
}
