//! Lists of items with parameters, as structured fields write them (RFC 9651, section 4.2).

/// The most members of a list that are read.
const MOST: usize = 32;

/// An item: a name, and parameters of which the last of each key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    parameters: Vec<(String, String)>,
}

impl Item {
    pub(super) fn parameter(&self, key: &str) -> Option<&str> {
        let found = self.parameters.iter().rev().find(|(own, _)| own == key);
        found.map(|(_, value)| &**value)
    }
}

/// Reads a list of items; `None` where it is none.
pub(super) fn list(text: &str) -> Option<Vec<Item>> {
    let mut rest = Rest(text.trim_matches(' '));
    let mut items = Vec::new();
    while !rest.0.is_empty() {
        if !items.is_empty() {
            rest.skip(&[' ', '\t']);
            rest.take(',')?;
            rest.skip(&[' ', '\t']);
        }
        if items.len() >= MOST {
            return None;
        }
        items.push(rest.item()?);
    }
    Some(items)
}

/// What is still to be read.
struct Rest<'t>(&'t str);

impl<'t> Rest<'t> {
    fn take(&mut self, letter: char) -> Option<()> {
        self.0 = self.0.strip_prefix(letter)?;
        Some(())
    }

    fn skip(&mut self, letters: &[char]) {
        self.0 = self.0.trim_start_matches(letters);
    }

    /// What stands there of these letters.
    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let end = self.0.find(|letter| !belongs(letter)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        run
    }

    fn item(&mut self) -> Option<Item> {
        let mut item = Item { name: self.bare_item()?, parameters: Vec::new() };
        while self.take(';').is_some() {
            self.skip(&[' ']);
            let key =
                self.run(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_' | '-' | '.' | '*'));
            let value = if self.take('=').is_some() { self.bare_item()? } else { "?1".to_owned() };
            if key.is_empty() || item.parameters.len() >= MOST {
                return None;
            }
            item.parameters.push((key.to_owned(), value));
        }
        Some(item)
    }

    /// A string without its quotes; a number, a token, a boolean or bytes as they stand.
    fn bare_item(&mut self) -> Option<String> {
        if self.take('"').is_some() {
            return self.string();
        }
        let bare = self
            .run(|letter| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/?=".contains(letter));
        (!bare.is_empty()).then(|| bare.to_owned())
    }

    /// What is between quotes; the first one is read.
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut letters = self.0.chars();
        loop {
            match letters.next()? {
                '"' => break,
                '\\' => text.push(letters.next().filter(|next| matches!(next, '"' | '\\'))?),
                letter @ ' '..='~' => text.push(letter),
                _ => return None,
            }
        }
        self.0 = letters.as_str();
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn items_and_their_parameters_are_read() {
        let items = list(r#""a \"b\"";q=100; w=60;qu="tokens",def;r=5;t=3;x"#).expect("a list");
        let [first, second] = &*items else { unreachable!("two items: {items:?}") };
        assert_eq!((&*first.name, first.parameter("q")), ("a \"b\"", Some("100")));
        assert_eq!((first.parameter("w"), first.parameter("qu")), (Some("60"), Some("tokens")));
        assert_eq!((&*second.name, second.parameter("x")), ("def", Some("?1")));
        assert_eq!(second.parameter("q"), None);
        assert_eq!(list("").map(|items| items.len()), Some(0));
    }

    #[test]
    fn what_is_no_list_is_none() {
        let long = r#""a","#.repeat(40);
        for text in
            ["\"a", "\"a\" \"b\"", ",", "\"a\",", "\"\\x\"", "a;=1", "a;q=", "\u{fc}", &long]
        {
            assert_eq!(list(text), None, "{text}");
        }
    }
}
